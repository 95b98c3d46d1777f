//! How each component is started: its arguments and files. Does I/O only to write configuration files.

pub mod capsule;
pub mod kubernetes;
pub mod kwok;
pub mod vela;

use std::path::PathBuf;

/// A command line.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
}

impl Launch {
    /// A command line without additions to the environment.
    pub fn new(program: &std::path::Path, args: Vec<String>) -> Self {
        Self { program: program.to_path_buf(), args, env: Vec::new() }
    }
}

/// `--name=value` of everything in the list.
pub fn flags(list: &[(&str, String)]) -> Vec<String> {
    list.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

/// Arguments of a chart without those that are set otherwise here. `names` are given without dashes.
pub fn without(args: &[String], names: &[&str]) -> Vec<String> {
    let name = |arg: &str| arg.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned();
    args.iter().filter(|arg| !names.contains(&name(arg).as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn a_flag_is_left_out_with_and_without_a_value() {
        let args = ["--leader", "--leader=true", "--leader-lease=5s"].map(str::to_owned);
        assert_eq!(without(&args, &["leader"]), ["--leader-lease=5s"]);
    }
}
