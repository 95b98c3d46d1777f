//! What people write costs the operator little, refused or not: large objects, deep ones, and those that would deceive a
//! reader.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{OperatorProcess, Stage, World, eventually, message, object, reason};
use kube::api::{Api, DynamicObject, PostParams};
use nova_testkit::Options;
use serde_json::{Value, json};

const CONVERGES: Duration = Duration::from_mins(5);
/// Large objects that are written, near the largest that the API server stores.
const APPS: usize = 20;
const DEPLOYMENTS: usize = 6;
const LARGE: usize = 1_400_000;
/// What a hundred of them may add, and so these.
const MOST_MORE: u64 = 64 * 1024 * 1024;
/// What a start with them may take.
const MOST_AT_START: u64 = 256 * 1024 * 1024;

static STAGE: Stage = Stage::new(Options::default);

fn app(name: &str, parameters: &Value) -> Result<DynamicObject> {
    let object = json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp",
        "metadata": {"name": name, "namespace": "tn-acme-app-shop"},
        "spec": {"source": {"kind": "velaTemplate", "velaTemplate": {"template": "worker", "parameters": parameters}}}});
    serde_json::from_value(object).context("make an app")
}

/// Many small maps: as a tree they take a hundred times their text.
fn maps() -> Value {
    json!({"x": vec![json!({"": 0}); LARGE / 7]})
}

fn apps(world: &World) -> Api<DynamicObject> {
    object::kind("NovaApp").within(&world.admin, "tn-acme-app-shop")
}

fn deployments(world: &World) -> Api<DynamicObject> {
    object::kind("Deployment").within(&world.admin, "tn-acme-sandbox-dev")
}

/// A Deployment without replicas that carries an app's label, as anybody may write one in a sandbox.
fn deployment(n: usize) -> Result<DynamicObject> {
    let labels = json!({"app.oam.dev/name": "web"});
    let env = vec![json!({"name": "a"}); LARGE / 14];
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("large-{n}"), "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "nginx:1", "env": env}]}}}});
    serde_json::from_value(object).context("make a deployment")
}

async fn told(world: &World, name: &str, words: &str) -> Result<()> {
    eventually(&format!("{name} is told"), CONVERGES, async || {
        let app = apps(world).get(name).await.map_err(|e| e.to_string())?;
        let told = reason(&app) == "Invalid" && message(&app).contains(words);
        if told { Ok(()) } else { Err(app.data["status"].to_string()) }
    })
    .await
}

fn memory(operator: &OperatorProcess) -> Result<(u64, u64)> {
    let usage = operator.usage().context("measure the operator")?;
    Ok((usage.memory, usage.peak_memory))
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_cost_the_operator_little_and_deep_ones_do_not_end_it() -> Result<()> {
    let world = STAGE.alone().await?;
    let mut documents = e2e::quickstart("acme")?;
    documents[0] = documents[0].replace("maxAppsPerProject: 20", "maxAppsPerProject: 100");
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready("acme", CONVERGES).await?;
    let operator = world.take_operator().await?;
    let (before, _) = memory(&operator)?;

    let large = maps();
    let names: Vec<String> = (0..APPS).map(|n| format!("large-{n}")).collect();
    // One after the other: the API server takes seconds for each.
    for name in &names {
        apps(&world)
            .create(&PostParams::default(), &app(name, &large)?)
            .await
            .context("write a large app")?;
    }
    for n in 0..DEPLOYMENTS {
        deployments(&world)
            .create(&PostParams::default(), &deployment(n)?)
            .await
            .context("write a deployment")?;
    }
    for name in &names {
        told(&world, name, "is not read").await?;
    }
    let (after, peak) = memory(&operator)?;
    println!(
        "{APPS} apps and {DEPLOYMENTS} deployments of {LARGE} bytes: {} MiB more, peak {} MiB",
        (after.saturating_sub(before)) >> 20,
        peak >> 20
    );
    ensure!(after.saturating_sub(before) <= MOST_MORE, "{} bytes more", after - before);

    // serde_json reads the text under this key as JSON, with its limit of depth beginning anew.
    let mut magic = json!("[]");
    for _ in 0..12 {
        magic = json!({"$serde_json::private::RawValue": format!("{}{magic}{}", "[".repeat(100), "]".repeat(100))});
    }
    let deep = (0..500).fold(json!(1), |inside, _| json!({"a": inside}));
    apps(&world).create(&PostParams::default(), &app("magic", &json!({"x": magic}))?).await?;
    apps(&world).create(&PostParams::default(), &app("deep", &deep)?).await?;
    told(&world, "magic", "serde_json").await?;
    told(&world, "deep", "cannot be read").await?;

    // A start reads them all.
    operator.stop().await;
    let operator = world.start_operator(None).await?;
    world.apply_until_accepted(&[e2e::quickstart("acme")?[4].replace("1.29", "1.28")], CONVERGES).await?;
    eventually("the app follows", CONVERGES, async || {
        let web = apps(&world).get("web").await.map_err(|e| e.to_string())?;
        if e2e::is_ready(&web) { Ok(()) } else { Err(web.data["status"].to_string()) }
    })
    .await?;
    let (settled, peak) = memory(&operator)?;
    println!("started with them: {} MiB, peak {} MiB", settled >> 20, peak >> 20);
    ensure!(peak <= MOST_AT_START, "a start took {peak} bytes");
    Ok(())
}
