//! Deletions that meet resistance: they say what they wait for, make nothing anew, and go on by themselves.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::object::{Place, Says};
use e2e::{Together, quickstart};
use serde_json::json;

use crate::{
    PATIENCE, STAGE, app, application, cascades, ended, keep_finalizers, namespace, project, sandbox, shop,
    tenant,
};

/// How long nothing may come back.
const WATCHED: Duration = Duration::from_secs(5);

async fn set_up(name: &str) -> Result<Together> {
    let world = STAGE.together().await?;
    world.apply_until_accepted(&quickstart(name)?, PATIENCE).await?;
    world.ready(name, PATIENCE).await?;
    Ok(world)
}

fn blocked<'a>(words: &'a [&'a str]) -> Says<'a> {
    Says { reason: "DeletionBlocked", words, ..Says::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_finalizer_in_a_namespace_is_told() -> Result<()> {
    const NAME: &str = "dstuck";
    let world = set_up(NAME).await?;
    let inside = format!("tn-{NAME}-sandbox-dev");
    keep_finalizers(&world, NAME, std::slice::from_ref(&inside)).await?;
    let held = Place::new("ConfigMap", &inside, "held");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": inside, "finalizers": ["example.com/hold"]}});
    world.apply_once(&body.to_string()).await?;
    sandbox(NAME).delete(&world).await?;
    let words = [inside.as_str(), "example.com/hold", "configmaps", "Fix: "];
    // Deleting, and in time DeletionBlocked.
    let says = Says { words: &words, ..Says::default() };
    let told = sandbox(NAME).says(&world, &says, PATIENCE).await?;
    println!("stuck: {told}");
    ensure!(
        namespace(&inside).get(&world).await?.is_some(),
        "the namespace is gone in spite of the finalizer"
    );
    held.let_go(&world).await?;
    let took = sandbox(NAME).gone(&world, PATIENCE).await?;
    println!("stuck: gone {took:.1?} after the foreign finalizer");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_deleted_resurrects_no_child() -> Result<()> {
    const NAME: &str = "dblocked";
    let world = set_up(NAME).await?;
    let mark = world.mark().await?;
    let (home, inside) = (format!("tn-{NAME}"), shop(NAME));
    // Both wait: their policy is Block, and there is something inside.
    tenant(NAME).delete(&world).await?;
    project(NAME).delete(&world).await?;
    for place in [tenant(NAME), project(NAME)] {
        place.says(&world, &blocked(&[]), PATIENCE).await?;
    }
    // The app still lives, but what its Application would be built in is on its way out.
    let children = [
        Place::new("NetworkPolicy", &home, "kubenova-allow-dns"),
        Place::new("LimitRange", &inside, "kubenova-limits"),
        Place::new("NetworkPolicy", &inside, "kubenova-allow-dns"),
        application(NAME),
    ];
    let mut old = Vec::new();
    for child in &children {
        old.push(child.uid(&world).await?);
        child.delete(&world).await?;
    }
    // Vela takes its time; only when the old ones are gone it can be seen whether new ones come.
    for (child, uid) in children.iter().zip(&old) {
        child.another_than(&world, uid, PATIENCE).await?;
    }
    tokio::time::sleep(WATCHED).await;
    for child in &children {
        ensure!(child.get(&world).await?.is_none(), "{child} was resurrected");
    }
    ensure!(app(NAME).get(&world).await?.is_some(), "Block deleted the app");
    println!("no child of what is being deleted came back in {WATCHED:?}");
    let took = cascades(&world, NAME).await?;
    println!("blocked tenant with a blocked project: gone {took:.1?} after the tenant may cascade");
    ended(&world, NAME, mark).await
}

#[tokio::test(flavor = "multi_thread")]
async fn block_keeps_a_namespace_that_was_torn_from_its_project() -> Result<()> {
    const NAME: &str = "dleft";
    let world = set_up(NAME).await?;
    let mark = world.mark().await?;
    project(NAME).delete(&world).await?;
    project(NAME).says(&world, &blocked(&["web"]), PATIENCE).await?;
    project(NAME).let_go(&world).await?;
    project(NAME).gone(&world, PATIENCE).await?;
    sandbox(NAME).delete(&world).await?;
    sandbox(NAME).gone(&world, PATIENCE).await?;
    tenant(NAME).delete(&world).await?;
    let words = ["Namespace tn-dleft-app-shop", "without a project", "Fix: "];
    let told = tenant(NAME).says(&world, &blocked(&words), PATIENCE).await?;
    println!("left behind: {told}");
    ensure!(app(NAME).get(&world).await?.is_some(), "Block deleted an app");
    let took = cascades(&world, NAME).await?;
    println!("left behind: gone {took:.1?} after the tenant may cascade");
    ended(&world, NAME, mark).await
}
