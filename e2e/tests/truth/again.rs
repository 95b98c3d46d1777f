//! Vela gives up after a minute; what failed for a reason that passes is rolled out once more by itself.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{World, any, eventually, is_ready, message};
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::SOON;
use crate::cases::{app, apps};

const TENANT: &str = "again";
const NAMESPACE: &str = "tn-again-app-shop";
/// Vela's own tries take a minute.
const GIVES_UP: Duration = Duration::from_mins(2);

pub async fn what_vela_gave_up_is_rolled_out_once_what_it_needs_is_back(world: &World) -> Result<()> {
    let api = "apiVersion: kubenova.io/v1alpha1\n";
    world.apply_once(&format!("{api}kind: NovaTenant\nmetadata: {{name: {TENANT}}}\nspec: {{}}")).await?;
    let project =
        format!("{api}kind: NovaProject\nmetadata: {{name: shop, namespace: tn-{TENANT}}}\nspec: {{}}");
    world.apply_until_accepted(&[project], SOON).await?;
    world.ready(TENANT, SOON).await?;

    let webhooks = any(
        &world.admin,
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    );
    let dead = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "dead"},
        "webhooks": [{
            "name": "dead.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/"},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
            "objectSelector": {"matchLabels": {"held": "up"}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }],
    });
    webhooks.create(&PostParams::default(), &serde_json::from_value(dead)?).await?;
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"name": "settings", "labels": {"held": "up"}}});
    let source = json!({"kind": "kubeManifest", "kubeManifest": {"manifest": settings.to_string()}});
    world.apply_until_accepted(&[app(NAMESPACE, "held", &source)], SOON).await?;

    let start = Instant::now();
    let applications = any(&world.admin, "core.oam.dev", "v1beta1", "Application", "applications");
    eventually("Vela gives up", GIVES_UP, async || {
        let all = applications.list(&kube::api::ListParams::default()).await.map_err(|e| e.to_string())?;
        let held = all.iter().find(|a| a.metadata.name.as_deref() == Some("held")).ok_or("there is none")?;
        let phase = held.data["status"]["status"].as_str().unwrap_or_default();
        if phase == "workflowFailed" { Ok(()) } else { Err(phase.to_owned()) }
    })
    .await?;
    println!("| Vela gave up after {:.1?} |", start.elapsed());
    let held = async || apps(world, NAMESPACE).get("held").await.map_err(|e| e.to_string());
    eventually("status says who does not answer", SOON, async || {
        let app = held().await?;
        let words = ["dead.example.com", "tried again"];
        if words.iter().all(|w| message(&app).contains(w)) { Ok(()) } else { Err(message(&app).to_owned()) }
    })
    .await?;

    let start = Instant::now();
    webhooks.delete("dead", &DeleteParams::default()).await?;
    eventually("it is rolled out once more", GIVES_UP, async || {
        let app = held().await?;
        if is_ready(&app) { Ok(()) } else { Err(message(&app).to_owned()) }
    })
    .await?;
    println!("| rolled out once more by itself, Ready {:.1?} after the webhook had gone |", start.elapsed());
    Ok(())
}
