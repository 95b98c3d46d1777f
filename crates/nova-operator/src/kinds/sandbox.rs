//! `NovaSandbox`: a namespace that developers may edit.

use jiff::Timestamp;
use nova_api::Kind;
use nova_api::conditions::Reason;
use nova_api::v1alpha1::NovaSandbox;
use nova_plan::adapters::capsule;
use nova_plan::child::{LIMIT_RANGE, NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, ROLE_BINDING};
use nova_plan::names::{SandboxName, TenantName};
use nova_plan::sandbox::{self, Expiry, Life, Observed, References};
use nova_plan::tenancy;

use super::wakes::{
    BY_UNREADY, sandboxes_on_cluster, sandboxes_on_plan, sandboxes_on_tenant, unready_in, workspace_on_quota,
    workspaces_on_capsule, workspaces_on_namespace,
};
use super::workspace;
use crate::engine::cached_object::{CachedNova, Known};
use crate::engine::cx::Cx;
use crate::engine::events::EventDraft;
use crate::engine::interrupt::Interrupt;
use crate::engine::key::Key;
use crate::engine::reconcile::Controller;
use crate::engine::relations::{Change, Relations, Wake, When, wake};
use crate::engine::run::BY_AGE;
use crate::engine::store::Index;
use crate::engine::stores::Stores;

const KIND: Kind = Kind::NovaSandbox;

/// The namespace of a sandbox, by the names alone.
fn namespace_of(key: &Key) -> Option<String> {
    let tenant = TenantName::from_home(&key.namespace)?;
    Some(tenant.sandbox_namespace(&SandboxName::parse(&key.name).ok()?))
}

fn observe(cx: &Cx<'_>, observed: &mut Observed) {
    let Some(namespace) = namespace_of(cx.key) else { return };
    observed.quota = workspace::quota(cx, &namespace);
    observed.namespace = Some(namespace);
}

/// Room under the plan's number has become free.
fn on_sandbox(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    if change.deleted() {
        wake(unready_in(KIND, &change.at.namespace, stores), When::Background)
    } else {
        Vec::new()
    }
}

/// Deletes a sandbox whose time to live is over, and tells it before.
async fn live_on(sandbox: &NovaSandbox, cx: &Cx<'_>, observed: &mut Observed) -> Result<(), Interrupt> {
    let Some(expiry) = Expiry::of(sandbox)? else { return Ok(()) };
    let Some(row) = cx.get(KIND, &cx.key.namespace, &cx.key.name) else { return Ok(()) };
    observed.expires = Some(expiry.at);
    let tell = |kind, note| {
        let reason = Reason::Expired.as_str().to_owned();
        cx.engine.events.record(cx.key, row.meta(), &EventDraft { kind, reason, note });
    };
    match expiry.life(Timestamp::now()) {
        Life::Long(wait) => cx.requeue_after(wait),
        Life::Short(left) => {
            observed.expires_soon = true;
            cx.requeue_after(left);
            if !sandbox.status.as_ref().is_some_and(|status| status.expires_soon) {
                let fix = "to keep it, make spec.ttl longer or take it out";
                tell("Warning", format!("it is deleted at {:.0}, with everything in it; {fix}", expiry.at));
            }
        }
        Life::Over => {
            observed.expires_soon = true;
            tell("Normal", "its time to live is over: it is deleted".to_owned());
            cx.cascade::<NovaSandbox>(std::slice::from_ref(&row)).await?;
        }
    }
    Ok(())
}

impl Controller for NovaSandbox {
    fn relations(to: &mut Relations) {
        to.owns([&NAMESPACE, &ROLE_BINDING, &LIMIT_RANGE, &RESOURCE_QUOTA, &NETWORK_POLICY])
            .needs(&capsule::BACKEND)
            .on(Kind::NovaCluster, sandboxes_on_cluster)
            .on(Kind::NovaPlan, sandboxes_on_plan)
            .on(Kind::NovaTenant, sandboxes_on_tenant)
            .on(KIND, on_sandbox)
            .on_child(&NAMESPACE, |change, stores| workspaces_on_namespace(change, KIND, stores))
            .on_child(&RESOURCE_QUOTA, |change, _| workspace_on_quota(change, KIND))
            .on_child(&capsule::TENANT, |change, stores| workspaces_on_capsule(change, KIND, stores));
    }

    fn indexes() -> &'static [Index<CachedNova>] {
        &[BY_AGE, BY_UNREADY]
    }

    async fn ensure(&self, cx: &Cx<'_>, observed: &mut Observed) -> Result<(), Interrupt> {
        observe(cx, observed);
        live_on(self, cx, observed).await?;
        let tenant = tenancy::surroundings(self, cx)?;
        observed.suspended = tenant.suspended;
        let older = cx.older(workspace::enough(tenant.max_sandboxes));
        let valid = sandbox::validate(self, References { tenant: &tenant, older })?;
        cx.add_finalizer::<Self>().await?;
        workspace::ensure(self, cx, &tenant, self.spec.quotas.as_ref(), sandbox::build(&valid)).await
    }

    async fn cleanup(
        object: &CachedNova,
        _: &Known<Self>,
        cx: &Cx<'_>,
        observed: &mut Observed,
    ) -> Result<(), Interrupt> {
        observe(cx, observed);
        let Some(namespace) = namespace_of(cx.key) else { return Ok(()) };
        let uid = object.meta().uid.as_str();
        workspace::remove_people(cx, &namespace, uid).await?;
        workspace::remove(cx, &namespace, uid).await
    }
}
