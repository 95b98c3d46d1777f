//! Every child of every kind: edited, stripped of our labels, added to, deleted. It is as it was within two seconds,
//! what others added is kept, and then it is quiet. And what is not ours is never touched.

mod children;
mod foreign;
mod namespaces;
mod role_ref;

use std::time::Duration;

use anyhow::Result;
use e2e::World;
use nova_testkit::{Entry, Mark, Options};

/// Longest time from a drift to its repair.
const REPAIR: Duration = Duration::from_secs(2);
/// How long nothing may be written after a repair.
const QUIET: Duration = Duration::from_secs(5);
/// For everything that is not measured.
const PATIENCE: Duration = Duration::from_mins(1);

/// Successful writes of the operator since `mark`, those of status and events aside.
async fn child_writes(world: &World, mark: Mark) -> Result<Vec<Entry>> {
    let mut writes = world.operator_writes(mark).await?;
    writes.retain(|w| w.object.subresource != "status" && w.object.resource != "events");
    Ok(writes)
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_repaired_and_foreign_objects_are_left_alone() -> Result<()> {
    let world = World::start(Options::default()).await?;
    let operator = world.operator().await?;
    // Quiet is told by the whole audit log, so what is measured and what is only awaited do not run at once.
    children::every_child_is_repaired_and_what_others_add_is_kept(&world).await?;
    tokio::try_join!(
        namespaces::a_deleted_namespace_comes_back_with_everything_in_it(&world),
        role_ref::a_binding_of_our_name_to_another_role_is_foreign_unless_it_is_labelled_ours(&world),
        foreign::what_was_there_before_is_never_touched(&world),
        foreign::what_came_between_is_never_touched(&world),
    )?;
    assert!(operator.is_running(), "the operator ended");
    Ok(())
}
