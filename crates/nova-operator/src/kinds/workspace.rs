//! What projects and sandboxes share: a namespace of a tenant, filled in the right order, emptied in the reverse.

use std::time::Duration;

use jiff::Timestamp;
use nova_api::NovaKind;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{DeletionPolicy, NamespaceQuota, Quotas};
use nova_plan::adapters::{capsule, vela};
use nova_plan::answers::RequestContext;
use nova_plan::child::{ChildRef, NAMESPACE, Ownership, RESOURCE_QUOTA, ROLE_BINDING, ownership};
use nova_plan::deletion::{DELETING, foreign_application, waiting};
use nova_plan::names::{OBJECTS, QUOTA, binding_name, finalizer, role};
use nova_plan::namespace::Children;
use nova_plan::tenancy;
use nova_plan::tenant::ValidTenant;
use nova_plan::workspace::{capsule_problem, enforced_quota, lack, share_problem};
use serde_json::{Map, Value, json};

use crate::engine::cached_object::{CachedNova, CachedObject, Known};
use crate::engine::cx::Cx;
use crate::engine::interrupt::Interrupt;

/// Shares move within moments when a workspace comes or goes; what lasts longer is a lack.
const MOVING: Duration = Duration::from_secs(3);

/// The deletion policy, from where a kind keeps it. One that cannot be read blocks: nothing is deleted on a guess.
pub fn deletion_policy<K>(known: &Known<K>, of: impl FnOnce(&K) -> DeletionPolicy) -> DeletionPolicy {
    match known {
        Known::Readable(object) => of(object),
        Known::MetadataOnly => DeletionPolicy::Block,
    }
}

/// Makes a workspace so, and tells what it lacks; `quotas` are its own. In a suspended tenant what is there stays as it
/// was, and its namespace is marked before anything else.
pub async fn ensure<K: NovaKind>(
    workspace: &K,
    cx: &Cx<'_>,
    tenant: &ValidTenant,
    quotas: Option<&Quotas>,
    children: Children,
) -> Result<(), Interrupt> {
    let (at, owner_uid) = (children.namespace.at.clone(), children.namespace.owner_uid.clone());
    let there = cx.cached(&at).is_some();
    if tenant.suspended && (!there || tenancy::asks_for_more(workspace)) {
        if there {
            cx.apply(ConditionType::NamespacesReady, &children.namespace).await?;
        }
        return Err(tenancy::held(tenant.name.as_str()).into());
    }
    if let Some(objects) = &children.objects {
        super::quota::recount(cx, &objects.at, &owner_uid).await?;
    }
    let carried_out = cx.carry_out(children, &owner_uid).await;
    let share = lacking(cx, &at.name, quotas);
    carried_out?;
    let capsule = cx.cached(&capsule::tenant_ref(tenant.name.as_str()));
    let namespace = cx.cached(&at);
    let taken_in = capsule.zip(namespace).and_then(|(capsule, namespace)| {
        let view = capsule.view::<capsule::Tenant>().cloned().unwrap_or_default();
        capsule_problem(tenant.name.as_str(), &view, &at.name, namespace.uid(), namespace.created())
    });
    Interrupt::unless_empty(share.into_iter().chain(taken_in).collect())
}

/// A share that is smaller than the workspace's own `quotas`, or nothing at all: told as a lack once it lasts.
fn lacking(cx: &Cx<'_>, namespace: &str, own: Option<&Quotas>) -> Option<nova_plan::Problem> {
    let quota = cx.cached(&ChildRef::new(&RESOURCE_QUOTA, namespace, QUOTA)).map(|row| row.live());
    let Some(quota) = quota.filter(|quota| lack(quota, own).is_some()) else {
        cx.engine.stopwatch.clear(cx.key);
        return None;
    };
    let since = cx.engine.stopwatch.elapsed(cx.key);
    let lasting = since >= MOVING;
    if !lasting {
        cx.requeue_after(MOVING.saturating_sub(since));
    }
    share_problem(namespace, &quota, own, lasting)
}

/// Quota of a namespace as the cluster enforces it.
pub fn quota(cx: &Cx<'_>, namespace: &str) -> Option<NamespaceQuota> {
    enforced_quota(&cx.cached(&ChildRef::new(&RESOURCE_QUOTA, namespace, QUOTA))?.live())
}

/// Nobody makes a Nova object in a namespace any more: a cascade would never overtake who makes them without end. What is
/// there can be changed still, for whoever has to take a finalizer off.
pub async fn let_nothing_in(cx: &Cx<'_>, namespace: &str, owner_uid: &str) -> Result<(), Interrupt> {
    let at = ChildRef::new(&RESOURCE_QUOTA, namespace, OBJECTS);
    let ours = |row: &CachedObject| row.owner_uid() == Some(owner_uid) && !row.deleting();
    let Some(live) = cx.cached(&at).filter(ours).map(|row| row.live()) else { return Ok(()) };
    let hard = live.body.pointer("/spec/hard").and_then(Value::as_object).into_iter().flatten();
    let open: Map<String, Value> =
        hard.filter(|(_, most)| *most != "0").map(|(key, _)| (key.clone(), json!("0"))).collect();
    if open.is_empty() {
        return Ok(());
    }
    let version = live.text("/metadata/resourceVersion");
    cx.merge(&at, &json!({"metadata": {"resourceVersion": version}, "spec": {"hard": open}})).await
}

/// Closes the door to people.
pub async fn remove_people(cx: &Cx<'_>, namespace: &str, owner_uid: &str) -> Result<(), Interrupt> {
    for cluster_role in [role::PROJECT_OWNER, role::PROJECT_DEV, role::APP_READER, role::SANDBOX_EDITOR] {
        cx.prune(&binding_ref(namespace, cluster_role), owner_uid).await?;
    }
    Ok(())
}

/// Where the binding of a role is.
pub fn binding_ref(namespace: &str, cluster_role: &str) -> ChildRef {
    ChildRef::new(&ROLE_BINDING, namespace, &binding_name(cluster_role))
}

/// True when the namespace itself is being deleted. Asks the API server before it says so.
pub async fn is_going(cx: &Cx<'_>, namespace: &str) -> Result<bool, Interrupt> {
    let at = ChildRef::cluster(&NAMESPACE, namespace);
    if !cx.cached(&at).is_some_and(|row| row.deleting()) {
        return Ok(false);
    }
    let object = at.to_string();
    let doing = RequestContext { stage: ConditionType::NamespacesReady, object: &object };
    Ok(cx.get_live(doing, &at).await?.is_some_and(|live| live.deleting()))
}

/// Lets the deployer's binding go once it is being deleted and Vela needs it no more. In a namespace that stays it is
/// made anew right after.
pub async fn release_deployer_binding(cx: &Cx<'_>, namespace: &str) -> Result<(), Interrupt> {
    let at = binding_ref(namespace, role::APP_DEPLOYER);
    let Some(binding) = cx.cached(&at).filter(CachedObject::deleting) else { return Ok(()) };
    // Not from the store: the news that the binding goes may come before that of its namespace.
    let place = ChildRef::cluster(&NAMESPACE, namespace);
    let object = place.to_string();
    let doing = RequestContext { stage: ConditionType::AccessReady, object: &object };
    let stays = cx.get_live(doing, &place).await?.is_some_and(|live| !live.deleting());
    let needed = !stays && !cx.list_live(&vela::APPLICATION, namespace).await?.is_empty();
    if needed { Ok(()) } else { cx.remove_child_finalizer(&at, &binding, finalizer::APPLICATIONS).await }
}

/// Takes the deployer's rights away, where no app needs them any more; `Ok` when they are gone.
pub async fn remove_deployer_binding(cx: &Cx<'_>, namespace: &str, owner_uid: &str) -> Result<(), Interrupt> {
    release_deployer_binding(cx, namespace).await?;
    cx.remove(&binding_ref(namespace, role::APP_DEPLOYER), owner_uid).await
}

/// True when the namespace was made for an object, or is not there. Asks the API server.
pub async fn is_ours(cx: &Cx<'_>, namespace: &str, owner_uid: &str) -> Result<bool, Interrupt> {
    let at = ChildRef::cluster(&NAMESPACE, namespace);
    let object = at.to_string();
    let doing = RequestContext { stage: DELETING, object: &object };
    let live = cx.get_live(doing, &at).await?;
    Ok(live.is_none_or(|live| ownership(&live, owner_uid) == Ownership::Ours))
}

/// Takes the namespace away; `Ok` when it is gone.
pub async fn remove(cx: &Cx<'_>, namespace: &str, owner_uid: &str) -> Result<(), Interrupt> {
    cx.remove(&ChildRef::cluster(&NAMESPACE, namespace), owner_uid).await
}

/// Waits until the Applications of a namespace are gone: Vela takes down what they made.
pub async fn applications_gone(cx: &Cx<'_>, namespace: &str) -> Result<(), Interrupt> {
    let left = cx.list_live(&vela::APPLICATION, namespace).await?;
    let lives: Vec<_> = left.iter().map(CachedObject::live).collect();
    // The one that is deleted longest tells most.
    let first = lives.iter().min_by_key(|live| {
        let since = live.text("/metadata/deletionTimestamp");
        (since.is_none(), since.map(str::to_owned))
    });
    let Some(first) = first else { return Ok(()) };
    let at = ChildRef::new(&vela::APPLICATION, namespace, first.text("/metadata/name").unwrap_or_default());
    if !first.deleting() && first.body.pointer("/metadata/ownerReferences").is_none() {
        let names: Vec<&str> = lives.iter().filter_map(|live| live.text("/metadata/name")).collect();
        return Err(foreign_application(&at, &names).into());
    }
    Err(waiting(&at, first, Timestamp::now()).into())
}

/// Names of Nova objects.
pub fn names(objects: &[CachedNova]) -> Vec<&str> {
    objects.iter().map(|object| object.meta().name.as_str()).collect()
}

/// How many of a kind a namespace has, for a plan's number: one more than it allows is enough to know.
pub fn enough(most: Option<i32>) -> usize {
    most.and_then(|most| usize::try_from(most).ok()).map_or(0, |most| most + 1)
}
