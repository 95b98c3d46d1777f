//! Start, work, stop: watches first, then workers, and at the end what is in flight is finished.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;
use nova_api::Kind;
use nova_plan::adapters::BACKENDS;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use super::cached_object::CachedNova;
use super::cx::Engine;
use super::events::Events;
use super::health::{Health, HealthChange, show};
use super::key::Key;
use super::metrics::{Metrics, Reading};
use super::queue::{Lane, Queue};
use super::reconcile::{Controller, reconcile_guarded};
use super::relations::{Relations, Routes};
use super::store::Index;
use super::stores::{AGE, StoreId, Stores, age_of};
use super::watch::Watches;
use super::watches::WatchStates;

/// Objects worked on at once, all kinds together.
const IN_FLIGHT: usize = 32;

/// Work begins when every kind was listed, and without those of which nothing has come for this time: one that cannot be
/// listed must not keep the others from being served.
const STALLED: Duration = Duration::from_secs(3);
/// It begins after this time in any case.
const FIRST_LISTS: Duration = Duration::from_secs(30);

/// How often watches, probes and readings are looked after.
const TICK: Duration = Duration::from_millis(500);

/// How the operator is run.
#[derive(Clone)]
pub struct Settings {
    /// Client of the operator's identity, out of [`super::request::client`].
    pub client: Client,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How often everything is looked at again.
    pub resync: Duration,
    /// Id of the current trace, as hex; empty where there is none.
    pub request_id: fn() -> String,
    /// Records the `request_id` of a pass in its span.
    pub record_request_id: fn(&tracing::Span),
}

/// A controller, as the engine sees it.
pub trait Registered: Send + Sync {
    /// Its kind.
    fn kind(&self) -> Kind;
    /// Its indexes, that by age among them.
    fn indexes(&self) -> &'static [Index<CachedNova>];
    /// What wakes its objects.
    fn relations(&self) -> Relations;
    /// The one object that is always there.
    fn singleton(&self) -> Option<&'static str>;
    /// One pass.
    fn reconcile<'a>(&self, engine: &'a Engine, key: &'a Key, relations: &'a Relations) -> BoxFuture<'a, ()>;
}

/// Registers the controller of a kind.
#[derive(Debug)]
pub struct Of<K>(std::marker::PhantomData<fn() -> K>);

impl<K> Default for Of<K> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<K: Controller> Registered for Of<K> {
    fn kind(&self) -> Kind {
        K::ID
    }

    fn indexes(&self) -> &'static [Index<CachedNova>] {
        K::indexes()
    }

    fn relations(&self) -> Relations {
        let mut relations = Relations::new(K::ID);
        K::relations(&mut relations);
        relations
    }

    fn singleton(&self) -> Option<&'static str> {
        K::SINGLETON
    }

    fn reconcile<'a>(&self, engine: &'a Engine, key: &'a Key, relations: &'a Relations) -> BoxFuture<'a, ()> {
        Box::pin(reconcile_guarded::<K>(engine, key, relations))
    }
}

/// The index by age, which every kind has.
pub const BY_AGE: Index<CachedNova> = Index { name: AGE, value: age_of };

/// Controllers by kind, each with its relations.
type Registry = HashMap<Kind, (Box<dyn Registered>, Relations)>;

/// The operator.
pub struct Operator {
    engine: Arc<Engine>,
    registry: Arc<Registry>,
    publishing: BoxFuture<'static, ()>,
    ready: watch::Sender<bool>,
    record_request_id: fn(&tracing::Span),
}

impl Operator {
    /// Prepares an operator of these controllers; nothing happens before [`Operator::run`].
    #[must_use]
    pub fn new(settings: Settings, controllers: Vec<Box<dyn Registered>>) -> Self {
        let mut routes = Routes::default();
        let mut registry = Registry::new();
        let mut indexes = HashMap::new();
        let mut singletons = Vec::new();
        for controller in controllers {
            let relations = controller.relations();
            routes.add(&relations);
            singletons.extend(controller.singleton().map(|name| Key::new(controller.kind(), "", name)));
            indexes.insert(controller.kind(), controller.indexes());
            registry.insert(controller.kind(), (controller, relations));
        }
        let Settings { client, metrics, resync, request_id, record_request_id } = settings;
        let (events, publishing) = Events::new(client.clone(), metrics.clone(), request_id);
        let engine = Engine {
            client,
            stores: Stores::new(|kind| indexes.get(&kind).copied().unwrap_or_default()),
            routes,
            singletons,
            queue: Queue::default(),
            backoff: super::backoff::Backoff::default(),
            retries: super::backoff::Backoff::default(),
            slots: super::slots::Slots::default(),
            stopwatch: super::throttle::Stopwatch::default(),
            throttle: super::throttle::StatusThrottle::default(),
            repairs: super::throttle::Repairs::default(),
            metrics,
            health: Health::default(),
            watches: WatchStates::default(),
            events,
            failures: super::log::FailureLog::default(),
            resync,
            request_id,
        };
        Self {
            engine: Arc::new(engine),
            registry: Arc::new(registry),
            publishing: Box::pin(publishing),
            ready: watch::Sender::new(false),
            record_request_id,
        }
    }

    /// The engine, and the task that publishes events.
    #[cfg(test)]
    #[must_use]
    pub fn into_parts(self) -> (Arc<Engine>, BoxFuture<'static, ()>) {
        (self.engine, self.publishing)
    }

    /// True from the moment when work begins.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Works until `stop` resolves, then finishes what is in flight, at most for `grace`.
    pub async fn run(self, stop: impl Future<Output = ()> + Send, grace: Duration) {
        let Self { engine, registry, publishing, ready, record_request_id } = self;
        let mut passes = JoinSet::new();
        let started = ready.subscribe();
        tokio::select! {
            () = stop => {}
            () = look_after(&engine, &ready) => {}
            () = publishing => {}
            () = workers(&engine, &registry, started, record_request_id, &mut passes) => {}
        }
        ready.send_replace(false);
        engine.queue.close();
        tracing::info!(in_flight = passes.len(), "stopping");
        let finish = async { while passes.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, finish).await.is_err() {
            tracing::warn!(
                "what was in flight did not finish in time and is given up; it is planned anew at the next start"
            );
        }
    }
}

/// Keeps the watches, probes what does not answer, and takes readings. Ends only when a watch has panicked.
async fn look_after(engine: &Arc<Engine>, ready: &watch::Sender<bool>) {
    let mut watches = Watches::default();
    let mut tasks = JoinSet::new();
    let mut probes = JoinSet::new();
    let started = tokio::time::Instant::now();
    let mut tick = tokio::time::interval(TICK);
    let mut blind_before = Vec::new();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = engine.watches.told() => {}
            // A watch goes on for ever; one that ends and was not ended has panicked, and without it decisions would be
            // blind.
            Some(ended) = tasks.join_next() => match ended {
                Err(error) if error.is_cancelled() => {}
                ended => {
                    tracing::error!(?ended, "a watch has ended; the operator stops, to be started anew");
                    return;
                }
            },
        }
        watches.keep(engine, &mut tasks);
        let late = || engine.watches.stalled(STALLED) || started.elapsed() > FIRST_LISTS;
        if !*ready.borrow() && (all_listed(engine) || late()) {
            begin(engine);
            ready.send_replace(true);
        }
        let blind = engine.watches.blind_spots();
        if blind != blind_before {
            blind_before = blind;
            engine.visibility_changed();
        }
        for (backend, webhook, dry_run) in engine.health.due() {
            let engine = engine.clone();
            probes.spawn(async move {
                let shown = show(&dry_run, &webhook).await;
                if let Some(change) = engine.health.probed(backend, &webhook, shown) {
                    go_on(&engine, backend, change);
                }
            });
        }
        for (backend, change) in engine.health.unshown() {
            go_on(engine, backend, change);
        }
        while probes.try_join_next().is_some() {}
        engine.metrics.read(&reading(engine));
    }
}

/// An outage of a backend is over: who waited for it tries again, and whom it concerns looks.
fn go_on(engine: &Engine, backend: &str, change: HealthChange) {
    for key in change.released {
        engine.queue.add(key, Lane::Edit);
    }
    if let Some(backend) = BACKENDS.iter().find(|b| b.id == backend) {
        engine.wake(engine.routes.of_health(backend, &change.groups), false);
    }
}

/// Every kind that can be there was listed.
fn all_listed(engine: &Engine) -> bool {
    engine.stores.definitions.is_listed()
        && Stores::ids().all(|store| {
            engine.stores.is_listed(&store) || store.crd().is_some_and(|crd| !engine.stores.installed(&crd))
        })
}

/// Work begins: the objects that are always there are looked at, listed or not.
fn begin(engine: &Engine) {
    for key in &engine.singletons {
        engine.queue.add(key.clone(), Lane::Edit);
    }
    let unlisted: Vec<String> =
        Stores::ids().filter(|store| !engine.stores.is_listed(store)).map(|store| store.resource()).collect();
    let queued = engine.queue.depth();
    if unlisted.is_empty() {
        tracing::info!(queued, "every kind is listed; work begins");
    } else {
        tracing::warn!(queued, ?unlisted, "not every kind could be listed; work begins with the others");
    }
}

fn reading(engine: &Engine) -> Reading {
    let lane = |name, lane| {
        let (depth, age) = engine.queue.backlog(lane);
        (name, depth, age)
    };
    Reading {
        lanes: vec![lane("edit", Lane::Edit), lane("background", Lane::Background)],
        stores: Stores::ids()
            .map(|store: StoreId| {
                (store.resource(), engine.stores.size(&store), engine.stores.is_listed(&store))
            })
            .collect(),
        backends: BACKENDS
            .iter()
            .map(|b| {
                let installed = b.crds.iter().all(|crd| engine.stores.installed(crd));
                (b.id, installed && engine.health.outage(b).is_none())
            })
            .collect(),
    }
}

/// Takes keys from the queue once work has begun; never more than the bound at once.
async fn workers(
    engine: &Arc<Engine>,
    registry: &Arc<Registry>,
    mut started: watch::Receiver<bool>,
    record_request_id: fn(&tracing::Span),
    passes: &mut JoinSet<()>,
) {
    if started.wait_for(|ready| *ready).await.is_err() {
        return;
    }
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(key) = engine.queue.next().await else { return };
        while passes.try_join_next().is_some() {}
        let (engine, registry) = (engine.clone(), registry.clone());
        passes.spawn(async move {
            one(&engine, &registry, &key, record_request_id).await;
            drop(place);
        });
    }
}

/// One pass, in a span of its own.
async fn one(engine: &Engine, registry: &Registry, key: &Key, record_request_id: fn(&tracing::Span)) {
    let span = tracing::info_span!(
        "reconcile",
        controller = key.kind.controller(),
        object = %key,
        tenant = key.group(),
        request_id = tracing::field::Empty,
    );
    record_request_id(&span);
    let _working = Working::on(engine, key);
    if let Some((controller, relations)) = registry.get(&key.kind) {
        controller.reconcile(engine, key, relations).instrument(span).await;
    }
}

/// A key that is worked on. However that ends, it is free again then.
struct Working<'a> {
    engine: &'a Engine,
    key: &'a Key,
}

impl<'a> Working<'a> {
    fn on(engine: &'a Engine, key: &'a Key) -> Self {
        engine.metrics.in_flight(1);
        Self { engine, key }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.engine.metrics.in_flight(-1);
        self.engine.queue.done(self.key);
    }
}
