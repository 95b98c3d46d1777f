//! The operator as a process, as a Deployment would run it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nova_testkit::{Process, Reaper, Usage};
use serde_json::Value;

use crate::eventually;

/// A running operator. Dropping it kills it.
pub struct OperatorProcess {
    process: Process,
    address: String,
    held: tokio::sync::Mutex<()>,
}

/// The binary, built before the tests run: `cargo xtask test` does it.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KUBENOVA_BIN") {
        return Ok(path.into());
    }
    let this = std::env::current_exe().context("find this program's own file")?;
    // A program lies beside it, a test one folder deeper.
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join("kubenova")).find(|p| p.is_file());
    found.with_context(|| {
        format!("kubenova is missing near {}; build it first: cargo build -p kubenova", this.display())
    })
}

/// What the program prints for some arguments.
pub fn program_says(args: &[&str]) -> Result<String> {
    let output = std::process::Command::new(binary()?).args(args).output().context("run kubenova")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl OperatorProcess {
    pub(crate) fn spawn(
        reaper: &Reaper,
        binary: &Path,
        dir: &Path,
        kubeconfig: &Path,
        more: &[(String, String)],
    ) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let args = ["operator", "--log-format", "json", "--listen", &address].map(str::to_owned);
        let kubeconfig = kubeconfig.display().to_string();
        // The reaper takes KUBECONFIG out of the environment, so it is given under the name of a variable of ours.
        let mut command = vec!["-c".to_owned(), "KUBECONFIG=\"$0\" exec \"$@\"".to_owned(), kubeconfig];
        command.push(binary.display().to_string());
        command.extend(args);
        let log = dir.join("logs").join(format!("operator-{port}.log"));
        let mut env = vec![("RUST_LOG".to_owned(), "info,nova_operator=debug".to_owned())];
        env.extend_from_slice(more);
        let process = reaper.spawn("operator", Path::new("/bin/sh"), &command, &env, &log)?;
        Ok(Self { process, address, held: tokio::sync::Mutex::const_new(()) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// CPU and memory that it has taken so far, where `/proc` tells.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.process.usage()
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Waits until it answers that it is ready.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        eventually("the operator is ready", within, async || {
            self.process.check().map_err(|e| format!("{e:#}"))?;
            match get(&self.address, "/readyz").await {
                Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(()),
                Ok(answer) => Err(answer.lines().last().unwrap_or_default().to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await
    }

    /// What it serves at a path, head and body.
    pub async fn http(&self, path: &str) -> Result<String> {
        get(&self.address, path).await
    }

    /// Asks it to end, as a Deployment does, and tells how long that took. It is killed after 15 seconds.
    pub async fn stop(self) -> Duration {
        let start = Instant::now();
        self.process.stop(Duration::from_secs(15)).await;
        start.elapsed()
    }

    /// Waits until it has ended, killed by somebody else.
    pub async fn ended(&self, within: Duration) -> Result<()> {
        eventually("the operator ends", within, async || {
            if self.is_running() { Err("it runs".to_owned()) } else { Ok(()) }
        })
        .await
    }

    /// The lines of its log that are JSON objects.
    pub fn lines(&self) -> Result<Vec<Value>> {
        let text =
            std::fs::read_to_string(self.log()).with_context(|| format!("read {}", self.log().display()))?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// The end of its log.
    #[must_use]
    pub fn last_words(&self) -> String {
        nova_testkit::process::tail(self.log(), 20)
    }

    /// Holds it still while something is done that it would otherwise undo in between. It must take moments only.
    pub async fn held<T>(&self, what: impl Future<Output = Result<T>>) -> Result<T> {
        let _one_at_a_time = self.held.lock().await;
        let still = Still::hold(self.pid())?;
        let done = what.await;
        drop(still);
        done
    }

    /// The passes that it has counted so far, of all kinds.
    pub async fn passes(&self) -> Result<u64> {
        let page = self.http("/metrics").await?;
        let counts = page.lines().filter(|line| line.starts_with("kubenova_reconcile_seconds_count"));
        Ok(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    /// Kills it with SIGKILL.
    pub fn kill(&self) {
        self.process.kill();
    }
}

impl Drop for OperatorProcess {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// A process that stands still until this is dropped.
struct Still(u32);

impl Still {
    fn hold(pid: u32) -> Result<Self> {
        signal("STOP", pid)?;
        Ok(Self(pid))
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // It fails only when the process is gone, and then nothing stands still.
        drop(signal("CONT", self.0));
    }
}

fn signal(name: &str, pid: u32) -> Result<()> {
    let command = format!("kill -{name} {pid}");
    let status = std::process::Command::new("/bin/sh").args(["-c", &command]).status().context("run kill")?;
    anyhow::ensure!(status.success(), "{command}: {status}");
    Ok(())
}

async fn get(address: &str, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}
