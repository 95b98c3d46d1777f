//! A `RoleBinding` cannot be changed to another role, only deleted and made anew. Whose it is then is told by its label:
//! without ours it is foreign and stays; with ours, as a backup would bring it back, it is put right.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{World, eventually, quickstart};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams};
use nova_plan::child::ChildKind;
use serde_json::{Value, json};

use crate::foreign::{Told, api, replace, stands_in_the_way, untouched};
use crate::{PATIENCE, REPAIR};

const TENANT: &str = "rebound";

fn to_view(namespace: &str, labels: &Value) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "kubenova-sandbox-editor-binding", "namespace": namespace, "labels": labels},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"}],
    })
}

pub async fn a_binding_of_our_name_to_another_role_is_foreign_unless_it_is_labelled_ours(
    world: &World,
) -> Result<()> {
    world.apply_until_accepted(&quickstart(TENANT)?[..4], PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let namespace = format!("tn-{TENANT}-sandbox-dev");
    let name = "kubenova-sandbox-editor-binding";
    let bindings: Api<DynamicObject> = api(&world.admin, ChildKind::RoleBinding, &namespace);
    let ours = bindings.get(name).await?;

    let mark = world.mark().await?;
    let placed = replace(&bindings, &to_view(&namespace, &json!({}))).await?;
    let told =
        Told { kind: "NovaSandbox", namespace: &format!("tn-{TENANT}"), name: "dev", reason: "Conflict" };
    let message = stands_in_the_way(world, &told, name).await?;
    println!("| RoleBinding of our name to another role, no label | {message} |");
    untouched(world, &bindings, &placed, mark).await?;
    bindings.delete(name, &DeleteParams::default()).await?;
    let start = Instant::now();
    world.ready(TENANT, Duration::from_secs(15)).await?;
    println!("| … deleted by the admin | Ready after {:.1?} |", start.elapsed());

    let restored = to_view(&namespace, &json!(ours.labels()));
    bindings.delete(name, &DeleteParams::default()).await?;
    let placed = bindings.create(&PostParams::default(), &serde_json::from_value(restored.clone())?).await;
    let placed = match placed {
        Ok(placed) => placed,
        Err(_) => replace(&bindings, &restored).await?,
    };
    let start = Instant::now();
    eventually("the binding is to our role again", REPAIR, async || {
        let live = bindings.get_opt(name).await.map_err(|e| e.to_string())?.ok_or("it is gone")?;
        let role = &live.data["roleRef"]["name"];
        if role == "kubenova-sandbox-editor" { Ok(()) } else { Err(format!("it is to {role}")) }
    })
    .await?;
    assert_ne!(bindings.get(name).await?.uid(), placed.uid());
    println!(
        "| RoleBinding of our name and label to another role | put right after {:.0?} |",
        start.elapsed()
    );
    world.ready(TENANT, PATIENCE).await
}
