//! WATCH: one whose answer never comes, one that is silent, one that is cut all the time.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::eventually;
use nova_testkit::fault_proxy::{Fault, Rule, Verb};

use crate::stage::{HEALS, Stage, alone, edit, has_tag, takes_effect};

/// A watch that hangs is noticed and opened anew within this.
const NOTICED: Duration = Duration::from_mins(2);
/// After so long without a word the operator doubts a watch; in production it is patient.
const WATCH_IDLE: &str = "10s";
/// After so long a watch is cut.
const LIFE: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_watch_whose_answer_never_comes_is_opened_anew() -> Result<()> {
    alone(async |stage| hangs(&stage, "hunghead", Fault::Hang).await).await
}

#[tokio::test]
async fn a_watch_that_says_nothing_is_opened_anew() -> Result<()> {
    alone(async |stage| hangs(&stage, "hungbody", Fault::Stall).await).await
}

/// The next watch of apps hangs; an edit is seen by the one after it.
async fn hangs(stage: &Stage<'_>, tenant: &str, fault: Fault) -> Result<()> {
    let (world, proxy) = (stage.world, &stage.proxy);
    let idle = std::env::var("KUBENOVA_WATCH_IDLE").unwrap_or_else(|_| WATCH_IDLE.to_owned());
    let env = [("KUBENOVA_WATCH_IDLE".to_owned(), idle)];
    let operator = world.spawn_operator_in(proxy.kubeconfig(), &env)?;
    operator.ready(Duration::from_secs(30)).await?;
    stage.tenant(tenant).await?;
    let watches = proxy.inject(Rule::on([Verb::Watch], "novaapps.kubenova.io").nth(1), fault.clone());
    ensure!(proxy.cut_watches("novaapps.kubenova.io") > 0, "no watch of apps was running");
    eventually("the watch is opened", HEALS, async || {
        if watches.hits() == 1 { Ok(()) } else { Err("it is not".to_owned()) }
    })
    .await?;
    let start = Instant::now();
    edit(world, tenant, "web", "unheard").await?;
    let seen = has_tag(world, tenant, "web", "unheard", NOTICED).await;
    println!("{fault:?}: {} watches in {:.1?}", watches.seen(), start.elapsed());
    seen?;
    ensure!(operator.is_running(), "the operator has ended");
    Ok(())
}

#[tokio::test]
async fn a_watch_that_is_cut_every_second_misses_nothing() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "cutshort";
        let (world, proxy) = (stage.world, &stage.proxy);
        let operator = stage.operator().await?;
        stage.tenant(NAME).await?;
        let every = Rule::on([Verb::Watch], "novaapps.kubenova.io");
        let cuts = proxy.inject(every, Fault::CutAfter(LIFE));
        let lists = proxy.count(Rule::on([Verb::List], "novaapps.kubenova.io"));
        proxy.cut_watches("novaapps.kubenova.io");
        for (n, percent) in (92..110).step_by(2).enumerate() {
            eventually("a watch is opened", HEALS, async || {
                if cuts.hits() > n { Ok(()) } else { Err(format!("{} were", cuts.hits())) }
            })
            .await?;
            // From a little before the watch is cut to a little after, when there is none.
            tokio::time::sleep(LIFE * percent / 100).await;
            takes_effect(world, NAME, "web", &format!("cut{n}"), HEALS).await?;
        }
        println!("  {} watches cut, {} lists", cuts.hits(), lists.seen());
        cuts.lift();
        ensure!(cuts.hits() >= 9, "no watch was cut");
        ensure!(operator.is_running(), "the operator has ended");
        Ok(())
    })
    .await
}
