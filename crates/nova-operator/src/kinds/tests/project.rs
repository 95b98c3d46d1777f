//! Passes over a `NovaProject`.

use std::time::Duration;

use nova_plan::adapters::vela;
use nova_plan::child::{NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, ROLE_BINDING};
use serde_json::{Value, json};

use super::surroundings::*;
use crate::engine::key::Key;
use crate::engine::queue::Due;
use crate::engine::testing::World;
use crate::engine::throttle::REPAIRS_REFILL;

const BY: &str = "fieldManager=kubenova/project";

#[tokio::test(start_paused = true)]
async fn a_new_project_is_made_in_order_and_people_come_in_when_its_quota_counts() {
    let world = with_tenant().await;
    create(&world, &project());
    let asked = world.pass(&project()).await;
    let writes: Vec<&str> = asked.iter().map(|a| a.line.as_str()).filter(|l| !l.starts_with("GET")).collect();
    let (me, namespace) = (path(&project()), child(&NAMESPACE, "", APPS));
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{APPS}/rolebindings");
    let net = format!("/apis/networking.k8s.io/v1/namespaces/{APPS}/networkpolicies");
    let mut expected = vec![
        format!("PATCH {me}?{BY}"),
        format!("PATCH {namespace}?{BY}"),
        format!("PATCH {rbac}/kubenova-namespace-manager-binding?{BY}"),
        format!("PATCH {namespace}/limitranges/kubenova-limits?{BY}"),
        format!("PATCH {namespace}/resourcequotas/kubenova-critical-pods?{BY}"),
        format!("PATCH {namespace}/resourcequotas/kubenova-objects?{BY}"),
    ];
    expected.extend(
        ["kubenova-default-deny", "kubenova-allow-dns", "kubenova-allow-same-namespace"]
            .map(|policy| format!("PATCH {net}/{policy}?{BY}")),
    );
    expected.push(format!("PATCH {namespace}/serviceaccounts/kubenova-deployer?{BY}"));
    expected.push(format!("PATCH {me}/status?{BY}"));
    assert_eq!(writes, expected);
    // Nobody has divided the plan yet.
    assert_eq!(world.lines(&project()).await, Vec::<String>::new());
    others_act(&world);
    let asked = world.pass(&tenant()).await;
    let quota = format!("{namespace}/resourcequotas/kubenova-quota");
    let shares: Vec<&str> = asked.iter().map(|a| a.line.as_str()).filter(|l| l.contains(&quota)).collect();
    assert!(shares.contains(&format!("PATCH {quota}?fieldManager=kubenova/tenant").as_str()), "{shares:?}");
    others_act(&world);
    let asked = world.pass(&project()).await;
    let writes: Vec<&str> = asked.iter().map(|a| a.line.as_str()).filter(|l| !l.starts_with("GET")).collect();
    let mut expected: Vec<String> = ["app-deployer", "app-reader", "project-owner", "project-dev"]
        .map(|role| format!("PATCH {rbac}/kubenova-{role}-binding?{BY}"))
        .to_vec();
    expected.push(format!("PATCH {me}/status?{BY}"));
    assert_eq!(writes, expected);
    assert!(is_ready(&world, &project()), "{:#}", world.status(&project()));
    assert_eq!(world.undeclared_reads(), 0);
}

/// Two writers that undo each other's work write for ever, if nobody gives way.
#[tokio::test(start_paused = true)]
async fn what_somebody_undoes_again_and_again_is_told_and_put_right_every_few_seconds_and_the_rest_at_once() {
    let world = with_workspace(&project()).await;
    let contested = child(&NETWORK_POLICY, APPS, "kubenova-allow-dns");
    let other = child(&ROLE_BINDING, APPS, "kubenova-project-dev-binding");
    let spoil = |at: &str, field: &str, value: Value| {
        world.server.edit(at, |object| {
            object[field] = value;
            object["metadata"]["managedFields"] = json!([]);
        });
        world.watch();
    };
    let (mut repairs, mut told) = (0, 0);
    let round = async |repairs: &mut usize, told: &mut usize| {
        spoil(&contested, "spec", json!({"egress": []}));
        let lines = world.lines(&project()).await;
        *repairs += lines.iter().filter(|line| line.contains(&contested)).count();
        *told += lines.iter().filter(|line| line.contains("/status?")).count();
    };
    for _ in 0..100 {
        round(&mut repairs, &mut told).await;
    }
    assert_eq!((repairs, told), (61, 1));
    let ready = condition(&world, &project(), "Ready");
    assert_eq!(ready, ("False".to_owned(), "Throttled".to_owned()), "{:#}", world.status(&project()));
    assert_eq!(condition(&world, &project(), "Throttled").0, "True");
    let fix = &world.status(&project())["blockers"][0]["fix"];
    let look = "kubectl get networkpolicies -n tn-acme-app-shop kubenova-allow-dns";
    assert!(fix.as_str().unwrap_or_default().contains(look), "{fix}");
    world.queued();
    world.pass(&project()).await;
    assert!(matches!(world.queued()[&project()], Due::After(wait) if wait <= REPAIRS_REFILL));

    // What comes after it in the plan is put right at once.
    spoil(&other, "subjects", json!([]));
    assert!(world.lines(&project()).await.iter().any(|line| line.contains(&other)));
    (repairs, told) = (0, 0);
    for _ in 0..600 {
        tokio::time::advance(Duration::from_millis(100)).await;
        round(&mut repairs, &mut told).await;
    }
    assert!((29..=31).contains(&repairs), "{repairs} in a minute");
    assert!(told <= 1, "{told} statuses");
    // The other one gives up.
    tokio::time::advance(REPAIRS_REFILL).await;
    settle(&world, &project()).await;
    assert!(is_ready(&world, &project()), "{:#}", world.status(&project()));
}

fn delete(world: &World, policy: &str) {
    world.server.edit(&path(&project()), |project| {
        project["spec"]["deletionPolicy"] = json!(policy);
        project["metadata"]["generation"] = json!(2);
        project["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
    });
    world.watch();
}

#[tokio::test(start_paused = true)]
async fn a_project_with_apps_and_policy_block_deletes_nothing() {
    let world = with_app().await;
    delete(&world, "Block");
    let lines = world.lines(&project()).await;
    assert!(lines.iter().all(|line| line.starts_with("GET") || line.contains("/status?")), "{lines:?}");
    assert_eq!(condition(&world, &project(), "DeletionBlocked").0, "True");
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cascade_lets_nothing_in_and_deletes_apps_then_people_then_the_deployer_then_the_namespace() {
    let world = with_app().await;
    delete(&world, "Cascade");
    let namespace = child(&NAMESPACE, "", APPS);
    let only_deletes = |lines: Vec<String>| -> Vec<String> {
        lines.into_iter().filter(|line| line.starts_with("DELETE")).collect()
    };
    let asked = world.pass(&project()).await;
    let deletes: Vec<_> = asked.iter().filter(|a| a.line.starts_with("DELETE")).collect();
    let of = |roles: &[&str]| -> Vec<String> {
        let binding = |role: &&str| child(&ROLE_BINDING, APPS, &format!("kubenova-{role}-binding"));
        roles.iter().map(binding).map(|at| format!("DELETE {at}")).collect()
    };
    assert_eq!(deletes.len(), 1, "{deletes:?}");
    assert_eq!(deletes[0].line, format!("DELETE {}", path(&app())));
    assert_ne!(deletes[0].body["preconditions"]["uid"], Value::Null);
    assert_ne!(deletes[0].body["preconditions"]["resourceVersion"], Value::Null);
    // Whoever made apps without end would never be overtaken.
    let quota = world.server.get(&child(&RESOURCE_QUOTA, APPS, "kubenova-objects")).unwrap();
    assert_eq!(quota["spec"]["hard"], json!({"count/novaapps.kubenova.io": "0"}));
    let first = asked.iter().position(|a| a.line.contains("kubenova-objects")).unwrap();
    assert!(asked[first..].iter().any(|a| a.line.starts_with("DELETE")), "before anything is deleted");
    // The Application stays a while: Vela takes down what it made. Nothing else is touched.
    world.server.edit(&child(&vela::APPLICATION, APPS, "web"), |application| {
        application["metadata"]["finalizers"] = json!(["app.oam.dev/resource-tracker-finalizer"]);
        application["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string());
    });
    world.watch();
    assert_eq!(only_deletes(world.lines(&project()).await), Vec::<String>::new());
    world.server.take(&child(&vela::APPLICATION, APPS, "web"));
    world.watch();
    let lines = only_deletes(world.lines(&project()).await);
    assert_eq!(lines, of(&["project-owner", "project-dev", "app-reader", "app-deployer"]));
    // The deployer's binding is held by our finalizer until nothing needs it.
    world.watch();
    let asked = world.pass(&project()).await;
    let binding = child(&ROLE_BINDING, APPS, "kubenova-app-deployer-binding");
    let released = asked.iter().find(|a| a.line == format!("PATCH {binding}?{BY}")).expect("released");
    assert_eq!(released.body["metadata"]["finalizers"], json!([]));
    assert_ne!(released.body["metadata"]["resourceVersion"], Value::Null);
    world.watch();
    let expected = vec![format!("DELETE {namespace}")];
    let mut lines = only_deletes(asked.into_iter().map(|a| a.line).collect());
    lines.extend(only_deletes(world.lines(&project()).await));
    assert_eq!(lines, expected);
    for at in world.server.objects().into_keys().filter(|at| at.starts_with(&namespace)) {
        world.server.take(&at);
    }
    world.watch();
    world.pass(&project()).await;
    assert_eq!(world.server.get(&path(&project())), None);
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_project_that_is_gone_lets_go_of_a_namespace_that_is_being_deleted() {
    let world = with_app().await;
    let namespace = child(&NAMESPACE, "", APPS);
    world.server.take(&path(&project()));
    world
        .server
        .edit(&namespace, |n| n["metadata"]["deletionTimestamp"] = json!(jiff::Timestamp::now().to_string()));
    world.watch();
    let lines = world.lines(&project()).await;
    assert!(lines.contains(&format!("DELETE {}", path(&app()))), "{lines:?}");
    assert!(lines.contains(&format!("DELETE {}", child(&vela::APPLICATION, APPS, "web"))), "{lines:?}");
    assert_eq!(world.undeclared_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn in_a_suspended_tenant_a_project_is_kept_as_it_was_and_an_edit_or_a_new_one_waits() {
    let world = with_workspace(&project()).await;
    let dev = child(&ROLE_BINDING, APPS, "kubenova-project-dev-binding");
    let edit = |key: &Key, generation: u64, spec: Value| {
        world.server.edit(&path(key), |object| {
            object["spec"] = spec;
            object["metadata"]["generation"] = json!(generation);
        });
        world.watch();
    };
    let tenant_spec = sample(tenant().kind).spec;
    let suspended = |suspended: bool| {
        let mut spec = tenant_spec.clone();
        spec["suspended"] = json!(suspended);
        spec
    };
    edit(&tenant(), 2, suspended(true));
    settle(&world, &tenant()).await;
    settle(&world, &project()).await;
    let labels = |namespace: &str| {
        let namespace = world.server.get(&child(&NAMESPACE, "", namespace)).unwrap();
        namespace["metadata"]["labels"]["kubenova.io/suspended"].clone()
    };
    assert_eq!((labels(HOME), labels(APPS)), (json!("true"), json!("true")));
    assert!(is_ready(&world, &project()), "{:#}", world.status(&project()));
    assert_eq!(condition(&world, &project(), "Suspended").0, "True");
    world.server.take(&dev);
    world.watch();
    settle(&world, &project()).await;
    assert!(world.server.get(&dev).is_some(), "what was there is kept");

    edit(&project(), 2, json!({"devGroupRole": "readOnly"}));
    let late = key(project().kind, HOME, "late");
    create(&world, &late);
    for key in [&project(), &late] {
        settle(&world, key).await;
        let ready = condition(&world, key, "Ready");
        assert_eq!(ready, ("False".to_owned(), "Suspended".to_owned()), "{key}");
    }
    assert!(world.server.get(&dev).is_some(), "the edit waits");
    assert!(world.server.get(&child(&NAMESPACE, "", "tn-acme-app-late")).is_none());

    edit(&tenant(), 3, suspended(false));
    for key in [&tenant(), &project(), &late, &tenant(), &late, &tenant(), &late] {
        settle(&world, key).await;
    }
    assert!(world.server.get(&dev).is_none(), "the edit is carried out");
    assert!(is_ready(&world, &late), "{:#}", world.status(&late));
    assert_eq!((labels(HOME), labels(APPS)), (Value::Null, Value::Null));
    assert_eq!(world.undeclared_reads(), 0);
}
