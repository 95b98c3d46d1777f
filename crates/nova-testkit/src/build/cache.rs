//! The cache folder: where it is, one builder at a time, nothing half written. Does I/O on the file system.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// `$KUBENOVA_CONTROLPLANE`, or `kubenova/controlplane` in the user's cache folder. `cargo clean` leaves it alone.
pub fn dir() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("KUBENOVA_CONTROLPLANE").filter(|dir| !dir.is_empty()) {
        return std::path::absolute(&dir).with_context(|| format!("KUBENOVA_CONTROLPLANE={dir:?}"));
    }
    let base = directories::BaseDirs::new().context(
        "there is no home folder; set KUBENOVA_CONTROLPLANE to a folder for the built control plane",
    )?;
    Ok(base.cache_dir().join("kubenova").join("controlplane"))
}

/// Takes the builder's lock, waiting for another builder and saying so. Dropping the file gives it back.
pub fn lock(root: &Path) -> Result<File> {
    fs::create_dir_all(root).with_context(|| format!("create {root:?}"))?;
    let path = root.join("build.lock");
    let file = File::create(&path).with_context(|| format!("create {path:?}"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("Another process is building the control plane; waiting for it.");
            file.lock().with_context(|| format!("lock {path:?}"))?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(|| format!("lock {path:?}")),
    }
    Ok(file)
}

/// An empty folder inside the cache that becomes `target` in one rename, so that nothing half built is ever found.
///
/// Left-overs of an interrupted build are removed; the caller holds [`lock`].
pub fn stage(root: &Path, target: &Path) -> Result<Staged> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let staging = root.join(format!(".building-{name}"));
    if staging.exists() {
        fs::remove_dir_all(&staging).with_context(|| format!("remove {staging:?}"))?;
    }
    fs::create_dir_all(&staging).with_context(|| format!("create {staging:?}"))?;
    Ok(Staged { staging, target: target.to_path_buf() })
}

/// A folder under construction, see [`stage`].
pub struct Staged {
    staging: PathBuf,
    target: PathBuf,
}

impl Staged {
    /// Where to build.
    pub fn path(&self) -> &Path {
        &self.staging
    }

    /// Makes it visible under its final name.
    pub fn publish(self) -> Result<()> {
        if self.target.exists() {
            fs::remove_dir_all(&self.target).with_context(|| format!("remove {:?}", self.target))?;
        }
        fs::rename(&self.staging, &self.target)
            .with_context(|| format!("rename {:?} to {:?}", self.staging, self.target))
    }
}
