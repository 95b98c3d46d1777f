//! What a developer who means ill can make of an app: whatever is tried, nothing comes of it, and status says the truth.

use anyhow::{Result, ensure};
use e2e::object::{self, kind};
use e2e::{Everything, World, eventually, is_ready, message, quickstart, reason};
use futures::future::try_join_all;
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, DynamicObject, GetParams, ListParams, PostParams, Request};
use nova_testkit::Identity;
use serde_json::json;

use crate::table::{Attack, attacks, image};
use crate::{PATIENCE, STAGE};

const TENANT: &str = "mal";
const NAMESPACE: &str = "tn-mal-app-shop";

/// What may come of apps: their own kinds and what Vela keeps of them, in their namespace, with the names of apps.
const MAY_COME: [&str; 11] = [
    "NovaApp.kubenova.io",
    "Application.core.oam.dev",
    "ApplicationRevision.core.oam.dev",
    "Deployment.apps",
    "ReplicaSet.apps",
    "ControllerRevision.apps",
    "Pod.",
    "Service.",
    "Endpoints.",
    "EndpointSlice.discovery.k8s.io",
    "Ingress.networking.k8s.io",
];

/// The tenant, with room for any number of apps, and the apps as its developer sees them.
async fn set_up(world: &World, tenant: &str) -> Result<Api<DynamicObject>> {
    let plan = format!("roomy-{tenant}");
    let spec = json!({"plan": plan, "deletionPolicy": "Cascade"});
    let mut documents = vec![object::plan(&plan, &json!({})), object::tenant(tenant, &spec)];
    documents.extend(quickstart(tenant)?.drain(2..4));
    world.apply_until_accepted(&documents, PATIENCE).await?;
    world.ready(tenant, PATIENCE).await?;
    let mallory = Identity::user(&format!("mallory@{tenant}.example"), &[&format!("{tenant}-devs")]);
    let mallory = world.plane.client(&mallory).await?;
    Ok(kind("NovaApp").within(&mallory, &format!("tn-{tenant}-app-shop")))
}

/// Alone, because everything in the cluster is compared.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_reaches_no_further_than_its_deployer() -> Result<()> {
    let world = STAGE.alone().await?;
    let apps = set_up(&world, TENANT).await?;
    // A harmless app makes Vela keep what it keeps only once.
    attempt(&apps, &Attack { name: "first", source: image(), traits: json!([]), ends: None }).await?;
    world.silent(None, PATIENCE).await?;
    let before = Everything::list(&world.admin).await?;
    try_join_all(attacks().iter().map(|attack| attempt(&apps, attack))).await?;
    nothing_came_of_it(&before, &Everything::list(&world.admin).await?)?;
    no_pod_reaches_the_host(&world).await
}

/// Nothing was lost or changed, and what came is what apps may have, where they may have it.
fn nothing_came_of_it(before: &Everything, after: &Everything) -> Result<()> {
    let lost = after.lost(before);
    ensure!(lost.is_empty(), "gone after the attacks: {lost:#?}");
    let changed: Vec<String> = after.changed(before);
    ensure!(changed.is_empty(), "changed by the attacks: {changed:#?}");
    let allowed = |key: &str| {
        let (of, place) = key.split_once(' ').unwrap_or_default();
        let here = place.strip_prefix(NAMESPACE).and_then(|rest| rest.strip_prefix('/'));
        match (of, here) {
            // What Vela remembers of the run of a workflow; no other ConfigMap is wanted by any attack.
            ("ConfigMap.", Some(name)) => name.starts_with("workflow-") && name.ends_with("-context"),
            (_, Some(_)) => MAY_COME.contains(&of),
            // A tracker has no namespace, and says in its name whose it is.
            ("ResourceTracker.core.oam.dev", None) => place.ends_with(NAMESPACE),
            // The API server's own record of the address of a Service.
            ("IPAddress.networking.k8s.io", None) => {
                after.0[key].contains(&format!(r#""namespace":"{NAMESPACE}","resource":"services""#))
            }
            (_, None) => false,
        }
    };
    let came = after.beyond(before);
    let stray: Vec<&&str> = came.iter().filter(|key| !allowed(key)).collect();
    ensure!(stray.is_empty(), "came out of the attacks: {stray:#?}");
    println!("{} objects as before, {} came, all of them an app's own", before.0.len(), came.len());
    Ok(())
}

async fn no_pod_reaches_the_host(world: &World) -> Result<()> {
    let pods = kind("Pod").within(&world.admin, NAMESPACE).list(&ListParams::default()).await?;
    ensure!(pods.iter().next().is_some(), "not even the harmless apps have a pod");
    for pod in pods {
        let spec = pod.data["spec"].to_string();
        let bad = ["hostPath", "\"hostNetwork\":true", "\"privileged\":true"];
        ensure!(!bad.iter().any(|b| spec.contains(b)), "{} runs: {spec}", pod.name_any());
    }
    Ok(())
}

/// Alone, because other tests read lists as the operator does, and this app is in them.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_too_deep_to_read_is_told_and_hides_no_other() -> Result<()> {
    let world = STAGE.alone().await?;
    let apps = set_up(&world, "abyss").await?;
    let mallory = world.plane.client(&Identity::user("mallory@abyss.example", &["abyss-devs"])).await?;
    let bottomless = Bottomless::create(&mallory, "tn-abyss-app-shop").await?;
    attempt(&apps, &Attack { name: "beside", source: image(), traits: json!([]), ends: None }).await?;
    bottomless.is_told_and_deleted().await
}

/// An app whose values lie deeper in each other than readers of JSON go, this one included: so it is handled as text.
struct Bottomless {
    client: Client,
    path: Request,
}

impl Bottomless {
    async fn create(client: &Client, namespace: &str) -> Result<Self> {
        let path = Request::new(format!("/apis/kubenova.io/v1alpha1/namespaces/{namespace}/novaapps"));
        let deep = format!("{}1{}", r#"{"a":"#.repeat(300), "}".repeat(300));
        let app = format!(
            r#"{{"apiVersion":"kubenova.io/v1alpha1","kind":"NovaApp","metadata":{{"name":"bottomless"}},"spec":{{
                "source":{{"kind":"velaTemplate","velaTemplate":{{"template":"webservice","parameters":{deep}}}}}}}}}"#
        );
        client.request_text(path.create(&PostParams::default(), app.into_bytes())?).await?;
        Ok(Self { client: client.clone(), path })
    }

    async fn is_told_and_deleted(&self) -> Result<()> {
        let get = || self.path.get("bottomless", &GetParams::default()).map_err(|e| e.to_string());
        eventually("what cannot be read is told so", PATIENCE, async || {
            let text = self.client.request_text(get()?).await.map_err(|e| e.to_string())?;
            let told = ["KN-422", "it cannot be read", "50 levels"].iter().all(|word| text.contains(word));
            if told { Ok(()) } else { Err(text.split("\"status\"").last().unwrap_or_default().to_owned()) }
        })
        .await?;
        self.client.request_text(self.path.delete("bottomless", &DeleteParams::default())?).await?;
        println!("| bottomless | told, and in nobody's way |");
        Ok(())
    }
}

async fn attempt(apps: &Api<DynamicObject>, attack: &Attack) -> Result<()> {
    let Attack { name, source, traits, ends } = attack;
    let app = json!({
        "apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp",
        "metadata": {"name": name},
        "spec": {"source": source, "traits": traits},
    });
    apps.create(&PostParams::default(), &serde_json::from_value(app)?).await?;
    let told = eventually(&format!("the attack {name} ends as {ends:?}"), PATIENCE, async || {
        let live = apps.get(name).await.map_err(|e| e.to_string())?;
        let code = live.data["status"]["lastError"]["code"].as_str().unwrap_or_default();
        let is = match ends {
            None => is_ready(&live),
            Some((wanted, why)) => !is_ready(&live) && code == *wanted && reason(&live) == *why,
        };
        let told = format!("{code} {}: {}", reason(&live), message(&live));
        if is { Ok(told) } else { Err(told) }
    })
    .await?;
    println!("| {name} | {told} |");
    Ok(())
}
