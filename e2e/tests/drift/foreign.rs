//! What has our name and is not ours: told in status, never written to, and the way is free once it is gone.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::object::{Place, Says};
use e2e::{Together, World, quickstart};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use nova_testkit::{Entry, Mark};
use serde_json::{Value, json};

use crate::owned::{ours, whole};
use crate::{PATIENCE, STAGE};

/// How long what is foreign is watched, after status has told of it.
const WATCHED: Duration = Duration::from_secs(3);

async fn create(world: &World, place: &Place, body: &Value) -> Result<DynamicObject> {
    let created =
        place.api(world).create(&PostParams::default(), &serde_json::from_value(body.clone())?).await;
    created.with_context(|| format!("create {place}"))
}

/// Deletes what has the name and creates another, while the operator holds still: it is quick to put its own back.
pub async fn replace(world: &Together, place: &Place, body: &Value) -> Result<(DynamicObject, Mark)> {
    let replaced = async {
        // What it has sent before it held still is done, and in the audit log.
        world.plane.audit().settle().await;
        place.api(world).delete(&place.name, &DeleteParams::default()).await?;
        let placed = create(world, place, body).await?;
        Ok((placed, world.mark().await?))
    };
    world.operator().held(replaced).await
}

/// The part of an object that was written down is in it as it was written.
fn holds(part: &Value, object: &Value) -> bool {
    match (part, object) {
        (Value::Object(part), Value::Object(all)) => {
            part.iter().all(|(key, value)| all.get(key).is_some_and(|found| holds(value, found)))
        }
        _ => part == object,
    }
}

/// The foreign object is as it was made, and the operator has sent no write for it. Others may complete it.
pub async fn untouched(world: &World, place: &Place, placed: &DynamicObject, since: Mark) -> Result<()> {
    tokio::time::sleep(WATCHED).await;
    let live = place.live(world).await?;
    ensure!(live.uid() == placed.uid(), "{place} is another one");
    ensure!(ours(&live).is_empty(), "the operator has applied {place}: {:?}", live.managed_fields());
    let mut made = whole(placed);
    if let Some(map) = made.as_object_mut() {
        map.remove("status");
    }
    made["metadata"] =
        if placed.labels().is_empty() { json!({}) } else { json!({"labels": placed.labels()}) };
    let found = whole(&live);
    ensure!(holds(&made, &found), "{place} was {made} and is {found}");
    let mut writes = world.operator_writes(since).await?;
    writes.retain(|w| w.object.resource == place.kind.plural && w.object.subresource.is_empty());
    writes.retain(|w| w.object.name == place.name && w.object.namespace == place.namespace);
    // A write that is bound to the object which was there before is refused by the API server, as it should be.
    let writes: Vec<_> = writes.iter().filter(|w| w.succeeded()).map(Entry::summary).collect();
    ensure!(writes.is_empty(), "the operator wrote to {place}: {writes:#?}");
    Ok(())
}

/// Deletes the foreign object and waits for its end; ours may be in its place by then.
pub async fn gone(world: &World, place: &Place, placed: &DynamicObject) -> Result<()> {
    place.delete(world).await?;
    place.another_than(world, &placed.uid().unwrap_or_default(), PATIENCE).await
}

/// It is told by `teller`, untouched, and once it is gone everything of the tenant is Ready.
async fn in_the_way(
    world: &World,
    tenant: &str,
    place: &Place,
    (placed, since): (DynamicObject, Mark),
    (teller, reason): (&Place, &str),
) -> Result<()> {
    let says = Says { reason, code: "KN-409", blocker: &place.name, words: &[] };
    let message = teller.says(world, &says, PATIENCE).await?;
    untouched(world, place, &placed, since).await?;
    gone(world, place, &placed).await?;
    let start = Instant::now();
    world.ready(tenant, PATIENCE).await?;
    println!("| {place} is foreign | {message} | Ready {:.1?} after its end |", start.elapsed());
    Ok(())
}

/// Meets a tenant with what was there before it; so many files of the quickstart are applied.
async fn there_before(
    tenant: &str,
    place: &Place,
    (labels, spec): (Value, Value),
    (teller, reason): (&Place, &str),
    files: usize,
) -> Result<()> {
    let world = STAGE.together().await?;
    let mut body = json!({
        "apiVersion": place.kind.api_version(), "kind": place.kind.kind,
        "metadata": {"name": place.name, "labels": labels},
    });
    if !spec.is_null() {
        body["spec"] = spec;
    }
    let placed = create(&world, place, &body).await?;
    let mark = world.mark().await?;
    world.apply_until_accepted(&quickstart(tenant)?[..files], PATIENCE).await?;
    in_the_way(&world, tenant, place, (placed, mark), (teller, reason)).await
}

/// A namespace of a tenant.
fn namespace(tenant: &str, suffix: &str) -> Place {
    Place::new("Namespace", "", &format!("tn-{tenant}{suffix}"))
}

const PLAIN: (Value, Value) = (Value::Null, Value::Null);
const IN_THE_WAY: &str = "NamespaceConflict";

#[tokio::test(flavor = "multi_thread")]
async fn a_home_namespace_that_was_there_before_is_never_touched() -> Result<()> {
    const TENANT: &str = "squat-home";
    let teller = Place::new("NovaTenant", "", TENANT);
    // A home that is in the way refuses nothing at admission: the tenant alone is applied.
    there_before(TENANT, &namespace(TENANT, ""), PLAIN, (&teller, IN_THE_WAY), 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_home_namespace_with_a_forged_label_is_never_touched() -> Result<()> {
    const TENANT: &str = "squat-forged";
    let forged = json!({
        "app.kubernetes.io/managed-by": "kubenova",
        "kubenova.io/owner-uid": "11111111-2222-4333-8444-555555555555",
    });
    let teller = Place::new("NovaTenant", "", TENANT);
    there_before(TENANT, &namespace(TENANT, ""), (forged, Value::Null), (&teller, IN_THE_WAY), 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_namespace_that_was_there_before_is_never_touched() -> Result<()> {
    const TENANT: &str = "squat-project";
    let teller = Place::new("NovaProject", "tn-squat-project", "shop");
    there_before(TENANT, &namespace(TENANT, "-app-shop"), PLAIN, (&teller, IN_THE_WAY), 4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_namespace_that_was_there_before_is_never_touched() -> Result<()> {
    const TENANT: &str = "squat-play";
    let teller = Place::new("NovaSandbox", "tn-squat-play", "dev");
    there_before(TENANT, &namespace(TENANT, "-sandbox-dev"), PLAIN, (&teller, IN_THE_WAY), 4).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capsule_tenant_that_was_there_before_is_never_touched() -> Result<()> {
    const TENANT: &str = "squat-capsule";
    let spec = json!({"owners": [{"kind": "User", "name": "somebody"}]});
    let teller = Place::new("NovaTenant", "", TENANT);
    let place = Place::new("Tenant", "", TENANT);
    there_before(TENANT, &place, (Value::Null, spec), (&teller, "Conflict"), 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_was_there_before_its_app_is_never_touched() -> Result<()> {
    const TENANT: &str = "before";
    let world = STAGE.together().await?;
    let documents = quickstart(TENANT)?;
    world.apply_until_accepted(&documents[..4], PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let inside = format!("tn-{TENANT}-app-shop");
    let (place, app) = (Place::new("Application", &inside, "web"), Place::new("NovaApp", &inside, "web"));
    let body = json!({
        "apiVersion": place.kind.api_version(), "kind": "Application",
        "metadata": {"name": "web", "namespace": inside},
        "spec": {"components": [{"name": "other", "type": "webservice", "properties": {"image": "other:1"}}]},
    });
    let placed = create(&world, &place, &body).await?;
    let mark = world.mark().await?;
    world.apply_until_accepted(&documents[4..], PATIENCE).await?;
    in_the_way(&world, TENANT, &place, (placed, mark), (&app, "Conflict")).await
}

/// A binding, a quota and an account in place of ours.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_the_place_of_a_child_is_never_touched() -> Result<()> {
    const TENANT: &str = "between";
    let world = STAGE.together().await?;
    world.apply_until_accepted(&quickstart(TENANT)?[..4], PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let (home, inside) = (format!("tn-{TENANT}"), format!("tn-{TENANT}-app-shop"));
    let reader = json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubenova-app-reader"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "somebody"}],
    });
    let quota = json!({"spec": {"hard": {"pods": "7"}}});
    let project = Place::new("NovaProject", &home, "shop");
    let tenant = Place::new("NovaTenant", "", TENANT);
    for (of, name, mut body, teller) in [
        ("RoleBinding", "kubenova-app-reader-binding", reader, &project),
        ("ResourceQuota", "kubenova-quota", quota, &tenant),
        ("ServiceAccount", "kubenova-deployer", json!({}), &project),
    ] {
        let place = Place::new(of, &inside, name);
        body["apiVersion"] = place.kind.api_version().into();
        body["kind"] = of.into();
        body["metadata"] = json!({"name": name, "namespace": inside});
        let placed = replace(&world, &place, &body).await?;
        in_the_way(&world, TENANT, &place, placed, (teller, "Conflict")).await?;
    }
    Ok(())
}
