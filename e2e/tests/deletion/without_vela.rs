//! Deletions while Vela, whose finalizer is on every Application, is away.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::object::{self, Place, Says, kind};
use e2e::{World, eventually, quickstart};
use kube::ResourceExt as _;
use kube::api::ListParams;
use nova_testkit::Component;
use serde_json::json;

use crate::{PATIENCE, STAGE, application, keep_finalizers, namespace, project, shop};

/// An app without pods: its namespace is emptied the moment it is deleted.
fn settings(tenant: &str) -> String {
    let settings = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"a": "b"}});
    object::app(&shop(tenant), "web", &object::manifest(&settings))
}

async fn set_up(world: &World, name: &str, documents: &[String]) -> Result<()> {
    world.apply_until_accepted(documents, PATIENCE).await?;
    world.ready(name, PATIENCE).await?;
    project(name).set_policy(world, "Cascade").await?;
    project(name).ready(world, PATIENCE).await.map(drop)
}

/// Vela's record of what it made for a tenant's apps has gone with them.
async fn no_tracker(world: &World, tenant: &str) -> Result<()> {
    let trackers = kind("ResourceTracker").every(&world.admin);
    eventually(&format!("no ResourceTracker of {tenant} is left"), PATIENCE, async || {
        let all = trackers.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let left = all.iter().map(kube::ResourceExt::name_any);
        let left: Vec<String> = left.filter(|name| name.ends_with(&format!("-{}", shop(tenant)))).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_waits_for_vela_says_so_and_goes_when_it_is_back() -> Result<()> {
    const NAME: &str = "dvela";
    let world = STAGE.alone().await?;
    set_up(&world, NAME, &quickstart(NAME)?).await?;
    world.plane.stop(Component::Vela).await?;
    project(NAME).delete(&world).await?;
    let words = ["tn-dvela-app-shop/web", "app.oam.dev/resource-tracker-finalizer", "Fix: ", "vela-core"];
    // Deleting, and in time DeletionBlocked.
    let says = Says { words: &words, ..Says::default() };
    let told = project(NAME).says(&world, &says, PATIENCE).await?;
    println!("without Vela: {told}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(namespace(&shop(NAME)).get(&world).await?.is_some(), "the namespace went before its app");
    world.plane.start_component(Component::Vela).await?;
    let took = project(NAME).gone(&world, PATIENCE).await?;
    println!("without Vela: gone {took:.1?} after it came back");
    no_tracker(&world, NAME).await
}

/// By hand: a namespace alone, and one whose project was torn from it. What an Application is taken down with stays
/// in it until Vela has done so.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_deleted_without_vela_keeps_what_vela_needs_and_goes_when_it_is_back() -> Result<()> {
    let names = ["dhand", "dtorn"];
    let world = STAGE.alone().await?;
    for name in names {
        let mut documents = quickstart(name)?;
        *documents.last_mut().context("the quickstart has an app")? = settings(name);
        set_up(&world, name, &documents).await?;
    }
    keep_finalizers(&world, "dhand", &names.map(shop)).await?;
    world.plane.stop(Component::Vela).await?;
    project("dtorn").delete(&world).await?;
    application("dtorn").is_going(&world, PATIENCE).await?;
    project("dtorn").let_go(&world).await?;
    project("dtorn").gone(&world, PATIENCE).await?;
    let old = namespace(&shop("dhand")).uid(&world).await?;
    for name in names {
        namespace(&shop(name)).delete(&world).await?;
    }
    for name in names {
        let rights = Place::new("RoleBinding", &shop(name), "kubenova-app-deployer-binding");
        rights.is_going(&world, PATIENCE).await?;
    }
    let says = Says { words: &["Namespace tn-dhand-app-shop"], ..Says::default() };
    let told = project("dhand").says(&world, &says, PATIENCE).await?;
    println!("without Vela: {told}");
    world.plane.start_component(Component::Vela).await?;
    let took = namespace(&shop("dtorn")).gone(&world, PATIENCE).await?;
    println!("without Vela: a namespace torn from its project gone {took:.1?} after it came back");
    namespace(&shop("dhand")).another_than(&world, &old, PATIENCE).await?;
    let anew = namespace(&shop("dhand")).there(&world, PATIENCE).await?;
    ensure!(anew.uid().as_deref() != Some(old.as_str()), "the namespace is the old one");
    for name in names {
        no_tracker(&world, name).await?;
    }
    Ok(())
}
