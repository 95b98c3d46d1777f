//! `NovaPlan`: held as long as tenants use it.

use jiff::Timestamp;
use kube::{Resource, ResourceExt};
use nova_api::v1alpha1::{NovaPlan, NovaPlanStatus};
use nova_plan::names::LOCAL_CLUSTER;
use nova_plan::tenant::plan_in_force;
use nova_plan::verdict::Stages;
use nova_plan::{Outcome, plan};

use crate::context::Context;
use crate::reconcile::Reconcile;
use crate::stop::Stop;

fn used_by(ctx: &Context, name: &str) -> Vec<String> {
    let cluster = ctx.tables.clusters.get("", LOCAL_CLUSTER);
    let tenants = ctx.tables.tenants.all();
    tenants
        .iter()
        .filter(|t| plan_in_force(t, cluster.as_deref()).is_some_and(|(plan, _)| plan == name))
        .map(|t| t.name_any())
        .collect()
}

impl Reconcile for NovaPlan {
    type Seen = Vec<String>;

    const STAGES: Stages = plan::STAGES;

    async fn attempt(&self, ctx: &Context, seen: &mut Vec<String>) -> Result<(), Stop> {
        *seen = used_by(ctx, &self.name_any());
        ctx.hold(self).await
    }

    async fn cleanup(&self, ctx: &Context, seen: &mut Vec<String>) -> Result<(), Stop> {
        *seen = used_by(ctx, self.meta().name.as_deref().unwrap_or_default());
        plan::deletion(seen).map_or(Ok(()), |problem| Err(problem.into()))
    }

    fn judge(&self, _: &Context, seen: &Vec<String>, outcome: &Outcome, now: Timestamp) -> NovaPlanStatus {
        plan::status(self, seen, outcome, now)
    }
}
