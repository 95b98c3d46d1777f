//! The operator as a process, as a Deployment would run it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nova_testkit::{Process, Reaper};

use crate::eventually;

/// A running operator. Dropping it kills it.
pub struct OperatorProcess {
    process: Process,
    address: String,
}

/// The binary, built before the tests run: `cargo xtask test` does it.
fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("KUBENOVA_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe().context("find this test's own file")?;
    let folder = test.parent().and_then(Path::parent).context("find the target folder")?;
    let path = folder.join("kubenova");
    if !path.exists() {
        bail!("{} is missing; build it first: cargo build -p kubenova", path.display());
    }
    Ok(path)
}

impl OperatorProcess {
    pub(crate) fn spawn(reaper: &Reaper, dir: &Path, kubeconfig: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let args = ["operator", "--log-format", "json", "--listen", &address].map(str::to_owned);
        let kubeconfig = kubeconfig.display().to_string();
        // The reaper takes KUBECONFIG out of the environment, so it is given under the name of a variable of ours.
        let mut command = vec!["-c".to_owned(), "KUBECONFIG=\"$0\" exec \"$@\"".to_owned(), kubeconfig];
        command.push(binary()?.display().to_string());
        command.extend(args);
        let log = dir.join("logs").join(format!("operator-{port}.log"));
        let env = [("RUST_LOG".to_owned(), "info,nova_operator=debug".to_owned())];
        let process = reaper.spawn("operator", Path::new("/bin/sh"), &command, &env, &log)?;
        Ok(Self { process, address })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
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

    /// Asks it to end, as a Deployment does.
    pub async fn stop(self) {
        self.process.stop(Duration::from_secs(15)).await;
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
