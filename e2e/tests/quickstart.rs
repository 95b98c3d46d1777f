//! The quickstart, in every order and again and again: it converges, and then it is quiet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{Stage, World, even_quickstart, eventually, history, program_says};
use nova_testkit::{Entry, Options};

const CONVERGES: Duration = Duration::from_mins(5);
/// The operator looks at everything again so often, and the quiet window is longer.
const RESYNC: &str = "10s";
const QUIET: Duration = Duration::from_secs(25);

static STAGE: Stage = Stage::with_env(Options::default, &[("KUBENOVA_RESYNC", RESYNC)]);

#[tokio::test(flavor = "multi_thread")]
async fn the_order_in_which_the_quickstart_is_applied_makes_no_difference() -> Result<()> {
    let world = STAGE.together().await?;
    let begin = world.mark().await?;
    let forward = even_quickstart("acme")?;
    let mut backward = even_quickstart("globex")?;
    backward.reverse();
    let converges = async |order: &str, tenant: &str, documents: &[String]| {
        let start = Instant::now();
        world.apply_until_accepted(documents, CONVERGES).await?;
        world.ready(tenant, CONVERGES).await?;
        println!("{order}: Ready after {:.1?}", start.elapsed());
        anyhow::Ok(())
    };
    converges("in order", "acme", &forward).await?;
    converges("in reverse", "globex", &backward).await?;
    // Counts of a parent follow a moment after its children are Ready.
    eventually("the order makes no difference", CONVERGES, async || {
        let pictures = tokio::try_join!(world.snapshot("acme"), world.snapshot("globex"));
        let (acme, globex) = pictures.map_err(|e| format!("{e:#}"))?;
        let differences = acme.differences(&globex);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    })
    .await?;
    let writes = world.operator_writes(begin).await?;
    for tenant in ["acme", "globex"] {
        let writes: Vec<&Entry> = writes.iter().filter(|w| history::tenant_of(w) == Some(tenant)).collect();
        println!("{tenant}: {} writes of the operator: {}", writes.len(), tally(&writes));
        let refused: Vec<String> = writes.iter().filter(|w| !w.succeeded()).map(|w| w.summary()).collect();
        println!("{tenant}: {} of them refused {refused:?}", refused.len());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_applied_five_times_more_changes_nothing() -> Result<()> {
    const TENANT: &str = "initech";
    let world = STAGE.together().await?;
    let documents = converged(&world, TENANT).await?;
    let (before, mark) = (world.snapshot(TENANT).await?, world.mark().await?);
    for _ in 0..5 {
        world.apply_until_accepted(&documents, CONVERGES).await?;
    }
    world.ready(TENANT, CONVERGES).await?;
    let differences = before.differences(&world.snapshot(TENANT).await?);
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    let mut writes = world.operator_writes(mark).await?;
    writes.retain(|w| history::tenant_of(w) == Some(TENANT));
    ensure!(writes.is_empty(), "{:#?}", writes.iter().map(Entry::summary).collect::<Vec<_>>());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_operator_writes_nothing_for_longer_than_its_resync() -> Result<()> {
    let world = STAGE.alone().await?;
    converged(&world, "hooli").await?;
    world.silent(None, CONVERGES).await?;
    let operator = world.take_operator().await?;
    let (mark, passes) = (world.mark().await?, operator.passes().await?);
    tokio::time::sleep(QUIET).await;
    let writes: Vec<String> = world.operator_writes(mark).await?.iter().map(Entry::summary).collect();
    ensure!(writes.is_empty(), "an idle operator wrote: {writes:#?}");
    let passes = operator.passes().await? - passes;
    println!("idle for {QUIET:?}: {passes} passes and no write of the operator");
    // Each of the quickstart's objects comes by twice; an operator without the flag looks every ten minutes.
    if program_says(&["operator", "--help"])?.contains("--resync") {
        ensure!(passes >= 10, "{passes} passes in {QUIET:?} with a resync of {RESYNC}");
    }
    Ok(())
}

/// A tenant as the quickstart makes it, once nothing has been written for three seconds.
async fn converged(world: &World, tenant: &str) -> Result<Vec<String>> {
    let documents = even_quickstart(tenant)?;
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready(tenant, CONVERGES).await?;
    world.silent(Some(tenant), CONVERGES).await?;
    Ok(documents)
}

/// `<resource> <count>` for each kind of write.
fn tally(writes: &[&Entry]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for write in writes {
        let subresource = if write.object.subresource.is_empty() { "" } else { "/status" };
        *counts.entry(format!("{}{subresource}", write.object.resource)).or_default() += 1;
    }
    counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
}
