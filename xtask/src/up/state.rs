//! What is known of the control plane that is up, and who holds it. Does I/O: reads and writes files.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nova_testkit::build;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

/// The folder with the state. One control plane is up per user at a time.
pub struct Place {
    dir: PathBuf,
}

/// What `up` tells.
#[derive(Deserialize, Serialize)]
pub struct State {
    /// The supervisor's process id.
    pub pid: u32,
    /// The API server's address.
    pub server: String,
    /// The administrator's kubeconfig; its path is the same from one start to the next.
    pub kubeconfig: PathBuf,
    /// The `kubectl` of the same version.
    pub kubectl: PathBuf,
    /// The API server's audit log.
    pub audit_log: PathBuf,
    /// How long the start took.
    pub seconds: f32,
    /// The components.
    pub parts: Vec<Part>,
}

/// One component.
#[derive(Deserialize, Serialize)]
pub struct Part {
    /// The program's name.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// Its port on loopback.
    pub port: u16,
    /// Its log.
    pub log: PathBuf,
}

impl Place {
    /// The folder in the control plane's cache.
    pub fn new() -> Result<Self> {
        let dir = build::cache_dir()?.join("up");
        fs::create_dir_all(&dir).with_context(|| format!("create {dir:?}"))?;
        Ok(Self { dir })
    }

    /// The supervisor's own output.
    pub fn log(&self) -> PathBuf {
        self.dir.join("supervisor.log")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig.yaml")
    }

    fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// Whether a control plane is up or starting. The lock goes with its holder, however that ends.
    pub fn is_held(&self) -> Result<bool> {
        Ok(try_lock(&self.lock())?.is_none())
    }

    /// The state, if a control plane is ready.
    pub fn read(&self) -> Option<State> {
        serde_json::from_slice(&fs::read(self.state()).ok()?).ok()
    }

    /// The holder's process id, as long as there is a holder.
    pub fn holder(&self) -> Result<Option<u32>> {
        if !self.is_held()? {
            return Ok(None);
        }
        Ok(fs::read_to_string(self.lock()).ok().and_then(|text| text.trim().parse().ok()))
    }

    /// Waits until the control plane that is starting is ready.
    pub async fn wait(&self, patience: Duration) -> Result<State> {
        let until = Instant::now() + patience;
        loop {
            if let Some(state) = self.read() {
                return Ok(state);
            }
            if !self.is_held()? || Instant::now() > until {
                bail!("the control plane is not up; see {:?}", self.log());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Holds the place. Dropping it clears the state.
pub struct Claim {
    state: PathBuf,
    _lock: File,
}

impl Claim {
    /// Takes the place, unless somebody holds it.
    pub fn take(place: &Place) -> Result<Option<Self>> {
        // Others look at the lock by taking it for a moment, so one refusal means nothing.
        let mut lock = try_lock(&place.lock())?;
        for _ in 0..10 {
            if lock.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
            lock = try_lock(&place.lock())?;
        }
        let Some(lock) = lock else { return Ok(None) };
        fs::write(place.lock(), std::process::id().to_string()).context("write the lock")?;
        let claim = Self { state: place.state(), _lock: lock };
        claim.clear();
        Ok(Some(claim))
    }

    /// Says that the control plane is ready.
    pub fn publish(&self, state: &State) -> Result<()> {
        let fresh = self.state.with_extension("new");
        fs::write(&fresh, serde_json::to_vec_pretty(state).context("write the state")?)
            .context("write the state")?;
        fs::rename(&fresh, &self.state).context("write the state")
    }

    fn clear(&self) {
        // A state that was never written need not be removed.
        drop(fs::remove_file(&self.state));
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.clear();
    }
}

fn try_lock(path: &Path) -> Result<Option<File>> {
    let open = File::options().create(true).truncate(false).write(true).open(path);
    let file = open.with_context(|| format!("open {path:?}"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("lock {path:?}")),
    }
}
