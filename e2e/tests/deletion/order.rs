//! Each kind is deleted in its order, Block says what is in the way, and an invalid spec is no obstacle.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::object::{Place, Says};
use e2e::{Everything, World, condition, eventually, quickstart};
use serde_json::json;

use crate::{
    PATIENCE, STAGE, app, application, cascades, ended, namespace, plan, project, sandbox, set_up, shop,
    tenant,
};

/// One after the other and each by itself, from the app to the plan.
#[tokio::test(flavor = "multi_thread")]
async fn each_kind_goes_with_what_was_made_for_it() -> Result<()> {
    const NAME: &str = "dorder";
    let world = STAGE.together().await?;
    let mark = world.mark().await?;
    set_up(&world, NAME).await?;

    // An app takes its Application along, and Vela everything that it has made.
    let uid = application(NAME).uid(&world).await?;
    let start = Instant::now();
    app(NAME).delete(&world).await?;
    app(NAME).gone(&world, PATIENCE).await?;
    application(NAME).gone(&world, PATIENCE).await?;
    eventually("the app's workload is gone", PATIENCE, async || {
        let all = Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"))?;
        let kinds =
            ["Deployment.", "ReplicaSet.", "Pod.", "Service.", "ResourceTracker.", "ApplicationRevision."];
        let inside = shop(NAME);
        let left = all.speaks_of(&inside).into_iter().filter(|k| kinds.iter().any(|w| k.starts_with(w)));
        let (left, trace): (Vec<&str>, _) = (left.collect(), all.speaks_of(&uid));
        if left.is_empty() && trace.is_empty() { Ok(()) } else { Err(format!("{left:?} {trace:?}")) }
    })
    .await?;
    println!("app: gone with Application, workload and ResourceTracker after {:.1?}", start.elapsed());

    goes_with(&world, &sandbox(NAME), &namespace(&format!("tn-{NAME}-sandbox-dev"))).await?;
    project(NAME).set_policy(&world, "Cascade").await?;
    goes_with(&world, &project(NAME), &namespace(&shop(NAME))).await?;
    goes_with(&world, &tenant(NAME), &namespace(&format!("tn-{NAME}"))).await?;
    ensure!(Place::new("Tenant", "", NAME).get(&world).await?.is_none(), "Capsule's Tenant outlived ours");
    plan(NAME).delete(&world).await?;
    let took = plan(NAME).gone(&world, PATIENCE).await?;
    println!("plan: gone after {took:.1?}");
    ended(&world, NAME, mark).await
}

/// The object goes, and when it is gone its namespace is too.
async fn goes_with(world: &World, place: &Place, namespace: &Place) -> Result<()> {
    place.delete(world).await?;
    let took = place.gone(world, PATIENCE).await?;
    ensure!(namespace.get(world).await?.is_none(), "{namespace} outlived {place}");
    println!("{place}: gone with its namespace after {took:.1?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_with_an_app_refuses_to_go_until_it_may_cascade() -> Result<()> {
    const NAME: &str = "dkeep";
    let world = STAGE.together().await?;
    set_up(&world, NAME).await?;
    project(NAME).delete(&world).await?;
    let words = [format!("NovaApp {}/web", shop(NAME)), "deletionPolicy is Block".into(), "Fix: ".into()];
    refuses(&world, &project(NAME), &words).await?;
    let app = app(NAME).live(&world).await?;
    ensure!(app.metadata.deletion_timestamp.is_none(), "Block deleted an app");
    project(NAME).set_policy(&world, "Cascade").await?;
    let took = project(NAME).gone(&world, PATIENCE).await?;
    ensure!(namespace(&shop(NAME)).get(&world).await?.is_none(), "the namespace outlived its project");
    println!("project: gone with its app and namespace {took:.1?} after it may cascade");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_in_use_and_a_tenant_with_a_project_refuse_to_go_until_they_may() -> Result<()> {
    const NAME: &str = "drefuse";
    let world = STAGE.together().await?;
    let mark = world.mark().await?;
    set_up(&world, NAME).await?;
    plan(NAME).delete(&world).await?;
    refuses(&world, &plan(NAME), &[NAME.to_owned()]).await?;
    tenant(NAME).delete(&world).await?;
    let inside = format!("NovaProject tn-{NAME}/shop");
    let words = [inside, "sandboxes [dev]".into(), "deletionPolicy is Block".into()];
    refuses(&world, &tenant(NAME), &words).await?;
    let project = project(NAME).live(&world).await?;
    ensure!(project.metadata.deletion_timestamp.is_none(), "Block deleted a project");
    let took = cascades(&world, NAME).await?;
    println!("tenant: gone with project, sandbox and app {took:.1?} after it may cascade");
    let took = plan(NAME).gone(&world, PATIENCE).await?;
    println!("plan: gone {took:.1?} after its last tenant");
    ended(&world, NAME, mark).await
}

/// The deletion is refused: the condition is there, the message has these words, and it stays so.
async fn refuses(world: &World, place: &Place, words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let says = Says { reason: "DeletionBlocked", words: &words, ..Says::default() };
    let told = place.says(world, &says, PATIENCE).await?;
    let object = place.live(world).await?;
    let blocked = condition(&object, "DeletionBlocked").context("there is no condition DeletionBlocked")?;
    ensure!(blocked["status"] == "True", "{blocked}");
    let blockers = object.data["status"]["blockers"].as_array().map_or(0, Vec::len);
    ensure!(blockers > 0 && object.data["status"]["phase"] == "Deleting", "{}", object.data["status"]);
    println!("refused: {told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_with_an_invalid_spec_can_be_deleted() -> Result<()> {
    const NAME: &str = "dinvalid";
    let world = STAGE.together().await?;
    let mark = world.mark().await?;
    world.apply_until_accepted(&quickstart(NAME)?, PATIENCE).await?;
    world.ready(NAME, PATIENCE).await?;
    let says = async |place: &Place, reason: &str, words: &[&str]| {
        place.says(&world, &Says { reason, words, ..Says::default() }, PATIENCE).await
    };
    // More than the plan's `max`, which only the operator can see.
    let limits = json!({"spec": {"limits": {"default": {"cpu": "64"}}}});
    for place in [project(NAME), sandbox(NAME)] {
        place.merge(&world, &limits).await?;
        says(&place, "Invalid", &["limits.max.cpu"]).await?;
    }
    let manifest = json!({"spec": {"source": {"kind": "kubeManifest", "containerImage": null,
        "kubeManifest": {"manifest": "kind: [unfinished"}}}});
    app(NAME).merge(&world, &manifest).await?;
    says(&app(NAME), "Invalid", &[]).await?;
    tenant(NAME).merge(&world, &json!({"spec": {"plan": "nowhere"}})).await?;
    says(&tenant(NAME), "DependencyMissing", &["nowhere"]).await?;
    for place in [app(NAME), sandbox(NAME), project(NAME), tenant(NAME)] {
        place.delete(&world).await?;
        let took = place.gone(&world, PATIENCE).await?;
        println!("{place} with an invalid spec: gone after {took:.1?}");
    }
    ended(&world, NAME, mark).await
}
