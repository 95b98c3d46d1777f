//! What a pass works with: the stores it may look at, the requests it may make, and what it has read.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::Client;
use kube::api::{Api, ApiResource};
use kube::core::GroupVersionKind;
use nova_api::{Kind, NovaKind};
use nova_plan::adapters::{BACKENDS, Backend};
use nova_plan::answers::{self, Answer, RequestContext, silent_backend, silent_webhook};
use nova_plan::child::{ChildKind, ChildRef, Live};
use nova_plan::cluster::{being_listed, cannot_list};
use nova_plan::{ChildFacts, Lookup, Problem};

use super::backoff::Backoff;
use super::cached_object::{CachedLeaf, CachedNova, CachedObject};
use super::events::Events;
use super::fetched::Fetched;
use super::health::{DryRun, Health};
use super::interrupt::Interrupt;
use super::key::{Key, ObjectKey};
use super::log::FailureLog;
use super::metrics::Metrics;
use super::queue::{Lane, Queue};
use super::relations::{Change, Routes, Wake, When};
use super::request::{CALL_TIMEOUT, refusal};
use super::slots::Slots;
use super::stores::{AGE, LEAF_OF, StoreId, Stores, age_of};
use super::throttle::{Repairs, StatusThrottle, Stopwatch};
use super::watches::WatchStates;

/// What all controllers share.
pub struct Engine {
    /// Without kube's own retries: the queue retries.
    pub client: Client,
    /// What was seen.
    pub stores: Stores,
    /// Who is woken by what.
    pub routes: Routes,
    /// Objects that are always there, looked at also where they are absent.
    pub singletons: Vec<Key>,
    /// What is to be done.
    pub queue: Queue,
    /// When to try again.
    pub backoff: Backoff,
    /// How often a backend was told to try once more.
    pub retries: Backoff,
    /// Places at the backends.
    pub slots: Slots,
    /// Since when something holds of an object.
    pub stopwatch: Stopwatch,
    /// How often what moves is written.
    pub throttle: StatusThrottle,
    /// How often the same was written to each child.
    pub repairs: Repairs,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Which backends answer.
    pub health: Health,
    /// Which kinds can be listed.
    pub watches: WatchStates,
    /// Events to be published.
    pub events: Events,
    /// Failures that were logged.
    pub failures: FailureLog,
    /// Looks again at everything, in case an event got lost. Costs no request where nothing differs.
    pub resync: Duration,
    /// Id of the trace that the caller is in, as hex; empty outside of one.
    pub request_id: fn() -> String,
}

impl Engine {
    /// Wakes those whom a change concerns.
    pub fn wake(&self, wakes: impl IntoIterator<Item = Wake>, listed: bool) {
        for Wake { key, when } in wakes {
            match when {
                When::Now => self.queue.add(key, if listed { Lane::Background } else { Lane::Edit }),
                When::Background => self.queue.add(key, Lane::Background),
                When::After(delay) => self.queue.add_after(key, delay),
            }
        }
    }

    /// Wakes all objects of a kind.
    pub fn wake_kind(&self, kind: Kind) {
        for at in self.stores.nova(kind).keys() {
            self.queue.add(Key::of(kind, &at), Lane::Background);
        }
    }

    /// A Nova object has changed.
    pub fn nova_changed(&self, kind: Kind, change: &Change<'_, CachedNova>) {
        self.stores.record_owner(&Key::of(kind, change.at), change.old, change.new);
        self.wake(self.routes.of_nova(kind, change, &self.stores), change.listed);
    }

    /// A child has changed.
    pub fn child_changed(&self, kind: &'static ChildKind, change: &Change<'_, CachedObject>, ours: bool) {
        if !ours && let Some(backend) = nova_plan::adapters::backend_of(kind) {
            if change.old.is_some() && change.new.is_some() && change.status() {
                if self.health.acted(backend) {
                    self.wake(self.routes.of_health(backend, &BTreeSet::new()), false);
                }
            } else if change.new.is_some_and(CachedObject::has_status) {
                self.health.has_worked(backend);
            }
        }
        self.wake(self.routes.of_child(kind, change, ours, &self.stores), change.listed);
    }

    /// Forgets how often what was tried with an object that is gone.
    pub fn forget(&self, key: &Key) {
        self.backoff.reset(key);
        self.retries.reset(key);
        self.throttle.forget(key);
        self.stopwatch.clear(key);
        self.failures.forget(key);
        self.give_back_slot(key);
        for backend in BACKENDS {
            if self.health.waits_no_longer(backend, key) {
                self.wake(self.routes.of_health(backend, &BTreeSet::new()), false);
            }
        }
    }

    /// Gives the place of an object at a backend back, and wakes who is next.
    pub fn give_back_slot(&self, key: &Key) {
        if let Some(next) = self.slots.give_back(key) {
            self.queue.add(next, Lane::Background);
        }
    }
}

/// What a pass over one object works with.
pub struct Cx<'a> {
    /// What all passes share.
    pub engine: &'a Engine,
    /// The object.
    pub key: &'a Key,
    reads: Mutex<BTreeSet<StoreId>>,
    /// Objects of the requests that are under way, the latest last.
    asking: Mutex<Vec<String>>,
    requeue: Mutex<Option<Duration>>,
}

impl Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pass over {}", self.key)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Cx<'a> {
    /// For a pass over an object.
    #[must_use]
    pub fn new(engine: &'a Engine, key: &'a Key) -> Self {
        Self { engine, key, reads: Mutex::default(), asking: Mutex::default(), requeue: Mutex::default() }
    }

    fn note(&self, store: StoreId) {
        lock(&self.reads).insert(store);
    }

    /// The stores, for what relations and passes share; `reads` are the Nova kinds that are looked at.
    #[must_use]
    pub fn stores(&self, reads: &[Kind]) -> &Stores {
        for kind in reads {
            self.note(StoreId::Nova(*kind));
        }
        &self.engine.stores
    }

    /// True when there may be objects of a kind: also while its definition is being deleted.
    #[must_use]
    pub fn defined(&self, kind: &ChildKind) -> bool {
        if kind.backend.is_none() {
            return true;
        }
        self.note(StoreId::Definitions);
        self.engine.stores.defined(&kind.crd_name())
    }

    /// The problem of who looks into a store that does not hold what the cluster has; none where it does, or where its
    /// kind is not defined.
    #[must_use]
    pub fn blind(&self, store: &StoreId) -> Option<Problem> {
        let stores = &self.engine.stores;
        if stores.is_listed(store) || store.crd().is_some_and(|crd| !stores.defined(&crd)) {
            return None;
        }
        let resource = store.resource();
        Some(match self.engine.watches.why_blind(store) {
            Some((why, true)) => cannot_list(&resource, &why),
            _ => being_listed(&resource),
        })
    }

    /// Every store that was looked at.
    #[must_use]
    pub fn reads(&self) -> BTreeSet<StoreId> {
        lock(&self.reads).clone()
    }

    /// The object of the latest request that is under way, if any is.
    #[must_use]
    pub fn asking(&self) -> Option<String> {
        lock(&self.asking).last().cloned()
    }

    /// Looks again after a while, at the latest.
    pub fn requeue_after(&self, delay: Duration) {
        let mut requeue = lock(&self.requeue);
        *requeue = Some(requeue.map_or(delay, |earlier| earlier.min(delay)));
    }

    /// When to look again at the latest, if anything asked for it.
    #[must_use]
    pub fn requeue(&self) -> Option<Duration> {
        *lock(&self.requeue)
    }

    /// A Nova object, readable or not.
    #[must_use]
    pub fn get(&self, kind: Kind, namespace: &str, name: &str) -> Option<CachedNova> {
        self.note(StoreId::Nova(kind));
        self.engine.stores.nova(kind).get(namespace, name)
    }

    /// Nova objects of a namespace, readable or not.
    #[must_use]
    pub fn list(&self, kind: Kind, namespace: &str) -> Vec<(ObjectKey, CachedNova)> {
        self.note(StoreId::Nova(kind));
        self.engine.stores.nova(kind).list(namespace)
    }

    /// How many Nova objects a namespace has.
    #[must_use]
    pub fn count(&self, kind: Kind, namespace: &str) -> usize {
        self.note(StoreId::Nova(kind));
        self.engine.stores.nova(kind).count(namespace)
    }

    /// Nova objects with a value in an index of their kind.
    #[must_use]
    pub fn indexed(&self, kind: Kind, index: &'static str, value: &str) -> Vec<(ObjectKey, CachedNova)> {
        self.note(StoreId::Nova(kind));
        self.engine.stores.nova(kind).indexed(index, value)
    }

    /// How many objects of the kind were in the same namespace before the one of this pass, or were made in the same
    /// second and come before it by name. Counts no further than `at_most`.
    #[must_use]
    pub fn older(&self, at_most: usize) -> usize {
        self.note(StoreId::Nova(self.key.kind));
        let (store, at) = (self.engine.stores.nova(self.key.kind), self.key.object());
        let Some(row) = store.get(&at.namespace, &at.name) else { return 0 };
        let Some(age) = age_of(&at, &row) else { return 0 };
        store.count_before(AGE, &format!("{}/", at.namespace), (&age, &at), at_most)
    }

    /// A child as last seen.
    #[must_use]
    pub fn cached(&self, at: &ChildRef) -> Option<CachedObject> {
        self.note(StoreId::Child(at.kind));
        self.engine.stores.children(at.kind).get(&at.namespace, &at.name)
    }

    /// Children of a kind in a namespace (empty for cluster-scoped ones) whose names begin with `prefix`.
    #[must_use]
    pub fn children(
        &self,
        kind: &'static ChildKind,
        namespace: &str,
        prefix: &str,
    ) -> Vec<(ObjectKey, CachedObject)> {
        self.note(StoreId::Child(kind));
        self.engine.stores.children(kind).list_with_prefix(namespace, prefix)
    }

    /// Leaves that a backend made for an object.
    #[must_use]
    pub fn leaves(&self, backend: &Backend, namespace: &str, name: &str) -> Vec<CachedLeaf> {
        let of = format!("{namespace}/{name}");
        let mut leaves = Vec::new();
        for kind in backend.leaves {
            self.note(StoreId::Leaf(kind));
            let found = self.engine.stores.leaves(kind).indexed(LEAF_OF, &of);
            leaves.extend(found.into_iter().map(|(_, leaf)| leaf));
        }
        leaves
    }

    /// The first definition of a backend that is not there.
    #[must_use]
    pub fn missing(&self, backend: &'static Backend) -> Option<&'static str> {
        backend.crds.iter().copied().find(|crd| !self.installed(crd))
    }

    /// Nothing where a backend can be used; otherwise the problem of who needs it.
    pub fn need(&self, backend: &'static Backend) -> Result<(), Problem> {
        self.missing(backend).map_or(Ok(()), |crd| Err(backend.missing(crd)))
    }

    /// Dynamic API for a child.
    #[must_use]
    pub fn api(&self, at: &ChildRef) -> Api<Fetched> {
        self.api_in(at.kind, &at.namespace)
    }

    /// The same for a kind in a namespace.
    #[must_use]
    pub fn api_in(&self, kind: &ChildKind, namespace: &str) -> Api<Fetched> {
        let (client, resource) = (self.engine.client.clone(), resource(kind));
        if kind.cluster_scoped {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, namespace, &resource)
        }
    }

    /// API for objects of a Nova kind in a namespace, empty for cluster-scoped ones.
    #[must_use]
    pub fn nova_api(&self, kind: Kind, namespace: &str) -> Api<Fetched> {
        nova_api_of(&self.engine.client, kind, namespace)
    }

    /// Waits for the answer to a request, but not for ever.
    pub async fn ask<T>(
        &self,
        doing: RequestContext<'_>,
        limit: Duration,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<Result<T, kube::Error>, Interrupt> {
        lock(&self.asking).push(doing.object.to_owned());
        let answer = tokio::time::timeout(limit, request).await;
        // Others may be under way beside it.
        let mut asking = lock(&self.asking);
        if let Some(at) = asking.iter().rposition(|object| object == doing.object) {
            asking.remove(at);
        }
        drop(asking);
        answer.map_err(|_| {
            self.engine.metrics.adapter_error("kubernetes", "Timeout");
            answers::no_answer(doing, &format!("nothing came within {} s", limit.as_secs())).into()
        })
    }

    /// Reads an object from the API server.
    pub async fn get_live(
        &self,
        doing: RequestContext<'_>,
        at: &ChildRef,
    ) -> Result<Option<Live>, Interrupt> {
        match self.ask(doing, CALL_TIMEOUT, self.api(at).get_opt(&at.name)).await? {
            Ok(found) => Ok(found.map(|object| CachedObject::new(object).live())),
            Err(error) => Err(self.failed(&error, doing, None)),
        }
    }

    /// Reads a failed request as a reason to stop, and remembers what it says about a backend; `dry_run` repeats it.
    pub fn failed(
        &self,
        error: &kube::Error,
        doing: RequestContext<'_>,
        dry_run: Option<DryRun>,
    ) -> Interrupt {
        let kube::Error::Api(status) = error else {
            self.engine.metrics.adapter_error("kubernetes", "NoAnswer");
            return answers::no_answer(doing, &error.to_string()).into();
        };
        let refusal = refusal(status);
        let mut adapter = "kubernetes";
        if let (Some(backend), Some(webhook)) = (silent_backend(&refusal), silent_webhook(&refusal)) {
            adapter = backend.id;
            let words = (webhook, refusal.message.as_str());
            if let Some(change) = self.engine.health.write_failed(backend, self.key, words, dry_run) {
                self.engine.wake(self.engine.routes.of_health(backend, &change.groups), false);
            }
        }
        let (reason, interrupt) = match answers::classify(&refusal, doing) {
            Answer::Race => ("Conflict", Interrupt::Requeue),
            Answer::Problem(problem) => (problem.reason.as_str(), problem.into()),
        };
        self.engine.metrics.adapter_error(adapter, reason);
        interrupt
    }
}

impl Lookup for Cx<'_> {
    fn nova<K: NovaKind>(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(K::ID, namespace, name)?.read().ok()
    }

    fn unreadable<K: NovaKind>(&self, namespace: &str, name: &str) -> bool {
        self.get(K::ID, namespace, name).is_some_and(|row| row.read::<K>().is_err())
    }

    fn child(&self, at: &ChildRef) -> Option<ChildFacts> {
        self.cached(at).map(|row| row.facts().clone())
    }

    fn installed(&self, crd: &str) -> bool {
        self.note(StoreId::Definitions);
        self.engine.stores.installed(crd)
    }

    fn oldest<K: NovaKind>(&self, index: &'static str, value: &str) -> Option<String> {
        let rows = self.indexed(K::ID, index, value);
        let age = |(at, row): &(ObjectKey, CachedNova)| (row.meta().created, at.clone());
        rows.into_iter().min_by_key(age).map(|(at, _)| at.name)
    }
}

/// The resource of a kind; no discovery, because the versions are pinned.
#[must_use]
pub fn resource(kind: &ChildKind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    ApiResource::from_gvk_with_plural(&gvk, kind.plural)
}

/// The resource of a Nova kind.
#[must_use]
pub fn nova_resource(kind: Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(nova_api::GROUP, nova_api::VERSION, kind.as_str());
    ApiResource::from_gvk_with_plural(&gvk, kind.plural())
}

/// API for objects of a Nova kind in a namespace, empty for cluster-scoped ones.
#[must_use]
pub fn nova_api_of(client: &Client, kind: Kind, namespace: &str) -> Api<Fetched> {
    if namespace.is_empty() {
        Api::all_with(client.clone(), &nova_resource(kind))
    } else {
        Api::namespaced_with(client.clone(), namespace, &nova_resource(kind))
    }
}
