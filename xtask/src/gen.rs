//! `cargo xtask gen`: writes what is generated. Does I/O: runs the binary, writes files.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use tokio::process::Command;

/// What is generated, and where it is kept, from the root of the repository: definitions for people and for the chart,
/// and the reference pages of the docs.
const PLACES: [(&str, &str); 3] =
    [("crds", "crds"), ("crds", "charts/kubenova/files/crds"), ("reference", "docs/reference")];
/// Kinds of file that are generated; others in the same folders are not ours.
const EXTENSIONS: [&str; 2] = ["yaml", "md"];

/// Write what is generated: `crds/`, the chart's copy of it, and `docs/reference/`.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask gen       after a change of the types in crates/nova-api
  cargo xtask check     says whether it is needed")]
pub struct Gen {}

impl Gen {
    /// Writes what differs and says what that was.
    pub async fn run(self) -> Result<()> {
        let fresh = tempfile::tempdir().context("make a folder for what is generated")?;
        let made = command(fresh.path()).status().await.context("run cargo")?;
        if !made.success() {
            bail!("it cannot be generated, see above");
        }
        let mut written = 0;
        for (what, place) in PLACES {
            let fresh = fresh.path().join(what);
            for Difference { file, how } in differences(&fresh, &root().join(place))? {
                let target = root().join(place).join(&file);
                match how {
                    How::Stale => fs::remove_file(&target).with_context(|| format!("remove {target:?}"))?,
                    How::Missing | How::Changed => {
                        fs::create_dir_all(root().join(place)).with_context(|| format!("make {place:?}"))?;
                        fs::copy(fresh.join(&file), &target).with_context(|| format!("write {target:?}"))?;
                    }
                }
                println!("{} {place}/{file}", if how == How::Stale { "removed" } else { "wrote" });
                written += 1;
            }
        }
        if written == 0 {
            println!("everything was up to date");
        }
        Ok(())
    }
}

/// The command that generates everything into a folder.
pub fn command(into: &Path) -> Command {
    let mut command = cargo();
    command.args(["run", "--locked", "--package", "kubenova", "--", "generate", "--out"]).arg(into);
    command
}

/// What is committed and is not what is in `fresh`, as lines for people.
pub fn drift(fresh: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for (what, place) in PLACES {
        for Difference { file, how } in differences(&fresh.join(what), &root().join(place))? {
            lines.push(format!("{place}/{file} {}", how.told()));
        }
    }
    Ok(lines)
}

/// The cargo that runs this program, at the root of the repository.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root()).kill_on_drop(true);
    // What cargo tells this program of its own package. Build scripts of others look at it, so that with it they would be
    // built anew each time that cargo is run by hand and by this program in turn.
    let own = std::env::vars_os().map(|(name, _)| name);
    for name in own.filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME"
    }) {
        command.env_remove(name);
    }
    command
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[derive(Debug, PartialEq, Eq)]
struct Difference {
    file: String,
    how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Missing,
    Changed,
    Stale,
}

impl How {
    fn told(self) -> &'static str {
        match self {
            Self::Missing => "is missing",
            Self::Changed => "is out of date",
            Self::Stale => "is no longer generated",
        }
    }
}

/// By file, in order: how `committed` is not `fresh`. A folder that is not there is an empty one.
fn differences(fresh: &Path, committed: &Path) -> Result<Vec<Difference>> {
    let (want, have) = (files(fresh)?, files(committed)?);
    let mut found = Vec::new();
    for file in want.union(&have) {
        let how = if !have.contains(file) {
            How::Missing
        } else if !want.contains(file) {
            How::Stale
        } else if read(&fresh.join(file))? != read(&committed.join(file))? {
            How::Changed
        } else {
            continue;
        };
        found.push(Difference { file: file.clone(), how });
    }
    Ok(found)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("read {file:?}"))
}

fn files(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
        entries => entries.with_context(|| format!("read {folder:?}"))?,
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let name =
            entry.with_context(|| format!("read {folder:?}"))?.file_name().to_string_lossy().into_owned();
        let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
        if extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            names.insert(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_differ_is_seen() {
        let (fresh, committed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (file, new, old) in [
            ("changed.yaml", Some("a"), Some("b")),
            ("missing.yaml", Some("a"), None),
            ("same.yaml", Some("a"), Some("a")),
            ("stale.yaml", None, Some("a")),
            ("notes.txt", None, Some("not ours")),
        ] {
            for (folder, text) in [(&fresh, new), (&committed, old)] {
                if let Some(text) = text {
                    fs::write(folder.path().join(file), text).unwrap();
                }
            }
        }
        let found: Vec<_> = differences(fresh.path(), committed.path())
            .unwrap()
            .into_iter()
            .map(|difference| (difference.file, difference.how))
            .collect();
        let expected =
            [("changed.yaml", How::Changed), ("missing.yaml", How::Missing), ("stale.yaml", How::Stale)];
        assert_eq!(found, expected.map(|(file, how)| (file.to_owned(), how)));
    }

    #[test]
    fn a_folder_that_is_not_there_lacks_everything() {
        let fresh = tempfile::tempdir().unwrap();
        fs::write(fresh.path().join("a.yaml"), "a").unwrap();
        let found = differences(fresh.path(), &fresh.path().join("nowhere")).unwrap();
        assert_eq!(found, [Difference { file: "a.yaml".to_owned(), how: How::Missing }]);
    }
}
