//! What people write costs the operator little, refused or not: large objects, deep ones, and those that would deceive a
//! reader.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{OperatorProcess, Stage, World, eventually, message, object, reason};
use kube::api::{Api, DynamicObject, GetParams, PostParams, Request};
use nova_testkit::Options;
use serde_json::json;

const CONVERGES: Duration = Duration::from_mins(5);
/// Apps near the largest that the API server stores: a page of a list, and one more.
const LARGE_APPS: usize = 26;
/// Apps and deployments near the largest that the operator reads.
const READ_APPS: usize = 6;
const DEPLOYMENTS: usize = 3;
const LARGE: usize = 1_400_000;
const READ: usize = 600_000;
/// What a hundred objects may add, refused or not.
const MOST_MORE: u64 = 64 * 1024 * 1024;
/// What a start with a hundred may take; no more than a page of them is in memory as it came.
const MOST_AT_START: u64 = 256 * 1024 * 1024;

static STAGE: Stage = Stage::new(Options::default);

fn app(name: &str, parameters: &str) -> String {
    format!(
        r#"{{"apiVersion":"kubenova.io/v1alpha1","kind":"NovaApp","metadata":{{"name":"{name}"}},"spec":{{
            "source":{{"kind":"velaTemplate","velaTemplate":{{"template":"worker","parameters":{parameters}}}}}}}}}"#
    )
}

/// Creates an app of which the answer, that is as deep and as long, is not read.
async fn create(world: &World, name: &str, parameters: &str) -> Result<()> {
    let path = Request::new("/apis/kubenova.io/v1alpha1/namespaces/tn-acme-app-shop/novaapps");
    let request = path.create(&PostParams::default(), app(name, parameters).into_bytes())?;
    let answer = world.admin.request_text(request).await;
    answer.map(drop).with_context(|| format!("write the app {name}"))
}

/// One long text: nothing to the API server.
fn text() -> String {
    json!({"x": "x".repeat(LARGE)}).to_string()
}

/// Many small maps: as a tree they take a hundred times their text.
fn maps() -> String {
    json!({"x": vec![json!({"": 0}); READ / 7]}).to_string()
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
    let env = vec![json!({"name": "a"}); READ / 14];
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": format!("read-{n}"), "labels": labels},
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

    // One after the other: the API server takes long for each.
    for n in 0..LARGE_APPS {
        create(&world, &format!("large-{n}"), &text()).await?;
    }
    for n in 0..READ_APPS {
        create(&world, &format!("read-{n}"), &maps()).await?;
    }
    for n in 0..DEPLOYMENTS {
        deployments(&world)
            .create(&PostParams::default(), &deployment(n)?)
            .await
            .context("write a deployment")?;
    }
    for n in 0..LARGE_APPS {
        told(&world, &format!("large-{n}"), "is not read").await?;
    }
    for n in 0..READ_APPS {
        told(&world, &format!("read-{n}"), "items together").await?;
    }
    let (after, peak) = memory(&operator)?;
    let more = after.saturating_sub(before);
    println!(
        "{LARGE_APPS} apps of {LARGE} bytes, {READ_APPS} apps and {DEPLOYMENTS} deployments of {READ}: {} MiB more, peak \
         {} MiB",
        more >> 20,
        peak >> 20
    );
    ensure!(more <= MOST_MORE, "{more} bytes more");

    // serde_json reads the text under this key as JSON, with its limit of depth beginning anew.
    let mut magic = json!("[]");
    for _ in 0..12 {
        magic = json!({"$serde_json::private::RawValue": format!("{}{magic}{}", "[".repeat(100), "]".repeat(100))});
    }
    create(&world, "magic", &json!({"x": magic}).to_string()).await?;
    let deep = format!("{}1{}", r#"{"a":"#.repeat(500), "}".repeat(500));
    create(&world, "deep", &deep).await?;
    told(&world, "magic", "serde_json").await?;
    // It is not read in here either.
    let deep = Request::new("/apis/kubenova.io/v1alpha1/namespaces/tn-acme-app-shop/novaapps");
    eventually("deep is told", CONVERGES, async || {
        let get = deep.get("deep", &GetParams::default()).map_err(|e| e.to_string())?;
        let text = world.admin.request_text(get).await.map_err(|e| e.to_string())?;
        let status = text.split("\"status\"").last().unwrap_or_default().to_owned();
        if status.contains("cannot be read") { Ok(()) } else { Err(status) }
    })
    .await?;

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
