//! What has our name and is not ours: told in status, never written to, and the way is free once it is gone.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use e2e::{World, eventually, is_ready, message, quickstart, reason};
use futures::future::try_join_all;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use nova_plan::child::ChildKind;
use nova_testkit::Mark;
use serde_json::{Value, json};

use crate::PATIENCE;

/// Longest time from the foreign object's end to Ready.
const HEALS: Duration = Duration::from_secs(15);

/// Which Nova object has to tell of it, and how.
pub struct Told<'a> {
    pub kind: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    pub reason: &'a str,
}

/// Objects of a kind in a namespace, or all if it is cluster-scoped.
pub fn api(client: &Client, kind: ChildKind, namespace: &str) -> Api<DynamicObject> {
    let (group, version, name, plural) = kind.gvk();
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, name), plural);
    if kind.cluster_scoped() {
        Api::all_with(client.clone(), &resource)
    } else {
        Api::namespaced_with(client.clone(), namespace, &resource)
    }
}

/// Deletes what has the name and creates another, again and again: the operator is quick to put its own back.
pub async fn replace(api: &Api<DynamicObject>, body: &Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(body.clone())?;
    for _ in 0..200 {
        let _ = api.delete(&object.name_any(), &DeleteParams::default()).await;
        match api.create(&PostParams::default(), &object).await {
            Ok(placed) => return Ok(placed),
            Err(kube::Error::Api(status)) if [409, 403].contains(&status.code) => {}
            Err(error) => bail!(error),
        }
    }
    bail!("the operator was always faster")
}

/// Waits until the Nova object tells of the foreign one with KN-409, and returns its message.
pub async fn stands_in_the_way(world: &World, told: &Told<'_>, foreign: &str) -> Result<String> {
    let plural = match told.kind {
        "NovaSandbox" => "novasandboxes".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let all = e2e::any(&world.admin, "kubenova.io", "v1alpha1", told.kind, &plural);
    eventually("status tells of the foreign object", PATIENCE, async || {
        let list = all.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let live = list
            .into_iter()
            .find(|o| o.name_any() == told.name && o.namespace().unwrap_or_default() == told.namespace)
            .ok_or("it is gone")?;
        let code = live.data["status"]["lastError"]["code"].as_str().unwrap_or_default();
        let blocker = live.data["status"]["blockers"][0]["object"].as_str().unwrap_or_default();
        if !is_ready(&live) && reason(&live) == told.reason && code == "KN-409" && blocker.contains(foreign) {
            Ok(message(&live).to_owned())
        } else {
            Err(format!("{} {code} {blocker}: {}", reason(&live), message(&live)))
        }
    })
    .await
}

/// The foreign object is as it was made, and the operator has sent no write for it.
pub async fn untouched(
    world: &World,
    api: &Api<DynamicObject>,
    placed: &DynamicObject,
    since: Mark,
) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(3)).await;
    let name = placed.name_any();
    let live = api.get(&name).await?;
    // A controller of Kubernetes may add to a status; spec, labels and managers of fields are what was made.
    assert_eq!(live.uid(), placed.uid(), "{name} is another one");
    let without_status = |o: &DynamicObject| {
        let managers = o.managed_fields().iter().filter(|m| m.subresource.as_deref() != Some("status"));
        (
            managers.cloned().collect::<Vec<_>>(),
            o.labels().clone(),
            o.data["spec"].clone(),
            o.data["roleRef"].clone(),
        )
    };
    assert_eq!(without_status(&live), without_status(placed), "{name} was written to");
    let kind = placed.types.as_ref().map(|t| t.kind.to_lowercase()).unwrap_or_default();
    let placed_at = placed.creation_timestamp().map(|t| t.0);
    let writes: Vec<_> = world
        .operator_writes(since)
        .await?
        .into_iter()
        // The operator may have put its own back a moment before the foreign one came.
        .filter(|w| w.received.zip(placed_at).is_none_or(|(at, made)| at.as_second() > made.as_second()))
        // A conditional write for the object that was there before is refused by the API server, as it should be.
        .filter(nova_testkit::Entry::succeeded)
        .filter(|w| w.object.name == name && w.object.resource.starts_with(kind.trim_end_matches('y')))
        .filter(|w| w.object.namespace == placed.namespace().unwrap_or_default())
        .map(|w| w.summary())
        .collect();
    assert!(writes.is_empty(), "the operator wrote to {kind} {name}: {writes:#?}");
    Ok(())
}

/// Deletes the foreign object and waits for its end; ours may be in its place by then.
async fn gone(api: &Api<DynamicObject>, placed: &DynamicObject) -> Result<()> {
    let name = placed.name_any();
    api.delete(&name, &DeleteParams::default()).await?;
    eventually(&format!("the foreign {name} is gone"), PATIENCE, async || match api.get_opt(&name).await {
        Ok(Some(live)) if live.uid() == placed.uid() => Err("it is there".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
    .await
}

/// A tenant that meets something which was there before it.
struct Before {
    tenant: &'static str,
    kind: ChildKind,
    name: String,
    labels: Value,
    told: (&'static str, bool, &'static str, &'static str),
    /// How many files of the quickstart are applied.
    files: usize,
}

fn before() -> Vec<Before> {
    let namespace = |tenant, suffix: &str, labels, told| Before {
        tenant,
        kind: ChildKind::Namespace,
        name: format!("tn-{tenant}{suffix}"),
        labels,
        told,
        files: 4,
    };
    let forged = json!({
        "app.kubernetes.io/managed-by": "kubenova",
        "kubenova.io/owner-uid": "11111111-2222-4333-8444-555555555555",
    });
    let tenant = |name| ("NovaTenant", false, name, "NamespaceConflict");
    vec![
        namespace("squat-home", "", json!({}), tenant("squat-home")),
        namespace("squat-forged", "", forged, tenant("squat-forged")),
        namespace(
            "squat-project",
            "-app-shop",
            json!({}),
            ("NovaProject", true, "shop", "NamespaceConflict"),
        ),
        namespace("squat-play", "-sandbox-dev", json!({}), ("NovaSandbox", true, "dev", "NamespaceConflict")),
        Before {
            tenant: "squat-capsule",
            kind: ChildKind::CapsuleTenant,
            name: "squat-capsule".to_owned(),
            labels: json!({}),
            told: ("NovaTenant", false, "squat-capsule", "Conflict"),
            files: 2,
        },
    ]
}

/// Namespaces and Capsule tenants that are there before the tenant, one of them with a forged label.
pub async fn what_was_there_before_is_never_touched(world: &World) -> Result<()> {
    let cases = before();
    try_join_all(cases.iter().map(|case| there_before(world, case))).await?;
    Ok(())
}

async fn there_before(world: &World, case: &Before) -> Result<()> {
    let Before { tenant, kind, name, labels, told, files } = case;
    let (group, version, kind_name, _) = kind.gvk();
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut body =
        json!({"apiVersion": api_version, "kind": kind_name, "metadata": {"name": name, "labels": labels}});
    if *kind == ChildKind::CapsuleTenant {
        body["spec"] = json!({"owners": [{"kind": "User", "name": "somebody"}]});
    }
    let objects = api(&world.admin, *kind, "");
    objects
        .create(&PostParams::default(), &serde_json::from_value(body)?)
        .await
        .context("the foreign one")?;
    // Capsule completes what is its own; a moment later it is as it will stay.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let placed = objects.get(name).await?;
    let mark = world.mark().await?;
    let documents = quickstart(tenant)?;
    let home = format!("tn-{tenant}");
    // A home that is in the way refuses nothing at admission: the tenant alone is applied first.
    let first = if told.0 == "NovaTenant" { 2 } else { *files };
    world.apply_until_accepted(&documents[..first], PATIENCE).await?;
    let (told_kind, namespaced, told_name, told_reason) = *told;
    let told = Told {
        kind: told_kind,
        namespace: if namespaced { &home } else { "" },
        name: told_name,
        reason: told_reason,
    };
    let message = stands_in_the_way(world, &told, name).await?;
    untouched(world, &objects, &placed, mark).await?;
    gone(&objects, &placed).await?;
    let start = Instant::now();
    world.ready(tenant, HEALS).await?;
    println!(
        "| {kind:?} {name} was there before | {message} | Ready {:.1?} after its end |",
        start.elapsed()
    );
    Ok(())
}

/// Objects inside our namespaces: an Application before its app, and others in place of ours.
pub async fn what_came_between_is_never_touched(world: &World) -> Result<()> {
    const TENANT: &str = "between";
    let documents = quickstart(TENANT)?;
    world.apply_until_accepted(&documents[..4], PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let app = format!("tn-{TENANT}-app-shop");
    let home = format!("tn-{TENANT}");

    let application = json!({
        "apiVersion": "core.oam.dev/v1beta1", "kind": "Application",
        "metadata": {"name": "web", "namespace": app},
        "spec": {"components": [{"name": "other", "type": "webservice", "properties": {"image": "other:1"}}]},
    });
    let applications = api(&world.admin, ChildKind::Application, &app);
    applications.create(&PostParams::default(), &serde_json::from_value(application)?).await?;
    // Vela adds a finalizer and labels of its own first.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let placed = applications.get("web").await?;
    let mark = world.mark().await?;
    world.apply_until_accepted(&documents[4..], PATIENCE).await?;
    let told = Told { kind: "NovaApp", namespace: &app, name: "web", reason: "Conflict" };
    let message = stands_in_the_way(world, &told, "web").await?;
    untouched(world, &applications, &placed, mark).await?;
    gone(&applications, &placed).await?;
    let start = Instant::now();
    world.ready(TENANT, HEALS).await?;
    println!(
        "| Application web was there before | {message} | Ready {:.1?} after its end |",
        start.elapsed()
    );

    let metadata = |name: &str| json!({"name": name, "namespace": app});
    let reader = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": metadata("kubenova-app-reader-binding"),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubenova-app-reader"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "somebody"}],
    });
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata("kubenova-quota"),
        "spec": {"hard": {"pods": "7"}}});
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("kubenova-deployer")});
    let project = |name| Told { kind: "NovaProject", namespace: &home, name, reason: "Conflict" };
    let tenant = Told { kind: "NovaTenant", namespace: "", name: TENANT, reason: "Conflict" };
    for (kind, body, told) in [
        (ChildKind::RoleBinding, reader, project("shop")),
        (ChildKind::ResourceQuota, quota, tenant),
        (ChildKind::ServiceAccount, account, project("shop")),
    ] {
        let objects = api(&world.admin, kind, &app);
        let mark = world.mark().await?;
        let placed = replace(&objects, &body).await?;
        let name = placed.name_any();
        let message = stands_in_the_way(world, &told, &name).await?;
        untouched(world, &objects, &placed, mark).await?;
        gone(&objects, &placed).await.context("remove it")?;
        let start = Instant::now();
        world.ready(TENANT, HEALS).await?;
        println!(
            "| {kind:?} {name} came between | {message} | Ready {:.1?} after its end |",
            start.elapsed()
        );
    }
    Ok(())
}
