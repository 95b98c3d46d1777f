//! Somebody makes apps, or projects, without end while what they are in is deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::object::{self, Place, kind};
use e2e::{World, quickstart};
use kube::Client;
use kube::api::PostParams;
use nova_testkit::{Identity, Manifests};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{PATIENCE, STAGE, project, shop, tenant};

const TENANT: &str = "dflood";
/// Whoever is faster than the operator would hold a deletion for as long as they like.
const OVERTAKEN: Duration = Duration::from_mins(1);

/// Makes objects of a kind, each with a name of its own, until told to end. Counts those that were taken.
fn flood(
    floods: &mut JoinSet<()>,
    client: &Client,
    of: &str,
    namespace: &str,
    object: fn(usize) -> String,
) -> Arc<AtomicUsize> {
    let api = kind(of).within(client, namespace);
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    floods.spawn(async move {
        for n in 0.. {
            let Ok(manifests) = Manifests::from_yaml(&object(n), "default") else { return };
            for object in manifests.objects() {
                match api.create(&PostParams::default(), object).await {
                    Ok(_) => {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(kube::Error::Api(_)) => {}
                    // A client that has ended answers without a pause, and nobody could end the loop.
                    Err(_) => return,
                }
            }
        }
    });
    made
}

fn app(n: usize) -> String {
    object::app(&shop(TENANT), &format!("flood-{n}"), &object::image("1"))
}

fn another_project(n: usize) -> String {
    object::project(TENANT, &format!("flood-{n}"), &json!({}))
}

async fn overtaken(world: &World, place: &Place, made: &AtomicUsize) -> Result<()> {
    place.set_policy(world, "Cascade").await?;
    let before = made.load(Ordering::Relaxed);
    ensure!(before > 0, "nobody makes anything");
    place.delete(world).await?;
    let took = place.gone(world, OVERTAKEN).await?;
    println!(
        "{place}: {before} made before and {} in all, gone after {took:.1?}",
        made.load(Ordering::Relaxed)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cascade_overtakes_whoever_makes_objects_without_end() -> Result<()> {
    let world = STAGE.together().await?;
    world.apply_until_accepted(&quickstart(TENANT)?, PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let dev = world.plane.client(&Identity::user("dan@dflood.example", &["dflood-devs"])).await?;
    let owner = world.plane.client(&Identity::user("alice@dflood.example", &[])).await?;

    let mut floods = JoinSet::new();
    let made = flood(&mut floods, &dev, "NovaApp", &shop(TENANT), app);
    let projects = flood(&mut floods, &owner, "NovaProject", "tn-dflood", another_project);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let deleted = async {
        overtaken(&world, &project(TENANT), &made).await?;
        overtaken(&world, &tenant(TENANT), &projects).await
    };
    let deleted = deleted.await;
    floods.shutdown().await;
    deleted
}
