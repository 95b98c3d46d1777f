//! One tenant whose writes are slow, as behind a webhook of its own: the others do not notice.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::eventually;
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
        let documents: Vec<String> = (0..APPS).map(|n| app("slow", &format!("app{n:02}"))).collect();
        world.apply_until_accepted(&documents, CONVERGES).await?;
        eventually("writes are slow", SERVED, async || {
            if slow.seen() > 0 { Ok(()) } else { Err("there are none".to_owned()) }
        })
        .await?;
        let mut times = Vec::new();
        for n in 0..EDITS {
            let (tag, since) = (format!("edit{n}"), edit(world, "brisk", "web", &format!("edit{n}")).await?);
            // It is measured however long it takes, so that the figure can be told.
            has_tag(world, "brisk", "web", &tag, 4 * SLOW).await?;
            times.push(since.elapsed());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let at_work = applications(world, "slow").list(&ListParams::default()).await?.items.len();
        times.sort();
        let (median, longest) = (times[EDITS / 2], times[EDITS - 1]);
        println!(
            "{APPS} apps whose writes take {SLOW:?}, {at_work} of them written so far in {} writes: {EDITS} edits \
             elsewhere took effect in p50 {median:.0?}, max {longest:.0?} (idle {idle:.0?}, goal {GOAL:?})",
            slow.hits()
        );
        ensure!(at_work < APPS, "the slow tenant was done before the end, which shows nothing");
        ensure!(longest <= ELSEWHERE, "an edit in another tenant took {longest:.1?}");
        slow.lift();
        eventually("the slow tenant's apps are written", CONVERGES, async || {
            let list = applications(world, "slow").list(&ListParams::default()).await;
            let there = list.map_err(|e| e.to_string())?.items.len();
            if there == APPS { Ok(()) } else { Err(format!("{there} of {APPS}")) }
        })
        .await?;
        ensure!(operator.is_running(), "the operator has ended");
        Ok(())
    })
    .await
}
