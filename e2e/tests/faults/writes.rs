//! Requests about one object that fail or hang for long: few attempts, a true status, and nobody else is held up.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{eventually, message, reason};
use nova_testkit::fault_proxy::{Fault, Injected, Refusal, Rule, Verb};

use crate::stage::{CONVERGES, HEALS, SERVED, Stage, alone, app, app_status, has_tag, takes_effect};

/// The bound on attempts for one object, and of which time.
const ATTEMPTS: usize = 12;
const MINUTE: Duration = Duration::from_mins(1);
/// The longest pause between two attempts, and a little.
const NEXT_ATTEMPT: Duration = Duration::from_secs(20);

/// All that is asked to be written to the Application of an app.
fn writes_to(name: &str) -> Rule {
    Rule::on(Verb::WRITES, "applications.core.oam.dev").named(name)
}

/// Creates an app whose Application meets the fault, and waits until it has met it.
async fn afflict(stage: &Stage<'_>, tenant: &str, name: &str, rule: Rule, fault: Fault) -> Result<Injected> {
    let met = stage.proxy.inject(rule, fault);
    stage.world.apply_until_accepted(&[app(tenant, name)], CONVERGES).await?;
    eventually("the fault is met", SERVED, async || {
        if met.hits() > 0 { Ok(()) } else { Err("nobody has written yet".to_owned()) }
    })
    .await?;
    Ok(met)
}

/// The attempts of each whole minute since the first, and the most within any minute.
fn attempts(met: &Injected) -> Result<()> {
    let times = met.times();
    let first = times.first().copied().unwrap_or_else(Instant::now);
    let minutes: Vec<usize> = (0_u32..3)
        .map(|n| {
            times
                .iter()
                .filter(|at| (n * MINUTE..(n + 1) * MINUTE).contains(&at.duration_since(first)))
                .count()
        })
        .collect();
    let busiest = met.busiest(MINUTE);
    println!("  attempts in each minute: {minutes:?}; at most {busiest} in any");
    ensure!(busiest <= ATTEMPTS, "{busiest} attempts in a minute: {minutes:?} in each");
    Ok(())
}

#[tokio::test]
async fn a_lasting_conflict_is_tried_twelve_times_a_minute_at_most() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "contest";
        let operator = stage.operator().await?;
        stage.tenant(NAME).await?;
        let fault = Fault::Answer(Refusal::CONFLICT);
        let met = afflict(&stage, NAME, "contested", writes_to("contested"), fault).await?;
        takes_effect(stage.world, NAME, "web", "beside", SERVED).await?;
        tokio::time::sleep(2 * MINUTE + Duration::from_secs(5)).await;
        let few = attempts(&met);
        met.lift();
        has_tag(stage.world, NAME, "contested", "1", NEXT_ATTEMPT).await?;
        ensure!(operator.is_running(), "the operator has ended");
        few
    })
    .await
}

#[tokio::test]
async fn a_lasting_503_on_one_object_is_told_and_touches_no_other() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "unlucky";
        let world = stage.world;
        let operator = stage.operator().await?;
        stage.tenant(NAME).await?;
        let fault = Fault::Answer(Refusal::UNAVAILABLE);
        let met = afflict(&stage, NAME, "refused", writes_to("refused"), fault).await?;
        let start = Instant::now();
        let told =
            app_status(world, NAME, "refused", SERVED, |app| reason(app) == "BackendUnavailable").await?;
        println!("  told after {:.1?}: {}", start.elapsed(), message(&told));
        let blocker = &told.data["status"]["blockers"][0];
        ensure!(blocker["class"] == "transient" && blocker["reason"] == "BackendUnavailable", "{blocker}");
        takes_effect(world, NAME, "web", "beside", SERVED).await?;
        tokio::time::sleep((MINUTE + Duration::from_secs(5)).saturating_sub(start.elapsed())).await;
        takes_effect(world, NAME, "web", "still", SERVED).await?;
        let few = attempts(&met);
        let start = Instant::now();
        met.lift();
        has_tag(world, NAME, "refused", "1", NEXT_ATTEMPT).await?;
        println!("  written {:.1?} after the fault", start.elapsed());
        world.ready(NAME, CONVERGES).await?;
        ensure!(operator.is_running(), "the operator has ended");
        few
    })
    .await
}

#[tokio::test]
async fn a_request_that_is_never_answered_is_given_up_and_tried_again() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "silence";
        let world = stage.world;
        let operator = stage.operator().await?;
        stage.tenant(NAME).await?;
        // Whatever it does with this Application, read or write, and with the status of its app.
        let verbs = [Verb::Get].into_iter().chain(Verb::WRITES);
        let rule = Rule::on(verbs, "applications.core.oam.dev").named("unheard");
        let met = afflict(&stage, NAME, "unheard", rule, Fault::Hang).await?;
        let status = Rule::on(Verb::WRITES, "novaapps.kubenova.io/status").named("unheard");
        let statuses = stage.proxy.inject(status, Fault::Hang);
        takes_effect(world, NAME, "web", "beside", SERVED).await?;
        eventually("it is tried again", HEALS, async || {
            if met.seen() > 1 { Ok(()) } else { Err(format!("{} requests", met.seen())) }
        })
        .await?;
        eventually("its status is tried, too", HEALS, async || {
            if statuses.seen() > 0 { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await?;
        takes_effect(world, NAME, "web", "still", SERVED).await?;
        let few = attempts(&met);
        let start = Instant::now();
        stage.proxy.clear();
        has_tag(world, NAME, "unheard", "1", HEALS).await?;
        world.ready(NAME, CONVERGES).await?;
        println!("  all is well {:.1?} after the silence", start.elapsed());
        ensure!(operator.is_running(), "the operator has ended");
        few
    })
    .await
}
