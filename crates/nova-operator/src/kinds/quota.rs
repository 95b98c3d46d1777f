//! Divides a tenant's plan over the `ResourceQuotas` of its namespaces, one safe step at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use nova_api::Kind;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{NovaProject, NovaSandbox, Quotas};
use nova_plan::Problem;
use nova_plan::answers::RequestContext;
use nova_plan::child::{ChildRef, Live, NAMESPACE, RESOURCE_QUOTA};
use nova_plan::division::{Hard, Member, divide};
use nova_plan::names::{ProjectName, QUOTA, SandboxName, TenantName, parse_namespace, role};
use nova_plan::namespace::{NamespaceBuilder, amounts_at, hard, is_uncounted};
use nova_plan::tenant::{Observed, ValidTenant};

use super::workspace::binding_ref;
use crate::engine::cx::Cx;
use crate::engine::interrupt::Interrupt;

/// The quota controller counts a new quota within this, if it knows what to count.
const COUNTED: Duration = Duration::from_secs(5);

/// Has a quota counted that was made before the quota controller knew what to count: it is made anew.
pub async fn recount(cx: &Cx<'_>, quota: &ChildRef, owner_uid: &str) -> Result<(), Interrupt> {
    let Some(row) = cx.cached(quota).filter(|row| is_uncounted(&row.live())) else { return Ok(()) };
    let age = row.created().map(|created| Timestamp::now().duration_since(created)).unwrap_or_default();
    match COUNTED.checked_sub(Duration::try_from(age).unwrap_or_default()) {
        Some(left) if !left.is_zero() => {
            cx.requeue_after(left);
            Ok(())
        }
        _ => cx.prune(quota, owner_uid).await,
    }
}

/// Something a tenant has a namespace for.
struct Workspace {
    namespace: String,
    uid: String,
    /// Its own quotas; none where they are not known, because it cannot be read or a quantity does not parse.
    own: Option<Hard>,
    created: Option<Timestamp>,
}

/// Projects and sandboxes of a tenant, the oldest first.
fn workspaces(cx: &Cx<'_>, name: &TenantName) -> Vec<Workspace> {
    let home = name.home();
    let projects = cx.list(Kind::NovaProject, &home).into_iter().filter_map(|(at, row)| {
        let namespace = name.app_namespace(&ProjectName::parse(&at.name).ok()?);
        let own = row.read::<NovaProject>().ok().map(|p| p.spec.quotas.clone());
        Some((namespace, row, own))
    });
    let sandboxes = cx.list(Kind::NovaSandbox, &home).into_iter().filter_map(|(at, row)| {
        let namespace = name.sandbox_namespace(&SandboxName::parse(&at.name).ok()?);
        let own = row.read::<NovaSandbox>().ok().map(|s| s.spec.quotas.clone());
        Some((namespace, row, own))
    });
    let workspace = |(namespace, row, own): (String, _, Option<Option<Quotas>>)| {
        let row: crate::engine::cached_object::CachedNova = row;
        Workspace {
            namespace,
            uid: row.meta().uid.clone(),
            own: own.and_then(|own| hard(own.as_ref()).ok()),
            created: row.meta().created,
        }
    };
    let mut all: Vec<Workspace> = projects.chain(sandboxes).map(workspace).collect();
    all.sort_by(|a, b| (a.created, &a.namespace).cmp(&(b.created, &b.namespace)));
    all
}

/// Everything that holds, or is to hold, a share of the tenant's quota: the workspaces first, by age, then what is
/// left of others, such as the namespace of a project whose finalizer somebody took off.
async fn members(cx: &Cx<'_>, name: &TenantName) -> Result<Vec<Member>, Interrupt> {
    let namespaces = cx.children(&NAMESPACE, "", &format!("{}-", name.home()));
    let mut left: BTreeMap<String, _> = namespaces.into_iter().map(|(at, row)| (at.name, row)).collect();
    let mut members = Vec::new();
    for workspace in workspaces(cx, name) {
        let ours = left.get(&workspace.namespace).is_some_and(|row| row.owner_uid() == Some(&workspace.uid));
        let Some((namespace, row)) = left.remove_entry(&workspace.namespace).filter(|_| ours) else {
            continue;
        };
        let bound = cx.cached(&binding_ref(&namespace, role::NAMESPACE_MANAGER)).is_some();
        let member = member(&namespace, quota(cx, &namespace, bound).await?.as_ref());
        // What is not known to be asked for stays as it is: an amount that is not known is never no limit.
        let writable = bound && !row.deleting() && workspace.own.is_some();
        let own = workspace.own.unwrap_or_else(|| member.asked.clone());
        members.push(Member { own, writable, ..member });
    }
    for namespace in left.into_keys() {
        let belongs = parse_namespace(&namespace).is_some_and(|(tenant, _)| tenant == name.as_str());
        let quota = if belongs { quota(cx, &namespace, false).await? } else { None };
        if let Some(quota) = quota {
            let member = member(&namespace, Some(&quota));
            // It keeps what it has, and nothing grows into it.
            members.push(Member { own: member.asked.clone(), ..member });
        }
    }
    Ok(members)
}

/// The quota of a namespace. One that should be there and is not seen may have lost its label, so the API server is asked
/// before it counts as holding nothing.
async fn quota(cx: &Cx<'_>, namespace: &str, expected: bool) -> Result<Option<Live>, Interrupt> {
    let at = ChildRef::new(&RESOURCE_QUOTA, namespace, QUOTA);
    if let Some(row) = cx.cached(&at) {
        return Ok(Some(row.live()));
    }
    if !expected {
        return Ok(None);
    }
    let object = at.to_string();
    cx.get_live(RequestContext { stage: ConditionType::NamespacesReady, object: &object }, &at).await
}

fn member(namespace: &str, quota: Option<&Live>) -> Member {
    let amounts = |pointer| quota.map(|quota| amounts_at(&quota.body, pointer)).unwrap_or_default();
    Member {
        namespace: namespace.to_owned(),
        own: Hard::new(),
        asked: amounts("/spec/hard"),
        enforced: amounts("/status/hard"),
        used: amounts("/status/used"),
        writable: false,
    }
}

/// Writes the next step of the division; what does not fit is told, not an error.
pub async fn divide_plan(
    cx: &Cx<'_>,
    tenant: &ValidTenant,
    observed: &mut Observed,
) -> Result<Vec<Problem>, Interrupt> {
    let members = members(cx, &tenant.name).await?;
    let division = divide(&tenant.quota, &members);
    let mut problems = Vec::new();
    // Told is what was written, not what was meant to be.
    let mut allocated: Vec<Hard> = members.iter().filter(|m| !m.writable).map(|m| m.asked.clone()).collect();
    for member in members.iter().filter(|m| m.writable) {
        let place = NamespaceBuilder { namespace: &member.namespace, owner: &tenant.owner };
        let quota = place.quota(&division.next[&member.namespace]);
        match cx.apply(ConditionType::NamespacesReady, &quota).await {
            Ok(row) => allocated.push(amounts_at(&row.live().body, "/spec/hard")),
            // One namespace in trouble does not hold up the others.
            Err(Interrupt::Problem(problem)) => {
                allocated.push(member.asked.clone());
                problems.push(*problem);
            }
            Err(interrupt) => return Err(interrupt),
        }
    }
    if problems.is_empty() {
        problems = division.problems();
    }
    if problems.is_empty() {
        problems = division.unsettled(&members);
    }
    observed.allocated = allocated;
    observed.used = members.into_iter().map(|m| m.used).collect();
    Ok(problems)
}
