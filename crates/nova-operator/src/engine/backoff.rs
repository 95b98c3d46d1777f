//! When to try again: per object, exponential, with jitter, reset by success. No I/O.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::key::Key;

const FIRST: Duration = Duration::from_millis(500);
/// A race passes within moments.
const FIRST_RACE: Duration = Duration::from_millis(100);
/// With the jitter at most 14.4 s. Twelve attempts at most in the first minute, races included, and six at most in every
/// later one.
const LONGEST: Duration = Duration::from_secs(12);

/// What went wrong in a row, by object.
#[derive(Debug, Default)]
pub struct Backoff {
    tries: Mutex<HashMap<Key, Tries>>,
    jitter: RandomState,
}

#[derive(Debug, Default, Clone, Copy)]
struct Tries {
    /// Failures and races in a row.
    all: u32,
    /// Races in a row, without a failure between them.
    races: u32,
}

impl Backoff {
    /// Counts a failure and tells how long to wait, between 80 % and 120 % of the nominal delay.
    pub fn failed(&self, key: &Key) -> Duration {
        self.delay(key, FIRST, |races| *races = 0)
    }

    /// The same for a race: the first ones are tried again sooner, and all count.
    pub fn raced(&self, key: &Key) -> Duration {
        self.delay(key, FIRST_RACE, |races| *races += 1)
    }

    fn delay(&self, key: &Key, first: Duration, count_race: impl Fn(&mut u32)) -> Duration {
        let mut tries = self.lock();
        let tries = tries.entry(key.clone()).or_default();
        tries.all += 1;
        count_race(&mut tries.races);
        let nominal = LONGEST.min(first * 2_u32.pow(tries.all.saturating_sub(1).min(10)));
        let percent = 80 + self.jitter.hash_one((key, tries.all)) % 41;
        nominal * u32::try_from(percent).unwrap_or(100) / 100
    }

    /// Failures and races in a row so far.
    pub fn failures(&self, key: &Key) -> u32 {
        self.lock().get(key).map_or(0, |tries| tries.all)
    }

    /// Races in a row so far, with no failure between them.
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
    use nova_api::Kind;

    /// Attempts in each of the first minutes, `next` telling how long to wait after each.
    fn attempts(next: impl Fn(u32) -> Duration) -> Vec<u32> {
        let (mut elapsed, mut tries, mut minutes) = (Duration::ZERO, 0, vec![0; 4]);
        while let Some(minute) = minutes.get_mut(usize::try_from(elapsed.as_secs() / 60).unwrap()) {
            *minute += 1;
            tries += 1;
            elapsed += next(tries);
        }
        minutes
    }

    #[test]
    fn at_most_twelve_attempts_a_minute_whatever_goes_wrong() {
        // The jitter differs from run to run and key to key.
        for n in 0..200 {
            let key = Key::new(Kind::NovaTenant, "", &n.to_string());
            let backoff = Backoff::default();
            let failures = attempts(|_| backoff.failed(&key));
            backoff.reset(&key);
            let races = attempts(|_| backoff.raced(&key));
            backoff.reset(&key);
            let both = attempts(|n| if n % 6 == 0 { backoff.failed(&key) } else { backoff.raced(&key) });
            for minutes in [failures, races, both] {
                assert!(minutes.iter().all(|n| *n <= 12), "{minutes:?}");
            }
            backoff.reset(&key);
            assert!(backoff.raced(&key) < Duration::from_millis(200));
            assert!(backoff.failed(&key) < Duration::from_secs(2));
        }
    }
}
