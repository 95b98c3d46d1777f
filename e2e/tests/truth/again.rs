//! Vela gives up after a minute; what failed for a reason that passes is rolled out once more by itself.

use std::time::Instant;

use anyhow::Result;
use e2e::object::{self, Place};
use e2e::{eventually, message};
use kube::api::PostParams;
use serde_json::json;

use crate::{PATIENCE, STAGE};

const TENANT: &str = "again";
const NAMESPACE: &str = "tn-again-app-shop";

#[tokio::test(flavor = "multi_thread")]
async fn what_vela_gave_up_is_rolled_out_once_what_it_needs_is_back() -> Result<()> {
    let world = STAGE.together().await?;
    let documents = [object::tenant(TENANT, &json!({})), object::project(TENANT, "shop", &json!({}))];
    world.apply_until_accepted(&documents, PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let webhook = Place::new("ValidatingWebhookConfiguration", "", "dead");
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
    webhook.api(&world).create(&PostParams::default(), &serde_json::from_value(dead)?).await?;
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"},
        "metadata": {"name": "settings", "labels": {"held": "up"}}});
    let app = object::app(NAMESPACE, "held", &object::manifest(&settings));
    world.apply_until_accepted(&[app], PATIENCE).await?;

    // Vela's own tries take a minute.
    let start = Instant::now();
    let application = Place::new("Application", NAMESPACE, "held");
    eventually("Vela gives up", PATIENCE, async || {
        let held = application.live(&world).await.map_err(|e| e.to_string())?;
        let phase = held.data["status"]["status"].as_str().unwrap_or_default();
        if phase == "workflowFailed" { Ok(()) } else { Err(phase.to_owned()) }
    })
    .await?;
    println!("| Vela gave up after {:.1?} |", start.elapsed());
    let app = Place::new("NovaApp", NAMESPACE, "held");
    eventually("status says who does not answer", PATIENCE, async || {
        let app = app.live(&world).await.map_err(|e| e.to_string())?;
        let words = ["dead.example.com", "tried again"];
        if words.iter().all(|w| message(&app).contains(w)) { Ok(()) } else { Err(message(&app).to_owned()) }
    })
    .await?;

    let start = Instant::now();
    webhook.delete(&world).await?;
    app.ready(&world, PATIENCE).await?;
    println!("| rolled out once more by itself, Ready {:.1?} after the webhook had gone |", start.elapsed());
    Ok(())
}
