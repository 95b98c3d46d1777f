//! Who is woken by what: a change, and exactly the keys that it concerns.

use std::collections::BTreeMap;
use std::time::Duration;

use nova_api::Kind;
use nova_plan::adapters::{capsule, vela};
use nova_plan::child::{NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, ROLE_BINDING};
use serde_json::{Value, json};

use super::super::wakes::COUNTS;
use super::surroundings::*;
use crate::engine::key::Key;
use crate::engine::queue::{Due, Lane};
use crate::engine::stores::StoreId;
use crate::engine::testing::World;

const NOW: Due = Due::In(Lane::Edit);
const BACKGROUND: Due = Due::In(Lane::Background);
/// Usage of a quota moves in bursts.
const BURST: Due = Due::After(Duration::from_millis(300));
const COUNTED: Due = Due::After(COUNTS);

/// Whom a change wakes, and how soon.
fn woken(world: &World, change: impl FnOnce(&World)) -> BTreeMap<Key, Due> {
    world.watch();
    world.queued();
    change(world);
    world.watch();
    world.queued()
}

fn edited<C: FnOnce(&mut Value)>(at: &str, change: C) -> impl FnOnce(&World) + use<C> {
    let at = at.to_owned();
    move |world| world.server.edit(&at, change)
}

/// A new generation.
fn spec_of(key: &Key) -> impl FnOnce(&World) + use<> {
    edited(&path(key), |object| object["metadata"]["generation"] = json!(2))
}

fn gone(at: String) -> impl FnOnce(&World) {
    move |world| drop(world.server.take(&at))
}

fn keys<const N: usize>(expected: [(Key, Due); N]) -> BTreeMap<Key, Due> {
    expected.into()
}

/// The world of an app, an object of every other kind, and another tenant that names no plan.
async fn everything() -> World {
    let world = with_app().await;
    for key in one_of_each() {
        if world.server.get(&path(&key)).is_none() {
            create(&world, &key);
        }
    }
    let other = key(Kind::NovaTenant, "", "other");
    world.server.put(&path(&other), manifest(&other, &json!({})));
    world.watch();
    world.queued();
    world
}

fn other() -> Key {
    key(Kind::NovaTenant, "", "other")
}

#[tokio::test(start_paused = true)]
async fn a_spec_wakes_its_object_and_those_that_stand_on_it() {
    let world = everything().await;
    let below = [(project(), BACKGROUND), (sandbox(), BACKGROUND), (app(), BACKGROUND)];
    let mut expected = keys(below.clone());
    expected.extend([(plan(), NOW), (tenant(), NOW)]);
    assert_eq!(woken(&world, spec_of(&plan())), expected, "a plan concerns who is under it");
    let mut expected = keys(below);
    expected.extend([(tenant(), NOW), (plan(), COUNTED)]);
    assert_eq!(woken(&world, spec_of(&tenant())), expected, "a tenant concerns what is in it, and its plan");
    let expected = keys([(cluster(), NOW), (plan(), BACKGROUND), (other(), NOW)]);
    assert_eq!(woken(&world, spec_of(&cluster())), expected, "the default plan concerns who names none");
    let expected = keys([(project(), NOW), (tenant(), NOW), (app(), BACKGROUND)]);
    assert_eq!(woken(&world, spec_of(&project())), expected);
    assert_eq!(woken(&world, spec_of(&sandbox())), keys([(sandbox(), NOW), (tenant(), NOW)]));
    assert_eq!(woken(&world, spec_of(&app())), keys([(app(), NOW)]));
}

#[tokio::test(start_paused = true)]
async fn a_status_concerns_nobody_but_its_object() {
    let world = everything().await;
    for key in one_of_each() {
        let change = edited(&path(&key), |object| object["status"]["theirs"] = json!(1));
        assert_eq!(woken(&world, change), keys([(key.clone(), NOW)]), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_app_that_goes_is_counted_in_a_while_and_at_once_where_a_deletion_waits_for_it() {
    let world = everything().await;
    let expected = keys([(app(), NOW), (project(), COUNTED), (tenant(), COUNTED)]);
    assert_eq!(woken(&world, gone(path(&app()))), expected);
    let expected = keys([(app(), NOW), (project(), COUNTED), (tenant(), COUNTED)]);
    assert_eq!(woken(&world, |world| create_quietly(world, &app())), expected, "one that comes");
    world
        .server
        .edit(&path(&project()), |p| p["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z"));
    let expected = keys([(app(), NOW), (project(), NOW), (tenant(), COUNTED)]);
    assert_eq!(woken(&world, gone(path(&app()))), expected);
}

fn create_quietly(world: &World, key: &Key) {
    world.server.put(&path(key), manifest(key, &sample(key.kind).spec));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_is_woken_when_it_is_there() {
    let world = everything().await;
    let waiting = [key(Kind::NovaProject, HOME, "waits"), key(Kind::NovaApp, APPS, "waits")];
    for one in &waiting {
        create_quietly(&world, one);
    }
    let woken_by = woken(&world, gone(path(&app())));
    assert_eq!(woken_by.get(&waiting[1]), Some(&BACKGROUND));
    assert_eq!(woken_by.get(&waiting[0]), None);
    let woken_by = woken(&world, gone(path(&project())));
    assert_eq!(woken_by.get(&waiting[0]), Some(&BACKGROUND));
    // Two tenants of one developer group: the second is woken when the first gives it up.
    let twin = key(Kind::NovaTenant, "", "twin");
    world.server.put(&path(&twin), manifest(&twin, &json!({"devGroup": "acme-devs"})));
    assert_eq!(woken(&world, gone(path(&tenant()))).get(&twin), Some(&BACKGROUND));
}

/// What is in a tenant goes on when the tenant does, and that may hang on another one.
#[tokio::test(start_paused = true)]
async fn everything_in_a_tenant_is_woken_when_another_gives_up_its_developer_group() {
    let world = everything().await;
    let all = [
        key(Kind::NovaTenant, "", "twin"),
        key(Kind::NovaProject, "tn-twin", "shop"),
        key(Kind::NovaSandbox, "tn-twin", "dev"),
        key(Kind::NovaApp, "tn-twin-app-shop", "web"),
    ];
    for one in &all {
        create_quietly(&world, one);
    }
    let group = |group: &str| {
        let spec = json!({"devGroup": group});
        edited(&path(&tenant()), move |tenant| tenant["spec"] = spec)
    };
    let woken_of = |woken: &BTreeMap<Key, Due>| all.clone().map(|key| woken.get(&key).copied());
    world.watch();
    assert_eq!(woken_of(&woken(&world, group("twin-devs"))), [Some(BACKGROUND); 4], "taken");
    assert_eq!(woken_of(&woken(&world, spec_of(&tenant()))), [None; 4], "another edit");
    assert_eq!(woken_of(&woken(&world, group("acme-devs"))), [Some(BACKGROUND); 4], "given up");
}

#[tokio::test(start_paused = true)]
async fn usage_of_a_quota_is_one_pass_for_a_burst_and_its_spec_is_one_at_once() {
    let world = everything().await;
    let quota = child(&RESOURCE_QUOTA, APPS, "kubenova-quota");
    let used = edited(&quota, |quota| quota["status"]["used"] = json!({"pods": "1"}));
    assert_eq!(woken(&world, used), keys([(tenant(), BURST), (project(), BURST)]));
    let spec = edited(&quota, |quota| quota["spec"]["hard"]["pods"] = json!("999"));
    assert_eq!(woken(&world, spec), keys([(tenant(), NOW), (project(), NOW)]));
}

#[tokio::test(start_paused = true)]
async fn a_child_that_others_change_wakes_its_owner_and_our_own_write_does_not() {
    let world = everything().await;
    let policy = child(&NETWORK_POLICY, APPS, "kubenova-allow-dns");
    let drift = |policy: &mut Value| {
        policy["spec"]["egress"] = json!([]);
        policy["metadata"]["managedFields"] = json!([]);
    };
    assert_eq!(woken(&world, edited(&policy, drift)), keys([(project(), NOW)]));
    assert_eq!(world.lines(&project()).await.iter().filter(|line| line.contains(&policy)).count(), 1);
    world.queued();
    world.watch();
    assert_eq!(world.queued(), keys([]), "the echo of our own write");
    // Its label is taken off: the owner is still known from what was seen before.
    let unlabelled = edited(&policy, |policy| policy["metadata"]["labels"] = json!({}));
    assert_eq!(woken(&world, unlabelled), keys([(project(), NOW)]));
    // The same for the Application of an app.
    let application = child(&vela::APPLICATION, APPS, "web");
    let changed = edited(&application, |a| a["spec"]["components"] = json!([]));
    assert_eq!(woken(&world, changed), keys([(app(), NOW)]));
    let woken_by = woken(&world, gone(application));
    assert_eq!(woken_by, keys([(app(), NOW)]), "nobody waits for its end but the app");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_goes_concerns_what_it_was_made_for_what_is_in_it_and_the_division_of_the_plan() {
    let world = everything().await;
    let expected = keys([(project(), NOW), (tenant(), NOW), (app(), BACKGROUND)]);
    assert_eq!(woken(&world, gone(child(&NAMESPACE, "", APPS))), expected);
    // Labels of a namespace that is nobody's are nobody's business.
    let foreign = child(&NAMESPACE, "", "kube-system");
    let put = |world: &World| world.server.put(&foreign, json!({"metadata": {"name": "kube-system"}}));
    assert_eq!(woken(&world, put), keys([]));
}

#[tokio::test(start_paused = true)]
async fn the_word_of_capsule_concerns_the_tenant_and_soon_what_is_in_it() {
    let world = everything().await;
    let at = child(&capsule::TENANT, "", "acme");
    let says =
        edited(&at, |tenant| tenant["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]));
    let woken_by = woken(&world, says);
    assert_eq!(woken_by[&tenant()], NOW);
    assert_eq!(woken_by[&project()], COUNTED, "it is Ready");
    assert_eq!(woken_by[&sandbox()], BACKGROUND, "it waits");
    assert_eq!(woken_by.len(), 3, "{woken_by:?}");
    // What is not status concerns the owner alone.
    let labelled = edited(&at, |tenant| tenant["metadata"]["labels"]["theirs"] = json!("x"));
    assert_eq!(woken(&world, labelled), keys([(tenant(), NOW)]));
}

#[tokio::test(start_paused = true)]
async fn the_health_of_a_leaf_concerns_its_app_and_what_else_it_says_nobody() {
    let world = everything().await;
    let pod = World::path(&StoreId::Leaf(&vela::POD), APPS, "web-1");
    let labels = json!({"app.oam.dev/name": "web"});
    let manifest = json!({"metadata": {"name": "web-1", "namespace": APPS, "labels": labels}, "status": {"phase": "Pending"}});
    assert_eq!(woken(&world, |world| world.server.put(&pod, manifest)), keys([(app(), NOW)]));
    let quiet = edited(&pod, |pod| pod["metadata"]["annotations"] = json!({"x": "y"}));
    assert_eq!(woken(&world, quiet), keys([]));
    let failed = edited(&pod, |pod| pod["status"] = json!({"phase": "Failed"}));
    assert_eq!(woken(&world, failed), keys([(app(), NOW)]));
    // Pods of a sandbox are nobody's.
    let mut theirs = world.server.get(&pod).unwrap();
    theirs["metadata"]["namespace"] = json!(SANDBOX);
    let at = World::path(&StoreId::Leaf(&vela::POD), SANDBOX, "web-1");
    assert_eq!(woken(&world, |world| world.server.put(&at, theirs)), keys([]));
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_comes_or_goes_wakes_whom_its_backend_serves() {
    let world = everything().await;
    let path = |crd: &str| World::path(&StoreId::Definitions, "", crd);
    let woken_by = woken(&world, gone(path(vela::CRD)));
    assert!(woken_by.values().all(|due| *due == BACKGROUND));
    let woken_by: Vec<Key> = woken_by.into_keys().collect();
    let mut expected = vec![cluster(), tenant(), other(), project(), app()];
    expected.sort();
    assert_eq!(woken_by, expected, "a sandbox has no Applications");
    let woken_by = woken(&world, gone(path(capsule::CRD)));
    assert!(woken_by.contains_key(&sandbox()) && !woken_by.contains_key(&app()), "{woken_by:?}");
}

#[tokio::test(start_paused = true)]
async fn the_deployers_binding_that_is_being_deleted_and_the_managers_that_comes_are_seen() {
    let world = everything().await;
    let deployer = child(&ROLE_BINDING, APPS, "kubenova-app-deployer-binding");
    let deleted =
        edited(&deployer, |binding| binding["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z"));
    assert_eq!(woken(&world, deleted), keys([(project(), NOW)]));
    let manager = child(&ROLE_BINDING, APPS, "kubenova-namespace-manager-binding");
    assert_eq!(woken(&world, gone(manager)), keys([(project(), NOW), (tenant(), NOW)]));
}

#[tokio::test(start_paused = true)]
async fn a_list_wakes_everybody_in_the_background() {
    let before = everything().await;
    let world = world();
    for (at, object) in before.server.objects() {
        world.server.restore(&at, object);
    }
    world.queued();
    world.relist();
    let queued = world.queued();
    for key in one_of_each() {
        assert_eq!(queued.get(&key), Some(&BACKGROUND), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_a_backend_is_told_to_those_who_wait_for_it_and_to_no_other_tenant() {
    let world = everything().await;
    let home = child(&NAMESPACE, "", HOME);
    world.server.edit(&home, |home| home["metadata"]["managedFields"] = json!([]));
    world.watch();
    world.queued();
    let words =
        "Internal error occurred: failed calling webhook \"namespaces.tenants.projectcapsule.dev\": refused";
    let refused = crate::engine::testing::Reply::Refuse(500, "InternalError", words.to_owned());
    world.server.on(&format!("PATCH {home}?"), 1, refused);
    world.pass(&tenant()).await;
    assert_eq!(condition(&world, &tenant(), "Ready").1, "BackendUnavailable");
    let queued = world.queued();
    assert_eq!(queued.get(&cluster()), Some(&NOW), "{queued:?}");
    assert_eq!(queued.get(&other()), None);
    world.pass(&cluster()).await;
    assert_eq!(condition(&world, &cluster(), "Ready").1, "BackendUnavailable");
}
