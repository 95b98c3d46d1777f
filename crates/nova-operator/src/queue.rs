//! One work queue for all kinds: a key is worked on once at a time, edits come before background work, and
//! tenants take turns. No I/O but the clock.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::key::Key;

/// How soon a key is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Somebody changed something, or waits for it.
    Edit,
    /// First lists, counts, retries.
    Background,
}

/// Of this many turns, one goes to background work even while edits wait.
const BACKGROUND_TURN: u32 = 4;

/// The queue. Cheap to share; every method takes `&self`.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    lanes: [Turns; 2],
    queued: HashMap<Key, Lane>,
    running: HashSet<Key>,
    /// Keys that were added while they were worked on.
    again: HashMap<Key, Lane>,
    delayed: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
    turn: u32,
    closed: bool,
}

/// Keys of one lane, a queue for each tenant, served in turn.
#[derive(Debug, Default)]
struct Turns {
    order: VecDeque<String>,
    keys: HashMap<String, VecDeque<Key>>,
}

impl Turns {
    fn push(&mut self, key: Key) {
        let tenant = key.tenant_name().to_owned();
        let queue = self.keys.entry(tenant.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(tenant);
        }
        queue.push_back(key);
    }

    fn pop(&mut self) -> Option<Key> {
        let tenant = self.order.pop_front()?;
        let queue = self.keys.get_mut(&tenant)?;
        let key = queue.pop_front();
        if queue.is_empty() {
            self.keys.remove(&tenant);
        } else {
            self.order.push_back(tenant);
        }
        key
    }

    fn remove(&mut self, key: &Key) {
        let tenant = key.tenant_name();
        if let Some(queue) = self.keys.get_mut(tenant) {
            queue.retain(|k| k != key);
            if queue.is_empty() {
                self.keys.remove(tenant);
                self.order.retain(|t| t != tenant);
            }
        }
    }
}

impl Inner {
    fn add(&mut self, key: Key, lane: Lane) {
        if let Some(at) = self.due.remove(&key) {
            self.delayed.remove(&(at, key.clone()));
        }
        if self.running.contains(&key) {
            let lane = self.again.get(&key).map_or(lane, |l| lane.min(*l));
            self.again.insert(key, lane);
            return;
        }
        match self.queued.get(&key) {
            Some(queued) if *queued <= lane => return,
            Some(queued) => self.lanes[*queued as usize].remove(&key),
            None => {}
        }
        self.queued.insert(key.clone(), lane);
        self.lanes[lane as usize].push(key);
    }

    fn pop(&mut self, now: Instant) -> Option<Key> {
        while let Some((at, key)) = self.delayed.first().cloned() {
            if at > now {
                break;
            }
            self.add(key, Lane::Background);
        }
        self.turn = self.turn.wrapping_add(1);
        let first = usize::from(self.turn.is_multiple_of(BACKGROUND_TURN));
        let key = self.lanes[first].pop().or_else(|| self.lanes[1 - first].pop())?;
        self.queued.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics while it holds the lock, so a poisoned lock still guards a sound queue.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a key now; a key that waits for later is brought forward.
    pub fn add(&self, key: Key, lane: Lane) {
        self.lock().add(key, lane);
        self.wake.notify_one();
    }

    /// Adds a key for later, unless it is due before then anyway.
    pub fn add_after(&self, key: Key, delay: Duration) {
        let at = Instant::now() + delay;
        let mut inner = self.lock();
        if inner.queued.contains_key(&key) {
            return;
        }
        match inner.due.get(&key).copied() {
            Some(earlier) if earlier <= at => return,
            Some(later) => {
                inner.delayed.remove(&(later, key.clone()));
            }
            None => {}
        }
        inner.due.insert(key.clone(), at);
        inner.delayed.insert((at, key));
        drop(inner);
        self.wake.notify_one();
    }

    /// Brings everything that waits for later forward: what it waited for may be back.
    pub fn flush(&self) {
        let mut inner = self.lock();
        let waiting: Vec<Key> = inner.due.keys().cloned().collect();
        for key in waiting {
            inner.add(key, Lane::Background);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// The next key to work on; none once the queue is closed. Call [`Queue::done`] when finished with it.
    pub async fn next(&self) -> Option<Key> {
        loop {
            let wake = self.wake.notified();
            let next_due = {
                let mut inner = self.lock();
                if inner.closed {
                    return None;
                }
                if let Some(key) = inner.pop(Instant::now()) {
                    return Some(key);
                }
                inner.delayed.first().map(|(at, _)| *at)
            };
            match next_due {
                Some(at) => tokio::select! {
                    () = wake => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => wake.await,
            }
        }
    }

    /// Finishes a key; if it was added meanwhile, it is queued again.
    pub fn done(&self, key: &Key) {
        let mut inner = self.lock();
        inner.running.remove(key);
        if let Some(lane) = inner.again.remove(key) {
            inner.add(key.clone(), lane);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Keys queued, without those for later.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lock().queued.len()
    }

    /// Lets `next` return nothing more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_waiters();
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Kind;

    fn app(tenant: &str, name: &str) -> Key {
        Key::new(Kind::App, &format!("tn-{tenant}-app-p"), name)
    }

    async fn take(queue: &Queue, n: usize) -> Vec<String> {
        let mut names = Vec::new();
        for _ in 0..n {
            names.push(queue.next().await.unwrap().name);
        }
        names
    }

    #[tokio::test]
    async fn tenants_take_turns() {
        let queue = Queue::default();
        for name in ["a1", "a2", "a3"] {
            queue.add(app("a", name), Lane::Edit);
        }
        queue.add(app("b", "b1"), Lane::Edit);
        assert_eq!(take(&queue, 4).await, ["a1", "b1", "a2", "a3"]);
    }

    #[tokio::test]
    async fn an_edit_overtakes_the_first_list() {
        let queue = Queue::default();
        for name in ["1", "2", "3"] {
            queue.add(app("a", name), Lane::Background);
        }
        queue.add(app("a", "3"), Lane::Edit);
        assert_eq!(take(&queue, 3).await, ["3", "1", "2"]);
    }

    #[tokio::test]
    async fn background_work_is_never_starved() {
        let queue = Queue::default();
        queue.add(app("a", "slow"), Lane::Background);
        for n in 0..10 {
            queue.add(app("a", &n.to_string()), Lane::Edit);
        }
        assert!(take(&queue, 4).await.contains(&"slow".to_owned()));
    }

    #[tokio::test]
    async fn a_key_is_never_worked_on_twice_at_once_and_a_change_meanwhile_is_not_lost() {
        let queue = Queue::default();
        let key = app("a", "x");
        queue.add(key.clone(), Lane::Edit);
        queue.add(key.clone(), Lane::Edit);
        assert_eq!(queue.next().await, Some(key.clone()));
        queue.add(key.clone(), Lane::Edit);
        assert_eq!(queue.depth(), 0);
        queue.done(&key);
        assert_eq!(queue.next().await, Some(key.clone()));
        queue.done(&key);
        assert_eq!(queue.depth(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_for_later_comes_later_or_when_flushed() {
        let queue = Queue::default();
        queue.add_after(app("a", "late"), Duration::from_mins(1));
        queue.add_after(app("a", "late"), Duration::from_secs(90));
        let start = Instant::now();
        queue.next().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 60);
        queue.done(&app("a", "late"));
        queue.add_after(app("a", "late"), Duration::from_mins(1));
        queue.flush();
        queue.next().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 60);
        queue.close();
        assert_eq!(queue.next().await, None);
    }
}
