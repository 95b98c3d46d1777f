//! The Go toolchain: is it there, where is a module's text, build a package. Does I/O: runs `go`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The oldest Go release that builds every pinned module.
const NEEDED: (u32, u32) = (1, 26);

/// Fails with what to install when there is no Go, or one that is too old.
pub fn require() -> Result<()> {
    let advice = "Install Go 1.26 or newer from https://go.dev/dl/ (unpack the archive into /usr/local and put /usr/local/go/bin on the PATH)";
    let output = match Command::new("go").arg("version").env("GOTOOLCHAIN", "local").output() {
        Ok(output) if output.status.success() => output,
        _ => bail!("{advice}: the control plane is built from Go modules, and there is no `go` on the PATH."),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    match version_in(&text) {
        Some(found) if found >= NEEDED => Ok(()),
        _ => bail!("{advice}: the control plane is built from Go modules, and this is {:?}.", text.trim()),
    }
}

fn version_in(text: &str) -> Option<(u32, u32)> {
    let version = text.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let minor: String = version.chars().take_while(char::is_ascii_digit).collect();
    Some((1, minor.parse().ok()?))
}

/// The folder in the module cache that holds `module` at the version that the tool module in `dir` pins.
pub fn module_dir(dir: &Path, module: &str) -> Result<PathBuf> {
    let list = || -> Result<String> {
        run(command(dir).args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module]))
    };
    let mut found = list()?;
    if found.trim().is_empty() {
        run(command(dir).args(["mod", "download", module]))?;
        found = list()?;
    }
    let path = PathBuf::from(found.trim());
    if !path.is_dir() {
        bail!("module {module:?} has no folder in the module cache");
    }
    Ok(path)
}

/// One package to build.
pub struct Package<'a> {
    /// The folder with the tool module's `go.mod`.
    pub dir: &'a Path,
    /// Import path.
    pub import_path: &'a str,
    /// Given to the linker.
    pub ldflags: &'a str,
    /// Another `go.mod` to use, for a patched source tree.
    pub modfile: Option<&'a Path>,
    /// Where the program is written.
    pub output: &'a Path,
}

/// Builds a static, reproducible program.
pub fn build(package: &Package<'_>) -> Result<()> {
    let mut command = command(package.dir);
    command.args(["build", "-mod=readonly", "-buildvcs=false", "-trimpath"]);
    if let Some(modfile) = package.modfile {
        command.arg("-modfile").arg(modfile);
    }
    command.args(["-ldflags", package.ldflags]).arg("-o").arg(package.output).arg(package.import_path);
    run(&mut command).map(drop)
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new("go");
    // Flags and workspaces of the caller's own Go projects must not change what is built here.
    command.current_dir(dir).env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off");
    command.stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().context("run go")?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
        bail!(
            "`go {}` failed in {:?}:\n{end}",
            args.join(" "),
            command.get_current_dir().unwrap_or(Path::new("."))
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::version_in;

    #[test]
    fn a_go_release_and_a_pre_release_are_read() {
        assert_eq!(version_in("go version go1.26.8 linux/amd64"), Some((1, 26)));
        assert_eq!(version_in("go version go1.27rc1 linux/amd64"), Some((1, 27)));
        assert_eq!(version_in("gccgo"), None);
    }
}
