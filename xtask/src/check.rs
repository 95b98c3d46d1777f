//! `cargo xtask check`: formatting, lints, each crate alone, generated files, roles, dependencies. Runs cargo.

mod deny;
mod roles;
mod steps;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::r#gen::{self, cargo};
use steps::{Steps, Verdict};

/// Check formatting, lints, each crate alone, generated files, the chart's roles and dependencies.
///
/// Goes through all of it and lists at the end what failed, with the command that mends it.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask check
  cargo xtask check && cargo xtask test     what CI does")]
pub struct Check {}

impl Check {
    /// Runs every step.
    ///
    /// # Errors
    ///
    /// When any of them failed, after the last one.
    pub async fn run(self) -> Result<()> {
        let crates = members().await?;
        // Formatting, lints, generated files, roles; three for cargo-deny.
        let mut steps = Steps::new(crates.len() + 7);

        let mut format = cargo();
        format.args(["fmt", "--all", "--check"]);
        steps.run("formatting", "cargo fmt --all", format).await;

        let mut lints = cargo();
        lints.args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]);
        steps.run("lints", "cargo clippy --workspace --all-targets", lints).await;

        // Built together, one crate's features serve all the others, and an arrow that must not be is not seen.
        for name in crates {
            let mut alone = cargo();
            alone.args(["check", "--locked", "--package", &name]);
            steps.run(&format!("{name} alone"), &format!("cargo check -p {name}"), alone).await;
        }

        let fresh = tempfile::tempdir().context("make a folder for generated files")?;
        let mend = "cargo xtask gen";
        steps
            .run_then("generated files", mend, r#gen::command(fresh.path()), || {
                let drift = r#gen::drift(fresh.path())?;
                Ok(if drift.is_empty() { Verdict::Passed } else { Verdict::Failed(drift.join("\n")) })
            })
            .await;

        roles::run(&mut steps);
        deny::run(&mut steps).await;

        if !steps.summary() {
            bail!("check failed");
        }
        Ok(())
    }
}

/// The names of all crates of the workspace.
async fn members() -> Result<Vec<String>> {
    let output = cargo()
        .args(["metadata", "--no-deps", "--locked", "--format-version", "1"])
        .output()
        .await
        .context("run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("read cargo metadata")?;
    let names: Vec<String> = metadata["packages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|package| package["name"].as_str().map(ToOwned::to_owned))
        .collect();
    if names.is_empty() {
        bail!("cargo metadata names no crate");
    }
    Ok(names)
}
