//! Passes over a `NovaApp`.

use nova_plan::adapters::vela;
use serde_json::{Value, json};

use super::surroundings::*;
use crate::engine::key::Key;
use crate::engine::testing::World;

#[tokio::test(start_paused = true)]
async fn a_new_app_is_two_writes_its_application_and_its_status() {
    let world = with_workspace(&project()).await;
    create(&world, &app());
    let asked = world.pass(&app()).await;
    let lines: Vec<&str> = asked.iter().map(|a| a.line.as_str()).collect();
    let application = child(&vela::APPLICATION, APPS, "web");
    assert_eq!(
        lines,
        [
            format!("PATCH {application}?fieldManager=kubenova/app"),
            format!("PATCH {}/status?fieldManager=kubenova/app", path(&app()))
        ]
    );
    let owner = &asked[0].body["metadata"]["ownerReferences"][0];
    let uid = world.server.get(&path(&app())).unwrap()["metadata"]["uid"].clone();
    assert_eq!((&owner["uid"], &owner["controller"]), (&uid, &json!(true)));
    vela_delivers(&world);
    let lines = world.lines(&app()).await;
    assert_eq!(lines, [format!("PATCH {}/status?fieldManager=kubenova/app", path(&app()))]);
    assert!(is_ready(&world, &app()));
    assert_eq!(world.lines(&app()).await, Vec::<String>::new());
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_waits_for_its_project_writes_nothing_but_its_status() {
    let world = with_tenant().await;
    create(&world, &app());
    assert_eq!(world.lines(&app()).await.len(), 1);
    assert_eq!(condition(&world, &app(), "Ready"), ("False".into(), "DependencyMissing".into()));
    assert_eq!(world.lines(&app()).await, Vec::<String>::new());
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_deleted_is_told_who_holds_it_and_makes_nothing() {
    let world = with_app().await;
    world.server.edit(&path(&app()), |app| {
        app["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        app["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    });
    world.server.take(&child(&vela::APPLICATION, APPS, "web"));
    world.watch();
    let lines = world.lines(&app()).await;
    assert_eq!(lines, [format!("PATCH {}/status?fieldManager=kubenova/app", path(&app()))]);
    let text = world.status(&app())["blockers"].to_string();
    assert!(
        text.contains("foregroundDeletion")
            || world.status(&app()).to_string().contains("foregroundDeletion")
    );
    assert_eq!(world.lines(&app()).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn apps_that_wait_for_vela_take_their_turns() {
    let world = with_app().await;
    assert_eq!(
        applied(&world, &["a", "b", "c", "d", "e"]).await,
        3,
        "one tenant never has all of Vela's workers"
    );
    world.queued();
    // Vela has acted on the first: the next in turn is woken.
    let first = key(nova_api::Kind::NovaApp, APPS, "a");
    world.server.edit(&child(&vela::APPLICATION, APPS, "a"), |application| {
        application["status"] = json!({"observedGeneration": 1, "status": "rendering"});
    });
    world.watch();
    world.queued();
    world.pass(&first).await;
    assert!(world.queued().contains_key(&key(nova_api::Kind::NovaApp, APPS, "d")));
    let lines = world.lines(&key(nova_api::Kind::NovaApp, APPS, "d")).await;
    assert!(lines.iter().any(|line| line.contains("/applications/d")), "{lines:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_turn_at_a_vela_that_does_not_work() {
    let world = with_workspace(&project()).await;
    assert_eq!(applied(&world, &["a", "b", "c", "d"]).await, 4, "it was never seen");
    world.server.edit(&child(&vela::APPLICATION, APPS, "a"), |application| {
        application["status"] = json!({"observedGeneration": 1, "status": "running"});
    });
    world.watch();
    assert_eq!(applied(&world, &["e", "f", "g", "h"]).await, 3, "it works");
    tokio::time::advance(vela::BACKEND.silence.unwrap()).await;
    world.queued();
    world.pass(&key(nova_api::Kind::NovaApp, APPS, "e")).await;
    let last = key(nova_api::Kind::NovaApp, APPS, "h");
    assert!(world.queued().contains_key(&last), "it is silent, and who waits for a turn is woken");
    assert!(world.lines(&last).await.iter().any(|line| line.contains("/applications/h")));
}

/// Makes apps; returns how many of them got their Application.
async fn applied(world: &World, names: &[&str]) -> usize {
    let keys: Vec<Key> = names.iter().map(|name| key(nova_api::Kind::NovaApp, APPS, name)).collect();
    for key in &keys {
        create(world, key);
    }
    let mut applied = 0;
    for key in &keys {
        applied += world.lines(key).await.iter().filter(|line| line.contains("/applications/")).count();
    }
    applied
}

#[tokio::test(start_paused = true)]
async fn a_status_of_velas_that_cannot_be_read_is_told_as_such() {
    let world = with_app().await;
    let application = child(&vela::APPLICATION, APPS, "web");
    world
        .server
        .edit(&application, |application| application["status"] = json!({"observedGeneration": "many"}));
    world.watch();
    world.pass(&app()).await;
    assert_ne!(condition(&world, &app(), "Ready").0, "True");
    assert_ne!(condition(&world, &app(), "Ready").1, "Progressing");
    assert_eq!(
        world.server.get(&application).map(|a| a["status"].clone()),
        Some(json!({"observedGeneration": "many"}))
    );
    assert_ne!(world.status(&app()), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn in_a_suspended_tenant_an_app_is_kept_as_it_was_and_an_edit_waits() {
    let world = with_app().await;
    let application = child(&vela::APPLICATION, APPS, "web");
    let suspend = |suspended: bool, generation: u64| {
        world.server.edit(&path(&tenant()), |tenant| {
            tenant["spec"]["suspended"] = json!(suspended);
            tenant["metadata"]["generation"] = json!(generation);
        });
        world.watch();
    };
    let writes = async || {
        let lines = world.lines(&app()).await;
        lines.iter().filter(|line| line.contains(&application)).count()
    };
    suspend(true, 2);
    assert_eq!(writes().await, 0);
    assert!(is_ready(&world, &app()), "what runs is as it was");
    assert_eq!(condition(&world, &app(), "Suspended").0, "True");
    world.server.take(&application);
    world.watch();
    assert_eq!(writes().await, 1, "made again");
    vela_delivers(&world);

    let edit = |tag: &str, generation: u64| {
        world.server.edit(&path(&app()), |app| {
            app["spec"]["source"]["containerImage"]["tag"] = json!(tag);
            app["metadata"]["generation"] = json!(generation);
        });
        world.watch();
    };
    edit("2", 2);
    assert_eq!(writes().await, 0);
    assert_eq!(condition(&world, &app(), "Ready"), ("False".into(), "Suspended".into()));
    assert_eq!(writes().await, 0, "another look changes nothing");
    edit("1", 3);
    assert_eq!(writes().await, 0);
    assert!(is_ready(&world, &app()), "edited back: {:#}", world.status(&app()));
    edit("2", 4);
    assert_eq!(writes().await, 0);
    suspend(false, 3);
    assert_eq!(writes().await, 1, "it goes on without an edit");
    assert_eq!(condition(&world, &app(), "Suspended").0, "", "{:#}", world.status(&app()));
    assert_eq!(world.undeclared_reads(), 0);
}
