//! `NovaSandbox`: a namespace that developers may edit.

use jiff::Timestamp;
use kube::ResourceExt;
use nova_api::v1alpha1::{NovaSandbox, NovaSandboxStatus};
use nova_plan::Outcome;
use nova_plan::names::{SandboxName, TenantName};
use nova_plan::sandbox::{self, References, Seen};
use nova_plan::verdict::Stages;

use crate::context::Context;
use crate::reconcile::Reconcile;
use crate::stop::Stop;
use crate::workspace;

/// The namespace of a sandbox, by the names alone.
fn namespace_of(sandbox: &NovaSandbox) -> Option<String> {
    let tenant = TenantName::from_home(&sandbox.namespace()?)?;
    Some(tenant.sandbox_namespace(&SandboxName::parse(&sandbox.name_any()).ok()?))
}

fn look(ctx: &Context, sandbox: &NovaSandbox, seen: &mut Seen) {
    let Some(namespace) = namespace_of(sandbox) else { return };
    seen.quota = workspace::quota(ctx, &namespace);
    seen.namespace = Some(namespace);
}

impl Reconcile for NovaSandbox {
    type Seen = Seen;

    const STAGES: Stages = sandbox::STAGES;

    async fn attempt(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        look(ctx, self, seen);
        let place = workspace::surroundings(ctx, self)?;
        let older = ctx.older(self).len();
        let valid = sandbox::validate(self, References { tenant: &place.tenant, older })?;
        ctx.hold(self).await?;
        let children = sandbox::build(&valid, place.capsule.uid());
        place.make(ctx, self, self.spec.quotas.as_ref(), children).await
    }

    async fn cleanup(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        look(ctx, self, seen);
        let Some(namespace) = namespace_of(self) else { return Ok(()) };
        let uid = self.uid().unwrap_or_default();
        workspace::close(ctx, &namespace, &uid).await?;
        workspace::remove(ctx, &namespace, &uid).await
    }

    fn judge(&self, _: &Context, seen: &Seen, outcome: &Outcome, now: Timestamp) -> NovaSandboxStatus {
        sandbox::status(self, seen, outcome, now)
    }
}
