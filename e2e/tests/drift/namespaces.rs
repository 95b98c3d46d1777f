//! A namespace that somebody deletes takes everything in it along. It comes back, empty and safe, and status says so.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::film::Frame;
use e2e::object::{Place, kind};
use e2e::{Film, message, quickstart};
use kube::ResourceExt as _;

use crate::children::{Target, anew, targets};
use crate::{PATIENCE, STAGE};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_sandbox_namespace_comes_back_with_everything_in_it() -> Result<()> {
    comes_back("wiped", "-sandbox-dev", "NovaSandbox", "dev").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_namespace_comes_back_with_everything_in_it() -> Result<()> {
    comes_back("swept", "-app-shop", "NovaProject", "shop").await
}

async fn comes_back(tenant: &str, suffix: &str, of: &str, name: &str) -> Result<()> {
    let world = STAGE.together().await?;
    world.apply_until_accepted(&quickstart(tenant)?, PATIENCE).await?;
    world.ready(tenant, PATIENCE).await?;
    world.silent(Some(tenant), PATIENCE).await?;
    let (home, inside) = (format!("tn-{tenant}"), format!("tn-{tenant}{suffix}"));
    let (owner, namespace) = (Place::new(of, &home, name), Place::new("Namespace", "", &inside));
    let mut before = Vec::new();
    // The app goes with the namespace, and so does what was made for it.
    let stays = |target: &Target| {
        let itself = target.resource.kind == "Namespace" && target.name == inside;
        itself || target.namespace == inside && target.resource.kind != "Application"
    };
    for target in targets(&world, tenant).await?.into_iter().filter(stays) {
        before.push((target.to_string(), target.get().await?));
    }
    let old = namespace.uid(&world).await?;
    let film = Film::start(&world.admin, &[kind(of)]).await?;
    let start = Instant::now();
    namespace.delete(&world).await?;
    // How long it is away hangs on Kubernetes; what was said meanwhile is on film.
    let unwell = |f: &Frame| f.is(of, &home, name) && !f.says_ready();
    let told = film.first("status tells of the deletion", start, PATIENCE, unwell).await?;
    println!("| {inside} deleted | {of} says {} |", message(&told.object));
    namespace.another_than(&world, &old, PATIENCE).await?;
    namespace.there(&world, PATIENCE).await?;
    owner.ready(&world, PATIENCE).await?;
    println!("| {inside} deleted | back and Ready after {:.1?} |", start.elapsed());
    let after = targets(&world, tenant).await?;
    for (title, was) in &before {
        let target = after.iter().find(|t| t.to_string() == *title);
        let target = target.with_context(|| format!("{title} did not come back"))?;
        target.looks(&anew(was), was.uid().as_deref()).await?;
    }
    ensure!(before.len() >= 5, "only {} children were in {inside}", before.len());
    println!("| {inside} deleted | {} children are back as they were |", before.len());
    Ok(())
}
