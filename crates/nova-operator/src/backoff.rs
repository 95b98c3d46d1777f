//! When to try again: per object, exponential, with jitter, reset by success. No I/O.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::key::Key;

const FIRST: Duration = Duration::from_millis(500);
/// With the jitter at most 14.4 s, so that what is not watched is seen within 15. Eight or nine attempts in the
/// first minute, six at most in every later one: below the bound of twelve.
const LONGEST: Duration = Duration::from_secs(12);

/// What went wrong in a row, by object.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: Mutex<HashMap<Key, Tries>>,
    jitter: RandomState,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tries {
    failures: u32,
    races: u32,
}

impl Backoff {
    /// Counts a failure and tells how long to wait, between 80 % and 120 % of the nominal delay. Ends a row of races.
    pub fn failed(&self, key: &Key) -> Duration {
        let mut tries = self.lock();
        let tries = tries.entry(key.clone()).or_default();
        tries.races = 0;
        tries.failures += 1;
        self.delay(key, FIRST, tries.failures)
    }

    /// The same for a race that passes within moments: it begins at `first`.
    pub fn again(&self, key: &Key, first: Duration) -> Duration {
        let mut tries = self.lock();
        let tries = tries.entry(key.clone()).or_default();
        tries.races += 1;
        self.delay(key, first, tries.races)
    }

    fn delay(&self, key: &Key, first: Duration, count: u32) -> Duration {
        let nominal = LONGEST.min(first * 2_u32.pow(count.saturating_sub(1).min(10)));
        let percent = 80 + self.jitter.hash_one((key, count)) % 41;
        nominal * u32::try_from(percent).unwrap_or(100) / 100
    }

    /// Failures in a row so far.
    pub fn failures(&self, key: &Key) -> u32 {
        self.lock().get(key).map_or(0, |tries| tries.failures)
    }

    /// Races in a row so far.
    pub fn races(&self, key: &Key) -> u32 {
        self.lock().get(key).map_or(0, |tries| tries.races)
    }

    /// Forgets all of an object's.
    pub fn reset(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Tries>> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_twelve_attempts_a_minute() {
        let backoff = Backoff::default();
        let key = Key::tenant("a");
        for minute in 0..3 {
            let (mut elapsed, mut attempts) = (Duration::ZERO, 0);
            while elapsed < Duration::from_mins(1) {
                elapsed += backoff.failed(&key);
                attempts += 1;
            }
            assert!(attempts <= 12, "{attempts} in minute {minute}");
        }
        backoff.reset(&key);
        assert!(backoff.failed(&key) < Duration::from_secs(1));
    }

    #[test]
    fn a_wait_is_no_race() {
        let backoff = Backoff::default();
        let key = Key::tenant("a");
        for _ in 0..9 {
            backoff.failed(&key);
        }
        assert_eq!((backoff.failures(&key), backoff.races(&key)), (9, 0));
        assert!(backoff.again(&key, Duration::from_millis(100)) < Duration::from_millis(200));
        assert_eq!(backoff.races(&key), 1);
        backoff.failed(&key);
        assert_eq!(backoff.races(&key), 0);
    }
}
