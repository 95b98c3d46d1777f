//! Each kind is deleted in its order, Block says what is in the way, and an invalid spec is no obstacle.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Everything, condition, eventually, quickstart};
use serde_json::json;

use crate::place::{Place, app, application, namespace, plan, project, sandbox, tenant};
use crate::{CONVERGES, ENDS, Stage};

const SAYS: Duration = Duration::from_secs(10);

pub async fn each_kind_goes_in_its_order(stage: &Stage) -> Result<()> {
    const NAME: &str = "dorder";
    let world = &stage.world;
    let home = format!("tn-{NAME}");
    let shop = format!("{home}-app-shop");
    let documents: Vec<String> =
        quickstart(NAME)?.iter().map(|text| text.replace("starter", "plan-dorder")).collect();
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;

    // An app takes its Application along, and Vela everything that it has made.
    let uid = application(NAME, "web").uid(world).await?;
    let start = Instant::now();
    app(NAME).delete(world).await?;
    app(NAME).gone(world, ENDS).await?;
    application(NAME, "web").gone(world, ENDS).await?;
    eventually("the app's workload is gone", ENDS, async || {
        let all = Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"))?;
        let kinds =
            ["Deployment.", "ReplicaSet.", "Pod.", "Service.", "ResourceTracker.", "ApplicationRevision."];
        let left: Vec<&str> =
            all.speaks_of(&shop).into_iter().filter(|k| kinds.iter().any(|w| k.starts_with(w))).collect();
        let trace = all.speaks_of(&uid);
        if left.is_empty() && trace.is_empty() { Ok(()) } else { Err(format!("{left:?} {trace:?}")) }
    })
    .await?;
    println!("app: gone with Application, workload and ResourceTracker after {:.1?}", start.elapsed());

    let start = Instant::now();
    sandbox(NAME).delete(world).await?;
    sandbox(NAME).gone(world, ENDS).await?;
    ensure!(
        namespace(&format!("{home}-sandbox-dev")).get(world).await?.is_none(),
        "the namespace outlived its sandbox"
    );
    println!("sandbox: gone with its namespace after {:.1?}", start.elapsed());

    project(NAME).set_policy(world, "Cascade").await?;
    let start = Instant::now();
    project(NAME).delete(world).await?;
    project(NAME).gone(world, ENDS).await?;
    ensure!(namespace(&shop).get(world).await?.is_none(), "the namespace outlived its project");
    println!("project: gone with its namespace after {:.1?}", start.elapsed());
    let start = Instant::now();
    tenant(NAME).delete(world).await?;
    tenant(NAME).gone(world, ENDS).await?;
    println!("tenant: gone with home namespace and Capsule Tenant after {:.1?}", start.elapsed());
    let start = Instant::now();
    plan("plan-dorder").delete(world).await?;
    plan("plan-dorder").gone(world, SAYS).await?;
    println!("plan: gone after {:.1?}", start.elapsed());
    left_over(stage, NAME).await
}

pub async fn block_refuses_and_says_why(stage: &Stage) -> Result<()> {
    const NAME: &str = "drefuse";
    let world = &stage.world;
    let home = format!("tn-{NAME}");
    let shop = format!("{home}-app-shop");
    let documents: Vec<String> =
        quickstart(NAME)?.iter().map(|text| text.replace("starter", "plan-drefuse")).collect();
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    // A project with an app refuses, says which, and goes on when it is told to cascade.
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    project(NAME).delete(world).await?;
    refuses(stage, &project(NAME), &[&format!("NovaApp {shop}/web"), "deletionPolicy is Block", "Fix: "])
        .await?;
    ensure!(
        app(NAME).get(world).await?.is_some_and(|a| a.metadata.deletion_timestamp.is_none()),
        "Block deleted an app"
    );
    let start = Instant::now();
    project(NAME).set_policy(world, "Cascade").await?;
    project(NAME).gone(world, ENDS).await?;
    ensure!(namespace(&shop).get(world).await?.is_none(), "the namespace outlived its project");
    println!("project: gone with its app and namespace {:.1?} after it may cascade", start.elapsed());

    // So does a tenant; and a plan that is in use.
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    plan("plan-drefuse").delete(world).await?;
    refuses(stage, &plan("plan-drefuse"), &[NAME]).await?;
    tenant(NAME).delete(world).await?;
    refuses(
        stage,
        &tenant(NAME),
        &[&format!("NovaProject {home}/shop"), "sandboxes [dev]", "deletionPolicy is Block"],
    )
    .await?;
    ensure!(
        project(NAME).get(world).await?.is_some_and(|p| p.metadata.deletion_timestamp.is_none()),
        "Block deleted a project"
    );
    let start = Instant::now();
    tenant(NAME).set_policy(world, "Cascade").await?;
    tenant(NAME).gone(world, ENDS).await?;
    println!("tenant: gone with project, sandbox and app {:.1?} after it may cascade", start.elapsed());
    let took = plan("plan-drefuse").gone(world, SAYS).await?;
    println!("plan: gone {took:.1?} after its last tenant");
    left_over(stage, NAME).await
}

/// The deletion is refused: the condition is there, the message has these words, and it stays so.
async fn refuses(stage: &Stage, place: &Place, words: &[&str]) -> Result<()> {
    let told = place.says(&stage.world, "DeletionBlocked", words, SAYS).await?;
    let object = place.get(&stage.world).await?.context("it is gone")?;
    let blocked = condition(&object, "DeletionBlocked").context("there is no condition DeletionBlocked")?;
    ensure!(blocked["status"] == "True", "{blocked}");
    let blockers = object.data["status"]["blockers"].as_array().map_or(0, Vec::len);
    ensure!(blockers > 0 && object.data["status"]["phase"] == "Deleting", "{}", object.data["status"]);
    println!("refused: {told}");
    Ok(())
}

/// Nothing in the cluster speaks of a tenant any more.
pub async fn left_over(stage: &Stage, name: &str) -> Result<()> {
    eventually(&format!("nothing of {name} is left"), SAYS, async || {
        let all = Everything::list(&stage.world.admin).await.map_err(|e| format!("{e:#}"))?;
        let left = all.speaks_of(name);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
}

pub async fn an_invalid_spec_can_be_deleted(stage: &Stage) -> Result<()> {
    const NAME: &str = "dinvalid";
    let world = &stage.world;
    world.apply_until_accepted(&quickstart(NAME)?, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    // More than the plan's `max`, which only the operator can see.
    let limits = json!({"spec": {"limits": {"default": {"cpu": "64"}}}});
    for place in [project(NAME), sandbox(NAME)] {
        place.merge(world, &limits).await?;
        place.says(world, "Invalid", &["limits.max.cpu"], SAYS).await?;
    }
    let manifest = json!({"spec": {"source": {"kind": "kubeManifest", "containerImage": null,
        "kubeManifest": {"manifest": "kind: [unfinished"}}}});
    app(NAME).merge(world, &manifest).await?;
    app(NAME).says(world, "Invalid", &[], SAYS).await?;
    tenant(NAME).merge(world, &json!({"spec": {"plan": "nowhere"}})).await?;
    tenant(NAME).says(world, "DependencyMissing", &["nowhere"], SAYS).await?;
    let start = Instant::now();
    for place in [app(NAME), sandbox(NAME), project(NAME), tenant(NAME)] {
        place.delete(world).await?;
        place.gone(world, ENDS).await?;
    }
    println!(
        "app, sandbox, project and tenant with invalid specs: gone after {:.1?} in all",
        start.elapsed()
    );
    left_over(stage, NAME).await
}
