//! Deletions that meet resistance: they say what they wait for, make nothing anew, and go on by themselves.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{eventually, quickstart};
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

pub async fn what_waits_for_vela_says_so_and_goes_on(stage: &Stage) -> Result<()> {
    let world = &stage.world;
    for name in ["dvela", "dhand", "dorphan"] {
        world.apply_until_accepted(&quickstart(name)?, CONVERGES).await?;
        project(name).set_policy(world, "Cascade").await?;
    }
    for name in ["dvela", "dhand", "dorphan"] {
        world.ready(name, CONVERGES).await?;
    }
    world.plane.stop(Component::Vela).await?;
    // In the order of KubeNova.
    project("dvela").delete(world).await?;
    // By hand: the namespace alone, and together with a project that was torn from it.
    let old = namespace("tn-dhand-app-shop").uid(world).await?;
    namespace("tn-dhand-app-shop").delete(world).await?;
    project("dorphan").merge(world, &json!({"metadata": {"finalizers": null}})).await?;
    project("dorphan").delete(world).await?;
    project("dorphan").gone(world, SAYS).await?;
    namespace("tn-dorphan-app-shop").delete(world).await?;
    let words = ["tn-dvela-app-shop/web", "app.oam.dev/resource-tracker-finalizer", "Fix: ", "vela-core"];
    let told = project("dvela").says(world, "Deleting", &words, SAYS).await?;
    println!("without Vela: {told}");
    let told = project("dhand").says(world, "Deleting", &["Namespace tn-dhand-app-shop"], SAYS).await?;
    println!("without Vela: {told}");
    for name in ["dhand", "dorphan"] {
        let limits = limit_range(&format!("tn-{name}-app-shop"));
        limits.gone(world, ENDS).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for name in ["dvela", "dhand", "dorphan"] {
        let held = namespace(&format!("tn-{name}-app-shop")).get(world).await?;
        ensure!(held.is_some(), "the namespace of {name} went before its app");
    }
    world.plane.start_component(Component::Vela).await?;
    let took = project("dvela").gone(world, ENDS).await?;
    println!("without Vela: gone {took:.1?} after it came back");
    let took = namespace("tn-dorphan-app-shop").gone(world, ENDS).await?;
    println!("without Vela: a namespace without its project gone {took:.1?} later");
    eventually("the namespace is made anew", ENDS, async || {
        match namespace("tn-dhand-app-shop").uid(world).await {
            Ok(uid) if uid != old => Ok(()),
            Ok(_) => Err("it is still the old one".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await
}
