//! Since when something holds of an object, as this process has seen it. No I/O.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::key::Key;

/// Since when, by object.
#[derive(Debug, Default)]
pub struct Since(Mutex<HashMap<Key, Instant>>);

impl Since {
    /// It holds: for how long already.
    pub fn holds(&self, key: &Key) -> Duration {
        self.lock().entry(key.clone()).or_insert_with(Instant::now).elapsed()
    }

    /// It does not, or no longer.
    pub fn over(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
