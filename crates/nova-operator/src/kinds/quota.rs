//! Divides a tenant's plan over the `ResourceQuotas` of its namespaces, one safe step at a time.

use jiff::Timestamp;
use kube::ResourceExt;
use nova_api::conditions::ConditionType;
use nova_plan::Problem;
use nova_plan::child::{ChildKind, ChildRef};
use nova_plan::division::{Hard, Member, divide};
use nova_plan::names::{ProjectName, QUOTA, SandboxName, TenantName, binding_name, role};
use nova_plan::namespace::{Place, amounts_at, hard};
use nova_plan::tenant::{Seen, ValidTenant};
use serde_json::Value;

use crate::context::Context;
use crate::key::Kind;
use crate::stop::Stop;

/// Something a tenant has a namespace for.
struct Workspace {
    namespace: String,
    uid: String,
    own: Hard,
    created: Option<Timestamp>,
}

/// Projects and sandboxes of a tenant, the oldest first.
fn workspaces(ctx: &Context, name: &TenantName) -> Vec<Workspace> {
    let home = name.home();
    let projects = ctx.tables.projects.within(&home, "").into_iter().filter_map(|p| {
        Some(Workspace {
            namespace: name.app_namespace(&ProjectName::parse(&p.name_any()).ok()?),
            uid: p.uid()?,
            own: hard(p.spec.quotas.as_ref()),
            created: p.creation_timestamp().map(|c| c.0),
        })
    });
    let sandboxes = ctx.tables.sandboxes.within(&home, "").into_iter().filter_map(|s| {
        Some(Workspace {
            namespace: name.sandbox_namespace(&SandboxName::parse(&s.name_any()).ok()?),
            uid: s.uid()?,
            own: hard(s.spec.quotas.as_ref()),
            created: s.creation_timestamp().map(|c| c.0),
        })
    });
    let mut all: Vec<Workspace> = projects.chain(sandboxes).collect();
    all.sort_by(|a, b| (a.created, &a.namespace).cmp(&(b.created, &b.namespace)));
    all
}

/// Everything that holds, or is to hold, a share of the tenant's quota: the workspaces first, by age, then what is
/// left of others, such as the namespace of a project whose finalizer somebody took off.
async fn members(ctx: &Context, name: &TenantName) -> Result<Vec<Member>, Stop> {
    let mut left = ctx.children(ChildKind::Namespace).named(&format!("{}-", name.home()));
    let mut members = Vec::new();
    for workspace in workspaces(ctx, name) {
        let Some(at) = left.iter().position(|(name, _)| *name == workspace.namespace) else { continue };
        if left[at].1.owner_uid() != Some(&workspace.uid) {
            continue;
        }
        let (namespace, row) = left.remove(at);
        let manager = binding_name(role::NAMESPACE_MANAGER);
        let bound = ctx.children(ChildKind::RoleBinding).get(&namespace, &manager).is_some();
        let member = member(&namespace, &quota(ctx, &namespace, bound).await?);
        members.push(Member { own: workspace.own, writable: bound && !row.deleting(), ..member });
    }
    for (namespace, _) in left {
        let belongs = nova_plan::names::parse_namespace(&namespace).is_some_and(|(t, _)| t == name.as_str());
        let quota = quota(ctx, &namespace, false).await?;
        if belongs && !quota.is_null() {
            let member = member(&namespace, &quota);
            // It keeps what it has, and nothing grows into it.
            members.push(Member { own: member.asked.clone(), ..member });
        }
    }
    Ok(members)
}

/// The quota of a namespace; null where there is none. One that should be there and is not seen may have lost its
/// label, so the API server is asked before it counts as holding nothing.
async fn quota(ctx: &Context, namespace: &str, expected: bool) -> Result<Value, Stop> {
    if let Some(row) = ctx.children(ChildKind::ResourceQuota).get(namespace, QUOTA) {
        return Ok(row.body());
    }
    if !expected {
        return Ok(Value::Null);
    }
    let at =
        ChildRef { kind: ChildKind::ResourceQuota, namespace: namespace.to_owned(), name: QUOTA.to_owned() };
    Ok(ctx.live(ConditionType::NamespacesReady, &at).await?.unwrap_or_default())
}

fn member(namespace: &str, quota: &Value) -> Member {
    Member {
        namespace: namespace.to_owned(),
        own: Hard::new(),
        asked: amounts_at(quota, "/spec/hard"),
        enforced: amounts_at(quota, "/status/hard"),
        used: amounts_at(quota, "/status/used"),
        writable: false,
    }
}

/// Writes the next step of the division; what does not fit is told, not an error.
pub async fn divide_plan(ctx: &Context, tenant: &ValidTenant, seen: &mut Seen) -> Result<Vec<Problem>, Stop> {
    let members = members(ctx, &tenant.name).await?;
    let division = divide(&tenant.quota, &members);
    let mut problems = Vec::new();
    // Told is what was written, not what was meant to be.
    let mut allocated: Vec<Hard> = members.iter().filter(|m| !m.writable).map(|m| m.asked.clone()).collect();
    for member in members.iter().filter(|m| m.writable) {
        let place = Place { namespace: &member.namespace, owner: &tenant.owner };
        let quota = place.quota(&division.next[&member.namespace]);
        match ctx.apply(Kind::Tenant, ConditionType::NamespacesReady, &quota).await {
            Ok(row) => allocated.push(amounts_at(&row.body(), "/spec/hard")),
            // One namespace in trouble does not hold up the others.
            Err(Stop::Problem(problem)) => {
                allocated.push(member.asked.clone());
                problems.push(*problem);
            }
            Err(stop) => return Err(stop),
        }
    }
    if problems.is_empty() {
        problems = division.problems();
    }
    if problems.is_empty() {
        problems = division.unsettled(&members);
    }
    seen.allocated = allocated;
    seen.used = members.into_iter().map(|m| m.used).collect();
    Ok(problems)
}
