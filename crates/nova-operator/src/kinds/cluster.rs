//! `NovaCluster local`: which backends there are and how they are, and what the operator cannot see.

use kube::api::{Api, PostParams};
use nova_api::v1alpha1::{NovaCluster, NovaClusterSpec};
use nova_plan::Plan;
use nova_plan::adapters::{BACKENDS, Backend};
use nova_plan::answers::RequestContext;
use nova_plan::cluster::{BackendState, Observed};
use nova_plan::names::{LOCAL_CLUSTER, MANAGED_BY, label};
use serde_json::Value;

use super::wakes::cluster;
use crate::engine::cached_object::{CachedNova, Known};
use crate::engine::cx::Cx;
use crate::engine::health::SILENT;
use crate::engine::interrupt::Interrupt;
use crate::engine::reconcile::Controller;
use crate::engine::relations::{Relations, When, wake};
use crate::engine::request::CALL_TIMEOUT;
use crate::engine::run::BY_AGE;
use crate::engine::store::Index;

impl Controller for NovaCluster {
    const SINGLETON: Option<&'static str> = Some(LOCAL_CLUSTER);

    fn relations(to: &mut Relations) {
        for backend in BACKENDS {
            to.looks_at(backend);
            for kind in backend.tells {
                to.on_child(kind, |_, _| wake([cluster()], When::Background));
            }
        }
        to.on_health(|_, _| wake([cluster()], When::Now));
    }

    fn indexes() -> &'static [Index<CachedNova>] {
        &[BY_AGE]
    }

    async fn ensure(&self, cx: &Cx<'_>, observed: &mut Observed) -> Result<(), Interrupt> {
        observed.backends = BACKENDS
            .iter()
            .map(|backend| {
                let tells = backend.tells.iter().flat_map(|kind| cx.children(kind, "", ""));
                let tells: Vec<Value> = tells.map(|(_, row)| row.live().body).collect();
                BackendState {
                    backend,
                    missing: cx.missing(backend),
                    outage: cx.engine.health.outage(backend).or_else(|| told_before(self, backend, cx)),
                    advice: (backend.advice)(&tells),
                }
            })
            .collect();
        observed.blind_spots = cx.engine.watches.blind_spots();
        Interrupt::unless_empty(observed.problems())
    }

    async fn cleanup(_: &CachedNova, _: &Known<Self>, _: &Cx<'_>, _: &mut Observed) -> Result<(), Interrupt> {
        Ok(())
    }

    /// Makes the object that stands for this cluster where it is absent: tenants without a plan of their own depend on
    /// it, and people look here first.
    async fn absent(cx: &Cx<'_>) -> Result<(), Interrupt> {
        if cx.key.name != LOCAL_CLUSTER {
            return Ok(());
        }
        let mut local = NovaCluster::new(LOCAL_CLUSTER, NovaClusterSpec::default());
        local.metadata.labels = Some([(label::MANAGED_BY.to_owned(), MANAGED_BY.to_owned())].into());
        let api: Api<NovaCluster> = Api::all(cx.engine.client.clone());
        let doing = RequestContext { stage: Self::STAGES[0], object: "NovaCluster local" };
        match cx.ask(doing, CALL_TIMEOUT, api.create(&PostParams::default(), &local)).await? {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(cx.failed(&error, doing, None)),
        }
    }
}

/// That a backend is silent, if that was told before this process began, and it cannot know better yet.
fn told_before(cluster: &NovaCluster, backend: &Backend, cx: &Cx<'_>) -> Option<String> {
    let told = cluster.status.as_ref()?.components.iter().find(|c| c.name == backend.id)?;
    let silent = told.message.as_deref() == Some(SILENT);
    let left = cx.engine.health.time_until_known(backend).filter(|_| silent)?;
    cx.requeue_after(left);
    Some(SILENT.to_owned())
}
