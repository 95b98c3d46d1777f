//! Free loopback ports that two control planes never both take. Does I/O: binds ports, locks files.

use std::fs::{self, File};
use std::net::TcpListener;

use anyhow::{Context as _, Result, bail};

use crate::build;

/// Below the range that systems hand to outgoing connections, so that no client of ours sits on a chosen port.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// A port and the lock that keeps it for as long as this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port that nothing listens on.
    ///
    /// # Errors
    /// When every port of the range is taken or the lock folder cannot be written.
    pub fn reserve() -> Result<Self> {
        let dir = build::cache_dir()?.join("ports");
        fs::create_dir_all(&dir).with_context(|| format!("create {dir:?}"))?;
        let width = RANGE.end - RANGE.start;
        let begin = u16::try_from(std::process::id() % u32::from(width)).unwrap_or_default();
        for step in 0..width {
            let number = RANGE.start + (begin + step) % width;
            let Ok(lock) = File::create(dir.join(number.to_string())) else { continue };
            // The lock tells other control planes, the trial bind everything else.
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("no free port between {} and {}", RANGE.start, RANGE.end)
    }

    /// The number.
    pub fn number(&self) -> u16 {
        self.number
    }
}
