//! Writes to what is the operator's, by those who may write beside it, and Capsule's own user groups.

use anyhow::Result;
use e2e::object::{self, Place, Says, kind};
use e2e::{World, eventually, quickstart};
use kube::Client;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams, PostParams};
use nova_testkit::Identity;
use serde_json::json;

use crate::{PATIENCE, STAGE};

const TENANT: &str = "mole";
const HOME: &str = "tn-mole";
const SHOP: &str = "tn-mole-app-shop";

async fn set_up(world: &World) -> Result<(Client, Client)> {
    world.apply_until_accepted(&quickstart(TENANT)?, PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let dev = world.plane.client(&Identity::user("dan@mole.example", &["mole-devs"])).await?;
    let owner = world.plane.client(&Identity::user("alice@mole.example", &[])).await?;
    Ok((dev, owner))
}

fn refused(what: &str, answer: Result<impl Sized, kube::Error>) -> Result<()> {
    let message = object::refused(what, &[403, 422], answer)?;
    println!("| {what} | {message} |");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_writes_what_is_the_operators() -> Result<()> {
    let world = STAGE.together().await?;
    let (dev, owner) = set_up(&world).await?;
    let merge = PatchParams::default();
    let apps = kind("NovaApp").within(&dev, SHOP);
    let healthy = json!({"status": {"phase": "Deployed", "conditions": []}});
    refused("a dev writes a status", apps.patch_status("web", &merge, &Patch::Merge(&healthy)).await)?;
    let projects = kind("NovaProject").within(&owner, HOME);
    let written = projects.patch_status("shop", &merge, &Patch::Merge(&healthy)).await;
    refused("an owner writes a status", written)?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "mine", "namespace": SHOP},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "kubenova-sandbox-editor"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice@mole.example"}],
    });
    let bindings = kind("RoleBinding").within(&owner, SHOP);
    let bound = bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await;
    refused("an owner binds a role", bound)?;
    let tenants = kind("NovaTenant").every(&owner);
    let more = json!({"spec": {"quotas": {"cpu": 1000}}});
    refused("an owner raises the quota", tenants.patch(TENANT, &merge, &Patch::Merge(&more)).await)?;
    let everybody = json!({"spec": {"access": [
        {"kind": "Group", "name": "system:authenticated", "role": "tenantOwner"}]}});
    refused("an owner lets everybody in", projects.patch("shop", &merge, &Patch::Merge(&everybody)).await)?;
    let hidden = json!({"metadata": {"labels": {"kubenova.io/tenant": "blue"}}});
    let applications = kind("Application").within(&dev, SHOP);
    refused("a dev edits the Application", applications.patch("web", &merge, &Patch::Merge(&hidden)).await)
}

/// A foreground deletion waits for every object that names what is deleted as its owner.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_holds_up_the_deletion_of_what_is_not_theirs() -> Result<()> {
    const TENANT: &str = "leech";
    let (shop, sandbox) = ("tn-leech-app-shop", "tn-leech-sandbox-dev");
    let world = STAGE.together().await?;
    world.apply_until_accepted(&quickstart(TENANT)?, PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let dev = world.plane.client(&Identity::user("dan@leech.example", &["leech-devs"])).await?;
    let owner = world.plane.client(&Identity::user("alice@leech.example", &[])).await?;
    let plan = Place::new("NovaPlan", "", "starter").uid(&world).await?;
    let of_plan = json!({"metadata": {"finalizers": ["example.com/never"], "ownerReferences": [{
        "apiVersion": "kubenova.io/v1alpha1", "kind": "NovaPlan", "name": "starter", "uid": plan,
        "blockOwnerDeletion": true}]}});
    let merge = PatchParams::default();
    let apps = kind("NovaApp").within(&dev, shop);
    refused("a NovaApp owned by a plan", apps.patch("web", &merge, &Patch::Merge(&of_plan)).await)?;
    let mut config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "leech"}});
    config_map["metadata"]["ownerReferences"] = of_plan["metadata"]["ownerReferences"].clone();
    let config_maps = kind("ConfigMap").within(&dev, sandbox);
    let made = config_maps.create(&PostParams::default(), &serde_json::from_value(config_map)?).await;
    refused("a ConfigMap of a sandbox owned by a plan", made)?;
    let secret = |finalizers: &[&str]| {
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "leech", "finalizers": finalizers}}))
    };
    let secrets = kind("Secret").within(&owner, shop);
    let made = secrets.create(&PostParams::default(), &secret(&["example.com/never"])?).await;
    refused("a Secret with a finalizer in a project", made)?;
    secrets.create(&PostParams::default(), &secret(&[])?).await?;
    Ok(())
}

/// Both say so, and neither is lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_finalizer_of_a_project_comes_back_and_one_of_a_developers_own_holds_it() -> Result<()> {
    const TENANT: &str = "holdup";
    let (home, inside) = ("tn-holdup", "tn-holdup-app-shop");
    let world = STAGE.together().await?;
    world.apply_until_accepted(&quickstart(TENANT)?, PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let dev = world.plane.client(&Identity::user("dan@holdup.example", &["holdup-devs"])).await?;
    let owner = world.plane.client(&Identity::user("alice@holdup.example", &[])).await?;
    let (projects, apps) = (kind("NovaProject").within(&owner, home), kind("NovaApp").within(&dev, inside));
    let off = json!({"metadata": {"finalizers": null}});
    object::merge(&projects, "shop", &off).await?;
    eventually("the finalizer is back", PATIENCE, async || {
        let live = projects.get("shop").await.map_err(|e| e.to_string())?;
        if live.finalizers().is_empty() { Err("it is off".to_owned()) } else { Ok(()) }
    })
    .await?;

    object::merge(&apps, "web", &json!({"metadata": {"finalizers": ["example.com/hold"]}})).await?;
    object::merge(&projects, "shop", &json!({"spec": {"deletionPolicy": "Cascade"}})).await?;
    let project = Place::new("NovaProject", home, "shop");
    project.delete(&world).await?;
    let says = Says { words: &["NovaApp", "web"], ..Says::default() };
    let told = project.says(&world, &says, PATIENCE).await?;
    println!("| a dev holds an app by a finalizer | {told} |");
    object::merge(&apps, "web", &off).await?;
    project.gone(&world, PATIENCE).await.map(drop)
}

/// Members of a Capsule user group may create and patch namespaces as far as Capsule is concerned.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_capsules_user_group_cannot_reach_namespaces() -> Result<()> {
    let world = STAGE.together().await?;
    set_up(&world).await?;
    let identity = Identity::user("alice@mole.example", &["projectcapsule.dev"]);
    let alice = world.plane.client(&identity).await?;
    let namespaces = kind("Namespace").every(&alice);
    let lowered = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let stripped = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": null}}});
    for patch in [lowered, stripped] {
        let answer =
            namespaces.patch("tn-mole-sandbox-dev", &PatchParams::default(), &Patch::Merge(&patch)).await;
        refused("an owner lowers the Pod Security of a sandbox", answer)?;
    }
    for name in ["tn-blue-app-squat", "tn-victim"] {
        let squat = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "labels": {"capsule.clastix.io/tenant": TENANT}}});
        let answer = namespaces.create(&PostParams::default(), &serde_json::from_value(squat)?).await;
        refused("an owner takes the name of another's namespace", answer)?;
    }
    Ok(())
}
