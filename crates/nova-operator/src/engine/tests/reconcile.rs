//! How a pass ends: what is told, and when the object is looked at again.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::probe::{condition, key, now, path, world};
use crate::engine::queue::{Due, Lane};
use crate::engine::stores::StoreId;
use crate::engine::testing::{Reply, World};

/// When the object is looked at again.
fn due(world: &World) -> Duration {
    match world.queued().remove(&key()) {
        Some(Due::After(wait)) => wait,
        other => panic!("{other:?}"),
    }
}

const RESYNC: Duration = Duration::from_mins(10);

#[tokio::test(start_paused = true)]
async fn a_pass_that_panics_is_told_as_a_bug_and_tried_again() {
    let world = world("panic");
    world.pass(&key()).await;
    let ready = condition(&world, "Ready");
    assert_eq!((&ready["status"], &ready["reason"]), (&json!("False"), &json!("InternalError")));
    assert_eq!(world.status(&key())["lastError"]["code"], "KN-500");
    assert!(due(&world) < Duration::from_secs(1));
    // The object itself is not touched, and what comes next is as ever.
    now(&world, "");
    world.pass(&key()).await;
    assert_eq!(condition(&world, "Ready")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_hangs_is_told_as_a_slow_api_server_and_never_as_a_bug() {
    for what in ["ask", "ask-on"] {
        let world = world(what);
        world.server.on("GET /api/v1/namespaces/probe", usize::MAX, Reply::Hang);
        let start = Instant::now();
        world.pass(&key()).await;
        assert!(start.elapsed() <= Duration::from_secs(61), "{what}: {:?}", start.elapsed());
        assert_eq!(condition(&world, "Ready")["reason"], "BackendUnavailable", "{what}");
        assert_eq!(world.status(&key())["lastError"]["code"], "KN-503", "{what}");
        assert!(world.status(&key()).to_string().contains("Namespace probe"), "{what}: what it waited for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_stands_still_without_a_request_is_a_bug() {
    let world = world("stand");
    world.pass(&key()).await;
    assert_eq!(world.status(&key())["lastError"]["code"], "KN-500");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_is_not_declared_is_counted() {
    for (what, reads) in [("declared", 0), ("undeclared", 1)] {
        let world = world(what);
        world.pass(&key()).await;
        assert_eq!(world.undeclared_reads(), reads, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_change_is_looked_at_again_by_the_resync_only() {
    let world = world("change no plan");
    for _ in 0..5 {
        world.pass(&key()).await;
        assert_eq!(due(&world), RESYNC);
    }
    assert_eq!(world.engine.backoff.failures(&key()), 0);
    now(&world, "soon");
    world.pass(&key()).await;
    assert_eq!(due(&world), Duration::from_secs(3), "the earliest wins");
}

#[tokio::test(start_paused = true)]
async fn what_only_trying_tells_is_tried_again_after_pauses_that_grow_and_success_forgets_them() {
    let world = world("backoff no answer");
    let mut pauses = Vec::new();
    for _ in 0..8 {
        world.pass(&key()).await;
        pauses.push(due(&world));
    }
    assert!(pauses[0] <= Duration::from_millis(600), "{pauses:?}");
    assert!(pauses[..5].windows(2).all(|two| two[1] > two[0]), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(14_400)), "{pauses:?}");
    now(&world, "");
    world.pass(&key()).await;
    assert_eq!((due(&world), world.engine.backoff.failures(&key())), (RESYNC, 0));
}

/// Works as the operator does until a time has passed; returns how many passes there were.
async fn work(world: &World, time: Duration) -> u32 {
    let until = Instant::now() + time;
    let mut passes = 0;
    while let Ok(Some(key)) = tokio::time::timeout_at(until, world.engine.queue.next()).await {
        world.pass(&key).await;
        world.engine.queue.done(&key);
        passes += 1;
    }
    passes
}

#[tokio::test(start_paused = true)]
async fn a_lasting_conflict_costs_at_most_twelve_attempts_a_minute() {
    for what in ["race", "finalizer", "", "backoff no answer"] {
        let world = world(what);
        world.server.on("PATCH", usize::MAX, Reply::Refuse(409, "Conflict", "modified".into()));
        world.engine.queue.add(key(), Lane::Edit);
        for minute in 0..4 {
            let passes = work(&world, Duration::from_mins(1)).await;
            assert!((1..=12).contains(&passes), "{what}: {passes} in minute {minute}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_race_is_told_once_it_lasts_and_not_before() {
    let world = world("race");
    for _ in 0..5 {
        assert_eq!(world.lines(&key()).await, Vec::<String>::new());
        assert!(due(&world) <= Duration::from_secs(2));
    }
    assert_eq!(world.lines(&key()).await, [format!("PATCH {}/status?fieldManager=kubenova/plan", path())]);
    assert_eq!(world.status(&key())["lastError"]["code"], "KN-503");
}

#[tokio::test(start_paused = true)]
async fn a_pass_overtaken_by_an_edit_tells_nothing_of_what_it_found() {
    let world = world("ask");
    world.server.on("GET /api/v1/namespaces/probe", 1, Reply::Hang);
    let (edited, key) = (
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            world.server.edit(&path(), |probe| probe["metadata"]["generation"] = json!(2));
            world.watch();
        },
        key(),
    );
    let (lines, ()) = tokio::join!(world.lines(&key), edited);
    assert_eq!(lines, ["GET /api/v1/namespaces/probe"]);
    assert_eq!(world.queued()[&key], Due::In(Lane::Edit));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_not_listed_is_not_judged() {
    let world = world("");
    world.engine.stores.unlist(&StoreId::Nova(key().kind));
    assert_eq!(world.lines(&key()).await, Vec::<String>::new());
    assert!(world.queued().is_empty(), "its list wakes all");
}
