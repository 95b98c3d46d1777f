//! Deletions that meet resistance: they say what they wait for, make nothing anew, and go on by themselves.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::quickstart;
use nova_testkit::Component;
use serde_json::json;

use crate::order::left_over;
use crate::place::{
    app, application, config_map, limit_range, namespace, network_policy, project, sandbox, tenant,
};
use crate::{CONVERGES, ENDS, Stage};

const SAYS: Duration = Duration::from_secs(15);

pub async fn a_foreign_finalizer_in_a_namespace_is_told(stage: &Stage) -> Result<()> {
    const NAME: &str = "dstuck";
    let world = &stage.world;
    world.apply_until_accepted(&quickstart(NAME)?, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    let inside = format!("tn-{NAME}-sandbox-dev");
    let held = config_map(&inside, "held");
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": inside, "finalizers": ["example.com/hold"]}});
    world.apply(&body.to_string()).await?;
    sandbox(NAME).delete(world).await?;
    let words = [inside.as_str(), "example.com/hold", "configmaps", "Fix: "];
    let told = sandbox(NAME).says(world, "Deleting", &words, SAYS).await?;
    println!("stuck: {told}");
    ensure!(
        namespace(&inside).get(world).await?.is_some(),
        "the namespace is gone in spite of the finalizer"
    );
    let start = Instant::now();
    held.merge(world, &json!({"metadata": {"finalizers": null}})).await?;
    sandbox(NAME).gone(world, ENDS).await?;
    println!("stuck: gone {:.1?} after the foreign finalizer", start.elapsed());
    Ok(())
}

pub async fn what_is_being_deleted_resurrects_no_child(stage: &Stage) -> Result<()> {
    const NAME: &str = "dblocked";
    let world = &stage.world;
    world.apply_until_accepted(&quickstart(NAME)?, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    let home = format!("tn-{NAME}");
    // Both wait: their policy is Block, and there is something inside.
    tenant(NAME).delete(world).await?;
    project(NAME).delete(world).await?;
    for place in [tenant(NAME), project(NAME)] {
        place.says(world, "DeletionBlocked", &[], SAYS).await?;
    }
    let children = [
        network_policy(&home, "kubenova-allow-dns"),
        limit_range(&format!("{home}-app-shop")),
        network_policy(&format!("{home}-app-shop"), "kubenova-allow-dns"),
    ];
    for child in &children {
        child.delete(world).await?;
    }
    // The app still lives, but what it would be built in is on its way out.
    application(NAME, "web").delete(world).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for child in &children {
        ensure!(child.get(world).await?.is_none(), "{child} was resurrected");
    }
    ensure!(application(NAME, "web").get(world).await?.is_none(), "the Application was resurrected");
    ensure!(app(NAME).get(world).await?.is_some(), "Block deleted the app");
    println!("no child of what is being deleted came back in 5 s");
    tenant(NAME).set_policy(world, "Cascade").await?;
    let took = tenant(NAME).gone(world, ENDS).await?;
    println!("blocked tenant with a blocked project: gone {took:.1?} after the tenant may cascade");
    left_over(stage, NAME).await
}

pub async fn a_deletion_that_waits_for_vela_says_so_and_goes_on(stage: &Stage) -> Result<()> {
    const NAME: &str = "dvela";
    let world = &stage.world;
    world.apply_until_accepted(&quickstart(NAME)?, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    project(NAME).set_policy(world, "Cascade").await?;
    world.plane.stop(Component::Vela).await?;
    project(NAME).delete(world).await?;
    let at = format!("tn-{NAME}-app-shop/web");
    let words = [at.as_str(), "app.oam.dev/resource-tracker-finalizer", "Fix: ", "vela-core"];
    let told = project(NAME).says(world, "Deleting", &words, SAYS).await?;
    println!("without Vela: {told}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(
        namespace(&format!("tn-{NAME}-app-shop")).get(world).await?.is_some(),
        "the namespace went before its app"
    );
    world.plane.start_component(Component::Vela).await?;
    let took = project(NAME).gone(world, ENDS).await?;
    println!("without Vela: gone {took:.1?} after it came back");
    Ok(())
}
