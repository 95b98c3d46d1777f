//! `NovaPlan`: held as long as tenants use it.

use nova_api::Kind;
use nova_api::v1alpha1::NovaPlan;
use nova_plan::names::LOCAL_CLUSTER;
use nova_plan::plans;

use super::wakes::{COUNTS, default_plan, tenants_under};
use crate::engine::cached_object::{CachedNova, Known};
use crate::engine::cx::Cx;
use crate::engine::interrupt::Interrupt;
use crate::engine::key::Key;
use crate::engine::reconcile::Controller;
use crate::engine::relations::{Change, Relations, Wake, When, wake};
use crate::engine::run::BY_AGE;
use crate::engine::store::Index;
use crate::engine::stores::Stores;

/// Who is under a plan is told by the tenants and by the cluster.
const READS: [Kind; 2] = [Kind::NovaCluster, Kind::NovaTenant];

fn plan(name: &str) -> Key {
    Key::new(Kind::NovaPlan, "", name)
}

/// Another default plan: each plan may have gained or lost tenants.
fn on_cluster(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    if !change.spec_or_lifecycle() {
        return Vec::new();
    }
    wake(stores.nova(Kind::NovaPlan).keys().iter().map(|at| plan(&at.name)), When::Background)
}

/// The plans that a tenant was and is under.
fn on_tenant(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    if !change.spec_or_lifecycle() {
        return Vec::new();
    }
    let named = |row: &CachedNova| row.text_at(&["spec", "plan"]).or_else(|| default_plan(stores));
    let plans = [change.old, change.new].into_iter().flatten().filter_map(named);
    wake(plans.map(|name| plan(&name)), When::After(COUNTS))
}

impl Controller for NovaPlan {
    fn relations(to: &mut Relations) {
        to.on(Kind::NovaCluster, on_cluster).on(Kind::NovaTenant, on_tenant);
    }

    fn indexes() -> &'static [Index<CachedNova>] {
        &[BY_AGE]
    }

    async fn ensure(&self, cx: &Cx<'_>, used_by: &mut Vec<String>) -> Result<(), Interrupt> {
        *used_by = tenants_under(&cx.key.name, cx.stores(&READS));
        cx.add_finalizer::<Self>().await
    }

    /// Let go only on the API server's word. A tenant of which the plan cannot be told may be under this one.
    async fn cleanup(
        _: &CachedNova,
        _: &Known<Self>,
        cx: &Cx<'_>,
        used_by: &mut Vec<String>,
    ) -> Result<(), Interrupt> {
        let cluster = cx.list_nova_live(Kind::NovaCluster, "").await?;
        let local = cluster.iter().find(|cluster| cluster.meta().name == LOCAL_CLUSTER);
        let default = local.and_then(|local| local.text_at(&["spec", "defaultPlan"]));
        let tenants = cx.list_nova_live(Kind::NovaTenant, "").await?;
        let uses = |tenant: &&CachedNova| {
            let named = tenant.text_at(&["spec", "plan"]).or_else(|| default.clone());
            tenant.is_text_unknown() || named.as_deref() == Some(cx.key.name.as_str())
        };
        *used_by = tenants.iter().filter(uses).map(|tenant| tenant.meta().name.clone()).collect();
        used_by.sort();
        plans::deletion(used_by).map_or(Ok(()), |problem| Err(problem.into()))
    }
}
