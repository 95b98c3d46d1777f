//! Steps one after the other, with what they are at and how they ended. Does I/O: runs commands, writes to stderr.

use std::io::{IsTerminal as _, stderr};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// How often a step says that it is still at work where there is no terminal.
const HEARTBEAT: Duration = Duration::from_secs(20);

/// How a step ended.
pub enum Verdict {
    /// Well.
    Passed,
    /// Badly, with what there is to read about it.
    Failed(String),
    /// Not at all, and why.
    Skipped(String),
}

/// All steps, and what became of them.
pub struct Steps {
    total: usize,
    begun: usize,
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<String>,
    since: Instant,
}

impl Steps {
    /// Announces `total` steps.
    pub fn new(total: usize) -> Self {
        Self { total, begun: 0, passed: 0, failed: Vec::new(), skipped: Vec::new(), since: Instant::now() }
    }

    /// Runs a command as the next step; `mend` is the command that helps when it fails.
    pub async fn run(&mut self, what: &str, mend: &str, command: Command) {
        self.run_then(what, mend, command, || Ok(Verdict::Passed)).await;
    }

    /// Runs a command as the next step; when it goes well, `judge` has the last word.
    pub async fn run_then(
        &mut self,
        what: &str,
        mend: &str,
        command: Command,
        judge: impl FnOnce() -> Result<Verdict>,
    ) {
        let step = self.begin(what);
        let verdict = match step.watch(command).await {
            Ok((status, _)) if status.success() => {
                judge().unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")))
            }
            Ok((_, output)) => Verdict::Failed(output),
            Err(error) => Verdict::Failed(format!("{error:#}")),
        };
        self.end(step, what, mend, verdict);
    }

    /// Begins the next step.
    pub fn begin(&mut self, what: &str) -> Step {
        self.begun += 1;
        Step::new(format!("[{}/{}] {what}", self.begun, self.total))
    }

    /// Ends a step: says how, and shows what there is to read if it was not well.
    pub fn end(&mut self, step: Step, what: &str, mend: &str, verdict: Verdict) {
        let took = step.since.elapsed().as_secs_f32();
        let label = step.finish();
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                eprintln!("{label}: ok, {took:.1} s");
            }
            Verdict::Failed(output) => {
                eprintln!("{label}: FAILED, {took:.1} s\n{}", output.trim_end());
                self.failed.push(format!("{what}; to see or mend it: {mend}"));
            }
            Verdict::Skipped(why) => {
                eprintln!("{label}: SKIPPED, {took:.1} s: {why}");
                self.skipped.push(format!("{what}: {why}"));
            }
        }
    }

    /// Says how it went altogether; true when nothing failed.
    pub fn summary(&self) -> bool {
        let seconds = self.since.elapsed().as_secs();
        eprintln!(
            "\n{} passed, {} failed, {} skipped, in {} min {} s",
            self.passed,
            self.failed.len(),
            self.skipped.len(),
            seconds / 60,
            seconds % 60
        );
        for line in &self.skipped {
            eprintln!("  skipped  {line}");
        }
        for line in &self.failed {
            eprintln!("  FAILED   {line}");
        }
        self.failed.is_empty()
    }
}

/// A step under way.
pub struct Step {
    label: String,
    since: Instant,
    bar: Option<ProgressBar>,
}

impl Step {
    fn new(label: String) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner().with_prefix(label.clone());
            if let Ok(style) = ProgressStyle::with_template("{prefix} … {elapsed} {spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            eprintln!("{label} …");
        }
        Self { label, since: Instant::now(), bar }
    }

    /// Runs a command to its end, showing its last line meanwhile; gives back all it said.
    pub async fn watch(&self, mut command: Command) -> Result<(ExitStatus, String)> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("run {:?}", command.as_std().get_program()))?;
        let (say, mut said) = unbounded_channel();
        child.stdout.take().map(|out| tokio::spawn(lines(out, say.clone())));
        child.stderr.take().map(|out| tokio::spawn(lines(out, say)));
        let mut output = String::new();
        let mut last = String::new();
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        heartbeat.tick().await;
        loop {
            tokio::select! {
                line = said.recv() => {
                    let Some(line) = line else { break };
                    if !line.trim().is_empty() {
                        line.trim().clone_into(&mut last);
                    }
                    if let Some(bar) = &self.bar {
                        bar.set_message(last.clone());
                    }
                    output.push_str(&line);
                    output.push('\n');
                }
                _ = heartbeat.tick() => if self.bar.is_none() {
                    eprintln!("{} … {} s: {last}", self.label, self.since.elapsed().as_secs());
                }
            }
        }
        let status = child.wait().await.context("wait for the command")?;
        Ok((status, output))
    }

    fn finish(self) -> String {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.label
    }
}

/// Passes on line by line, whatever its encoding.
async fn lines(from: impl AsyncRead + Unpin, to: UnboundedSender<String>) {
    let mut reader = BufReader::new(from);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).await.is_ok_and(|read| read > 0) {
        let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned();
        if to.send(line).is_err() {
            return;
        }
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_failure_does_not_keep_the_next_step_from_running() {
        let mut steps = Steps::new(2);
        steps.run("first", "mend first", shell("exit 3")).await;
        steps.run("second", "mend second", shell("true")).await;
        assert_eq!((steps.passed, steps.begun), (1, 2));
        assert_eq!(steps.failed, ["first; to see or mend it: mend first"]);
        assert!(!steps.summary());
    }

    #[tokio::test]
    async fn what_is_skipped_is_no_failure() {
        let mut steps = Steps::new(1);
        let step = steps.begin("advisories");
        steps.end(step, "advisories", "", Verdict::Skipped("no network".to_owned()));
        assert_eq!(steps.skipped, ["advisories: no network"]);
        assert!(steps.summary());
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_failure() {
        let mut steps = Steps::new(1);
        steps.run("nothing", "install it", Command::new("no-such-program-here")).await;
        assert_eq!(steps.failed.len(), 1);
    }

    #[tokio::test]
    async fn both_outputs_are_kept() {
        let step = Step::new("both".to_owned());
        let (status, output) = step.watch(shell("echo out; echo err >&2")).await.unwrap();
        assert!(status.success());
        assert!(output.contains("out\n") && output.contains("err\n"));
    }
}
