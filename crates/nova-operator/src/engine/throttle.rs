//! How often is written what moves all the time: news in a status, and a child that somebody else changes again and
//! again. No I/O.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nova_plan::child::ChildRef;
use tokio::time::Instant;

use super::key::Key;

/// Between two writes about the same work in progress. What ends it, well or not, is written at once.
const PROGRESS: Duration = Duration::from_secs(4);
/// Facts such as counts and usage may be written so often in a row …
const FACTS_AT_ONCE: u32 = 4;
/// … and once more after each such time.
const FACTS_REFILL: Duration = Duration::from_secs(30);

/// The same may be put right on a child so often in a row …
const REPAIRS_AT_ONCE: u32 = 60;
/// … and once more after each such time.
pub const REPAIRS_REFILL: Duration = Duration::from_secs(2);
/// Children of which writes are remembered before those are forgotten that count no more.
const REPAIRS_KEPT: usize = 256;

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

#[derive(Debug, Clone, Copy)]
struct Written {
    /// What was written, as a hash.
    what: u64,
    times: u32,
    refilled: Instant,
}

impl Written {
    /// How often it counts now, and since when.
    fn refill(&mut self) {
        let refills = self.refilled.elapsed().as_secs() / REPAIRS_REFILL.as_secs();
        let refills = u32::try_from(refills).unwrap_or(u32::MAX).min(self.times);
        self.times -= refills;
        self.refilled =
            if self.times == 0 { Instant::now() } else { self.refilled + REPAIRS_REFILL * refills };
    }
}

/// How often the same was written to each child: two writers that undo each other's work never come to an end.
#[derive(Debug, Default)]
pub struct Repairs(Mutex<(HashMap<ChildRef, Written>, usize)>);

impl Repairs {
    /// How long `what`, a hash, may not be written to a child; none when it may be now.
    pub fn wait(&self, at: &ChildRef, what: u64) -> Option<Duration> {
        let mut guard = self.lock();
        let written = guard.0.get_mut(at).filter(|written| written.what == what)?;
        written.refill();
        let over = written.times > REPAIRS_AT_ONCE;
        over.then(|| REPAIRS_REFILL.saturating_sub(written.refilled.elapsed()))
    }

    /// It was written now. True when that was so often that somebody else must have undone it each time.
    pub fn written(&self, at: &ChildRef, what: u64) -> bool {
        let mut guard = self.lock();
        let (children, bound) = &mut *guard;
        if children.len() >= REPAIRS_KEPT.max(*bound) {
            children.retain(|_, written| {
                written.refill();
                written.times > 0
            });
            // Looked through again when it has doubled, not for each write.
            *bound = 2 * children.len();
        }
        let fresh = Written { what, times: 0, refilled: Instant::now() };
        let written = children.entry(at.clone()).or_insert(fresh);
        if written.what != what {
            *written = fresh;
        }
        written.times += 1;
        written.times > REPAIRS_AT_ONCE
    }

    fn lock(&self) -> MutexGuard<'_, (HashMap<ChildRef, Written>, usize)> {
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
    async fn the_same_is_written_sixty_times_and_then_every_two_seconds_and_something_else_at_once() {
        let repairs = Repairs::default();
        let at = ChildRef::cluster(&nova_plan::child::NAMESPACE, "a");
        for _ in 0..REPAIRS_AT_ONCE {
            assert_eq!((repairs.wait(&at, 1), repairs.written(&at, 1)), (None, false));
        }
        assert_eq!((repairs.wait(&at, 1), repairs.written(&at, 1)), (None, true));
        let mut written = 0;
        for _ in 0..600 {
            match repairs.wait(&at, 1) {
                None => {
                    assert!(repairs.written(&at, 1), "it is contested still");
                    written += 1;
                }
                Some(wait) => assert!(wait <= REPAIRS_REFILL),
            }
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert!((29..=30).contains(&written), "{written} in a minute");
        assert_eq!(repairs.wait(&at, 2), None, "another edit");
        let other = ChildRef::cluster(&nova_plan::child::NAMESPACE, "b");
        assert_eq!((repairs.wait(&other, 1), repairs.written(&other, 1)), (None, false));
    }

    #[tokio::test(start_paused = true)]
    async fn writes_that_count_no_more_are_forgotten() {
        let repairs = Repairs::default();
        for n in 0..10 * REPAIRS_KEPT {
            repairs.written(&ChildRef::cluster(&nova_plan::child::NAMESPACE, &n.to_string()), 1);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let kept = repairs.lock().0.len();
        assert!(kept <= REPAIRS_KEPT, "{kept}");
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
