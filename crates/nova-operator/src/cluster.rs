//! `NovaCluster local`: which backends there are and how they are.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, Patch, PatchParams, PostParams};
use nova_api::v1alpha1::{NovaCluster, NovaClusterSpec, NovaClusterStatus};
use nova_plan::Outcome;
use nova_plan::adapters::{capsule, vela};
use nova_plan::child::ChildKind;
use nova_plan::cluster::{self, Backend, Seen};
use nova_plan::names::{LOCAL_CLUSTER, MANAGED_BY, annotation, label};
use nova_plan::verdict::Stages;
use serde_json::json;

use crate::context::{Context, Tabled};
use crate::key::Key;
use crate::reconcile::Reconcile;
use crate::row::Row;
use crate::stop::{self, Stop};

/// How often a backend that is away is asked whether it is back.
/// Twelve times a minute, as often as anything is tried.
const PROBE: Duration = Duration::from_secs(5);

impl Reconcile for NovaCluster {
    type Seen = Seen;

    const STAGES: Stages = cluster::STAGES;

    async fn attempt(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        if ctx.backends.capsule_words().is_some() {
            let wait = ctx.backends.probe_in(PROBE);
            if wait.is_zero() {
                probe_capsule(ctx).await;
            }
            ctx.queue.add_after(self.key(), if wait.is_zero() { PROBE } else { wait });
        }
        let webhooks: Vec<_> = ctx.tables.webhooks.all().iter().map(Row::body).collect();
        seen.capsule = Backend {
            installed: ctx.installed(capsule::CRD),
            unavailable: ctx.backends.capsule_words(),
            advice: capsule::webhook_advice(&webhooks),
        };
        let silent = ctx.backends.vela_silent.load(Ordering::Relaxed);
        seen.vela = Backend {
            installed: ctx.installed(vela::CRD),
            unavailable: silent.then(|| "Applications wait for it and it does not act".to_owned()),
            advice: None,
        };
        match seen.outcome() {
            Outcome::Applied => Ok(()),
            Outcome::Stopped(problems) => Err(Stop::Problems(problems)),
        }
    }

    async fn cleanup(&self, _: &Context, _: &mut Seen) -> Result<(), Stop> {
        Ok(())
    }

    fn judge(&self, _: &Context, seen: &Seen, _: &Outcome, now: Timestamp) -> NovaClusterStatus {
        cluster::status(self, seen, now)
    }
}

/// Asks Capsule's webhook about a namespace of a tenant, without changing anything.
async fn probe_capsule(ctx: &Context) {
    let namespaces = ctx.children(ChildKind::Namespace).all();
    let Some(namespace) = namespaces.into_iter().find(|row| row.owner_uid().is_some() && !row.deleting())
    else {
        ctx.capsule_is_back();
        return;
    };
    let name = namespace.body()["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let patch = json!({"metadata": {"annotations": {annotation::PROBE: Timestamp::now().to_string()}}});
    let params = PatchParams::default().dry_run();
    let patch = Patch::Merge(&patch);
    let silent = |error: &kube::Error| match error {
        kube::Error::Api(status) => stop::silent_webhook(status).is_some_and(stop::is_capsule),
        _ => true,
    };
    match tokio::time::timeout(stop::CALL_TIMEOUT, api.patch(&name, &params, &patch)).await {
        Ok(Err(error)) if silent(&error) => {}
        Err(_) => {}
        Ok(_) => ctx.capsule_is_back(),
    }
}

/// Makes the object that stands for this cluster where it is absent: tenants without a plan of their own depend
/// on it, and the probe of a backend that is away is driven by it.
pub async fn create_local(ctx: &Context) {
    if ctx.tables.clusters.get("", LOCAL_CLUSTER).is_some() {
        return;
    }
    let mut local = NovaCluster::new(LOCAL_CLUSTER, NovaClusterSpec::default());
    local.metadata.labels = Some([(label::MANAGED_BY.to_owned(), MANAGED_BY.to_owned())].into());
    let api: Api<NovaCluster> = Api::all(ctx.client.clone());
    let error =
        match tokio::time::timeout(stop::CALL_TIMEOUT, api.create(&PostParams::default(), &local)).await {
            Ok(Ok(_)) => return,
            Ok(Err(kube::Error::Api(status))) if status.is_already_exists() => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
    tracing::warn!(error, "NovaCluster local could not be created; it is tried again");
    ctx.queue.add_after(Key::cluster(), PROBE);
}
