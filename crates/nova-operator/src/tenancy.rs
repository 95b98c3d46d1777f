//! What others need to know of a tenant: which one a namespace is of, and whether it can be carried out. No request.

use std::sync::Arc;

use kube::ResourceExt;
use nova_api::conditions::{Code, ConditionType, Reason};
use nova_api::v1alpha1::NovaTenant;
use nova_plan::Problem;
use nova_plan::adapters::capsule;
use nova_plan::child::ChildKind;
use nova_plan::names::{LOCAL_CLUSTER, TenantName, default_dev_group_of, is_default_dev_group_of};
use nova_plan::tenant::{self, References, ValidTenant, plan_in_force};

use crate::context::{Context, Tabled};

/// Checks a tenant against what the tables hold; no request.
pub fn valid(ctx: &Context, tenant: &NovaTenant) -> Result<ValidTenant, Problem> {
    let cluster = ctx.tables.clusters.get("", LOCAL_CLUSTER);
    let plan = plan_in_force(tenant, cluster.as_deref()).and_then(|(name, _)| ctx.tables.plans.get("", name));
    let holder = dev_group_holder(ctx, tenant);
    let refs = References {
        plan: plan.as_deref(),
        cluster: cluster.as_deref(),
        dev_group_holder: holder.as_deref(),
    };
    tenant::validate(tenant, &refs)
}

/// The older tenant that has the developer group already.
fn dev_group_holder(ctx: &Context, tenant: &NovaTenant) -> Option<String> {
    let default = default_dev_group_of(tenant.metadata.name.as_deref()?);
    let mine = tenant.spec.dev_group.as_deref().unwrap_or(&default);
    // Looks at every tenant in every pass, so it takes no copies.
    let has_mine = |t: &NovaTenant| match (&t.spec.dev_group, &t.metadata.name) {
        (Some(group), _) => group == mine,
        (None, Some(name)) => is_default_dev_group_of(mine, name),
        (None, None) => false,
    };
    let age = |t: &NovaTenant| t.creation_timestamp().map(|c| c.0);
    let older = |t: &NovaTenant| (age(t), &t.metadata.name) < (age(tenant), &tenant.metadata.name);
    let holder =
        ctx.tables.tenants.find(|t| t.metadata.uid != tenant.metadata.uid && has_mine(t) && older(t));
    holder?.metadata.name.clone()
}

/// Capsule's CRDs are not there.
pub fn capsule_missing() -> Problem {
    let object = format!("CustomResourceDefinition {}", capsule::CRD);
    Problem::new(
        ConditionType::DependenciesMet,
        Reason::CapabilityMissing,
        object,
        "Capsule is not installed",
    )
    .code(Code::Kn422)
    .fix("install Capsule; this goes on by itself then")
}

/// The tenant in whose home namespace an object is, if the namespace is that tenant's.
pub fn of_home(ctx: &Context, namespace: &str, me: &str) -> Result<Arc<NovaTenant>, Problem> {
    let stage = ConditionType::DependenciesMet;
    let name = TenantName::from_home(namespace);
    let tenant = name.as_ref().and_then(|n| ctx.tables.tenants.get("", n.as_str()));
    let home = ctx.children(ChildKind::Namespace).get("", namespace);
    match (name, tenant, home) {
        (Some(_), Some(tenant), Some(home)) if home.owner_uid() == tenant.uid().as_deref() => {
            if tenant.metadata.deletion_timestamp.is_some() {
                return Err(Problem::missing(stage, tenant.title(), "it is being deleted"));
            }
            Ok(tenant)
        }
        (Some(name), _, _) => Err(Problem::missing(
            stage,
            format!("NovaTenant {name}"),
            format!("it does not exist, or {namespace} is not its home namespace yet"),
        )
        .fix(format!("create NovaTenant {name}; this goes on by itself then"))),
        (None, _, _) => {
            Err(Problem::invalid(stage, me, format!("{namespace} is no home namespace of a tenant"))
                .code(Code::Kn403)
                .fix("create it in tn-<tenant>"))
        }
    }
}
