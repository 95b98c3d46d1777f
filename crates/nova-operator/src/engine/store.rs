//! Objects of one kind in memory: never back in time, and never an echo of our own writes taken for news. No I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use super::cached_object::Versioned;
use super::key::ObjectKey;
use super::packed::Dictionary;

/// A declared index: what is asked for often is kept, never searched for.
#[derive(Debug)]
pub struct Index<T> {
    /// Its name.
    pub name: &'static str,
    /// The value of an object; none where it is not in the index.
    pub value: fn(&ObjectKey, &T) -> Option<String>,
}

/// Objects of one kind as last seen, our own writes included.
#[derive(Debug)]
pub struct Store<T: 'static> {
    inner: RwLock<Inner<T>>,
    indexes: &'static [Index<T>],
    listed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Inner<T> {
    rows: BTreeMap<ObjectKey, T>,
    /// Index, value and key of each object in an index.
    indexed: BTreeSet<(&'static str, String, ObjectKey)>,
    /// Version of the latest deletion seen.
    removed: u64,
    /// Latest deletions seen, by version.
    removals: BTreeMap<u64, ObjectKey>,
    /// How many lists in a row were older than what is known.
    older: u32,
    /// What the texts of the rows are compressed against.
    dictionary: Dictionary,
    /// While a list is under way: what else was learned since it began.
    relist: Option<HashMap<ObjectKey, Learned>>,
}

/// What was learned of an object beside a list that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Learned {
    Put,
    Removed(u64),
}

/// Deletions that are remembered, so that an older list is known by what it brings back.
const REMOVALS: usize = 1024;

/// So many lists in a row that are older than what is known are no stale answers: etcd was restored.
const RESTORED: u32 = 3;

/// A list that is older than what is known: nothing was taken from it.
#[derive(Debug, PartialEq, Eq)]
pub struct Older;

/// What a list has changed: each key with what was there before and what is now.
type Changes<T> = Vec<(ObjectKey, Option<T>, Option<T>)>;

impl<T: Versioned> Store<T> {
    /// An empty store with these indexes.
    #[must_use]
    pub fn new(indexes: &'static [Index<T>]) -> Self {
        let inner = Inner {
            rows: BTreeMap::new(),
            indexed: BTreeSet::new(),
            removed: 0,
            removals: BTreeMap::new(),
            older: 0,
            dictionary: Dictionary::default(),
            relist: None,
        };
        Self { inner: RwLock::new(inner), indexes, listed: watch::Sender::new(false) }
    }

    // Nothing in here panics while it holds the lock, so a poisoned lock still guards a sound store.
    fn read(&self) -> RwLockReadGuard<'_, Inner<T>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner<T>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<T> {
        self.read().rows.get(&ObjectKey::new(namespace, name)).cloned()
    }

    /// Every key, in the order of namespace and name.
    #[must_use]
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.read().rows.keys().cloned().collect()
    }

    /// Everything, in that order.
    #[must_use]
    pub fn list_all(&self) -> Vec<T> {
        self.read().rows.values().cloned().collect()
    }

    /// Objects of a namespace.
    #[must_use]
    pub fn list(&self, namespace: &str) -> Vec<(ObjectKey, T)> {
        self.list_with_prefix(namespace, "")
    }

    /// Objects of a namespace (empty for cluster-scoped ones) whose names begin with `prefix`.
    #[must_use]
    pub fn list_with_prefix(&self, namespace: &str, prefix: &str) -> Vec<(ObjectKey, T)> {
        let inner = self.read();
        let from = ObjectKey::new(namespace, prefix);
        let range = inner.rows.range(from..);
        range
            .take_while(|(at, _)| at.namespace == namespace && at.name.starts_with(prefix))
            .map(|(at, row)| (at.clone(), row.clone()))
            .collect()
    }

    /// How many objects a namespace has.
    #[must_use]
    pub fn count(&self, namespace: &str) -> usize {
        let inner = self.read();
        inner
            .rows
            .range(ObjectKey::new(namespace, "")..)
            .take_while(|(at, _)| at.namespace == namespace)
            .count()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().rows.len()
    }

    /// Objects with a value in an index, in the order of namespace and name.
    #[must_use]
    pub fn indexed(&self, index: &'static str, value: &str) -> Vec<(ObjectKey, T)> {
        let inner = self.read();
        let from = (index, value.to_owned(), ObjectKey::default());
        let found = inner.indexed.range(from..).take_while(|(i, v, _)| *i == index && v == value);
        found.filter_map(|(.., at)| Some((at.clone(), inner.rows.get(at)?.clone()))).collect()
    }

    /// How many objects have a value in an index that begins with `prefix` and comes before that of `mine`, or the same
    /// value and a key before it. Counts no further than `at_most`.
    #[must_use]
    pub fn count_before(
        &self,
        index: &'static str,
        prefix: &str,
        (value, mine): (&str, &ObjectKey),
        at_most: usize,
    ) -> usize {
        let inner = self.read();
        let from = (index, prefix.to_owned(), ObjectKey::default());
        inner.indexed.range(from..(index, value.to_owned(), mine.clone())).take(at_most).count()
    }

    /// Takes in what a watch or a write of ours has shown. Returns what was there before, or `Err` when this is not newer
    /// than what is known: an echo.
    ///
    /// What is not known and older than a deletion that was seen may be what was deleted: the answer to a write can
    /// arrive after the watch has told of the end. A watch brings it again if it is alive.
    pub fn upsert_if_newer(&self, at: &ObjectKey, row: &T) -> Result<Option<T>, ()> {
        let mut inner = self.write();
        match inner.rows.get(at) {
            Some(known) if known.version() >= row.version() => return Err(()),
            None if row.version() <= inner.removed => return Err(()),
            _ => {}
        }
        if let Some(relist) = &mut inner.relist {
            relist.insert(at.clone(), Learned::Put);
        }
        Ok(inner.insert(self.indexes, at.clone(), row))
    }

    /// Takes out what was deleted at a version, unless something newer is known by then.
    pub fn remove(&self, at: &ObjectKey, version: u64) -> Option<T> {
        let mut inner = self.write();
        inner.removed = inner.removed.max(version);
        inner.removals.insert(version, at.clone());
        if inner.removals.len() > REMOVALS {
            inner.removals.pop_first();
        }
        if let Some(relist) = &mut inner.relist {
            relist.insert(at.clone(), Learned::Removed(version));
        }
        if inner.rows.get(at)?.version() > version { None } else { inner.take(self.indexes, at) }
    }

    /// A list begins: what is learned otherwise from now on is not older than it.
    pub fn begin_relist(&self) {
        self.write().relist = Some(HashMap::new());
    }

    /// Takes in a whole list, and returns each key that changed, with what was there before and what is now.
    ///
    /// The list is of one moment, at its first page. What was learned since then stays, unless the list holds something
    /// newer and not this; what was known before and is not in the list is gone.
    ///
    /// # Errors
    ///
    /// When the list is older than what was known before it began. It is taken all the same when that happens again and
    /// again, and what is known is turned back then: this is what a restored etcd looks like.
    pub fn finish_relist(&self, listed: BTreeMap<ObjectKey, T>) -> Result<Changes<T>, Older> {
        let mut inner = self.write();
        let learned = inner.relist.take().unwrap_or_default();
        if inner.knows_newer(&listed, &learned) {
            inner.older += 1;
            if inner.older < RESTORED {
                return Err(Older);
            }
        }
        inner.older = 0;
        inner.removals.clear();
        let newest = listed.values().map(Versioned::version).max().unwrap_or(0);
        let removals = learned.values().filter_map(|l| match l {
            Learned::Removed(version) => Some(*version),
            Learned::Put => None,
        });
        inner.removed = removals.max().unwrap_or(0).max(newest);
        let mut changes = Vec::new();
        let is_gone = |at: &ObjectKey, known: &T| {
            !listed.contains_key(at) && (learned.get(at) != Some(&Learned::Put) || known.version() <= newest)
        };
        let gone: Vec<ObjectKey> =
            inner.rows.iter().filter(|(at, known)| is_gone(at, known)).map(|(at, _)| at.clone()).collect();
        for at in gone {
            let old = inner.take(self.indexes, &at);
            changes.push((at, old, None));
        }
        for (at, row) in listed {
            let stale = match learned.get(&at) {
                Some(Learned::Put) => {
                    inner.rows.get(&at).is_some_and(|known| known.version() >= row.version())
                }
                Some(Learned::Removed(version)) => row.version() <= *version,
                None => false,
            };
            if stale {
                continue;
            }
            if inner.rows.get(&at).is_none_or(|known| known.version() != row.version()) {
                let old = inner.insert(self.indexes, at.clone(), &row);
                changes.push((at, old, Some(row)));
            }
        }
        drop(inner);
        self.listed.send_replace(true);
        Ok(changes)
    }

    /// The kind can no longer be listed: what is known may be out of date.
    pub fn unlist(&self) {
        self.listed.send_replace(false);
    }

    /// True after a list, for as long as the kind is watched.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        *self.listed.borrow()
    }
}

impl<T: Versioned> Inner<T> {
    /// Something that was known before a list began is newer than in the list: an object, or its end.
    fn knows_newer(&self, listed: &BTreeMap<ObjectKey, T>, learned: &HashMap<ObjectKey, Learned>) -> bool {
        let is_newer = |at: &ObjectKey, known: u64| {
            !learned.contains_key(at) && listed.get(at).is_some_and(|row| row.version() < known)
        };
        self.rows.iter().any(|(at, row)| is_newer(at, row.version()))
            || self.removals.iter().any(|(version, at)| is_newer(at, *version))
    }

    fn insert(&mut self, indexes: &'static [Index<T>], at: ObjectKey, row: &T) -> Option<T> {
        let old = self.take(indexes, &at);
        for index in indexes {
            if let Some(value) = (index.value)(&at, row) {
                self.indexed.insert((index.name, value, at.clone()));
            }
        }
        let row = row.packed(&mut self.dictionary);
        self.rows.insert(at, row);
        old
    }

    fn take(&mut self, indexes: &'static [Index<T>], at: &ObjectKey) -> Option<T> {
        let old = self.rows.remove(at)?;
        for index in indexes {
            if let Some(value) = (index.value)(at, &old) {
                self.indexed.remove(&(index.name, value, at.clone()));
            }
        }
        Some(old)
    }
}
