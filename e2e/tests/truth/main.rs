//! What goes wrong is told truly and soon, concerns nobody else, and heals by itself.

mod again;
mod cases;
mod plans;
mod table;
mod turning;

use std::time::Duration;

use anyhow::Result;
use e2e::film::TROUBLE;
use e2e::{Film, World};
use nova_testkit::Options;

/// For what nobody measures.
pub const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn every_trouble_is_told_as_it_is_and_heals_by_itself() -> Result<()> {
    let world = World::start(Options::default()).await?;
    let operator = world.operator().await?;
    let film = Film::start(&world.admin, &TROUBLE).await?;
    tokio::try_join!(
        cases::each_trouble_is_told_within_five_seconds_and_ends_with_its_cause(&world, &operator, &film),
        turning::an_app_that_turns_bad_is_never_ready_at_that_generation(&world, &film),
        plans::a_suspended_tenant_says_so(&world, &film),
        plans::a_plan_in_use_stays_until_nobody_uses_it(&world, &film),
        again::what_vela_gave_up_is_rolled_out_once_what_it_needs_is_back(&world),
        plans::shares_never_add_up_to_more_than_the_plan(&world, &film),
    )?;
    let lies = film.lies();
    assert!(lies.is_empty(), "a status was not true: {lies:#?}");
    println!("{} versions of objects seen, none of them lied", film.all().len());
    Ok(())
}
