//! A name that has just been deleted is used again at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Everything, World, eventually, quickstart};
use kube::api::{DynamicObject, PostParams};
use nova_testkit::Manifests;

use crate::place::{Place, app, application, project, tenant};
use crate::{CONVERGES, Stage};

/// The quickstart where every deletion may cascade.
fn cascading(name: &str) -> Result<Vec<String>> {
    let mut documents = quickstart(name)?;
    documents[1] = documents[1].replace("  plan: starter", "  plan: starter\n  deletionPolicy: Cascade");
    documents[2] = documents[2].replace("spec:\n", "spec:\n  deletionPolicy: Cascade\n");
    Ok(documents)
}

pub async fn names_within_a_tenant_can_be_used_again_at_once(stage: &Stage) -> Result<()> {
    const NAME: &str = "dagain";
    let world = &stage.world;
    let documents = cascading(NAME)?;
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready(NAME, CONVERGES).await?;
    used_again(world, NAME, &app(NAME), &documents[4], &documents).await?;
    let owner = application(NAME, "web").get(world).await?.context("there is no Application")?;
    let owner = owner.metadata.owner_references.unwrap_or_default();
    let uid = app(NAME).uid(world).await?;
    ensure!(owner.iter().any(|o| o.uid == uid), "{owner:?} is not {uid}");
    used_again(world, NAME, &project(NAME), &documents[2], &documents).await
}

pub async fn the_name_of_a_tenant_can_be_used_again_at_once(stage: &Stage) -> Result<()> {
    const NAME: &str = "danew";
    let documents = cascading(NAME)?;
    stage.world.apply_until_accepted(&documents, CONVERGES).await?;
    stage.world.ready(NAME, CONVERGES).await?;
    used_again(&stage.world, NAME, &tenant(NAME), &documents[1], &documents).await
}

/// Deletes an object, creates it again as soon as the API server takes it, and applies what was inside.
async fn used_again(
    world: &World,
    name: &str,
    place: &Place,
    document: &str,
    documents: &[String],
) -> Result<()> {
    let old = place.uid(world).await?;
    let start = Instant::now();
    place.delete(world).await?;
    create(world, place, document).await?;
    let accepted = start.elapsed();
    let new = place.uid(world).await?;
    ensure!(new != old, "{place} is the old one");
    world.apply_until_accepted(documents, CONVERGES).await?;
    world.ready(name, CONVERGES).await?;
    nothing_speaks_of(world, &old).await?;
    ensure!(place.uid(world).await? == new, "{place} was replaced once more");
    println!("{place}: created again {accepted:.1?} after its deletion, Ready after {:.1?}", start.elapsed());
    Ok(())
}

/// Creates what a document says again and again until the earlier one is gone.
async fn create(world: &World, place: &Place, document: &str) -> Result<()> {
    let manifests = Manifests::from_yaml(document, "default")?;
    let object: &DynamicObject = manifests.objects().first().context("an empty document")?;
    eventually(&format!("{place} can be created again"), CONVERGES, async || {
        place.api(world).create(&PostParams::default(), object).await.map(drop).map_err(|e| e.to_string())
    })
    .await
}

/// No object names the UID of an object that was deleted.
async fn nothing_speaks_of(world: &World, uid: &str) -> Result<()> {
    eventually("nothing of the old one is left", Duration::from_secs(15), async || {
        let all = Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"))?;
        let left = all.speaks_of(uid);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await
}
