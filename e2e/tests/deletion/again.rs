//! A name that has just been deleted is used again at once.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::object::Place;
use e2e::{Everything, World, eventually};
use kube::api::{DynamicObject, PostParams};
use nova_testkit::Manifests;

use crate::{PATIENCE, STAGE, app, application, cascading, project, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_an_app_can_be_used_again_at_once() -> Result<()> {
    const NAME: &str = "dagain";
    let world = STAGE.together().await?;
    let documents = cascading(NAME)?;
    used_again(&world, NAME, &app(NAME), &documents[4], &documents).await?;
    let owner = application(NAME).live(&world).await?.metadata.owner_references.unwrap_or_default();
    let uid = app(NAME).uid(&world).await?;
    ensure!(owner.iter().any(|o| o.uid == uid), "{owner:?} is not {uid}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_project_can_be_used_again_at_once() -> Result<()> {
    const NAME: &str = "dproject";
    let world = STAGE.together().await?;
    let documents = cascading(NAME)?;
    used_again(&world, NAME, &project(NAME), &documents[2], &documents).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_tenant_can_be_used_again_at_once() -> Result<()> {
    const NAME: &str = "danew";
    let world = STAGE.together().await?;
    let documents = cascading(NAME)?;
    used_again(&world, NAME, &tenant(NAME), &documents[1], &documents).await
}

/// Deletes an object, creates it again as soon as the API server takes it, and applies what was inside.
async fn used_again(
    world: &World,
    name: &str,
    place: &Place,
    document: &str,
    documents: &[String],
) -> Result<()> {
    world.apply_until_accepted(documents, PATIENCE).await?;
    world.ready(name, PATIENCE).await?;
    let old = place.uid(world).await?;
    let start = Instant::now();
    place.delete(world).await?;
    create(world, place, document).await?;
    let accepted = start.elapsed();
    let new = place.uid(world).await?;
    ensure!(new != old, "{place} is the old one");
    world.apply_until_accepted(documents, PATIENCE).await?;
    world.ready(name, PATIENCE).await?;
    nothing_speaks_of(world, &old).await?;
    ensure!(place.uid(world).await? == new, "{place} was replaced once more");
    println!("{place}: created again {accepted:.1?} after its deletion, Ready after {:.1?}", start.elapsed());
    Ok(())
}

/// Creates what a document says again and again until the earlier one is gone.
async fn create(world: &World, place: &Place, document: &str) -> Result<()> {
    let manifests = Manifests::from_yaml(document, "default")?;
    let object: &DynamicObject = manifests.objects().first().context("an empty document")?;
    eventually(&format!("{place} can be created again"), PATIENCE, async || {
        place.api(world).create(&PostParams::default(), object).await.map(drop).map_err(|e| e.to_string())
    })
    .await
}

/// No object names the UID of an object that was deleted.
async fn nothing_speaks_of(world: &World, uid: &str) -> Result<()> {
    eventually("nothing of the old one is left", PATIENCE, async || {
        let all = Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"))?;
        let left = all.speaks_of(uid);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
}
