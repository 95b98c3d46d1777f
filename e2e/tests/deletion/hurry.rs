//! A tenant is deleted while its apps roll out.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{Everything, World, eventually, history};
use nova_testkit::Entry;

use crate::{PATIENCE, STAGE, application, cascading, ended, tenant};

const NAME: &str = "drolling";

/// Alone, because everything in the cluster is compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_deleted_while_its_apps_roll_out_leaves_nothing() -> Result<()> {
    let world = STAGE.alone().await?;
    let mut documents = cascading(NAME)?;
    world.apply_once(&documents[0]).await?;
    let before = settled(&world).await?;
    let mark = world.mark().await?;
    let app = documents.last().context("the quickstart has an app")?;
    // It never gets ready, so the tenant is in the middle of a rollout at whatever moment it is deleted.
    let slow = app.replace("name: web", "name: slow").replace("tag: \"1.29\"", "tag: never-ready");
    ensure!(
        slow.contains("name: slow") && slow.contains("never-ready"),
        "the app's file has changed: {slow}"
    );
    documents.insert(documents.len() - 1, slow);
    world.apply_until_accepted(&documents, PATIENCE).await?;
    application(NAME).there(&world, PATIENCE).await?;
    tenant(NAME).delete(&world).await?;
    let took = tenant(NAME).gone(&world, PATIENCE).await?;
    let after = eventually("nothing is left", PATIENCE, async || {
        let after = Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"))?;
        let (more, less) = (after.beyond(&before), after.lost(&before));
        if more.is_empty() && less.is_empty() {
            Ok(after)
        } else {
            Err(format!("left: {more:?}, lost: {less:?}"))
        }
    })
    .await?;
    println!(
        "tenant deleted while it rolled out: gone after {took:.1?}; {} objects of {} kinds before, {} after, all the same",
        before.0.len(),
        before.kinds().len(),
        after.0.len()
    );
    let writes = world.operator_writes(mark).await?;
    made_nothing_anew(&writes)?;
    ended(&world, NAME, mark).await
}

/// From the moment when the operator itself says that the tenant is being deleted, only passes that had begun before
/// may still make an object.
fn made_nothing_anew(writes: &[Entry]) -> Result<()> {
    let says = |w: &&Entry| {
        let deleting = |body: &serde_json::Value| body["status"]["phase"] == "Deleting";
        w.object.resource == "novatenants" && w.object.name == NAME && w.body.as_ref().is_some_and(deleting)
    };
    let known = writes.iter().filter(says).filter_map(|w| w.received).min();
    let known = known.context("the tenant never said that it was being deleted")?;
    let late = |w: &&Entry| {
        w.code == 201
            && w.object.resource != "events"
            && history::tenant_of(w) == Some(NAME)
            && w.received.is_some_and(|at| at > known)
    };
    let made: Vec<String> = writes.iter().filter(late).map(Entry::summary).collect();
    println!("objects that the operator made after it knew of the delete: {made:?}");
    ensure!(made.len() <= 3, "the operator went on making objects: {made:#?}");
    Ok(())
}

/// Everything, once nothing has come or gone for three seconds: Vela goes on making its own objects after its start,
/// and what other tests have deleted takes its time.
async fn settled(world: &World) -> Result<Everything> {
    eventually("the cluster is at rest", PATIENCE, async || {
        let look = async || Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"));
        let before = look().await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = look().await?;
        let (more, less) = (after.beyond(&before), after.lost(&before));
        if more.is_empty() && less.is_empty() { Ok(before) } else { Err(format!("{more:?} {less:?}")) }
    })
    .await
}
