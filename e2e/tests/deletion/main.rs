//! Deletion of every kind: in order, in a hurry, against resistance, through crashes; nothing is left and nothing hangs.

mod again;
mod blocked;
mod crash;
mod definition;
mod hurry;
mod order;
mod place;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::{OperatorProcess, World, history, quickstart};
use nova_testkit::{FaultProxy, Identity, Mark, Options};

const CONVERGES: Duration = Duration::from_mins(1);
/// Longest end of a deletion that nobody obstructs.
const ENDS: Duration = Duration::from_secs(45);

/// What every section works with.
struct Stage {
    world: World,
    proxy: FaultProxy,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_deletion_ends_and_leaves_nothing() -> Result<()> {
    let world = World::start(Options::default()).await?;
    let proxy = FaultProxy::start(&world.plane, &Identity::operator()).await?;
    let mut operator: OperatorProcess = world.operator_with(proxy.kubeconfig()).await?;
    let stage = Stage { world, proxy };
    stage.world.apply_once(&quickstart("unused")?[0]).await?;

    hurry::a_tenant_deleted_while_its_apps_roll_out_leaves_nothing(&stage).await?;
    let start = Instant::now();
    let ((), (), (), (), (), (), (), (), reference) = tokio::try_join!(
        order::each_kind_goes_in_its_order(&stage),
        order::block_refuses_and_says_why(&stage),
        order::an_invalid_spec_can_be_deleted(&stage),
        again::names_within_a_tenant_can_be_used_again_at_once(&stage),
        again::the_name_of_a_tenant_can_be_used_again_at_once(&stage),
        blocked::a_foreign_finalizer_in_a_namespace_is_told(&stage),
        blocked::what_is_being_deleted_resurrects_no_child(&stage),
        blocked::block_keeps_a_namespace_that_was_torn_from_its_project(&stage),
        crash::tenants_to_crash_in(&stage),
    )?;
    println!("sections side by side: {:.1?}", start.elapsed());
    crash::a_kill_during_the_cascade_changes_nothing_in_the_end(&stage, &mut operator, &reference).await?;
    blocked::what_waits_for_vela_says_so_and_goes_on(&stage).await?;
    every_delete_was_bound(&stage).await?;
    // Last, for the world is not the same afterwards.
    definition::a_definition_that_is_deleted_takes_no_namespace_along(&stage).await
}

/// Each delete of the operator names the UID and the resource version of what it is meant for.
async fn every_delete_was_bound(stage: &Stage) -> Result<()> {
    stage.world.plane.audit().settle().await;
    let entries = stage.world.plane.audit().since(Mark::default())?;
    let done = history::done_by_operator(&entries);
    let unbound = history::unbound_deletes(&done);
    let deletes = done.iter().filter(|w| w.verb.starts_with("delete")).count();
    println!("{deletes} deletes of the operator, {} of them without UID and resource version", unbound.len());
    ensure!(deletes > 20, "there should be more than {deletes} deletes to look at");
    ensure!(unbound.is_empty(), "{unbound:#?}");
    Ok(())
}
