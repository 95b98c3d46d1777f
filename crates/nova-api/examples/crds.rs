//! Writes every definition as YAML: to the folder that is given, one file each, or to standard output.

use std::{env, fs, io, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = env::args_os().nth(1).map(PathBuf::from);
    for crd in nova_api::crds::all() {
        let yaml = serde_yaml::to_string(&crd).map_err(io::Error::other)?;
        match &folder {
            Some(folder) => {
                fs::create_dir_all(folder)?;
                fs::write(folder.join(nova_api::crds::file_name(&crd)), yaml)?;
            }
            None => println!("---\n{yaml}"),
        }
    }
    Ok(())
}
