//! How often work in progress is told: its news come in bursts, and each would be a write. No I/O.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::key::Key;

/// Between two tellings of work that is in progress. What ends it, well or not, is told at once.
const BETWEEN: Duration = Duration::from_secs(2);

/// When work in progress was last told, by object.
#[derive(Debug, Default)]
pub struct Pace {
    told: Mutex<HashMap<Key, Instant>>,
}

impl Pace {
    /// How long further news of the same work has to wait; none when it may be told now.
    pub fn wait(&self, key: &Key) -> Option<Duration> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()?;
        Some(BETWEEN.saturating_sub(told.elapsed())).filter(|wait| !wait.is_zero())
    }

    /// Work in progress was told now.
    pub fn told(&self, key: &Key) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), Instant::now());
    }

    /// The work has ended.
    pub fn ended(&self, key: &Key) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn news_wait_for_their_turn_and_a_new_start_does_not() {
        let (pace, key) = (Pace::default(), Key::tenant("a"));
        assert_eq!(pace.wait(&key), None);
        pace.told(&key);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(pace.wait(&key), Some(Duration::from_millis(1500)));
        tokio::time::advance(BETWEEN).await;
        assert_eq!(pace.wait(&key), None);
        pace.told(&key);
        pace.ended(&key);
        assert_eq!(pace.wait(&key), None);
    }
}
