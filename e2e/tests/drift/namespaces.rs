//! A namespace that somebody deletes takes everything in it along. It comes back, empty and safe, and status says so.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{World, any, eventually, is_ready, message, quickstart};
use kube::ResourceExt as _;
use kube::api::DeleteParams;
use nova_plan::child::covers;

use crate::PATIENCE;
use crate::children::{picture, targets};

const TENANT: &str = "wiped";

pub async fn a_deleted_namespace_comes_back_with_everything_in_it(world: &World) -> Result<()> {
    world.apply_until_accepted(&quickstart(TENANT)?, PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let namespaces = any(&world.admin, "", "v1", "Namespace", "namespaces");
    for (namespace, kind, plural, name) in [
        ("tn-wiped-sandbox-dev", "NovaSandbox", "novasandboxes", "dev"),
        ("tn-wiped-app-shop", "NovaProject", "novaprojects", "shop"),
    ] {
        let mut before = Vec::new();
        for target in targets(world, TENANT).await? {
            let inside = target.title.contains(&format!(" {namespace}/"));
            // The app went with the namespace, and so did what was made for it.
            if inside && !target.title.starts_with("Application") {
                before.push((target.title.clone(), picture(&target.get().await?)));
            }
        }
        let old = namespaces.get(namespace).await?.uid();
        let owner = any(&world.admin, "kubenova.io", "v1alpha1", kind, plural);
        let look = async || -> Result<kube::api::DynamicObject> {
            let all = owner.list(&kube::api::ListParams::default()).await?;
            let home = format!("tn-{TENANT}");
            all.into_iter()
                .find(|o| o.name_any() == name && o.namespace().as_deref() == Some(home.as_str()))
                .ok_or_else(|| anyhow::anyhow!("{kind} {name} is gone"))
        };
        let start = Instant::now();
        namespaces.delete(namespace, &DeleteParams::default()).await?;
        let told = eventually("status tells of the deletion", Duration::from_secs(2), async || {
            let live = look().await.map_err(|e| e.to_string())?;
            if is_ready(&live) { Err("it says Ready".to_owned()) } else { Ok(message(&live).to_owned()) }
        })
        .await?;
        println!("| {namespace} deleted | {kind} says after {:.1?}: {told} |", start.elapsed());
        eventually("the namespace is back", PATIENCE, async || {
            let live = namespaces.get_opt(namespace).await.map_err(|e| e.to_string())?;
            let uid = live.ok_or("it is gone")?.uid();
            if uid == old { Err("it is still the old one".to_owned()) } else { Ok(()) }
        })
        .await?;
        let back = start.elapsed();
        eventually("its owner is Ready again", PATIENCE, async || {
            let live = look().await.map_err(|e| e.to_string())?;
            if is_ready(&live) { Ok(()) } else { Err(message(&live).to_owned()) }
        })
        .await?;
        println!("| {namespace} deleted | back after {back:.1?}, Ready after {:.1?} |", start.elapsed());
        let after = targets(world, TENANT).await?;
        for (title, wanted) in &before {
            let Some(target) = after.iter().find(|t| t.title == *title) else {
                anyhow::bail!("{title} did not come back")
            };
            let found = picture(&target.get().await?);
            assert!(covers(wanted, &found), "{title} came back otherwise:\n{wanted}\n{found}");
        }
        println!("| {namespace} deleted | {} children are back as they were |", before.len());
    }
    Ok(())
}
