//! What the cluster looks like: one watch per kind, its objects in a store, every change told once. Each kind is watched
//! for itself: one that cannot be listed does not keep the others from being looked after. Reads only.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;
use kube::api::Api;
use kube::core::{ObjectMeta, PartialObjectMeta};
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};
use nova_plan::adapters::LeafMeta;
use nova_plan::child::{ChildKind, Selection};
use serde::de::DeserializeOwned;
use tokio::task::{AbortHandle, JoinSet};

use super::cached_object::{CachedLeaf, CachedNova, CachedObject, Versioned, version_of};
use super::cx::{Engine, nova_api_of, resource};
use super::fetched::Fetched;
use super::key::ObjectKey;
use super::queue::Lane;
use super::relations::Change;
use super::store::Store;
use super::stores::{StoreId, Stores};

/// Objects of one page of a list: small enough that a page's memory is given back.
pub const PAGE: u32 = 250;
/// The same where people write what is in an object: a page of the largest ones still fits.
pub const PAGE_OF_LARGE: u32 = 25;

/// A watch request that fails for so many times in a row is given up for a new list.
const RELIST_AFTER: u32 = 4;
/// A list that fails for so many times in a row, some minutes, leaves nothing that can be relied on.
const UNLIST_AFTER: u32 = 8;
/// Without a list of the definitions after this time, every kind is watched as if it was defined.
const DEFINITIONS_PATIENCE: Duration = Duration::from_secs(10);

/// The watches that run, by the store they keep.
#[derive(Debug, Default)]
pub struct Watches {
    running: HashMap<StoreId, AbortHandle>,
    started: Option<tokio::time::Instant>,
}

impl Watches {
    /// Starts what can be watched, and ends what no longer can: kinds come and go with their definitions.
    pub fn keep(&mut self, engine: &Arc<Engine>, tasks: &mut JoinSet<StoreId>) {
        let started = *self.started.get_or_insert_with(tokio::time::Instant::now);
        let defined_is_known = engine.stores.definitions.is_listed();
        let assume = !defined_is_known && started.elapsed() > DEFINITIONS_PATIENCE;
        for store in Stores::ids() {
            let wanted = match store.crd() {
                None => true,
                // Objects of a definition on its way out are looked after until they are gone.
                Some(crd) if self.running.contains_key(&store) => {
                    !defined_is_known || engine.stores.defined(&crd)
                }
                Some(crd) if defined_is_known => engine.stores.installed(&crd),
                Some(_) => assume,
            };
            if wanted && !self.running.contains_key(&store) {
                engine.watches.begun(store);
                let watch = watch_store(engine.clone(), store);
                let task = tasks.spawn(async move {
                    watch.await;
                    store
                });
                self.running.insert(store, task);
            } else if !wanted && defined_is_known {
                if let Some(task) = self.running.remove(&store) {
                    task.abort();
                }
                engine.stores.unlist(&store);
                if engine.watches.undefined(store) {
                    tracing::info!(resource = store.resource(), "not defined; what needs it waits");
                    engine.listing_changed(&store);
                }
            }
        }
    }
}

impl Engine {
    /// A kind can be listed, or no longer: who reads it looks again, and the health of what is seen is told.
    pub fn listing_changed(&self, store: &StoreId) {
        for kind in self.routes.of_listing(store) {
            self.wake_kind(kind);
        }
        for key in self.singletons.iter().filter(|key| StoreId::Nova(key.kind) == *store) {
            self.queue.add(key.clone(), Lane::Edit);
        }
        self.visibility_changed();
    }

    /// What can be seen has changed.
    pub fn visibility_changed(&self) {
        for backend in nova_plan::adapters::BACKENDS {
            self.wake(self.routes.of_health(backend, &std::collections::BTreeSet::new()), false);
        }
    }
}

fn config(kind: &ChildKind) -> Config {
    let config = Config::default().page_size(if kind.large { PAGE_OF_LARGE } else { PAGE });
    match kind.watch {
        Selection::All => config,
        Selection::Labels(selector) => config.labels(selector),
        Selection::Namespace(namespace) => config.fields(&format!("metadata.namespace={namespace}")),
    }
}

async fn watch_store(engine: Arc<Engine>, store: StoreId) {
    match store {
        StoreId::Nova(kind) => {
            let api = nova_api_of(&engine.client, kind, "");
            let config = Config::default().page_size(PAGE_OF_LARGE);
            let keep = |object: Fetched| Some(CachedNova::new(object));
            let notify = |change: Change<'_, CachedNova>| engine.nova_changed(kind, &change);
            watch(&engine, store, api, config, engine.stores.nova(kind), keep, notify).await;
        }
        StoreId::Child(kind) => {
            let api: Api<Fetched> = Api::all_with(engine.client.clone(), &resource(kind));
            let keep = |object: Fetched| Some(CachedObject::new(object));
            let notify = |change: Change<'_, CachedObject>| engine.child_changed(kind, &change, false);
            watch(&engine, store, api, config(kind), engine.stores.children(kind), keep, notify).await;
        }
        StoreId::Leaf(kind) => {
            let api: Api<Fetched> = Api::all_with(engine.client.clone(), &resource(kind));
            let keep = |object: Fetched| cached_leaf(kind, &object);
            let notify = |change: Change<'_, CachedLeaf>| {
                engine.wake(engine.routes.of_leaf(kind, &change, &engine.stores), change.listed);
            };
            watch(&engine, store, api, config(kind), engine.stores.leaves(kind), keep, notify).await;
        }
        StoreId::Definitions => {
            let api: Api<PartialObjectMeta<CustomResourceDefinition>> = Api::all(engine.client.clone());
            let config = Config::default().page_size(PAGE);
            let keep = |crd: PartialObjectMeta<CustomResourceDefinition>| Some(definition(crd.metadata));
            let notify = |change: Change<'_, CachedObject>| {
                if change.facts() {
                    engine.watches.tell();
                    for kind in engine.routes.of_definition(&change.at.name) {
                        engine.wake_kind(kind);
                    }
                }
            };
            watch(&engine, store, api, config, &engine.stores.definitions, keep, notify).await;
        }
    }
}

/// A definition: of these only that they are there matters.
fn definition(metadata: ObjectMeta) -> CachedObject {
    let metadata = ObjectMeta {
        name: metadata.name,
        uid: metadata.uid,
        resource_version: metadata.resource_version,
        deletion_timestamp: metadata.deletion_timestamp,
        ..ObjectMeta::default()
    };
    CachedObject::new(Fetched {
        metadata,
        text: Ok("{}".into()),
        applied: None,
        status: None,
        status_hash: 0,
        content_hash: 0,
    })
}

/// What is kept of a leaf.
pub fn cached_leaf(kind: &'static ChildKind, object: &Fetched) -> Option<CachedLeaf> {
    let labels = object.metadata.labels.as_ref()?;
    let meta = LeafMeta {
        namespace: object.metadata.namespace.as_deref()?,
        name: object.metadata.name.as_deref()?,
        labels,
    };
    let (backend, _) = Stores::leaf_kinds().find(|(_, known)| *known == kind)?;
    // One that cannot be read is there, and that is all that is known of it.
    let text = object.text.as_deref().unwrap_or("{}");
    let (of, leaf) = (backend.leaf)(kind, &meta, text)?;
    Some(CachedLeaf { version: version_of(&object.metadata), of, leaf: Arc::new(leaf) })
}

/// Watches a kind for ever: keeps `store` and tells each change that is not an echo of our own write.
async fn watch<K, T>(
    engine: &Engine,
    id: StoreId,
    api: Api<K>,
    config: Config,
    store: &Store<T>,
    keep: impl Fn(K) -> Option<T>,
    notify: impl Fn(Change<'_, T>),
) where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned + Send + 'static,
    T: Versioned,
{
    loop {
        let stream = watcher(api.clone(), config.clone()).default_backoff();
        pin_mut!(stream);
        let mut listing = BTreeMap::new();
        let mut failures = 0;
        while let Some(event) = stream.next().await {
            match event {
                Ok(Event::Init) => {
                    store.begin_relist();
                    listing = BTreeMap::new();
                }
                Ok(Event::InitApply(object)) => {
                    // The first pages of a list that fails further on are no progress.
                    if failures == 0 {
                        engine.watches.progressed(id);
                    }
                    let at = ObjectKey::of(&object);
                    listing.extend(keep(object).map(|row| (at, row)));
                }
                Ok(Event::InitDone) => {
                    failures = 0;
                    let Ok(changes) = store.finish_relist(std::mem::take(&mut listing)) else {
                        engine.metrics.adapter_error("kubernetes", "OlderList");
                        tracing::warn!(
                            resource = id.resource(),
                            "the API server gave a list older than what is known; nothing is taken from it"
                        );
                        break;
                    };
                    for (at, old, new) in changes {
                        notify(Change { at: &at, old: old.as_ref(), new: new.as_ref(), listed: true });
                    }
                    if engine.watches.open(id) {
                        engine.listing_changed(&id);
                    }
                }
                Ok(Event::Apply(object)) => {
                    failures = 0;
                    reopened(engine, id);
                    let at = ObjectKey::of(&object);
                    let Some(row) = keep(object) else { continue };
                    if let Ok(old) = store.upsert_if_newer(&at, &row) {
                        notify(Change { at: &at, old: old.as_ref(), new: Some(&row), listed: false });
                    }
                }
                Ok(Event::Delete(object)) => {
                    failures = 0;
                    reopened(engine, id);
                    let (at, version) = (ObjectKey::of(&object), version_of(object.meta()));
                    if let Some(old) = store.remove(&at, version) {
                        notify(Change { at: &at, old: Some(&old), new: None, listed: false });
                    }
                }
                Err(error) => {
                    failures += 1;
                    let gone = is_gone(&error);
                    engine.metrics.adapter_error("kubernetes", "WatchFailed");
                    let initial = matches!(error, Error::InitialListFailed(_));
                    // A watch that begins anew tells nothing of it, so only what ends in a new list is told.
                    if initial || failures >= RELIST_AFTER {
                        let why = error.to_string();
                        engine.watches.failed(id, &why);
                        if failures == UNLIST_AFTER {
                            store.unlist();
                            engine.listing_changed(&id);
                        }
                        if failures == 1 {
                            tracing::warn!(
                                resource = id.resource(),
                                cause = why,
                                "list or watch failed; it is tried again"
                            );
                        }
                    }
                    // The version that a watch begins at may be gone, which only a new list can mend.
                    if gone || failures >= RELIST_AFTER && !initial {
                        break;
                    }
                }
            }
        }
        tracing::info!(resource = id.resource(), "listed anew");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A watch that had failed goes on.
fn reopened(engine: &Engine, id: StoreId) {
    if engine.watches.why_blind(&id).is_some() && engine.watches.open(id) {
        engine.visibility_changed();
    }
}

fn is_gone(error: &Error) -> bool {
    let code = match error {
        Error::WatchStartFailed(kube::Error::Api(status)) | Error::WatchError(status) => status.code,
        _ => return false,
    };
    code == 410
}
