//! Passes over a `NovaTenant`.

use std::time::Duration;

use jiff::Timestamp;
use nova_plan::adapters::capsule;
use nova_plan::child::{NAMESPACE, RESOURCE_QUOTA, ROLE_BINDING};
use serde_json::{Value, json};

use super::surroundings::*;
use crate::engine::stores::StoreId;
use crate::engine::testing::{Reply, World};

const BY: &str = "fieldManager=kubenova/tenant";

#[tokio::test(start_paused = true)]
async fn a_new_tenant_is_made_in_order_limits_before_people_and_the_finalizer_before_all() {
    let world = world();
    create(&world, &plan());
    create(&world, &tenant());
    let asked = world.pass(&tenant()).await;
    let lines: Vec<&str> = asked.iter().map(|a| a.line.as_str()).collect();
    let (me, capsule) = (path(&tenant()), child(&capsule::TENANT, "", "acme"));
    let home = child(&NAMESPACE, "", HOME);
    // What is found by a label has to be looked for before it is made: it may be there without the label.
    let labelled = |group: &str, plural: &str, name: &str| {
        let at = format!("{group}/namespaces/{HOME}/{plural}/{name}");
        [format!("GET {at}"), format!("PATCH {at}?{BY}")]
    };
    let (core, rbac, net) = ("/api/v1", "/apis/rbac.authorization.k8s.io/v1", "/apis/networking.k8s.io/v1");
    let mut expected =
        vec![format!("PATCH {me}?{BY}"), format!("PATCH {capsule}?{BY}"), format!("PATCH {home}?{BY}")];
    expected.extend(labelled(rbac, "rolebindings", "kubenova-namespace-manager-binding"));
    expected.extend(labelled(core, "resourcequotas", "kubenova-quota"));
    expected.extend(labelled(core, "resourcequotas", "kubenova-objects"));
    for policy in ["kubenova-default-deny", "kubenova-allow-dns", "kubenova-allow-same-namespace"] {
        expected.extend(labelled(net, "networkpolicies", policy));
    }
    expected.push(format!("PATCH {me}/status?{BY}"));
    assert_eq!(lines, expected);
    assert_eq!(asked[0].body["metadata"]["finalizers"], json!(["kubenova.io/novatenant"]));
    let capsule_uid = world.server.get(&capsule).unwrap()["metadata"]["uid"].clone();
    assert_eq!(asked[2].body["metadata"]["ownerReferences"][0]["uid"], capsule_uid);
    assert_eq!(condition(&world, &tenant(), "Ready"), ("False".into(), "Progressing".into()));
    assert_eq!(world.lines(&tenant()).await, Vec::<String>::new(), "it waits for the quota to count");

    others_act(&world);
    let mut expected = labelled(core, "serviceaccounts", "kubenova-gitops").to_vec();
    expected.extend(labelled(rbac, "rolebindings", "kubenova-tenant-owner-binding"));
    expected.extend(labelled(rbac, "rolebindings", "kubenova-home-reader-binding"));
    expected.push(format!("PATCH {me}/status?{BY}"));
    assert_eq!(world.lines(&tenant()).await, expected);
    assert!(is_ready(&world, &tenant()));
    assert_eq!(world.undeclared_reads(), 0);
}

fn delete(world: &World) {
    world.server.edit(&path(&tenant()), |tenant| {
        tenant["metadata"]["finalizers"] = json!(["example.com/theirs", "kubenova.io/novatenant"]);
        tenant["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z");
    });
    world.watch();
}

#[tokio::test(start_paused = true)]
async fn a_deletion_goes_step_by_step_each_with_preconditions_and_goes_on_where_it_was() {
    let world = with_tenant().await;
    delete(&world);
    let (me, home) = (path(&tenant()), child(&NAMESPACE, "", HOME));
    let namespace = world.server.get(&home).unwrap();
    let asked = world.pass(&tenant()).await;
    let deletes: Vec<_> = asked.iter().filter(|a| a.line.starts_with("DELETE")).collect();
    let lines: Vec<&str> = deletes.iter().map(|a| a.line.as_str()).collect();
    let owners = child(&ROLE_BINDING, HOME, "kubenova-tenant-owner-binding");
    let readers = child(&ROLE_BINDING, HOME, "kubenova-home-reader-binding");
    assert_eq!(lines, [format!("DELETE {owners}"), format!("DELETE {readers}"), format!("DELETE {home}")]);
    let precondition = &deletes[2].body["preconditions"];
    assert_eq!(precondition["uid"], namespace["metadata"]["uid"]);
    assert_eq!(precondition["resourceVersion"], namespace["metadata"]["resourceVersion"]);
    assert!(asked.last().unwrap().line.contains("/status?"));
    // The namespace is on its way out: nothing is deleted twice, nothing after it, nothing made anew.
    world.watch();
    let lines = world.lines(&tenant()).await;
    assert!(lines.iter().all(|line| line.starts_with("GET")), "{lines:?}");
    // It is gone: the next step only.
    for at in world.server.objects().into_keys().filter(|at| at.starts_with(&home)) {
        world.server.take(&at);
    }
    world.watch();
    let asked = world.pass(&tenant()).await;
    let writes: Vec<_> = asked.iter().filter(|a| !a.line.starts_with("GET")).collect();
    let capsule = child(&capsule::TENANT, "", "acme");
    let lines: Vec<&str> = writes.iter().map(|a| a.line.as_str()).collect();
    assert_eq!(lines[..2], [format!("PATCH {capsule}?{BY}"), format!("DELETE {capsule}")]);
    assert_eq!(writes[0].body["spec"], json!({"preventDeletion": false}));
    assert_ne!(writes[1].body["preconditions"]["uid"], Value::Null);
    for _ in 0..2 {
        world.watch();
        world.pass(&tenant()).await;
    }
    let finalizers = world.server.get(&me).unwrap()["metadata"]["finalizers"].clone();
    assert_eq!(finalizers, json!(["example.com/theirs"]), "ours at the end, others never");
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_object_is_left_alone_by_a_deletion() {
    let world = with_tenant().await;
    let home = child(&NAMESPACE, "", HOME);
    world.server.edit(&home, |home| {
        home["metadata"]["labels"] = json!({});
        home["metadata"].as_object_mut().unwrap().remove("managedFields");
    });
    delete(&world);
    for _ in 0..3 {
        let lines = world.lines(&tenant()).await;
        assert!(!lines.contains(&format!("DELETE {home}")), "{lines:?}");
        world.watch();
    }
    assert!(world.server.get(&home).is_some_and(|home| home["metadata"]["deletionTimestamp"].is_null()));
}

#[tokio::test(start_paused = true)]
async fn a_definition_on_its_way_out_takes_nothing_down() {
    let world = with_tenant().await;
    let crd = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/novatenants.kubenova.io";
    world.server.edit(crd, |crd| crd["metadata"]["deletionTimestamp"] = json!("2026-01-02T00:00:00Z"));
    delete(&world);
    let lines = world.lines(&tenant()).await;
    assert_eq!(lines, [format!("GET {crd}"), format!("PATCH {}/status?{BY}", path(&tenant()))]);
    assert_eq!(condition(&world, &tenant(), "DeletionBlocked").0, "True");
}

#[tokio::test(start_paused = true)]
async fn a_list_before_a_deletion_is_read_to_its_end_page_by_page() {
    let world = with_tenant().await;
    delete(&world);
    let list = format!("GET /apis/kubenova.io/v1alpha1/namespaces/{HOME}/novaprojects?");
    let page = |next: &str, name: &str| {
        let item = manifest(&key(nova_api::Kind::NovaProject, HOME, name), &json!({}));
        Reply::Answer(
            json!({"kind": "List", "apiVersion": "v1", "metadata": {"continue": next}, "items": [item]}),
        )
    };
    world.server.on(&list, 1, page("more", "one"));
    world.server.on(&list, 1, page("", "two"));
    let lines = world.lines(&tenant()).await;
    let pages: Vec<&String> = lines.iter().filter(|line| line.starts_with(&list)).collect();
    assert_eq!(pages, [&format!("{list}limit=25"), &format!("{list}limit=25&continue=more")]);
    let told = world.status(&tenant()).to_string();
    assert!(told.contains("projects [one, two]"), "{told}");
    assert!(lines.iter().all(|line| !line.starts_with("DELETE")), "Block: {lines:?}");
}

#[tokio::test(start_paused = true)]
async fn a_finalizer_taken_off_beside_our_status_write_wakes_us() {
    let world = with_tenant().await;
    // Somebody takes it off, and a status of ours is due; the watch will take the answer to our write for an echo.
    world.server.edit(&path(&tenant()), |tenant| {
        tenant["status"]["projects"] = json!(7);
        tenant["metadata"]["generation"] = json!(1);
    });
    world.watch();
    world.server.edit(&path(&tenant()), |tenant| tenant["metadata"]["finalizers"] = json!([]));
    let version = world.server.get(&path(&tenant())).unwrap()["metadata"]["resourceVersion"].clone();
    world.queued();
    let lines = world.lines(&tenant()).await;
    // The version we write to is behind: a conflict, and another look.
    assert_eq!(lines, [format!("PATCH {}/status?{BY}", path(&tenant()))]);
    assert_eq!(world.server.get(&path(&tenant())).unwrap()["metadata"]["resourceVersion"], version);
    assert!(world.queued().contains_key(&tenant()));
    world.watch();
    assert!(world.queued().contains_key(&tenant()));
    let asked = world.pass(&tenant()).await;
    assert_eq!(asked[0].body["metadata"]["finalizers"], json!(["kubenova.io/novatenant"]), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_backend_whose_definition_is_gone_holds_up_no_deletion() {
    let world = with_tenant().await;
    delete(&world);
    world.server.take(&World::path(&StoreId::Definitions, "", capsule::CRD));
    let (home, capsule) = (child(&NAMESPACE, "", HOME), child(&capsule::TENANT, "", "acme"));
    for at in world.server.objects().into_keys().filter(|at| at.starts_with(&home) || *at == capsule) {
        world.server.take(&at);
    }
    world.watch();
    let lines = world.lines(&tenant()).await;
    assert!(lines.iter().all(|line| !line.contains("capsule.clastix.io/v1beta2")), "{lines:?}");
    assert_eq!(lines.last(), Some(&format!("PATCH {}?{BY}", path(&tenant()))));
    assert_eq!(world.undeclared_reads(), 0);
}

/// As on a cluster whose quota controller has not heard of the definitions yet.
#[tokio::test(start_paused = true)]
async fn a_quota_that_is_not_counted_is_made_anew_and_nobody_comes_in_before() {
    let world = world();
    create(&world, &plan());
    create(&world, &cluster());
    create(&world, &tenant());
    world.pass(&tenant()).await;
    others_act(&world);
    let quota = child(&RESOURCE_QUOTA, HOME, "kubenova-objects");
    let uncounted = |created: Timestamp| {
        world.server.edit(&quota, |quota| {
            quota["status"]["used"] = json!({});
            quota["metadata"]["creationTimestamp"] = json!(created.to_string());
        });
        world.watch();
    };
    let now = Timestamp::now();
    uncounted(now);
    let lines = world.lines(&tenant()).await;
    assert!(!lines.iter().any(|line| line.contains("kubenova-objects")), "a moment is given: {lines:?}");
    assert!(!lines.iter().any(|line| line.contains("tenant-owner")), "{lines:?}");
    assert_eq!(condition(&world, &tenant(), "Ready"), ("False".into(), "Progressing".into()));
    uncounted(now - Duration::from_secs(6));
    let mut lines = world.lines(&tenant()).await;
    world.watch();
    lines.extend(world.lines(&tenant()).await);
    let of = lines.iter().filter(|line| line.contains(&quota)).filter_map(|line| line.split(' ').next());
    assert_eq!(of.collect::<Vec<_>>(), ["GET", "DELETE", "GET", "PATCH"], "{lines:?}");
    // Progress is told again after a while.
    tokio::time::advance(Duration::from_secs(5)).await;
    settle(&world, &tenant()).await;
    assert!(is_ready(&world, &tenant()), "{:#}", world.status(&tenant()));
    assert_eq!(world.undeclared_reads(), 0);
}
