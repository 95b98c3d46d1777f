//! Start, work, stop: watches first, then workers, and at the end what is in flight is finished.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::Client;
use nova_api::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaSandbox, NovaTenant};
use nova_plan::child::ChildKind;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::backoff::Backoff;
use crate::context::{Backends, Context, Tables};
use crate::key::{Key, Kind};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::queue::Queue;
use crate::reconcile::measured;
use crate::since::Since;
use crate::watches::{self, LEAVES};

/// Objects worked on at once, all kinds together.
const IN_FLIGHT: usize = 32;

/// Longest wait at the start for the first lists of backends' kinds.
const BACKENDS: Duration = Duration::from_secs(30);

/// How the operator is run.
#[derive(Clone)]
pub struct Settings {
    /// Client of the operator's identity. Turn kube's own retries off: the queue retries.
    pub client: Client,
    /// Id of the current trace, as hex; empty where there is none.
    pub request_id: fn() -> String,
    /// Fills the `request_id` of a pass into its span.
    pub mark: fn(&tracing::Span),
}

/// The operator.
pub struct Operator {
    ctx: Arc<Context>,
    ready: watch::Sender<bool>,
    mark: fn(&tracing::Span),
}

impl Operator {
    /// Prepares an operator; nothing happens before [`Operator::run`].
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let tables = Tables {
            children: ChildKind::ALL.into_iter().map(|kind| (kind, Arc::default())).collect(),
            leaves: LEAVES.iter().map(|(_, _, kind, _)| (*kind, Arc::default())).collect(),
            ..Tables::default()
        };
        let ctx = Context {
            client: settings.client,
            tables,
            queue: Arc::new(Queue::default()),
            backoff: Backoff::default(),
            retries: Backoff::default(),
            lacking: Since::default(),
            pace: Pace::default(),
            metrics: Arc::new(Metrics::default()),
            backends: Backends::default(),
            owners: Mutex::new(HashMap::new()),
            request_id: settings.request_id,
        };
        Self { ctx: Arc::new(ctx), ready: watch::Sender::new(false), mark: settings.mark }
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.ctx.metrics.clone()
    }

    /// True from the moment when every kind was listed once.
    #[must_use]
    pub fn ready(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// Works until `stop` resolves, then finishes what is in flight, at most for `grace`.
    pub async fn run(self, stop: impl Future<Output = ()> + Send, grace: Duration) {
        let mut watching = JoinSet::new();
        watches::start(&self.ctx, &mut watching);
        let work = async {
            self.synced().await;
            let mut optional = watches::Optional::default();
            optional.start(&self.ctx, &mut watching);
            let listed = async {
                for table in optional.tables(&self.ctx) {
                    table.synced().await;
                }
            };
            // A backend that is broken must not keep those who do not need it from being served.
            if tokio::time::timeout(BACKENDS, listed).await.is_err() {
                tracing::warn!("objects of a backend cannot be listed; what needs them waits");
            }
            crate::cluster::create_local(&self.ctx).await;
            self.ready.send_replace(true);
            tracing::info!(queued = self.ctx.queue.depth(), "every kind is listed; work begins");
            let mut look = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    _ = look.tick() => optional.start(&self.ctx, &mut watching),
                    // A watch goes on for ever; one that ends has panicked, and without it decisions would be blind.
                    ended = watching.join_next() => {
                        tracing::error!(?ended, "a watch has ended; the operator stops, to be started anew");
                        return;
                    }
                }
            }
        };
        let mut passes = JoinSet::new();
        tokio::select! {
            () = stop => {}
            () = work => {}
            () = self.workers(&mut passes) => {}
        }
        self.ready.send_replace(false);
        self.ctx.queue.close();
        tracing::info!(in_flight = passes.len(), "stopping");
        let finish = async { while passes.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, finish).await.is_err() {
            tracing::warn!(
                "what was in flight did not finish in time and is given up; it is planned anew at the next start"
            );
        }
    }

    async fn synced(&self) {
        let tables = &self.ctx.tables;
        tables.clusters.synced().await;
        tables.plans.synced().await;
        tables.tenants.synced().await;
        tables.projects.synced().await;
        tables.sandboxes.synced().await;
        tables.apps.synced().await;
        tables.crds.synced().await;
        tables.webhooks.synced().await;
        for (kind, table) in &tables.children {
            if !matches!(kind, ChildKind::CapsuleTenant | ChildKind::Application) {
                table.synced().await;
            }
        }
        for (_, table) in &tables.leaves {
            table.synced().await;
        }
    }

    /// Takes keys from the queue once everything was listed; never more than the bound at once.
    async fn workers(&self, passes: &mut JoinSet<()>) {
        // The sender lives in `self`, so the channel cannot close meanwhile.
        let _ = self.ready().wait_for(|ready| *ready).await;
        let places = Arc::new(Semaphore::new(IN_FLIGHT));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let Some(key) = self.ctx.queue.next().await else { return };
            while passes.try_join_next().is_some() {}
            let ctx = self.ctx.clone();
            let mark = self.mark;
            passes.spawn(async move {
                one(&ctx, &key, mark).await;
                drop(place);
            });
        }
    }
}

/// One pass, in a span of its own.
async fn one(ctx: &Context, key: &Key, mark: fn(&tracing::Span)) {
    let span = tracing::info_span!(
        "reconcile",
        controller = key.kind.as_str(),
        object = %key,
        tenant = key.tenant_name(),
        request_id = tracing::field::Empty,
    );
    mark(&span);
    let _working = Working::on(ctx, key);
    dispatch(ctx, key).instrument(span).await;
}

/// A key that is worked on. However that ends, it is free again then.
struct Working<'a> {
    ctx: &'a Context,
    key: &'a Key,
}

impl<'a> Working<'a> {
    fn on(ctx: &'a Context, key: &'a Key) -> Self {
        ctx.metrics.in_flight(1);
        Self { ctx, key }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.ctx.metrics.in_flight(-1);
        self.ctx.queue.done(self.key);
    }
}

async fn dispatch(ctx: &Context, key: &Key) {
    match key.kind {
        Kind::Cluster => {
            crate::cluster::create_local(ctx).await;
            measured::<NovaCluster>(ctx, key).await;
        }
        Kind::Plan => measured::<NovaPlan>(ctx, key).await,
        Kind::Tenant => measured::<NovaTenant>(ctx, key).await,
        Kind::Project => measured::<NovaProject>(ctx, key).await,
        Kind::Sandbox => measured::<NovaSandbox>(ctx, key).await,
        Kind::App => measured::<NovaApp>(ctx, key).await,
    }
}
