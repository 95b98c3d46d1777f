//! Objects of one kind in memory: never back in time, and never an echo of our own writes told as news. No I/O.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use kube::core::ResourceExt;
use tokio::sync::watch;

/// Namespace (or empty) and name.
pub type Place = (String, String);

/// Namespace and name of any object.
#[must_use]
pub fn place_of(object: &impl ResourceExt) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Something in a table: it knows the resource version it was seen at.
pub trait Versioned: Clone + Send + Sync + 'static {
    /// `metadata.resourceVersion` as a number; versions of one kind can be compared (KEP-5504).
    fn version(&self) -> u64;
}

/// The number in a resource version; 0 for what is not one.
#[must_use]
pub fn version_of(meta: &impl ResourceExt) -> u64 {
    meta.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}

impl<K: kube::Resource<DynamicType = ()> + Send + Sync + 'static> Versioned for Arc<K> {
    fn version(&self) -> u64 {
        version_of(self.as_ref())
    }
}

/// Objects of one kind as last seen, our own writes included. It never goes back in time for an object
/// except when a new list says so, which is what a restored etcd looks like.
#[derive(Debug)]
pub struct Table<T> {
    rows: RwLock<BTreeMap<Place, T>>,
    /// Version of the latest deletion seen; written only while `rows` is locked.
    removed: AtomicU64,
    synced: watch::Sender<bool>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { rows: RwLock::default(), removed: AtomicU64::new(0), synced: watch::Sender::new(false) }
    }
}

impl<T: Versioned> Table<T> {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Place, T>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<Place, T>> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// One object.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<T> {
        self.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// Everything, in the order of namespace and name.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.read().values().cloned().collect()
    }

    /// The first, in that order, that is wanted.
    #[must_use]
    pub fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<T> {
        self.read().values().find(|row| wanted(row)).cloned()
    }

    /// Objects of a namespace whose name begins with `prefix`.
    #[must_use]
    pub fn within(&self, namespace: &str, prefix: &str) -> Vec<T> {
        let start = (namespace.to_owned(), prefix.to_owned());
        let rows = self.read();
        let range =
            rows.range(start..).take_while(|((n, name), _)| n == namespace && name.starts_with(prefix));
        range.map(|(_, row)| row.clone()).collect()
    }

    /// Objects of a namespace that are wanted.
    #[must_use]
    pub fn inside(&self, namespace: &str, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let rows = self.read();
        let range =
            rows.range((namespace.to_owned(), String::new())..).take_while(|((n, _), _)| n == namespace);
        range.filter(|(_, row)| wanted(row)).map(|(_, row)| row.clone()).collect()
    }

    /// Cluster-scoped objects whose name begins with `prefix`, with their names.
    #[must_use]
    pub fn named(&self, prefix: &str) -> Vec<(String, T)> {
        let rows = self.read();
        let range = rows
            .range((String::new(), prefix.to_owned())..)
            .take_while(|((namespace, name), _)| namespace.is_empty() && name.starts_with(prefix));
        range.map(|((_, name), row)| (name.clone(), row.clone())).collect()
    }

    /// How many objects a namespace has.
    #[must_use]
    pub fn count(&self, namespace: &str) -> usize {
        let rows = self.read();
        rows.range((namespace.to_owned(), String::new())..).take_while(|((n, _), _)| n == namespace).count()
    }

    /// Takes in what a watch or a write of ours has shown. Returns what was there before, or `Err` when
    /// this is not newer than what is known: an echo.
    ///
    /// What is not known and older than a deletion that was seen may be what was deleted: the answer to a write can
    /// arrive after the watch has told of the end. A watch brings it again if it is alive.
    pub fn put(&self, at: Place, row: T) -> Result<Option<T>, ()> {
        let mut rows = self.write();
        match rows.get(&at) {
            Some(known) if known.version() >= row.version() => Err(()),
            None if row.version() <= self.removed.load(Ordering::Relaxed) => Err(()),
            _ => Ok(rows.insert(at, row)),
        }
    }

    /// Takes out what was deleted, unless something newer is known by then.
    pub fn remove(&self, at: &Place, version: u64) -> Option<T> {
        let mut rows = self.write();
        self.removed.fetch_max(version, Ordering::Relaxed);
        if rows.get(at)?.version() > version { None } else { rows.remove(at) }
    }

    /// Takes in a whole list, and returns what was there before.
    pub fn replace(&self, listed: BTreeMap<Place, T>) -> BTreeMap<Place, T> {
        let mut rows = self.write();
        self.removed.store(0, Ordering::Relaxed);
        let before = std::mem::replace(&mut *rows, listed);
        drop(rows);
        self.synced.send_replace(true);
        before
    }

    /// Everything, with its places.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Place, T> {
        self.read().clone()
    }

    /// True after the first list.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// Waits for the first list.
    pub async fn synced(&self) {
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct At(u64);

    impl Versioned for At {
        fn version(&self) -> u64 {
            self.0
        }
    }

    fn place(name: &str) -> Place {
        ("n".into(), name.into())
    }

    #[test]
    fn a_table_takes_no_echo_and_nothing_older() {
        let table = Table::default();
        assert_eq!(table.put(place("a"), At(5)), Ok(None));
        assert_eq!(table.put(place("a"), At(5)), Err(()), "an echo");
        assert_eq!(table.put(place("a"), At(4)), Err(()), "from a stale watch");
        assert_eq!(table.remove(&place("a"), 4), None, "an older incarnation was deleted");
        assert_eq!(table.remove(&place("a"), 6), Some(At(5)));
    }

    #[test]
    fn the_late_answer_to_a_write_does_not_bring_back_what_was_deleted() {
        let table = Table::default();
        table.put(place("a"), At(5)).unwrap();
        table.remove(&place("a"), 7);
        assert_eq!(table.put(place("a"), At(7)), Err(()), "the answer to the write that let it go");
        assert_eq!(table.put(place("a"), At(6)), Err(()), "the answer to a write before");
        assert_eq!(table.put(place("a"), At(8)), Ok(None), "a namesake");
    }

    #[test]
    fn objects_are_found_by_namespace_and_by_what_they_are() {
        let table = Table::default();
        for (version, name) in [(1, "a"), (2, "b"), (3, "c")] {
            table.put(place(name), At(version)).unwrap();
        }
        table.put(("m".into(), "a".into()), At(4)).unwrap();
        assert_eq!(table.inside("n", |at| at.0 > 1), [At(2), At(3)]);
        assert_eq!((table.count("n"), table.count("m"), table.within("n", "b").len()), (3, 1, 1));
    }
}
