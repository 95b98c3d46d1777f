//! One tenant whose writes are slow, as behind a webhook of its own: the others do not notice.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{World, eventually};
use futures::future::try_join_all;
use kube::api::ListParams;
use nova_testkit::fault_proxy::{Fault, Rule, Verb};

use crate::stage::{
    CONVERGES, SERVED, alone, app, applications, edit, has_tag, place_for_apps, takes_effect,
};

/// How long each write in the slow tenant's namespaces takes.
const SLOW: Duration = Duration::from_secs(9);
const APPS: usize = 40;
/// The longest that an edit elsewhere may take.
const ELSEWHERE: Duration = Duration::from_secs(2);
const GOAL: Duration = Duration::from_millis(250);
const EDITS: usize = 12;

#[tokio::test]
async fn the_slow_writes_of_one_tenant_hold_up_no_other() -> Result<()> {
    alone(async |stage| {
        let world = stage.world;
        let operator = stage.operator().await?;
        stage.tenant("brisk").await?;
        world.apply_until_accepted(&place_for_apps("slow"), CONVERGES).await?;
        world.ready("slow", CONVERGES).await?;
        let idle = takes_effect(world, "brisk", "web", "idle", SERVED).await?;

        let slow = stage.proxy.inject(Rule::on(Verb::WRITES, "*").in_namespace("tn-slow*"), Fault::Delay(SLOW));
        let documents: Vec<String> = (0..APPS).map(|n| app("slow", &name(n))).collect();
        world.apply_until_accepted(&documents, CONVERGES).await?;
        eventually("writes are slow", SERVED, async || {
            if slow.seen() > 0 { Ok(()) } else { Err("there are none".to_owned()) }
        })
        .await?;
        let mut times = Vec::new();
        let last = format!("slow{}", EDITS - 1);
        for n in 0..EDITS {
            // There is always more to do in the slow tenant than can be done.
            let tag = format!("slow{n}");
            try_join_all((0..APPS).map(|n| edit_slow(world, n, &tag))).await?;
            let tag = format!("edit{n}");
            let since = edit(world, "brisk", "web", &tag).await?;
            // It is measured however long it takes, so that the figure can be told.
            has_tag(world, "brisk", "web", &tag, 4 * SLOW).await?;
            times.push(since.elapsed());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let done = written(world, &last).await?;
        times.sort();
        let (median, longest) = (times[EDITS / 2], times[EDITS - 1]);
        println!(
            "{APPS} apps whose writes take {SLOW:?}, {} writes so far, {done} apps as they were last edited: {EDITS} \
             edits elsewhere took effect in p50 {median:.0?}, max {longest:.0?} (idle {idle:.0?}, goal {GOAL:?})",
            slow.hits()
        );
        ensure!(done < APPS, "the slow tenant was done before the end, which shows nothing");
        ensure!(longest <= ELSEWHERE, "an edit in another tenant took {longest:.1?}");
        slow.lift();
        eventually("the slow tenant's apps are written", CONVERGES, async || {
            let done = written(world, &last).await.map_err(|e| format!("{e:#}"))?;
            if done == APPS { Ok(()) } else { Err(format!("{done} of {APPS}")) }
        })
        .await?;
        ensure!(operator.is_running(), "the operator has ended");
        Ok(())
    })
    .await
}

fn name(n: usize) -> String {
    format!("app{n:02}")
}

async fn edit_slow(world: &World, n: usize, tag: &str) -> Result<()> {
    edit(world, "slow", &name(n), tag).await.map(drop)
}

/// How many Applications of the slow tenant have a tag.
async fn written(world: &World, tag: &str) -> Result<usize> {
    let image = format!("nginx:{tag}\"");
    let list = applications(world, "slow").list(&ListParams::default()).await?;
    Ok(list.iter().filter(|object| object.data["spec"].to_string().contains(&image)).count())
}
