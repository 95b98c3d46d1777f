//! What holds for a pass over an object of any kind, and over each of its children.

use std::time::Duration;

use nova_api::Kind;
use serde_json::{Value, json};

use super::surroundings::*;
use crate::engine::key::Key;
use crate::engine::queue::Due;
use crate::engine::testing::{Asked, Reply, World};

/// Paths of the children of an object, in the order in which they were made.
fn children(world: &World, key: &Key) -> Vec<String> {
    let uid = world.server.get(&path(key)).map(|mut o| o["metadata"]["uid"].take()).unwrap_or_default();
    let mut children: Vec<(u64, String)> = world
        .server
        .objects()
        .into_iter()
        .filter(|(_, object)| object["metadata"]["labels"]["kubenova.io/owner-uid"] == uid)
        .map(|(at, object)| {
            let number =
                |text: &Value| text.as_str().and_then(|t| t.rsplit('-').next()?.parse().ok()).unwrap_or(0);
            (number(&object["metadata"]["uid"]), at)
        })
        .collect();
    children.sort();
    children.into_iter().map(|(_, at)| at).collect()
}

/// Requests that write, without those for a status.
fn writes(asked: &[Asked]) -> Vec<&Asked> {
    asked.iter().filter(|a| !a.line.starts_with("GET") && !a.line.contains("/status?")).collect()
}

/// Kinds that have children.
fn with_children() -> impl Iterator<Item = Key> {
    let childless = |kind| {
        let controllers = crate::controllers();
        let of_kind = controllers.iter().find(|controller| controller.kind() == kind);
        of_kind.is_some_and(|controller| controller.relations().describe().0.is_empty())
    };
    one_of_each().into_iter().filter(move |key| !childless(key.kind))
}

/// A world in which everything is ready for the object, and it is not there yet.
async fn before(key: &Key) -> World {
    match sample(key.kind).ground {
        Ground::Project => with_workspace(&project()).await,
        Ground::Tenant => with_tenant().await,
        Ground::Cluster => {
            let world = world();
            for other in [plan(), cluster()].iter().filter(|other| *other != key) {
                create(&world, other);
                settle(&world, other).await;
            }
            world
        }
    }
}

/// The tenant divides its plan anew, and the others act.
async fn everybody_acts(world: &World) {
    others_act(world);
    if world.server.get(&path(&tenant())).is_some() {
        world.pass(&tenant()).await;
        others_act(world);
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_settled_is_ready_and_asks_for_nothing_more() {
    for key in one_of_each() {
        let world = with(&key).await;
        assert!(is_ready(&world, &key), "{key}: {:#}", world.status(&key));
        for _ in 0..3 {
            assert_eq!(world.lines(&key).await, Vec::<String>::new(), "{key}");
        }
        assert_eq!(world.undeclared_reads(), 0, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_with_everything_there_writes_nothing() {
    let before = with_app().await;
    let world = world();
    for (at, object) in before.server.objects() {
        world.server.restore(&at, object);
    }
    world.relist();
    for key in one_of_each() {
        if world.server.get(&path(&key)).is_some() {
            assert_eq!(world.lines(&key).await, Vec::<String>::new(), "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_field_of_a_child_that_somebody_took_over_is_one_patch_to_that_very_object() {
    for key in with_children() {
        let world = with(&key).await;
        let children = children(&world, &key);
        assert!(!children.is_empty(), "{key}");
        for at in children {
            world.server.edit(&at, |object| {
                object["metadata"]["labels"]["app.kubernetes.io/managed-by"] = json!("kubenova");
                object["metadata"]["labels"]["kubenova.io/tenant"] = json!("mallory");
                let labels =
                    &mut object["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:labels"];
                assert!(labels.as_object_mut().unwrap().remove("f:kubenova.io/tenant").is_some(), "{at}");
            });
            world.watch();
            let asked = world.pass(&key).await;
            let (writes, uid) = (writes(&asked), world.server.get(&at).unwrap()["metadata"]["uid"].clone());
            assert_eq!(writes.len(), 1, "{at}: {asked:?}");
            let line = format!("PATCH {at}?force=true&fieldManager={}", key.kind.manager());
            assert_eq!((writes[0].line.as_str(), &writes[0].body["metadata"]["uid"]), (line.as_str(), &uid));
            assert_eq!(asked.len(), 1, "{at}: nothing else was asked: {asked:?}");
            assert_eq!(world.lines(&key).await, Vec::<String>::new(), "{at}");
        }
        assert_eq!(world.undeclared_reads(), 0, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_is_gone_is_made_anew_and_only_where_nothing_is() {
    for key in with_children() {
        let world = with(&key).await;
        for at in children(&world, &key) {
            world.server.take(&at);
            world.watch();
            let asked = world.pass(&key).await;
            let made = asked.iter().find(|a| !a.line.starts_with("GET")).unwrap_or_else(|| panic!("{at}"));
            assert_eq!(made.line, format!("PATCH {at}?fieldManager={}", key.kind.manager()), "{at}");
            let metadata = &made.body["metadata"];
            assert_eq!((&metadata["resourceVersion"], &metadata["uid"]), (&json!("1"), &Value::Null), "{at}");
            everybody_acts(&world).await;
            if key.kind == Kind::NovaApp {
                vela_delivers(&world);
            }
            settle(&world, &key).await;
            assert!(is_ready(&world, &key), "{at}: {:#}", world.status(&key));
        }
        assert_eq!(world.undeclared_reads(), 0, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_of_the_name_of_a_child_is_never_written_and_told_as_a_conflict() {
    for key in with_children() {
        let settled = with(&key).await;
        for at in children(&settled, &key) {
            let world = before(&key).await;
            let theirs = settled.server.get(&at).unwrap();
            let metadata =
                json!({"name": theirs["metadata"]["name"], "namespace": theirs["metadata"]["namespace"]});
            world.server.put(&at, json!({"metadata": metadata, "data": {"theirs": "kept"}}));
            world.watch();
            create(&world, &key);
            for _ in 0..4 {
                let asked = world.pass(&key).await;
                let touched: Vec<&Asked> = asked
                    .iter()
                    .filter(|a| a.line.contains(&format!("{at}?")) && !a.line.starts_with("GET"))
                    .collect();
                assert!(touched.is_empty(), "{touched:?}");
                everybody_acts(&world).await;
            }
            let reason = condition(&world, &key, "Ready").1;
            let expected = if at.matches('/').count() == 4 && at.starts_with("/api/v1") {
                "NamespaceConflict"
            } else {
                "Conflict"
            };
            assert_eq!(reason, expected, "{at}: {:#}", world.status(&key));
            assert_eq!(world.undeclared_reads(), 0, "{at}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_of_a_write_ends_the_pass_and_is_not_told() {
    for key in one_of_each() {
        let world = before(&key).await;
        create(&world, &key);
        world.queued();
        world.server.on("PATCH", 1, Reply::Refuse(409, "Conflict", "modified".into()));
        let asked = world.pass(&key).await;
        let refused = asked.iter().filter(|a| a.line.starts_with("PATCH")).count();
        assert_eq!(refused, 1, "{key}: {asked:?}");
        let due = world.queued()[&key];
        assert!(matches!(due, Due::After(wait) if wait <= Duration::from_millis(120)), "{key}: {due:?}");
        assert_eq!(world.status(&key), Value::Null, "{key}");
        assert_eq!(world.undeclared_reads(), 0, "{key}");
    }
}

/// What makes an object unreadable.
const WAYS: [fn(&mut Value, Kind); 2] = [
    |object, kind| {
        let Sample { mut spec, newer: (field, value), .. } = sample(kind);
        spec[field] = value;
        object["spec"] = spec;
    },
    |object, _| object["spec"]["unknown"] = json!("x".repeat(700 * 1024)),
];

#[tokio::test(start_paused = true)]
async fn an_unreadable_object_is_told_once_and_the_rest_of_its_status_stays() {
    for key in one_of_each() {
        for (way, make) in WAYS.iter().enumerate() {
            let world = with(&key).await;
            world.server.edit(&path(&key), |object| {
                make(object, key.kind);
                object["metadata"]["generation"] = json!(2);
            });
            let before = world.status(&key);
            world.watch();
            let asked = world.pass(&key).await;
            assert_eq!(asked.len(), 1, "{key} way {way}: {asked:?}");
            assert_eq!(
                asked[0].line,
                format!("PATCH {}/status?fieldManager={}", path(&key), key.kind.manager())
            );
            let now = world.status(&key);
            assert_eq!(condition(&world, &key, "Ready"), ("False".to_owned(), "Invalid".to_owned()), "{key}");
            for (field, value) in before.as_object().unwrap() {
                let core = ["observedGeneration", "id", "phase", "conditions", "blockers", "lastError"];
                assert!(core.contains(&field.as_str()) || &now[field] == value, "{key}: {field}: {now:#}");
            }
            world.watch();
            for _ in 0..3 {
                let asked = world.pass(&key).await;
                assert!(asked.is_empty(), "{key} way {way}: {asked:?}");
            }
            assert_eq!(world.undeclared_reads(), 0, "{key}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_object_that_is_being_deleted_is_taken_down_and_let_go() {
    for key in [plan(), tenant(), project(), sandbox()] {
        for (way, make) in WAYS.iter().enumerate() {
            let world = with(&key).await;
            // Nobody is under the plan any more.
            if key == plan() {
                world.server.take(&path(&tenant()));
            }
            world.server.edit(&path(&key), |object| {
                make(object, key.kind);
                object["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
            });
            world.watch();
            for _ in 0..12 {
                world.pass(&key).await;
                // Kubernetes ends a namespace, with what is in it.
                for (at, object) in world.server.objects() {
                    if at.starts_with("/api/v1/namespaces/")
                        && !object["metadata"]["deletionTimestamp"].is_null()
                    {
                        for inside in world.server.objects().into_keys().filter(|o| o.starts_with(&at)) {
                            world.server.take(&inside);
                        }
                    }
                }
                world.watch();
            }
            assert_eq!(world.server.get(&path(&key)), None, "{key} way {way}: {:#}", world.status(&key));
            assert_eq!(world.undeclared_reads(), 0, "{key}");
        }
    }
}
