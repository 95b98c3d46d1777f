//! What projects and sandboxes share: a namespace of a tenant, filled in the right order, emptied in the reverse.

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{NamespaceQuota, NovaTenant, Quotas};
use nova_plan::Problem;
use nova_plan::adapters::capsule::{self, Answer};
use nova_plan::child::{Child, ChildKind, ChildRef};
use nova_plan::names::{QUOTA, binding_name, role};
use nova_plan::namespace::{Children, amounts_at, hard, shown};
use nova_plan::quantity::Amount;
use nova_plan::tenant::{ValidTenant, capsule_ref};

use crate::context::Context;
use crate::key::Kind;
use crate::observe::Row;
use crate::stop::Stop;
use crate::tenant;

/// The tenant of a workspace and its Capsule tenant, ready to make namespaces in.
pub fn surroundings(ctx: &Context, namespace: &str, me: &str) -> Result<(ValidTenant, Row), Problem> {
    let nova = tenant::of_home(ctx, namespace, me)?;
    let stage = ConditionType::DependenciesMet;
    let waits = |message: String| Problem::missing(stage, format!("NovaTenant {}", name(&nova)), message);
    let valid = tenant::valid(ctx, &nova).map_err(|problem| {
        waits(format!("it is not ready: {}: {}", problem.object, problem.message))
            .fix(problem.fix.clone())
            .class(problem.class)
    })?;
    if !ctx.installed(capsule::CRD) {
        return Err(tenant::capsule_missing());
    }
    let row = ctx.child(&capsule_ref(valid.name.as_str()));
    let ours = row.filter(|row| row.owner_uid() == Some(valid.owner.uid.as_str()) && !row.deleting());
    let row = ours.ok_or_else(|| waits("its Capsule Tenant is not there yet".to_owned()))?;
    Ok((valid, row))
}

fn name(tenant: &NovaTenant) -> &str {
    tenant.metadata.name.as_deref().unwrap_or_default()
}

/// Applies the children in their order: what limits the namespace comes before the first person may enter it.
pub async fn apply(ctx: &Context, kind: Kind, owner_uid: &str, children: Children) -> Result<Row, Stop> {
    let Children { namespace, manager, limits, network_policies, accounts, bindings, absent, quota } =
        children;
    let apply = async |stage, child: &Child| ctx.apply(kind, stage, child).await;
    let row = apply(ConditionType::NamespacesReady, &namespace).await?;
    apply(ConditionType::NamespacesReady, &manager).await?;
    apply(ConditionType::NamespacesReady, &limits).await?;
    for policy in &network_policies {
        apply(ConditionType::NamespacesReady, policy).await?;
    }
    for account in &accounts {
        apply(ConditionType::NamespacesReady, account).await?;
    }
    if ctx.child(&quota).is_none() {
        let message = "the tenant has not given it a share of the plan yet";
        return Err(Problem::progress(ConditionType::NamespacesReady, quota, message).into());
    }
    for binding in &bindings {
        apply(ConditionType::AccessReady, binding).await?;
    }
    ctx.prune(&absent, owner_uid).await?;
    Ok(row)
}

/// What Capsule says of a namespace. While it is away its last word counts: what was made stays as it was asked for.
pub fn capsule_problem(tenant: &ValidTenant, capsule: &Row, namespace: &Row, name: &str) -> Option<Problem> {
    let at = capsule_ref(tenant.name.as_str());
    let stage = ConditionType::TenantSynced;
    match capsule::status(&capsule.body()).namespace(name, namespace.uid(), namespace.created()) {
        Answer::Ready => None,
        Answer::Pending => {
            Some(Problem::progress(stage, &at, format!("Capsule has not taken {name} in yet")))
        }
        Answer::Failed(words) => Some(
            Problem::new(stage, Reason::BackendUnavailable, &at, format!("of {name}: {words}"))
                .code(Code::Kn503)
                .fix(format!(
                    "see what Capsule says: kubectl describe tenants.capsule.clastix.io {}",
                    tenant.name
                )),
        ),
    }
}

/// What every container needs: a namespace with none of it runs nothing.
const NEEDED: [&str; 3] = ["pods", "requests.cpu", "requests.memory"];
/// Shares move within moments when a workspace comes or goes; what lasts longer is a lack.
const MOVING: std::time::Duration = std::time::Duration::from_secs(3);

/// A share that is smaller than the workspace's own `quotas`, or nothing at all.
pub fn share_problem(ctx: &Context, namespace: &str, own: Option<&Quotas>) -> Option<Problem> {
    let row = ctx.children(ChildKind::ResourceQuota).get(namespace, QUOTA)?;
    let asked = amounts_at(&row.body(), "/spec/hard");
    let own = hard(own);
    let short = own.iter().find(|(key, wanted)| asked.get(*key).is_some_and(|got| got < *wanted));
    let none =
        || NEEDED.iter().find(|key| !own.contains_key(**key) && asked.get(**key) == Some(&Amount::ZERO));
    let message = match short {
        Some((key, wanted)) => {
            format!("it has {} of {key}, not the {wanted} that spec.quotas asks for", asked[key])
        }
        None => format!("nothing of {} is left for it of the tenant's plan", none()?),
    };
    let object = format!("ResourceQuota {namespace}/{QUOTA}");
    let stage = ConditionType::NamespacesReady;
    if row.seen_at().elapsed() < MOVING {
        return Some(Problem::progress(stage, object, message));
    }
    let fix = "lower spec.quotas of this or of another project or sandbox of the tenant, or move the tenant to a larger plan";
    Some(
        Problem::new(stage, Reason::QuotaExceeded, object, message)
            .code(Code::Kn429)
            .class(BlockerClass::User)
            .fix(fix),
    )
}

/// Quota of a namespace as the cluster enforces it; none where nothing is limited, because the API server makes null
/// of an empty object in a status that is applied, and then refuses the whole.
pub fn quota(ctx: &Context, namespace: &str) -> Option<NamespaceQuota> {
    let body = ctx.children(ChildKind::ResourceQuota).get(namespace, QUOTA)?.body();
    let quota = NamespaceQuota {
        hard: shown(&amounts_at(&body, "/status/hard")),
        used: shown(&amounts_at(&body, "/status/used")),
    };
    (quota != NamespaceQuota::default()).then_some(quota)
}

/// Closes the door to people.
pub async fn close(ctx: &Context, namespace: &str, owner_uid: &str) -> Result<(), Stop> {
    for cluster_role in [role::PROJECT_OWNER, role::PROJECT_DEV, role::APP_READER, role::SANDBOX_EDITOR] {
        let at = ChildRef {
            kind: ChildKind::RoleBinding,
            namespace: namespace.to_owned(),
            name: binding_name(cluster_role),
        };
        if ctx.child(&at).is_some() {
            ctx.remove(&at, owner_uid).await?;
        }
    }
    Ok(())
}

/// Takes the namespace away; `Ok` when it is gone.
pub async fn remove(ctx: &Context, namespace: &str, owner_uid: &str) -> Result<(), Stop> {
    let at = ChildRef { kind: ChildKind::Namespace, namespace: String::new(), name: namespace.to_owned() };
    ctx.remove(&at, owner_uid).await
}
