//! Passes over `NovaCluster local`.

use nova_plan::adapters::{capsule, vela};
use serde_json::json;

use super::surroundings::*;
use crate::engine::health::SILENT;
use crate::engine::stores::StoreId;

#[tokio::test(start_paused = true)]
async fn the_cluster_is_made_where_it_is_absent_and_no_other() {
    let world = world();
    let asked = world.pass(&cluster()).await;
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].line, "POST /apis/kubenova.io/v1alpha1/novaclusters");
    assert_eq!(asked[0].body["metadata"]["labels"], json!({"app.kubernetes.io/managed-by": "kubenova"}));
    assert_eq!(world.lines(&key(nova_api::Kind::NovaCluster, "", "other")).await, Vec::<String>::new());
    // Somebody was faster.
    assert_eq!(world.lines(&cluster()).await.len(), 1);
    world.watch();
    let lines = world.lines(&cluster()).await;
    assert_eq!(lines, [format!("PATCH {}/status?fieldManager=kubenova/cluster", path(&cluster()))]);
    assert_eq!(world.lines(&cluster()).await, Vec::<String>::new());
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_silence_that_was_told_before_a_restart_holds_until_it_is_known_better() {
    let world = with(&cluster()).await;
    world.pass(&cluster()).await;
    world.server.edit(&path(&cluster()), |cluster| {
        for component in cluster["status"]["components"].as_array_mut().unwrap() {
            if component["name"] == json!(vela::BACKEND.id) {
                *component = json!({"name": vela::BACKEND.id, "ready": false, "message": SILENT});
            }
        }
    });
    world.watch();
    world.pass(&cluster()).await;
    assert_eq!(condition(&world, &cluster(), "Ready").0, "False");
    let components = world.status(&cluster())["components"].to_string();
    assert!(components.contains(SILENT), "{components}");
    tokio::time::advance(vela::BACKEND.silence.unwrap()).await;
    world.pass(&cluster()).await;
    assert!(is_ready(&world, &cluster()), "nothing waits for it");
}

#[tokio::test(start_paused = true)]
async fn a_backend_whose_definition_is_gone_is_told_and_wakes_who_needs_it() {
    let world = with_tenant().await;
    world.queued();
    world.server.take(&crate::engine::testing::World::path(&StoreId::Definitions, "", capsule::CRD));
    world.watch();
    let queued = world.queued();
    assert!(queued.contains_key(&cluster()) && queued.contains_key(&tenant()), "{queued:?}");
    assert_eq!(world.lines(&cluster()).await.len(), 1);
    assert_eq!(condition(&world, &cluster(), "Ready").0, "False");
    world.pass(&tenant()).await;
    assert_eq!(condition(&world, &tenant(), "Ready"), ("False".into(), "CapabilityMissing".into()));
}
