//! One work queue for all kinds: a key is worked on once at a time, edits come before background work, and
//! tenants take turns and none takes all places. No I/O but the clock.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::key::Key;

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

/// Keys of one tenant that are worked on at once, so that one whose requests hang leaves places to the others.
pub const PER_GROUP: usize = 8;

/// The queue. Cheap to share; every method takes `&self`.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    lanes: [Turns; 2],
    queued: HashMap<Key, Queued>,
    running: HashSet<Key>,
    /// How many are worked on, by group.
    busy: HashMap<String, usize>,
    /// Keys that were added while they were worked on.
    again: HashMap<Key, Lane>,
    delayed: BTreeSet<(Instant, Key)>,
    due: HashMap<Key, Instant>,
    turn: u32,
    closed: bool,
}

/// When a key comes, as a test sees it.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// As soon as its lane allows.
    In(Lane),
    /// Later.
    After(Duration),
}

#[derive(Debug, Clone, Copy)]
struct Queued {
    lane: Lane,
    since: Instant,
}

/// Keys of one lane, a queue for each group, served in turn. A key that has moved to the other lane, or was taken from
/// it, stays here until its turn comes, and is passed over then.
#[derive(Debug, Default)]
struct Turns {
    order: VecDeque<String>,
    keys: HashMap<String, VecDeque<Key>>,
}

impl Turns {
    fn push(&mut self, key: Key) {
        let group = key.group().to_owned();
        let queue = self.keys.entry(group.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(group);
        }
        queue.push_back(key);
    }

    /// The next key that is `wanted`, of the first group in turn that `may` go on.
    fn pop(&mut self, may: impl Fn(&str) -> bool, wanted: impl Fn(&Key) -> bool) -> Option<Key> {
        for _ in 0..self.order.len() {
            let group = self.order.pop_front()?;
            if !may(&group) {
                self.order.push_back(group);
                continue;
            }
            let Some(queue) = self.keys.get_mut(&group) else { continue };
            let key = std::iter::from_fn(|| queue.pop_front()).find(|key| wanted(key));
            if queue.is_empty() {
                self.keys.remove(&group);
            } else {
                self.order.push_back(group);
            }
            if key.is_some() {
                return key;
            }
        }
        None
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
        let known = self.queued.get(&key).copied();
        if known.is_some_and(|queued| queued.lane <= lane) {
            return;
        }
        let since = known.map_or_else(Instant::now, |queued| queued.since);
        self.queued.insert(key.clone(), Queued { lane, since });
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
        let background_first = self.turn.is_multiple_of(BACKGROUND_TURN);
        let lanes =
            if background_first { [Lane::Background, Lane::Edit] } else { [Lane::Edit, Lane::Background] };
        let Self { lanes: turns, queued, busy, .. } = self;
        // The platform's own work is no tenant's.
        let may = |group: &str| group.is_empty() || busy.get(group).is_none_or(|n| *n < PER_GROUP);
        let key = lanes.into_iter().find_map(|lane| {
            turns[lane as usize].pop(may, |key| queued.get(key).is_some_and(|q| q.lane == lane))
        })?;
        self.queued.remove(&key);
        *self.busy.entry(key.group().to_owned()).or_default() += 1;
        self.running.insert(key.clone());
        Some(key)
    }

    fn done(&mut self, key: &Key) {
        if self.running.remove(key)
            && let Some(busy) = self.busy.get_mut(key.group())
        {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(key.group());
            }
        }
        if let Some(lane) = self.again.remove(key) {
            self.add(key.clone(), lane);
        }
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
        self.lock().done(key);
        self.wake.notify_one();
    }

    /// Keys queued, without those for later.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.lock().queued.len()
    }

    /// Keys queued in a lane, and for how long the oldest of them has been.
    #[must_use]
    pub fn backlog(&self, lane: Lane) -> (usize, Duration) {
        let inner = self.lock();
        let queued = || inner.queued.values().filter(|queued| queued.lane == lane);
        let oldest = queued().map(|queued| queued.since).min();
        (queued().count(), oldest.map_or(Duration::ZERO, |since| since.elapsed()))
    }

    /// Takes everything out that waits, and tells when each would have come.
    #[cfg(test)]
    pub fn drain(&self) -> std::collections::BTreeMap<Key, Due> {
        let mut inner = self.lock();
        let now = Instant::now();
        let queued = std::mem::take(&mut inner.queued).into_iter().map(|(key, q)| (key, Due::In(q.lane)));
        let queued: Vec<_> = queued.collect();
        let delayed = std::mem::take(&mut inner.due).into_iter();
        let delayed = delayed.map(|(key, at)| (key, Due::After(at.saturating_duration_since(now))));
        let all = delayed.chain(queued).collect();
        inner.delayed.clear();
        inner.lanes = <[Turns; 2]>::default();
        all
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
    use nova_api::Kind;

    fn app(tenant: &str, name: &str) -> Key {
        Key::new(Kind::NovaApp, &format!("tn-{tenant}-app-p"), name)
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
    async fn what_is_for_later_comes_later_unless_it_is_brought_forward() {
        let queue = Queue::default();
        queue.add_after(app("a", "late"), Duration::from_mins(1));
        queue.add_after(app("a", "late"), Duration::from_secs(90));
        let start = Instant::now();
        queue.next().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 60);
        queue.done(&app("a", "late"));
        queue.add_after(app("a", "late"), Duration::from_mins(1));
        queue.add(app("a", "late"), Lane::Background);
        queue.next().await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 60);
        queue.close();
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test]
    async fn a_tenant_whose_work_hangs_leaves_places_to_the_others() {
        let queue = Queue::default();
        for n in 0..3 * PER_GROUP {
            queue.add(app("slow", &format!("{n:02}")), Lane::Edit);
        }
        let hanging = take(&queue, PER_GROUP).await;
        assert!(
            tokio::time::timeout(Duration::from_millis(10), queue.next()).await.is_err(),
            "no more places"
        );
        queue.add(app("other", "edit"), Lane::Edit);
        queue.add(Key::new(Kind::NovaPlan, "", "plan"), Lane::Edit);
        let mut others = take(&queue, 2).await;
        others.sort();
        assert_eq!(others, ["edit", "plan"]);
        queue.done(&app("slow", &hanging[0]));
        assert_eq!(take(&queue, 1).await.len(), 1, "a place was given back");
    }

    #[tokio::test]
    async fn a_key_that_changed_lanes_comes_once() {
        let queue = Queue::default();
        queue.add(app("a", "x"), Lane::Background);
        queue.add(app("a", "x"), Lane::Edit);
        assert_eq!(take(&queue, 1).await, ["x"]);
        queue.done(&app("a", "x"));
        assert_eq!(queue.backlog(Lane::Background).0, 0);
        assert!(tokio::time::timeout(Duration::from_millis(10), queue.next()).await.is_err());
    }
}
