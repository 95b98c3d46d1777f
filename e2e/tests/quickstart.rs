//! The quickstart, in every order and again and again: it converges, and then it is quiet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{World, even_quickstart, eventually, history};
use nova_testkit::{Entry, Options};

const CONVERGES: Duration = Duration::from_mins(1);
const QUIET: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_converges_in_any_order_and_is_quiet_afterwards() -> Result<()> {
    let world = World::start(Options::default()).await?;
    let operator = world.operator().await?;
    println!("control plane up after {:.1?}", world.plane.started_in());
    let begin = world.mark().await?;

    let forward = even_quickstart("acme")?;
    let mut backward = even_quickstart("globex")?;
    backward.reverse();
    for (order, tenant, documents) in [("in order", "acme", &forward), ("in reverse", "globex", &backward)] {
        let start = Instant::now();
        world.apply_until_accepted(documents, CONVERGES).await?;
        world.ready(tenant, CONVERGES).await?;
        println!("{order}: Ready after {:.1?}", start.elapsed());
    }
    let start = Instant::now();
    for _ in 0..5 {
        world.apply_until_accepted(&forward, CONVERGES).await?;
    }
    world.ready("acme", CONVERGES).await?;
    println!("five times more: {:.1?}", start.elapsed());
    // Counts of a parent follow a moment after its children are Ready.
    eventually("the order makes no difference", Duration::from_secs(30), async || {
        let pictures = tokio::try_join!(world.snapshot("acme"), world.snapshot("globex"));
        let (acme, globex) = pictures.map_err(|e| format!("{e:#}"))?;
        let differences = acme.differences(&globex);
        if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
    })
    .await?;

    let mark = world.mark().await?;
    let all = world.operator_writes(begin).await?;
    for tenant in ["acme", "globex"] {
        let writes: Vec<&Entry> = all.iter().filter(|w| history::tenant_of(w) == Some(tenant)).collect();
        println!("{tenant}: {} writes of the operator: {}", writes.len(), tally(&writes));
        let refused: Vec<String> = writes.iter().filter(|w| !w.succeeded()).map(|w| w.summary()).collect();
        println!("{tenant}: {} of them refused {refused:?}", refused.len());
    }
    for write in all.iter().filter(|w| history::tenant_of(w).is_none()) {
        println!("besides: {}", write.summary());
    }

    tokio::time::sleep(QUIET).await;
    let writes: Vec<String> = world.operator_writes(mark).await?.iter().map(Entry::summary).collect();
    ensure!(writes.is_empty(), "an idle operator wrote: {writes:#?}");
    ensure!(operator.is_running(), "the operator ended");
    println!("idle for {QUIET:?}: {} writes of the operator", writes.len());
    Ok(())
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
