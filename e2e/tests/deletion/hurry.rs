//! A tenant is deleted while its apps roll out.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Everything, eventually, history, quickstart};
use jiff::Timestamp;
use nova_testkit::Entry;

use crate::place::{application, tenant};
use crate::{CONVERGES, ENDS, Stage};

const NAME: &str = "drolling";

pub async fn a_tenant_deleted_while_its_apps_roll_out_leaves_nothing(stage: &Stage) -> Result<()> {
    let world = &stage.world;
    let before = settled(stage).await?;
    let mark = world.mark().await?;
    let mut documents = quickstart(NAME)?.split_off(1);
    documents[0] = documents[0].replace("  plan: starter", "  plan: starter\n  deletionPolicy: Cascade");
    let app = documents.last().context("the quickstart has an app")?;
    let slow = app.replace("name: web", "name: slow").replace("tag: \"1.29\"", "tag: never-ready");
    ensure!(
        slow.contains("name: slow") && slow.contains("never-ready"),
        "the app's file has changed: {slow}"
    );
    documents.insert(documents.len() - 1, slow);
    world.apply_until_accepted(&documents, CONVERGES).await?;
    application(NAME, "web").there(world, CONVERGES).await?;
    let seen = Instant::now();
    let deleted_at = Timestamp::now();
    tenant(NAME).delete(world).await?;
    let hurry = seen.elapsed();
    ensure!(hurry < Duration::from_millis(200), "it took {hurry:?} to delete the tenant");
    let took = tenant(NAME).gone(world, ENDS).await?;
    let after = eventually("nothing is left", Duration::from_secs(10), async || {
        let after = Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"))?;
        let (more, less) = (after.beyond(&before), after.lost(&before));
        let told = after.speaks_of(NAME);
        if more.is_empty() && less.is_empty() && told.is_empty() {
            Ok(after)
        } else {
            Err(format!("left: {more:?}, lost: {less:?}, speaking of it: {told:?}"))
        }
    })
    .await?;
    println!(
        "tenant deleted {hurry:.0?} after its Application appeared, while it rolled out: gone after {took:.1?}; \
         {} objects of {} kinds before, {} after, all the same",
        before.0.len(),
        before.kinds().len(),
        after.0.len()
    );
    let writes = world.operator_writes(mark).await?;
    let late = |w: &&Entry| {
        w.code == 201
            && w.object.resource != "events"
            && history::tenant_of(w) == Some(NAME)
            && w.received.is_some_and(|at| at > deleted_at)
    };
    let made: Vec<String> = writes.iter().filter(late).map(Entry::summary).collect();
    // What a pass had begun when the tenant was deleted may still finish; nothing is begun anew.
    println!("objects that the operator made after the delete: {made:?}");
    ensure!(made.len() <= 3, "the operator went on making objects: {made:#?}");
    Ok(())
}

/// Everything, once nothing has come or gone for three seconds: Vela goes on making its own objects after its start.
async fn settled(stage: &Stage) -> Result<Everything> {
    eventually("the cluster is at rest", CONVERGES, async || {
        let look = async || Everything::list(&stage.world.admin).await.map_err(|e| format!("{e:#}"));
        let before = look().await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = look().await?;
        let (more, less) = (after.beyond(&before), after.lost(&before));
        if more.is_empty() && less.is_empty() { Ok(before) } else { Err(format!("{more:?} {less:?}")) }
    })
    .await
}
