//! Deletions that meet resistance: they say what they wait for, make nothing anew, and go on by themselves.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{any, eventually, quickstart};
use kube::api::ListParams;
use nova_testkit::Component;
use serde_json::json;

use crate::order::left_over;
use crate::place::{
    app, application, config_map, limit_range, namespace, network_policy, project, role_binding, sandbox,
    tenant,
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

pub async fn block_keeps_a_namespace_that_was_torn_from_its_project(stage: &Stage) -> Result<()> {
    const NAME: &str = "dleft";
    let world = &stage.world;
    world.apply_until_accepted(&quickstart(NAME)?, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    project(NAME).delete(world).await?;
    project(NAME).says(world, "DeletionBlocked", &["web"], SAYS).await?;
    project(NAME).merge(world, &json!({"metadata": {"finalizers": null}})).await?;
    project(NAME).gone(world, SAYS).await?;
    sandbox(NAME).delete(world).await?;
    sandbox(NAME).gone(world, ENDS).await?;
    tenant(NAME).delete(world).await?;
    let words = ["Namespace tn-dleft-app-shop", "without a project", "Fix: "];
    let told = tenant(NAME).says(world, "DeletionBlocked", &words, SAYS).await?;
    println!("left behind: {told}");
    ensure!(app(NAME).get(world).await?.is_some(), "Block deleted an app");
    tenant(NAME).set_policy(world, "Cascade").await?;
    let took = tenant(NAME).gone(world, ENDS).await?;
    println!("left behind: gone {took:.1?} after the tenant may cascade");
    left_over(stage, NAME).await
}

/// An app without pods: its namespace is emptied the moment it is deleted.
fn settings(tenant: &str) -> String {
    let manifest =
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"settings"},"data":{"a":"b"}}"#;
    json!({
        "apiVersion": "kubenova.io/v1alpha1",
        "kind": "NovaApp",
        "metadata": {"name": "web", "namespace": format!("tn-{tenant}-app-shop")},
        "spec": {"source": {"kind": "kubeManifest", "kubeManifest": {"manifest": manifest}}},
    })
    .to_string()
}

/// Vela's record of what it made for a tenant's apps has gone with them.
async fn no_tracker(stage: &Stage, tenant: &str) -> Result<()> {
    let trackers = any(&stage.world.admin, "core.oam.dev", "v1beta1", "ResourceTracker", "resourcetrackers");
    eventually(&format!("no ResourceTracker of {tenant} is left"), SAYS, async || {
        let all = trackers.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let left = all.iter().map(kube::ResourceExt::name_any);
        let left: Vec<String> =
            left.filter(|name| name.ends_with(&format!("-tn-{tenant}-app-shop"))).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
}

pub async fn what_waits_for_vela_says_so_and_goes_on(stage: &Stage) -> Result<()> {
    let world = &stage.world;
    world.apply_until_accepted(&quickstart("dvela")?, CONVERGES).await?;
    project("dvela").set_policy(world, "Cascade").await?;
    for name in ["dhand", "dtorn"] {
        let mut documents = quickstart(name)?;
        *documents.last_mut().context("the quickstart has an app")? = settings(name);
        world.apply_until_accepted(&documents, CONVERGES).await?;
        project(name).set_policy(world, "Cascade").await?;
    }
    for name in ["dvela", "dhand", "dtorn"] {
        world.ready(name, CONVERGES).await?;
    }
    world.plane.stop(Component::Vela).await?;
    // As KubeNova does it.
    project("dvela").delete(world).await?;
    let words = ["tn-dvela-app-shop/web", "app.oam.dev/resource-tracker-finalizer", "Fix: ", "vela-core"];
    let told = project("dvela").says(world, "Deleting", &words, SAYS).await?;
    println!("without Vela: {told}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let held = namespace("tn-dvela-app-shop").get(world).await?;
    ensure!(held.is_some(), "the namespace went before its app");
    // By hand: a project torn from its namespace, and namespaces alone.
    project("dtorn").delete(world).await?;
    application("dtorn", "web").is_going(world, SAYS).await?;
    project("dtorn").merge(world, &json!({"metadata": {"finalizers": null}})).await?;
    project("dtorn").gone(world, SAYS).await?;
    let old = namespace("tn-dhand-app-shop").uid(world).await?;
    for name in ["dtorn", "dhand"] {
        namespace(&format!("tn-{name}-app-shop")).delete(world).await?;
    }
    for name in ["dtorn", "dhand"] {
        let rights = role_binding(&format!("tn-{name}-app-shop"), "kubenova-app-deployer-binding");
        rights.is_going(world, SAYS).await?;
    }
    let told = project("dhand").says(world, "Deleting", &["Namespace tn-dhand-app-shop"], SAYS).await?;
    println!("without Vela: {told}");
    world.plane.start_component(Component::Vela).await?;
    let took = namespace("tn-dtorn-app-shop").gone(world, ENDS).await?;
    println!("without Vela: a namespace torn from its project gone {took:.1?} after it came back");
    eventually("the namespace is made anew", ENDS, async || {
        match namespace("tn-dhand-app-shop").uid(world).await {
            Ok(uid) if uid != old => Ok(()),
            Ok(_) => Err("it is still the old one".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await?;
    let took = project("dvela").gone(world, ENDS).await?;
    println!("without Vela: gone {took:.1?} after that");
    for name in ["dvela", "dhand", "dtorn"] {
        no_tracker(stage, name).await?;
    }
    Ok(())
}
