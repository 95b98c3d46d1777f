//! Passes over a `NovaSandbox`.

use jiff::{SignedDuration, Timestamp};
use nova_plan::child::{NAMESPACE, ROLE_BINDING};
use serde_json::{Value, json};

use super::surroundings::*;
use crate::engine::queue::Due;

const BY: &str = "fieldManager=kubenova/sandbox";

#[tokio::test(start_paused = true)]
async fn a_new_sandbox_lets_editors_in_last() {
    let world = with_tenant().await;
    create(&world, &sandbox());
    let asked = world.pass(&sandbox()).await;
    let writes: Vec<&str> = asked.iter().map(|a| a.line.as_str()).filter(|l| !l.starts_with("GET")).collect();
    assert_eq!(writes[0], format!("PATCH {}?{BY}", path(&sandbox())), "the finalizer first");
    assert_eq!(writes[1], format!("PATCH {}?{BY}", child(&NAMESPACE, "", SANDBOX)));
    assert!(writes.iter().all(|line| !line.contains("sandbox-editor")), "{writes:?}");
    for _ in 0..2 {
        others_act(&world);
        world.pass(&tenant()).await;
        others_act(&world);
    }
    let writes = world.lines(&sandbox()).await;
    let editors = child(&ROLE_BINDING, SANDBOX, "kubenova-sandbox-editor-binding");
    assert_eq!(
        writes,
        [
            format!("GET {editors}"),
            format!("PATCH {editors}?{BY}"),
            format!("PATCH {}/status?{BY}", path(&sandbox()))
        ]
    );
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_deleted_closes_its_door_and_then_goes_with_its_namespace() {
    let world = with_workspace(&sandbox()).await;
    world.server.edit(&path(&sandbox()), |sandbox| {
        sandbox["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
    });
    world.watch();
    let asked = world.pass(&sandbox()).await;
    let deletes: Vec<_> = asked.iter().filter(|a| a.line.starts_with("DELETE")).collect();
    let lines: Vec<&str> = deletes.iter().map(|a| a.line.as_str()).collect();
    let (editors, namespace) =
        (child(&ROLE_BINDING, SANDBOX, "kubenova-sandbox-editor-binding"), child(&NAMESPACE, "", SANDBOX));
    assert_eq!(lines, [format!("DELETE {editors}"), format!("DELETE {namespace}")]);
    assert!(deletes.iter().all(|d| d.body["preconditions"]["uid"] != Value::Null));
    world.watch();
    let lines = world.lines(&sandbox()).await;
    assert!(lines.iter().all(|line| line.starts_with("GET")), "it waits: {lines:?}");
    for at in world.server.objects().into_keys().filter(|at| at.starts_with(&namespace)) {
        world.server.take(&at);
    }
    world.watch();
    let lines = world.lines(&sandbox()).await;
    assert_eq!(lines.last(), Some(&format!("PATCH {}?{BY}", path(&sandbox()))));
    assert_eq!(world.server.get(&path(&sandbox())), None);
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_with_a_time_to_live_is_told_of_its_end_and_deleted_then() {
    let world = with_workspace(&sandbox()).await;
    let aged = |minutes: i64, generation: u64| {
        let created = Timestamp::now() - SignedDuration::from_mins(minutes);
        world.server.edit(&path(&sandbox()), |sandbox| {
            sandbox["spec"]["ttl"] = json!("1h");
            sandbox["metadata"]["generation"] = json!(generation);
            sandbox["metadata"]["creationTimestamp"] = json!(created.to_string());
        });
        world.watch();
        world.queued();
    };
    let due = || match world.queued()[&sandbox()] {
        Due::After(wait) => wait.as_secs().div_ceil(60),
        due @ Due::In(_) => panic!("{due:?}"),
    };
    aged(20, 2);
    settle(&world, &sandbox()).await;
    assert_eq!(due(), 10, "the resync; it is told after 34 minutes");
    assert!(is_ready(&world, &sandbox()));
    assert_eq!(world.status(&sandbox())["expiresSoon"], Value::Null);
    assert_ne!(world.status(&sandbox())["expiresAt"], Value::Null);
    aged(55, 3);
    settle(&world, &sandbox()).await;
    assert_eq!(due(), 5);
    assert!(is_ready(&world, &sandbox()), "it is what its spec asks for still");
    assert_eq!(world.status(&sandbox())["expiresSoon"], true);
    aged(61, 4);
    let lines = world.lines(&sandbox()).await;
    assert!(lines.contains(&format!("DELETE {}", path(&sandbox()))), "{lines:?}");
    assert_eq!(world.undeclared_reads(), 0);
}
