//! Prints the custom resource definitions, or writes one file each. Does I/O: standard output, files.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    path::Path,
};

use anyhow::{Context, Result};
use nova_api::crds;

/// Writes every definition to the folder `out`, or as one stream of YAML documents to standard output.
pub fn write(out: Option<&Path>) -> Result<()> {
    match out {
        Some(folder) => into(folder),
        None => match print(&mut io::stdout().lock()) {
            // Whoever reads, such as `head`, has had enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            printed => printed.context("definitions cannot be printed"),
        },
    }
}

fn into(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("folder {} cannot be made", folder.display()))?;
    for crd in crds::all() {
        let file = folder.join(crds::file_name(&crd));
        let yaml = serde_yaml::to_string(&crd).context("definition cannot be written as YAML")?;
        fs::write(&file, yaml).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

fn print(to: &mut impl Write) -> io::Result<()> {
    for crd in crds::all() {
        let yaml = serde_yaml::to_string(&crd).map_err(io::Error::other)?;
        write!(to, "---\n{yaml}")?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_a_file_and_a_document() {
        let folder = tempfile::tempdir().unwrap();
        let nested = folder.path().join("a/b");
        write(Some(&nested)).unwrap();
        let mut stream = Vec::new();
        print(&mut stream).unwrap();
        let stream = String::from_utf8(stream).unwrap();
        let documents: Vec<_> = stream.split("---\n").skip(1).collect();
        assert_eq!(documents.len(), crds::all().len());
        for (crd, document) in crds::all().iter().zip(documents) {
            assert_eq!(fs::read_to_string(nested.join(crds::file_name(crd))).unwrap(), document);
        }
    }
}
