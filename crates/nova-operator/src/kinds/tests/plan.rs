//! Passes over a `NovaPlan`.

use serde_json::json;

use super::surroundings::*;

#[tokio::test(start_paused = true)]
async fn a_plan_is_held_by_its_finalizer_and_then_told() {
    let world = world();
    create(&world, &plan());
    let asked = world.pass(&plan()).await;
    let lines: Vec<&str> = asked.iter().map(|a| a.line.as_str()).collect();
    let at = path(&plan());
    assert_eq!(
        lines,
        [
            format!("PATCH {at}?fieldManager=kubenova/plan"),
            format!("PATCH {at}/status?fieldManager=kubenova/plan")
        ]
    );
    assert_eq!(asked[0].body["metadata"]["finalizers"], json!(["kubenova.io/novaplan"]));
    // The status is written to the version that the finalizer made.
    assert_ne!(asked[1].body["metadata"]["resourceVersion"], asked[0].body["metadata"]["resourceVersion"]);
    assert_eq!(world.lines(&plan()).await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_let_go_only_when_the_api_server_says_that_no_tenant_is_under_it() {
    let world = with_tenant().await;
    world.server.edit(&path(&plan()), |plan| {
        plan["metadata"]["finalizers"] = json!(["example.com/theirs", "kubenova.io/novaplan"]);
        plan["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    });
    world.watch();
    let definition = "GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/novaplans.kubenova.io";
    let clusters = "GET /apis/kubenova.io/v1alpha1/novaclusters?limit=25";
    let list = "GET /apis/kubenova.io/v1alpha1/novatenants?limit=25";
    let at = path(&plan());
    let lines = world.lines(&plan()).await;
    assert_eq!(lines, [definition, clusters, list, &format!("PATCH {at}/status?fieldManager=kubenova/plan")]);
    assert_eq!(condition(&world, &plan(), "DeletionBlocked").0, "True");
    // The store has not heard of the end of the tenant: the API server's word counts.
    world.server.take(&path(&tenant()));
    let asked = world.pass(&plan()).await;
    let lines: Vec<&str> = asked.iter().map(|a| a.line.as_str()).collect();
    assert_eq!(lines, [definition, clusters, list, &format!("PATCH {at}?fieldManager=kubenova/plan")]);
    assert_eq!(asked[3].body["metadata"]["finalizers"], json!(["example.com/theirs"]), "others are kept");
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_cannot_be_read_holds_the_plan_it_names_and_one_of_which_nothing_is_known_every_plan() {
    for make in [
        |tenant: &mut serde_json::Value| tenant["spec"]["deletionPolicy"] = json!("Sometimes"),
        |tenant: &mut serde_json::Value| tenant["spec"]["description"] = json!("x".repeat(700 * 1024)),
    ] {
        let world = with_tenant().await;
        world.server.edit(&path(&tenant()), make);
        world.server.edit(&path(&plan()), |plan| {
            plan["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
        });
        world.watch();
        world.pass(&plan()).await;
        assert_eq!(condition(&world, &plan(), "DeletionBlocked").0, "True");
        assert!(world.server.get(&path(&plan())).is_some());
    }
}
