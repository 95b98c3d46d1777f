//! A `RoleBinding` cannot be changed to another role, only deleted and made anew. Whose it is then is told by its label:
//! without ours it is foreign and stays; with ours, as a backup would bring it back, it is put right.

use anyhow::{Result, ensure};
use e2e::object::{Place, Says};
use e2e::{Together, eventually, quickstart};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::foreign::{gone, replace, untouched};
use crate::{PATIENCE, STAGE};

const NAME: &str = "kubenova-sandbox-editor-binding";

fn to_view(place: &Place, labels: &Value) -> Value {
    json!({
        "apiVersion": place.kind.api_version(),
        "kind": "RoleBinding",
        "metadata": {"name": NAME, "namespace": place.namespace, "labels": labels},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"}],
    })
}

async fn bound(tenant: &str) -> Result<(Together, Place)> {
    let world = STAGE.together().await?;
    world.apply_until_accepted(&quickstart(tenant)?[..4], PATIENCE).await?;
    world.ready(tenant, PATIENCE).await?;
    Ok((world, Place::new("RoleBinding", &format!("tn-{tenant}-sandbox-dev"), NAME)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_of_our_name_to_another_role_is_foreign() -> Result<()> {
    const TENANT: &str = "rebound";
    let (world, binding) = bound(TENANT).await?;
    let (placed, since) = replace(&world, &binding, &to_view(&binding, &json!({}))).await?;
    let sandbox = Place::new("NovaSandbox", &format!("tn-{TENANT}"), "dev");
    let says = Says { reason: "Conflict", code: "KN-409", blocker: NAME, words: &[] };
    let message = sandbox.says(&world, &says, PATIENCE).await?;
    println!("| RoleBinding of our name to another role, no label | {message} |");
    untouched(&world, &binding, &placed, since).await?;
    gone(&world, &binding, &placed).await?;
    world.ready(TENANT, PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_of_our_name_and_label_to_another_role_is_put_right() -> Result<()> {
    const TENANT: &str = "restored";
    let (world, binding) = bound(TENANT).await?;
    let ours = binding.live(&world).await?;
    let (placed, _) = replace(&world, &binding, &to_view(&binding, &json!(ours.labels()))).await?;
    let right = eventually("the binding is to our role again", PATIENCE, async || {
        let live = binding.live(&world).await.map_err(|e| e.to_string())?;
        let role = live.data["roleRef"]["name"].clone();
        if role == "kubenova-sandbox-editor" { Ok(live) } else { Err(format!("it is to {role}")) }
    })
    .await?;
    ensure!(right.uid() != placed.uid(), "a binding's role cannot be changed");
    ensure!(right.data["subjects"] == ours.data["subjects"], "{}", right.data["subjects"]);
    world.ready(TENANT, PATIENCE).await
}
