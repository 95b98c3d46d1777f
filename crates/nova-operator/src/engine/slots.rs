//! Places that a group may take of something scarce, such as the workers of a backend: who finds none waits for its turn.
//! No I/O.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::key::Key;

#[derive(Debug, Default)]
struct Group {
    taken: HashSet<Key>,
    waiting: VecDeque<Key>,
    limit: usize,
}

/// Places by group.
#[derive(Debug, Default)]
pub struct Slots(Mutex<HashMap<String, Group>>);

impl Slots {
    /// Takes a place, or keeps the one that is held already. False where the group has `limit` of them: the key is told
    /// by [`Self::give_back`] when its turn comes.
    pub fn take(&self, key: &Key, limit: usize) -> bool {
        let mut groups = self.lock();
        let group = groups.entry(key.group().to_owned()).or_default();
        group.limit = limit;
        if group.taken.contains(key) {
            return true;
        }
        let first = group.waiting.iter().position(|k| k == key);
        let free = limit.saturating_sub(group.taken.len());
        // Who waits already comes first, as far as there are places.
        if free > first.unwrap_or(group.waiting.len()) {
            if let Some(at) = first {
                group.waiting.remove(at);
            }
            group.taken.insert(key.clone());
            return true;
        }
        if first.is_none() {
            group.waiting.push_back(key.clone());
        }
        false
    }

    /// Gives a place back, or leaves the line. Returns who is next.
    pub fn give_back(&self, key: &Key) -> Option<Key> {
        let mut groups = self.lock();
        let group = groups.get_mut(key.group())?;
        let had = group.taken.remove(key) || group.waiting.contains(key);
        group.waiting.retain(|k| k != key);
        let next = group.waiting.front().filter(|_| had && group.taken.len() < group.limit).cloned();
        if group.taken.is_empty() && group.waiting.is_empty() {
            groups.remove(key.group());
        }
        next
    }

    /// Everybody who waits, in any group.
    pub fn waiting(&self) -> Vec<Key> {
        self.lock().values().flat_map(|group| group.waiting.iter().cloned()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Group>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::Kind;

    fn app(tenant: &str, name: &str) -> Key {
        Key::new(Kind::NovaApp, &format!("tn-{tenant}-app-p"), name)
    }

    #[test]
    fn a_group_takes_its_places_in_turn_and_none_of_the_others() {
        let slots = Slots::default();
        let (first, second, third, fourth) =
            (app("red", "a"), app("red", "b"), app("red", "c"), app("red", "d"));
        assert!(slots.take(&first, 2) && slots.take(&second, 2) && slots.take(&first, 2));
        assert!(!slots.take(&third, 2) && !slots.take(&fourth, 2));
        assert_eq!(slots.waiting(), [third.clone(), fourth.clone()]);
        assert!(slots.take(&app("blue", "x"), 2));
        assert_eq!(slots.give_back(&first), Some(third.clone()));
        assert!(!slots.take(&fourth, 2), "the third came before");
        assert!(slots.take(&third, 2));
        assert_eq!(slots.give_back(&third), Some(fourth.clone()));
        let fifth = app("red", "e");
        assert!(!slots.take(&fifth, 2));
        assert_eq!(slots.give_back(&fourth), Some(fifth.clone()), "it leaves the line, and a place is free");
        assert_eq!(slots.give_back(&fifth), None);
        assert_eq!(slots.give_back(&second), None);
        assert!(slots.lock().keys().all(|group| group != "red"), "nothing is kept");
    }
}
