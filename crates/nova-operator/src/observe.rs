//! What the cluster looks like: one watch per kind, its objects in a table, every change told once.
//! Reads from the cluster; writes nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use futures::{StreamExt, TryStreamExt, pin_mut};
use kube::core::{Resource, ResourceExt};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as start_watcher};
use kube::{Api, api::DynamicObject};
use nova_plan::names::label;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// Namespace (or empty) and name.
pub type Place = (String, String);

/// Something in a table: it knows the resource version it was seen at.
pub trait Seen: Clone + Send + Sync + 'static {
    /// `metadata.resourceVersion` as a number; versions of one kind can be compared (KEP-5504).
    fn version(&self) -> u64;
}

/// The number in a resource version; 0 for what is not one.
#[must_use]
pub fn version_of(meta: &impl ResourceExt) -> u64 {
    meta.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}

impl<K: kube::Resource<DynamicType = ()> + Send + Sync + 'static> Seen for Arc<K> {
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

impl<T: Seen> Table<T> {
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

    /// Objects of a namespace whose name begins with `prefix`.
    #[must_use]
    pub fn within(&self, namespace: &str, prefix: &str) -> Vec<T> {
        let start = (namespace.to_owned(), prefix.to_owned());
        let rows = self.read();
        let range =
            rows.range(start..).take_while(|((n, name), _)| n == namespace && name.starts_with(prefix));
        range.map(|(_, row)| row.clone()).collect()
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

    fn replace(&self, listed: BTreeMap<Place, T>) -> BTreeMap<Place, T> {
        let mut rows = self.write();
        self.removed.store(0, Ordering::Relaxed);
        std::mem::replace(&mut *rows, listed)
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

/// A change of one object: what it was and what it is.
#[derive(Debug)]
pub struct Change<'a, T> {
    /// Where.
    pub at: &'a Place,
    /// Before; none when it is new.
    pub old: Option<&'a T>,
    /// Now; none when it is gone.
    pub new: Option<&'a T>,
    /// Part of a list: nobody is waiting for it in particular.
    pub listed: bool,
}

/// Watches a kind for ever: keeps `table` and tells each change that is not an echo of our own write.
///
/// `project` turns an object into what the table keeps, or nothing where it is of no interest.
pub async fn watch<K, T>(
    kind: &'static str,
    api: Api<K>,
    config: watcher::Config,
    table: Arc<Table<T>>,
    metrics: Arc<Metrics>,
    project: impl Fn(K) -> Option<(Place, T)> + Send,
    notify: impl Fn(Change<'_, T>) + Send,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Seen,
{
    let stream = start_watcher(api, config).default_backoff();
    pin_mut!(stream);
    let mut listing = BTreeMap::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listing = BTreeMap::new(),
            Ok(Event::InitApply(object)) => listing.extend(project(object)),
            Ok(Event::InitDone) => {
                let before = table.replace(std::mem::take(&mut listing));
                table.synced.send_replace(true);
                tell_listed(&table, &before, &notify);
            }
            Ok(Event::Apply(object)) => {
                let Some((at, row)) = project(object) else { continue };
                if let Ok(old) = table.put(at.clone(), row.clone()) {
                    notify(Change { at: &at, old: old.as_ref(), new: Some(&row), listed: false });
                }
            }
            Ok(Event::Delete(object)) => {
                let version = version_of(&object);
                let Some((at, _)) = project(object) else { continue };
                if let Some(old) = table.remove(&at, version) {
                    notify(Change { at: &at, old: Some(&old), new: None, listed: false });
                }
            }
            Err(error) => {
                tracing::warn!(kind, %error, "watch failed; it is tried again");
                metrics.adapter_error("kubernetes", "WatchFailed");
            }
        }
    }
}

fn tell_listed<T: Seen>(table: &Table<T>, before: &BTreeMap<Place, T>, notify: &impl Fn(Change<'_, T>)) {
    let now: BTreeMap<Place, T> = table.read().clone();
    for (at, new) in &now {
        let old = before.get(at);
        if old.is_none_or(|old| old.version() != new.version()) {
            notify(Change { at, old, new: Some(new), listed: true });
        }
    }
    for (at, old) in before.iter().filter(|(at, _)| !now.contains_key(*at)) {
        notify(Change { at, old: Some(old), new: None, listed: true });
    }
}

/// A child as kept in memory: what is looked at often, and the whole as compact text, a tenth of a parsed tree.
#[derive(Debug, Clone)]
pub struct Row(Arc<RowInner>);

#[derive(Debug)]
struct RowInner {
    version: u64,
    uid: String,
    owner_uid: Option<String>,
    deleting: bool,
    created: Option<jiff::Timestamp>,
    seen_at: tokio::time::Instant,
    status_hash: u64,
    body: Box<str>,
}

impl Seen for Row {
    fn version(&self) -> u64 {
        self.0.version
    }
}

impl Row {
    /// Keeps an object without its `managedFields`.
    #[must_use]
    pub fn new(mut object: DynamicObject) -> Self {
        object.metadata.managed_fields = None;
        let status_hash = hash(&object.data["status"]);
        Self(Arc::new(RowInner {
            version: version_of(&object),
            uid: object.uid().unwrap_or_default(),
            owner_uid: object.labels().get(label::OWNER_UID).cloned(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            created: object.metadata.creation_timestamp.as_ref().map(|t| t.0),
            seen_at: tokio::time::Instant::now(),
            status_hash,
            body: serde_json::to_string(&object).unwrap_or_default().into(),
        }))
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0.uid
    }

    /// UID of the Nova object it was made for, by its label.
    #[must_use]
    pub fn owner_uid(&self) -> Option<&str> {
        self.0.owner_uid.as_deref()
    }

    /// Being deleted.
    #[must_use]
    pub fn deleting(&self) -> bool {
        self.0.deleting
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Option<jiff::Timestamp> {
        self.0.created
    }

    /// When this process first saw this version of it.
    #[must_use]
    pub fn seen_at(&self) -> tokio::time::Instant {
        self.0.seen_at
    }

    /// Equal for equal `status`.
    #[must_use]
    pub fn status_hash(&self) -> u64 {
        self.0.status_hash
    }

    /// The object, parsed anew.
    #[must_use]
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.0.body).unwrap_or_default()
    }
}

fn hash(value: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Namespace and name of any object.
#[must_use]
pub fn place_of(object: &impl ResourceExt) -> Place {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// Lists what is there now, from the API server: deletions are never decided from a table alone.
pub async fn list<K>(api: &Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let pages = futures::stream::try_unfold(Some(String::new()), |token| async {
        let Some(token) = token else { return Ok::<_, kube::Error>(None) };
        let mut params = kube::api::ListParams::default().limit(250);
        if !token.is_empty() {
            params = params.continue_token(&token);
        }
        let page = api.list(&params).await?;
        let next = page.metadata.continue_.filter(|t| !t.is_empty());
        Ok(Some((page.items, next)))
    });
    let pages: Vec<Vec<K>> = pages.try_collect().await?;
    Ok(pages.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct At(u64);

    impl Seen for At {
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
    fn a_prefix_finds_the_leaves_of_one_app_only() {
        let table = Table::default();
        for name in ["web/Pod/1", "web/Pod/2", "web2/Pod/1"] {
            table.put(place(name), At(1)).unwrap();
        }
        assert_eq!(table.within("n", "web/").len(), 2);
        assert_eq!(table.count("n"), 3);
    }
}
