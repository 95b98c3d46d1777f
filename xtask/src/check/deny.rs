//! cargo-deny: there if it is not, licences, bans and sources, and advisories if their database can be had. Does I/O.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use super::steps::{Step, Steps, Verdict};
use crate::r#gen::cargo;

/// The version that `deny.toml` is written for.
const VERSION: &str = "0.20.2";
/// Longest wait for the database of advisories, a clone of a few tens of megabytes.
const FETCH: Duration = Duration::from_mins(3);

/// Runs the three steps.
pub async fn run(steps: &mut Steps) {
    const INSTALL: &str = "cargo-deny is there";
    const CHECK: &str = "licences, bans, sources";
    const ADVISORIES: &str = "advisories";

    let step = steps.begin(INSTALL);
    let found = find_or_install(&step).await;
    let mend = format!("cargo install cargo-deny --locked --version {VERSION}");
    let deny = match found {
        Ok(deny) => {
            steps.end(step, INSTALL, &mend, Verdict::Passed);
            deny
        }
        Err(error) => {
            steps.end(step, INSTALL, &mend, Verdict::Failed(format!("{error:#}")));
            for what in [CHECK, ADVISORIES] {
                let step = steps.begin(what);
                steps.end(step, what, "", Verdict::Skipped("there is no cargo-deny".to_owned()));
            }
            return;
        }
    };

    let mut check = deny.command();
    check.args(["--locked", "check", "licenses", "bans", "sources"]);
    steps.run(CHECK, "cargo deny --locked check licenses bans sources", check).await;

    let step = steps.begin(ADVISORIES);
    let verdict =
        advisories(&deny, &step).await.unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
    steps.end(step, ADVISORIES, "cargo deny --locked check advisories", verdict);
}

async fn advisories(deny: &Deny, step: &Step) -> Result<Verdict> {
    let mut fetch = deny.command();
    fetch.args(["fetch", "db"]);
    let why = match tokio::time::timeout(FETCH, step.watch(fetch)).await {
        Err(_) => Some(format!("not within {} s", FETCH.as_secs())),
        Ok(fetched) => {
            let (status, output) = fetched?;
            (!status.success()).then(|| gist(&output))
        }
    };
    if let Some(why) = why {
        return Ok(Verdict::Skipped(format!(
            "KNOWN VULNERABILITIES WERE NOT LOOKED FOR, the RustSec database cannot be reached ({why})"
        )));
    }
    let mut check = deny.command();
    check.args(["--locked", "--offline", "check", "advisories"]);
    let (status, output) = step.watch(check).await?;
    Ok(if status.success() { Verdict::Passed } else { Verdict::Failed(output) })
}

/// The last line of an output that says something, which is where the cause stands.
fn gist(output: &str) -> String {
    output.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given").to_owned()
}

/// Where cargo-deny is.
enum Deny {
    /// On the user's path, run by cargo.
    Installed,
    /// Ours.
    At(PathBuf),
}

impl Deny {
    fn command(&self) -> Command {
        match self {
            Self::Installed => {
                let mut command = cargo();
                command.arg("deny");
                command
            }
            Self::At(program) => {
                let mut command = Command::new(program);
                command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
                command
            }
        }
    }

    /// Whether it runs and has the right version; another one may not know what `deny.toml` says.
    async fn fits(&self) -> bool {
        self.command().arg("--version").output().await.is_ok_and(|output| {
            output.status.success() && is_version(&String::from_utf8_lossy(&output.stdout))
        })
    }
}

fn is_version(told: &str) -> bool {
    told.split_whitespace().last() == Some(VERSION)
}

async fn find_or_install(step: &Step) -> Result<Deny> {
    let place = directories::BaseDirs::new()
        .context("there is no home folder to keep cargo-deny in")?
        .cache_dir()
        .join("kubenova/tools")
        .join(format!("cargo-deny-{VERSION}"));
    let ours = Deny::At(place.join("bin/cargo-deny"));
    for deny in [Deny::Installed, ours] {
        if deny.fits().await {
            return Ok(deny);
        }
    }
    // Kept until it is done, so that a second try goes on where the first one was interrupted.
    let building = place.join("building");
    let mut install = cargo();
    install
        .args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"])
        .arg(&place)
        .env("CARGO_TARGET_DIR", &building);
    eprintln!(
        "cargo-deny {VERSION} is not installed; it is built once, in some minutes, into {}",
        place.display()
    );
    let (status, output) = step.watch(install).await?;
    if !status.success() {
        bail!("cargo-deny cannot be installed:\n{output}");
    }
    fs::remove_dir_all(&building).with_context(|| format!("remove {building:?}"))?;
    let ours = Deny::At(place.join("bin/cargo-deny"));
    if !ours.fits().await {
        bail!("cargo-deny was installed into {place:?} and does not run");
    }
    Ok(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_that_deny_toml_is_for_fits() {
        assert!(is_version(&format!("cargo-deny {VERSION}\n")));
        assert!(!is_version("cargo-deny 0.19.0\n"));
        assert!(!is_version(""));
    }

    #[test]
    fn the_gist_is_the_last_line_that_says_something() {
        assert_eq!(gist("error: a\ncaused by: b\n\n"), "caused by: b");
        assert_eq!(gist("\n"), "no reason given");
    }
}
