//! The quickstart, in every order, again and again, with the operator restarted: it converges, and then it is quiet.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{World, quickstart};
use nova_testkit::Options;

const CONVERGES: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_converges_in_any_order_and_is_quiet_afterwards() -> Result<()> {
    let world = World::start(Options::default()).await?;
    let operator = world.operator().await?;

    let start = Instant::now();
    let forward = quickstart("acme")?;
    world.apply_until_accepted(&forward, CONVERGES).await?;
    world.ready("acme", CONVERGES).await?;
    println!("in order: Ready after {:.1?}", start.elapsed());

    let start = Instant::now();
    let mut backward = quickstart("globex")?;
    backward.reverse();
    world.apply_until_accepted(&backward, CONVERGES).await?;
    world.ready("globex", CONVERGES).await?;
    println!("in reverse: Ready after {:.1?}", start.elapsed());

    for _ in 0..5 {
        world.apply_until_accepted(&forward, CONVERGES).await?;
    }
    world.ready("acme", CONVERGES).await?;
    let differences = world.snapshot("acme").await?.differences(&world.snapshot("globex").await?);
    assert!(differences.is_empty(), "the order made a difference: {differences:#?}");

    let mark = world.mark().await?;
    tokio::time::sleep(QUIET).await;
    let writes: Vec<_> =
        world.operator_writes(mark).await?.iter().map(nova_testkit::Entry::summary).collect();
    assert!(writes.is_empty(), "an idle operator wrote: {writes:#?}");
    drop(operator);
    Ok(())
}
