//! How often what moves all the time is written to a status: each piece of news would be a write. No I/O.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::key::Key;

/// Between two writes about the same work in progress. What ends it, well or not, is written at once.
const PROGRESS: Duration = Duration::from_secs(4);
/// Facts such as counts and usage may be written so often in a row …
const FACTS_AT_ONCE: u32 = 4;
/// … and once more after each such time.
const FACTS_REFILL: Duration = Duration::from_secs(30);

/// What a write of status is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// More of the same work in progress.
    Progress,
    /// Facts beside the conditions.
    Facts,
}

#[derive(Debug, Clone, Copy)]
struct State {
    progress: Option<Instant>,
    facts: u32,
    refilled: Instant,
}

/// When an object's status was last written about what moves, by object.
#[derive(Debug, Default)]
pub struct StatusThrottle(Mutex<HashMap<Key, State>>);

impl StatusThrottle {
    /// How long such news has to wait; none when it may be written now.
    pub fn remaining(&self, key: &Key, news: News) -> Option<Duration> {
        let mut states = self.lock();
        let state = states.get_mut(key)?;
        let wait = match news {
            News::Progress => PROGRESS.saturating_sub(state.progress?.elapsed()),
            News::Facts => {
                let refills = state.refilled.elapsed().as_secs() / FACTS_REFILL.as_secs();
                let refills = u32::try_from(refills).unwrap_or(u32::MAX);
                state.facts = state.facts.saturating_sub(refills);
                state.refilled += FACTS_REFILL * refills.min(1_000_000);
                if state.facts < FACTS_AT_ONCE {
                    return None;
                }
                FACTS_REFILL.saturating_sub(state.refilled.elapsed())
            }
        };
        Some(wait).filter(|wait| !wait.is_zero())
    }

    /// Such news was written now.
    pub fn written(&self, key: &Key, news: News) {
        let now = Instant::now();
        let mut states = self.lock();
        let state = states.entry(key.clone()).or_insert(State { progress: None, facts: 0, refilled: now });
        match news {
            News::Progress => state.progress = Some(now),
            News::Facts => {
                if state.facts == 0 {
                    state.refilled = now;
                }
                state.facts += 1;
            }
        }
    }

    /// The work in progress has ended.
    pub fn progress_ended(&self, key: &Key) {
        if let Some(state) = self.lock().get_mut(key) {
            state.progress = None;
        }
    }

    /// The object is gone.
    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Since when something holds of an object, as this process has seen it.
#[derive(Debug, Default)]
pub struct Stopwatch(Mutex<HashMap<Key, Instant>>);

impl Stopwatch {
    /// It holds: for how long already.
    pub fn elapsed(&self, key: &Key) -> Duration {
        self.lock().entry(key.clone()).or_insert_with(Instant::now).elapsed()
    }

    /// It does not, or no longer.
    pub fn clear(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::Kind;

    fn key() -> Key {
        Key::new(Kind::NovaTenant, "", "a")
    }

    #[tokio::test(start_paused = true)]
    async fn progress_waits_for_its_turn_and_a_new_start_does_not() {
        let (throttle, key) = (StatusThrottle::default(), key());
        assert_eq!(throttle.remaining(&key, News::Progress), None);
        throttle.written(&key, News::Progress);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(throttle.remaining(&key, News::Progress), Some(Duration::from_secs(3)));
        throttle.progress_ended(&key);
        assert_eq!(throttle.remaining(&key, News::Progress), None);
    }

    #[tokio::test(start_paused = true)]
    async fn facts_that_move_all_the_time_are_written_every_half_minute() {
        let (throttle, key) = (StatusThrottle::default(), key());
        let mut written = 0;
        for _ in 0..300 {
            if throttle.remaining(&key, News::Facts).is_none() {
                throttle.written(&key, News::Facts);
                written += 1;
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert!((10..=14).contains(&written), "{written} in five minutes");
        tokio::time::advance(Duration::from_mins(10)).await;
        for _ in 0..FACTS_AT_ONCE {
            assert_eq!(throttle.remaining(&key, News::Facts), None, "a few in a row after a quiet time");
            throttle.written(&key, News::Facts);
        }
        assert!(throttle.remaining(&key, News::Facts).is_some());
    }
}
