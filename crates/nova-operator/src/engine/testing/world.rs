//! An engine whose API server is a map: what is put there is seen when the test says so, and a pass tells what it asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use nova_api::Kind;
use nova_plan::adapters::BACKENDS;
use nova_plan::child::{ChildKind, Selection};
use serde_json::{Value, json};

use super::server::{Asked, Server};
use crate::engine::cached_object::{CachedLeaf, CachedNova, CachedObject, Versioned};
use crate::engine::cx::Engine;
use crate::engine::fetched::Fetched;
use crate::engine::key::{Key, ObjectKey};
use crate::engine::metrics::Metrics;
use crate::engine::queue::Due;
use crate::engine::relations::{Change, Relations};
use crate::engine::run::{Operator, Registered, Settings};
use crate::engine::store::Store;
use crate::engine::stores::{StoreId, Stores};
use crate::engine::watch::cached_leaf;

/// Everything looked at again after this long.
pub const RESYNC: Duration = Duration::from_mins(10);

/// An engine, its API server, and the controllers.
pub struct World {
    /// What all passes share.
    pub engine: Arc<Engine>,
    /// The API server.
    pub server: Server,
    /// Controllers by kind, each with its relations.
    pub controllers: BTreeMap<Kind, (Box<dyn Registered>, Relations)>,
    publishing: BoxFuture<'static, ()>,
    /// The version up to which the watches have told.
    seen: AtomicU64,
}

/// Reads an object as a watch does.
pub fn fetched(object: &Value) -> Fetched {
    serde_json::from_str(&object.to_string()).unwrap()
}

impl World {
    /// A world in which every kind and backend is defined, and nothing else is there.
    pub fn new(controllers: fn() -> Vec<Box<dyn Registered>>) -> Self {
        let server = Server::default();
        let settings = Settings {
            client: server.client(),
            metrics: Arc::new(Metrics::default()),
            resync: RESYNC,
            request_id: String::new,
            record_request_id: |_| {},
        };
        let (engine, publishing) = Operator::new(settings, controllers()).into_parts();
        let with_relations = |c: Box<dyn Registered>| {
            let relations = c.relations();
            (c.kind(), (c, relations))
        };
        let controllers = controllers().into_iter().map(with_relations).collect();
        let world = Self { engine, server, controllers, publishing, seen: AtomicU64::new(0) };
        let backends = BACKENDS.iter().flat_map(|b| b.crds).map(|crd| (*crd).to_owned());
        for name in backends.chain(Kind::ALL.iter().map(|kind| kind.crd_name().to_owned())) {
            world.put(&StoreId::Definitions, json!({"metadata": {"name": name}}));
        }
        world.relist();
        world.queued();
        world
    }

    /// The path of an object.
    pub fn path(store: &StoreId, namespace: &str, name: &str) -> String {
        let (group, version, plural) = match store {
            StoreId::Nova(kind) => (nova_api::GROUP, nova_api::VERSION, kind.plural()),
            StoreId::Child(kind) | StoreId::Leaf(kind) => (kind.group, kind.version, kind.plural),
            StoreId::Definitions => ("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
        };
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let place = if namespace.is_empty() { String::new() } else { format!("/namespaces/{namespace}") };
        format!("{root}{place}/{plural}/{name}")
    }

    /// Puts an object on the server as somebody else would.
    pub fn put(&self, store: &StoreId, object: Value) {
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        self.server.put(&Self::path(store, &text("namespace"), &text("name")), object);
    }

    /// Lists every kind, as at a start.
    pub fn relist(&self) {
        for store in Stores::ids() {
            let listed = self.there(&store);
            match store {
                StoreId::Nova(kind) => {
                    let rows = listed.iter().map(|o| (at(o), CachedNova::new(fetched(o)))).collect();
                    relist(self.engine.stores.nova(kind), rows, |c| self.engine.nova_changed(kind, &c));
                }
                StoreId::Child(kind) => {
                    let rows = listed.iter().map(|o| (at(o), CachedObject::new(fetched(o)))).collect();
                    relist(self.engine.stores.children(kind), rows, |c| {
                        self.engine.child_changed(kind, &c, false);
                    });
                }
                StoreId::Leaf(kind) => {
                    let rows = listed.iter().filter_map(|o| Some((at(o), cached_leaf(kind, &fetched(o))?)));
                    relist(self.engine.stores.leaves(kind), rows.collect(), |c| self.leaf_changed(kind, &c));
                }
                StoreId::Definitions => {
                    let rows = listed.iter().map(|o| (at(o), CachedObject::new(fetched(o)))).collect();
                    relist(&self.engine.stores.definitions, rows, |_| {});
                }
            }
            self.engine.watches.open(store);
        }
    }

    /// Lets every watch tell what has changed since it last did.
    pub fn watch(&self) {
        let since = self.seen.swap(self.server.version(), Ordering::Relaxed);
        let objects = self.server.objects();
        for store in Stores::ids() {
            let there =
                || objects.iter().filter(|(path, object)| is_of(&store, path, object)).map(|(_, o)| o);
            let keys: BTreeSet<ObjectKey> = there().map(at).collect();
            let fresh = there().filter(|object| version(object) > since);
            match store {
                StoreId::Nova(kind) => {
                    let rows = fresh.map(|o| (at(o), CachedNova::new(fetched(o)))).collect();
                    self.tell(self.engine.stores.nova(kind), &keys, rows, |c| {
                        self.engine.nova_changed(kind, &c);
                    });
                }
                StoreId::Child(kind) => {
                    let rows = fresh.map(|o| (at(o), CachedObject::new(fetched(o)))).collect();
                    self.tell(self.engine.stores.children(kind), &keys, rows, |c| {
                        self.engine.child_changed(kind, &c, false);
                    });
                }
                StoreId::Leaf(kind) => {
                    let rows = fresh.filter_map(|o| Some((at(o), cached_leaf(kind, &fetched(o))?))).collect();
                    self.tell(self.engine.stores.leaves(kind), &keys, rows, |c| self.leaf_changed(kind, &c));
                }
                StoreId::Definitions => {
                    let rows = fresh.map(|o| (at(o), CachedObject::new(fetched(o)))).collect();
                    self.tell(&self.engine.stores.definitions, &keys, rows, |change| {
                        for kind in self.engine.routes.of_definition(&change.at.name) {
                            self.engine.wake_kind(kind);
                        }
                    });
                }
            }
        }
    }

    fn leaf_changed(&self, kind: &'static ChildKind, change: &Change<'_, CachedLeaf>) {
        self.engine.wake(self.engine.routes.of_leaf(kind, change, &self.engine.stores), change.listed);
    }

    /// Objects on the server that the watch of a store selects.
    fn there(&self, store: &StoreId) -> Vec<Value> {
        let objects = self.server.objects().into_iter();
        objects.filter(|(path, object)| is_of(store, path, object)).map(|(_, object)| object).collect()
    }

    fn tell<T: Versioned>(
        &self,
        store: &Store<T>,
        there: &BTreeSet<ObjectKey>,
        rows: BTreeMap<ObjectKey, T>,
        changed: impl Fn(Change<'_, T>),
    ) {
        for at in store.keys().into_iter().filter(|at| !there.contains(at)) {
            if let Some(old) = store.remove(&at, self.server.version()) {
                changed(Change { at: &at, old: Some(&old), new: None, listed: false });
            }
        }
        for (at, row) in rows {
            if let Ok(old) = store.upsert_if_newer(&at, &row) {
                changed(Change { at: &at, old: old.as_ref(), new: Some(&row), listed: false });
            }
        }
    }

    /// One pass over an object, with its whole guard. Returns what it asked for.
    pub async fn pass(&self, key: &Key) -> Vec<Asked> {
        let (controller, relations) = &self.controllers[&key.kind];
        controller.reconcile(&self.engine, key, relations).await;
        self.server.asked()
    }

    /// The same, as lines.
    pub async fn lines(&self, key: &Key) -> Vec<String> {
        self.pass(key).await.into_iter().map(|asked| asked.line).collect()
    }

    /// What waits in the queue, which is empty after that.
    pub fn queued(&self) -> BTreeMap<Key, Due> {
        self.engine.queue.drain()
    }

    /// Passes that have read what is not declared, over all kinds.
    pub fn undeclared_reads(&self) -> u64 {
        let text = self.engine.metrics.text();
        let lines = text.lines().filter(|line| line.starts_with("kubenova_undeclared_reads_total{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// The status of a Nova object.
    pub fn status(&self, key: &Key) -> Value {
        let path = Self::path(&StoreId::Nova(key.kind), &key.namespace, &key.name);
        self.server.get(&path).map(|mut object| object["status"].take()).unwrap_or_default()
    }

    /// Publishes the events that wait, and returns the requests for them.
    pub async fn publish(&mut self) -> Vec<Asked> {
        for _ in 0..32 {
            assert!(
                (&mut self.publishing).now_or_never().is_none(),
                "events are published for as long as it runs"
            );
            tokio::task::yield_now().await;
        }
        self.server.asked()
    }
}

fn at(object: &Value) -> ObjectKey {
    let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
    ObjectKey::new(text("namespace"), text("name"))
}

fn relist<T: Versioned>(store: &Store<T>, rows: BTreeMap<ObjectKey, T>, changed: impl Fn(Change<'_, T>)) {
    store.begin_relist();
    for (at, old, new) in store.finish_relist(rows).expect("the scripted API server gives no older list") {
        changed(Change { at: &at, old: old.as_ref(), new: new.as_ref(), listed: true });
    }
}

fn is_of(store: &StoreId, path: &str, object: &Value) -> bool {
    let key = at(object);
    if path != World::path(store, &key.namespace, &key.name) {
        return false;
    }
    let (StoreId::Child(kind) | StoreId::Leaf(kind)) = store else { return true };
    match kind.watch {
        Selection::All => true,
        Selection::Namespace(namespace) => key.namespace == namespace,
        Selection::Labels(selector) => {
            let (label, value) = selector.split_once('=').map_or((selector, None), |(l, v)| (l, Some(v)));
            let found = object["metadata"]["labels"][label].as_str();
            found.is_some_and(|found| value.is_none_or(|value| value == found))
        }
    }
}

/// The version of an object as the server has it.
fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).unwrap_or(0)
}
