//! `cargo xtask test`: everything CI runs, with a summary at the end. Does I/O: runs cargo.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures::{StreamExt as _, stream};
use nova_testkit::build;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::r#gen::cargo;

/// Run every test: units, properties, the testkit's own, and end to end on a real control plane.
///
/// The first time the control plane is built, which takes ten to twenty minutes.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask test                  everything, as CI does
  cargo xtask test --only unit      units and properties, without a control plane
  cargo xtask test --only crash     one end-to-end file: e2e/tests/crash.rs
  cargo xtask test --only drift --sentence network
                                    of that file the sentences with this in their name")]
pub struct Test {
    /// Run one part only: `unit`, `testkit`, `steps` (what end-to-end tests share), or the name of a file in `e2e/tests`.
    #[arg(long)]
    only: Option<String>,
    /// Run only the sentences of that part with this in their name.
    #[arg(long, requires = "only")]
    sentence: Option<String>,
}

/// One call of cargo.
struct Part {
    name: String,
    args: Vec<String>,
    /// For the test harness.
    harness: Vec<String>,
}

impl Part {
    /// Waits for most of its time, so that another such part may run beside it.
    fn waits(&self) -> bool {
        ["backends", "definition", "faults", "quickstart", "restart", "truth"].contains(&self.name.as_str())
    }
}

/// What takes long, for changes of how the operator writes: each write of the operator goes wrong once.
const LONG: [&str; 1] = ["sweep"];
/// Longest run of one part, compilation from nothing included.
const LONGEST: Duration = Duration::from_mins(30);
/// Parts that wait run so many at once.
const SIDE_BY_SIDE: usize = 2;

/// The sentences of an end-to-end file share a control plane and wait for most of their time, so that all of them run
/// at once, however few the processors.
const THREADS: &str = "--test-threads=32";

/// How a part ended.
struct Outcome {
    name: String,
    passed: u32,
    failed: u32,
    broken: bool,
    took: Duration,
}

impl Test {
    /// Runs every part, in spite of failures, and sums up.
    ///
    /// # Errors
    ///
    /// When a test failed, or a part could not be run.
    pub async fn run(self) -> Result<()> {
        let start = Instant::now();
        let mut parts = parts()?;
        if self.only.is_none() {
            parts.retain(|p| !LONG.contains(&p.name.as_str()));
            for part in LONG {
                println!("not in here, because it takes long: cargo xtask test --only {part}");
            }
        }
        if let Some(only) = &self.only {
            let names: Vec<String> = parts.iter().map(|p| p.name.clone()).collect();
            parts.retain(|p| p.name == *only);
            if parts.is_empty() {
                bail!("there is no part {only:?}; there are {}", names.join(", "));
            }
            for part in &mut parts {
                part.harness.extend(self.sentence.clone());
            }
        }
        if parts.iter().any(|p| p.name != "unit") {
            tokio::task::spawn_blocking(build::ensure).await.context("build the control plane")??;
            // The end-to-end tests run the operator as a program of its own.
            let built = cargo().args(["build", "--locked", "--package", "kubenova"]).status().await;
            if !built.context("run cargo")?.success() {
                bail!("the operator does not build, see above");
            }
        }
        let (waiting, alone): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(Part::waits);
        let several = waiting.len() > 1;
        let mut outcomes = Vec::new();
        for part in alone {
            outcomes.push(run(part, false).await?);
        }
        let mut side_by_side =
            stream::iter(waiting).map(|part| run(part, several)).buffer_unordered(SIDE_BY_SIDE);
        while let Some(outcome) = side_by_side.next().await {
            outcomes.push(outcome?);
        }
        summary(&outcomes, start.elapsed())
    }
}

/// Units first, because they are quick; then a part for each end-to-end file: each has a control plane of its own, and
/// a test for each sentence.
fn parts() -> Result<Vec<Part>> {
    let args = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    let mut parts = vec![
        Part {
            name: "unit".to_owned(),
            args: args(&["--workspace", "--exclude", "nova-testkit", "--exclude", "e2e", "--no-fail-fast"]),
            harness: Vec::new(),
        },
        Part {
            name: "testkit".to_owned(),
            args: args(&["--package", "nova-testkit", "--no-fail-fast"]),
            harness: args(&["--test-threads=1"]),
        },
        Part { name: "steps".to_owned(), args: args(&["--package", "e2e", "--lib"]), harness: Vec::new() },
    ];
    let folder = crate::r#gen::root().join("e2e/tests");
    let mut files: Vec<String> = std::fs::read_dir(&folder)
        .with_context(|| format!("read {folder:?}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        // A test is a file, or a folder with a main.rs.
        .filter(|path| path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").is_file())
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    files.sort();
    parts.extend(files.into_iter().map(|name| Part {
        args: args(&["--package", "e2e", "--test", &name]),
        harness: args(&["--nocapture", THREADS]),
        name,
    }));
    Ok(parts)
}

/// Runs one part, and counts its closing lines. What it prints goes through, or follows as a whole where others run
/// beside it.
async fn run(part: Part, beside_others: bool) -> Result<Outcome> {
    println!("\n[{}]{}", part.name, if beside_others { " begins; what it prints follows" } else { "" });
    let start = Instant::now();
    let mut printed = Vec::new();
    let mut child = cargo()
        .args(["test", "--locked"])
        .args(&part.args)
        .arg("--")
        .args(&part.harness)
        .stdout(Stdio::piped())
        .spawn()
        .context("run cargo test")?;
    let mut lines = BufReader::new(child.stdout.take().context("read what cargo prints")?).lines();
    let (mut passed, mut failed) = (0, 0);
    let read = async {
        while let Some(line) = lines.next_line().await.context("read what cargo prints")? {
            if let Some((ok, bad)) = counts(&line) {
                passed += ok;
                failed += bad;
            }
            if beside_others { printed.push(line) } else { println!("{line}") }
        }
        anyhow::Ok(())
    };
    let in_time = tokio::time::timeout(LONGEST, read).await;
    if beside_others {
        println!("\n[{}] has ended\n{}", part.name, printed.join("\n"));
    }
    if let Ok(read) = in_time {
        read?;
    } else {
        println!("[{}] did not end within {LONGEST:?} and is stopped", part.name);
        child.kill().await.context("stop cargo test")?;
    }
    // Nothing passed and nothing failed: then nothing ran, which is no success.
    let broken = !child.wait().await.context("wait for cargo test")?.success() || passed + failed == 0;
    Ok(Outcome { name: part.name, passed, failed, broken, took: start.elapsed() })
}

/// Passed and failed of a closing line of the test harness.
fn counts(line: &str) -> Option<(u32, u32)> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        let (before, _) = rest.split_once(word)?;
        before.rsplit(' ').next()?.parse().ok()
    };
    Some((number(" passed")?, number(" failed")?))
}

fn summary(outcomes: &[Outcome], took: Duration) -> Result<()> {
    println!("\n{:<14} {:>7} {:>7} {:>9}", "part", "passed", "failed", "seconds");
    for outcome in outcomes {
        let Outcome { name, passed, failed, broken, took } = outcome;
        let mark = if *broken { "  FAILED" } else { "" };
        println!("{name:<14} {passed:>7} {failed:>7} {:>9.1}{mark}", took.as_secs_f64());
    }
    let passed: u32 = outcomes.iter().map(|o| o.passed).sum();
    let failed: u32 = outcomes.iter().map(|o| o.failed).sum();
    println!("in {:.1} minutes", took.as_secs_f64() / 60.0);
    println!("{passed} passed, {failed} failed");
    let broken: Vec<&str> = outcomes.iter().filter(|o| o.broken).map(|o| o.name.as_str()).collect();
    if broken.is_empty() {
        return Ok(());
    }
    bail!("failed: {}; one alone: cargo xtask test --only {}", broken.join(", "), broken[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_counted() {
        let line =
            "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("test x ... ok"), None);
    }
}
