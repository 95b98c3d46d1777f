//! Who may do what, tenants side by side, and what an attacker can make of each identity.

mod attacks;
mod names;
mod roles;

use std::time::Duration;

use anyhow::Result;
use e2e::World;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use nova_testkit::Options;

/// For everything that is awaited.
const PATIENCE: Duration = Duration::from_mins(1);

/// Objects of a kind in a namespace.
fn within(client: &Client, version: &str, kind: &str, plural: &str, namespace: &str) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_kept_apart() -> Result<()> {
    let world = World::start(Options::default()).await?;
    let operator = world.operator().await?;
    roles::set_up(&world).await?;
    tokio::try_join!(
        roles::everybody_may_do_what_the_table_says_and_nothing_else(&world),
        roles::a_developer_really_edits_a_sandbox(&world),
        names::names_that_would_collide_are_refused(&world),
        names::a_developer_group_belongs_to_one_tenant(&world),
        names::objects_in_a_wrong_place_are_told_so(&world),
        attacks::an_app_reaches_no_further_than_its_deployer(&world),
        attacks::nobody_writes_what_is_the_operators(&world),
        attacks::a_member_of_capsules_user_group_cannot_reach_namespaces(&world),
    )?;
    attacks::an_app_too_deep_to_read_is_told_and_hides_no_other(&world).await?;
    // Last, because everything above has had its chance to disturb the neighbour.
    roles::two_tenants_with_a_project_of_one_name_stay_apart(&world).await?;
    assert!(operator.is_running(), "the operator ended");
    Ok(())
}
