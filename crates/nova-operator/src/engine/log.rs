//! One line in the log for a pass that fails: when what it says changes, and again after pauses that grow. No I/O but the
//! log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nova_plan::Problem;
use tokio::time::Instant;

use super::fetched::hash;
use super::key::Key;

/// The same failure is told again after this, then after twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_mins(1);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

struct Told {
    /// Equal for equal failures.
    what: u64,
    at: Instant,
    pause: Duration,
    times: u32,
}

/// Failures that were logged, by object.
#[derive(Default)]
pub struct FailureLog(Mutex<HashMap<Key, Told>>);

impl FailureLog {
    /// Logs a failure, if it is time to. True when it was logged.
    pub fn failed(&self, key: &Key, problem: &Problem) -> bool {
        let what = hash(&format!("{}: {}: {}", problem.reason.as_str(), problem.object, problem.message));
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = told.get_mut(key).filter(|told| told.what == what);
        let times = if let Some(told) = known {
            told.times += 1;
            if told.at.elapsed() < told.pause {
                return false;
            }
            told.at = Instant::now();
            told.pause = LONGEST_PAUSE.min(told.pause * 2);
            told.times
        } else {
            let first = Told { what, at: Instant::now(), pause: FIRST_PAUSE, times: 1 };
            told.insert(key.clone(), first);
            1
        };
        drop(told);
        tracing::warn!(
            reason = problem.reason.as_str(),
            code = problem.code.map(tracing::field::display),
            because = problem.object,
            cause = problem.message,
            fix = problem.fix,
            times,
            "reconcile failed"
        );
        true
    }

    /// The object is well again, or gone.
    pub fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::Kind;
    use nova_api::conditions::{ConditionType, Reason};

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_logged_when_it_changes_and_again_after_growing_pauses() {
        let log = FailureLog::default();
        let key = Key::new(Kind::NovaApp, "n", "a");
        let problem = |words: &str| Problem::new(ConditionType::Ready, Reason::Invalid, "x", words);
        assert!(log.failed(&key, &problem("one")));
        assert!(!log.failed(&key, &problem("one")));
        assert!(log.failed(&key, &problem("two")), "another failure");
        let mut lines = 0;
        for _ in 0..24 * 60 {
            tokio::time::advance(Duration::from_mins(1)).await;
            lines += u32::from(log.failed(&key, &problem("two")));
        }
        assert!((24..=32).contains(&lines), "{lines} lines in a day");
        log.forget(&key);
        assert!(log.failed(&key, &problem("two")));
    }
}
