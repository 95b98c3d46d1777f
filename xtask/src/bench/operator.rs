//! The operator that is measured: any binary, as the process that a Deployment would run. Does I/O.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use e2e::World;
use nova_testkit::{Identity, Process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Between two looks whether it is ready.
const LOOK: Duration = Duration::from_millis(5);
/// Longest wait for it to be ready, or to end.
const PATIENCE: Duration = Duration::from_mins(2);

/// A binary and what it is called in the report.
#[derive(Clone, Debug)]
pub struct Binary {
    /// As the report calls it.
    pub label: String,
    /// Where it is.
    pub path: PathBuf,
}

impl FromStr for Binary {
    type Err = String;

    /// `<label>=<path>`, or a path alone.
    fn from_str(text: &str) -> Result<Self, String> {
        let (label, path) = text.split_once('=').unwrap_or((text, text));
        if label.is_empty() || path.is_empty() {
            return Err("it is <label>=<path> or a path".to_owned());
        }
        let path = Path::new(path);
        // It is run in another folder.
        let path = path.canonicalize().map_err(|error| format!("{path:?}: {error}"))?;
        Ok(Self { label: label.to_owned(), path })
    }
}

/// A running operator. Dropping it kills it.
pub struct Operator {
    process: Process,
    address: String,
    started: Instant,
}

impl Operator {
    /// Starts it as its `ServiceAccount`, with the logging that it has by default.
    pub async fn start(world: &World, binary: &Binary) -> Result<Self> {
        let kubeconfig = world.plane.kubeconfig(&Identity::operator()).await?;
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        let args = ["operator", "--log-format", "json", "--listen", &address].map(str::to_owned);
        let env = [("KUBECONFIG", kubeconfig.display().to_string()), ("RUST_LOG", String::new())];
        let env = env.map(|(name, value)| (name.to_owned(), value));
        // It is part of a file's name.
        let name = format!("operator-{}", binary.label.replace('/', "_"));
        let started = Instant::now();
        let process = world.plane.spawn(&name, &binary.path, &args, &env)?;
        Ok(Self { process, address, started })
    }

    /// When it was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Waits until it is ready; returns how long that took from its start.
    pub async fn ready(&self) -> Result<Duration> {
        while !self.answers().await {
            self.process.check()?;
            if self.started.elapsed() > PATIENCE {
                bail!("the operator is not ready within {PATIENCE:?}, see {}", self.process.log().display());
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(self.started.elapsed())
    }

    async fn answers(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            let request =
                format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
            stream.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            std::io::Result::Ok(answer.starts_with("HTTP/1.1 200"))
        };
        matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
    }

    /// An error if it has ended.
    pub fn check(&self) -> Result<()> {
        self.process.check().context("the operator")
    }

    /// Asks it to end.
    pub async fn stop(self) {
        self.process.stop(Duration::from_secs(15)).await;
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        self.process.kill();
    }
}
