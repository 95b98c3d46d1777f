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
        Ok(Self { process, address })
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

async fn get(address: &str, path: &str) -> Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}
