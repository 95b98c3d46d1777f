//! When to try again: per object, exponential, with jitter, reset by success. No I/O.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::key::Key;

const FIRST: Duration = Duration::from_millis(500);
/// With the jitter at most 14.4 s, so that what is not watched is seen within 15. Eight or nine attempts in the
/// first minute, six at most in every later one: below the bound of twelve.
const LONGEST: Duration = Duration::from_secs(12);

/// Failures in a row, by object.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: Mutex<HashMap<Key, u32>>,
    jitter: RandomState,
}

impl Backoff {
    /// Counts a failure and tells how long to wait, between 80 % and 120 % of the nominal delay.
    pub fn failed(&self, key: &Key) -> Duration {
        self.next(key, FIRST)
    }

    /// The same for a race that passes within moments: it begins at `first`.
    pub fn again(&self, key: &Key, first: Duration) -> Duration {
        self.next(key, first)
    }

    fn next(&self, key: &Key, first: Duration) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_default();
        let nominal = LONGEST.min(first * 2_u32.pow((*count).min(10)));
        *count += 1;
        let percent = 80 + self.jitter.hash_one((key, *count)) % 41;
        nominal * u32::try_from(percent).unwrap_or(100) / 100
    }

    /// Failures in a row so far.
    pub fn count(&self, key: &Key) -> u32 {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(0)
    }

    /// Forgets the failures of an object.
    pub fn reset(&self, key: &Key) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
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
}
