//! Writes to the object itself: its status and its finalizer.

use std::time::Duration;

use serde_json::{Value, json};

use super::probe::{condition, key, now, path, world};
use crate::engine::queue::{Due, Lane};
use crate::engine::testing::Reply;

#[tokio::test(start_paused = true)]
async fn a_status_is_one_merge_patch_of_what_differs_bound_to_the_version() {
    let mut world = world("change it is not there");
    let version = |world: &crate::engine::testing::World| {
        world.server.get(&path()).unwrap()["metadata"]["resourceVersion"].clone()
    };
    let before = version(&world);
    let asked = world.pass(&key()).await;
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, format!("PATCH {}/status?fieldManager=kubenova/plan", path()));
    assert_eq!(asked[0].body["metadata"], json!({"resourceVersion": before}));
    assert_eq!(asked[0].body["status"]["lastError"]["code"], "KN-404");
    assert_eq!(world.pass(&key()).await.len(), 0, "nothing differs");
    let events = world.publish().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (&events[0].body["type"], &events[0].body["reason"]),
        (&json!("Warning"), &json!("DependencyMissing"))
    );

    // What somebody else wrote into the status is taken out again, what is no longer so is null.
    world.server.edit(&path(), |probe| probe["status"]["theirs"] = json!(1));
    now(&world, "");
    let before = version(&world);
    let asked = world.pass(&key()).await;
    assert_eq!(asked.len(), 1);
    let mut body = asked[0].body.clone();
    assert_eq!(body["metadata"], json!({"resourceVersion": before}));
    let conditions = body["status"]["conditions"].take();
    assert_eq!(
        body["status"],
        json!({"blockers": null, "conditions": null, "lastError": null, "phase": "Deployed", "theirs": null})
    );
    let kinds: Vec<&Value> = conditions.as_array().unwrap().iter().map(|c| &c["type"]).collect();
    assert_eq!(kinds, ["Ready", "DependenciesMet"]);
    assert_eq!(world.publish().await.len(), 1, "it is over");
    assert_eq!(world.pass(&key()).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_of_a_status_is_another_look_and_a_status_of_what_is_gone_is_no_need() {
    let world = world("");
    world.server.on("PATCH", 1, Reply::Refuse(409, "Conflict", "modified".into()));
    world.pass(&key()).await;
    assert!(matches!(world.queued()[&key()], Due::After(wait) if wait <= Duration::from_millis(120)));
    world.server.on("PATCH", 1, Reply::Refuse(404, "NotFound", "gone".into()));
    assert_eq!(world.lines(&key()).await.len(), 1);
    assert!(matches!(world.queued()[&key()], Due::After(wait) if wait == Duration::from_mins(10)));
}

#[tokio::test(start_paused = true)]
async fn more_of_the_same_progress_is_written_every_four_seconds_and_its_end_at_once() {
    let world = world("progress 0");
    let mut written = 0;
    for second in 1..=120 {
        written += world.pass(&key()).await.len();
        let Due::After(wait) = world.queued()[&key()] else { panic!("queued") };
        assert!(wait <= Duration::from_mins(10));
        tokio::time::advance(Duration::from_secs(1)).await;
        now(&world, &format!("progress {second}"));
    }
    assert!((29..=31).contains(&written), "{written} in two minutes");
    now(&world, "change it failed");
    assert_eq!(world.pass(&key()).await.len(), 1, "bad news at once");
    now(&world, "");
    assert_eq!(world.pass(&key()).await.len(), 1, "good news at once");
}

#[tokio::test(start_paused = true)]
async fn facts_that_move_are_written_a_few_times_at_once_and_then_every_half_minute_and_the_last_is_never_lost()
 {
    let world = world("count 0");
    world.pass(&key()).await;
    let mut written = 0;
    for second in 1..=120 {
        now(&world, &format!("count {second}"));
        written += world.pass(&key()).await.len();
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!((6..=9).contains(&written), "{written} in two minutes");
    for _ in 0..3 {
        world.pass(&key()).await;
        if let Some(Due::After(wait)) = world.queued().get(&key()) {
            tokio::time::advance((*wait).min(Duration::from_secs(31))).await;
        }
    }
    assert_eq!(world.status(&key())["tenants"], 120);
    assert_eq!(world.pass(&key()).await.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_is_put_beside_those_of_others_and_under_the_version_that_was_read() {
    let world = world("finalizer");
    world.server.edit(&path(), |probe| probe["metadata"]["finalizers"] = json!(["example.com/theirs"]));
    // The watch has not told of theirs: the list would be written without it.
    let asked = world.pass(&key()).await;
    assert_eq!(asked.len(), 1, "a conflict ends the pass: {asked:?}");
    assert_eq!(world.server.get(&path()).unwrap()["metadata"]["finalizers"], json!(["example.com/theirs"]));
    world.watch();
    let asked = world.pass(&key()).await;
    assert_eq!(asked[0].line, format!("PATCH {}?fieldManager=kubenova/plan", path()));
    assert_eq!(
        asked[0].body["metadata"]["finalizers"],
        json!(["example.com/theirs", "kubenova.io/novaplan"])
    );
    assert_eq!(asked[0].body.as_object().unwrap().len(), 1, "nothing but metadata");
    assert_eq!(world.pass(&key()).await.len(), 0);
    // It is gone: nothing may be made for it.
    let world = super::probe::world("finalizer");
    world.server.take(&path());
    assert_eq!(world.pass(&key()).await.len(), 1);
    assert_eq!(condition(&world, "Ready"), Value::Null);
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_comes_back_with_the_answer_to_our_write_wakes_us() {
    let edits: [fn(&mut Value); 3] = [
        |probe| probe["metadata"]["finalizers"] = json!([]),
        |probe| probe["metadata"]["generation"] = json!(2),
        |probe| probe["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z"),
    ];
    for edit in edits {
        let world = world("finalizer");
        world.pass(&key()).await;
        now(&world, "");
        world.engine.throttle.forget(&key());
        now(&world, "change it is not there");
        let mut answer = world.server.get(&path()).unwrap();
        edit(&mut answer);
        answer["metadata"]["resourceVersion"] = json!("1000");
        world.server.on("PATCH", 1, Reply::Answer(answer));
        assert_eq!(world.pass(&key()).await.len(), 1);
        assert_eq!(world.queued()[&key()], Due::In(Lane::Edit));
    }
    // Our own write alone wakes nobody.
    let world = world("finalizer");
    world.pass(&key()).await;
    assert!(matches!(world.queued()[&key()], Due::After(_)));
    world.watch();
    assert!(world.queued().is_empty(), "nor does its echo");
}
