//! A tenant on hold: nothing new is made by anybody of it, what runs goes on, and afterwards all goes on by itself.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use e2e::object::{self, Place, kind};
use e2e::{World, condition, eventually, is_ready, quickstart, reason};
use kube::ResourceExt as _;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use nova_testkit::Identity;
use serde_json::{Value, json};

use crate::{PATIENCE, STAGE};

const TENANT: &str = "frozen";
const HOME: &str = "tn-frozen";
const SHOP: &str = "tn-frozen-app-shop";
const SANDBOX: &str = "tn-frozen-sandbox-dev";

fn refused(what: &str, answer: Result<impl Sized, kube::Error>) -> Result<()> {
    let message = object::refused(what, &[403, 422], answer)?;
    ensure!(message.contains("KN-403: the tenant of namespace"), "{what}: {message}");
    println!("| {what} | {message} |");
    Ok(())
}

fn deployment(name: &str) -> Result<DynamicObject> {
    let labels = json!({"app": name});
    let container = json!({"name": "c", "image": "nginx:1",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "20m", "memory": "32Mi"}}});
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}});
    serde_json::from_value(object).context("make a deployment")
}

async fn suspend(world: &World, suspended: bool) -> Result<()> {
    Place::new("NovaTenant", "", TENANT).merge(world, &json!({"spec": {"suspended": suspended}})).await?;
    for place in [
        Place::new("NovaTenant", "", TENANT),
        Place::new("NovaProject", HOME, "shop"),
        Place::new("NovaSandbox", HOME, "dev"),
        Place::new("NovaApp", SHOP, "web"),
    ] {
        eventually(&format!("{place:?} says that it is suspended: {suspended}"), PATIENCE, async || {
            let live = place.live(world).await.map_err(|e| e.to_string())?;
            let told = condition(&live, "Suspended").is_some();
            // What is as it was before is Ready all the time.
            if told == suspended && is_ready(&live) { Ok(()) } else { Err(live.data["status"].to_string()) }
        })
        .await?;
    }
    Ok(())
}

/// Pods of the sandbox, by name, with whether each has come up.
async fn pods(world: &World) -> Result<BTreeMap<String, bool>> {
    let pods = kind("Pod").within(&world.admin, SANDBOX).list(&ListParams::default()).await?;
    Ok(pods.iter().map(|pod| (pod.name_any(), pod.data["status"]["phase"] == "Running")).collect())
}

async fn two_run(world: &World, without: &str) -> Result<()> {
    eventually("two pods run in the sandbox", PATIENCE, async || {
        let pods = pods(world).await.map_err(|e| e.to_string())?;
        let run = pods.iter().filter(|(name, running)| **running && name.as_str() != without).count();
        if run == 2 { Ok(()) } else { Err(format!("{pods:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_suspended_tenant_nothing_new_is_made_and_what_runs_goes_on() -> Result<()> {
    let world = STAGE.together().await?;
    world.apply_until_accepted(&quickstart(TENANT)?, PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let dev = world.plane.client(&Identity::user("dan@frozen.example", &["frozen-devs"])).await?;
    let owner = world.plane.client(&Identity::user("alice@frozen.example", &[])).await?;
    let (create, merge) = (PostParams::default(), PatchParams::default());
    let mine = kind("Deployment").within(&dev, SANDBOX);
    mine.create(&create, &deployment("mine")?).await?;
    two_run(&world, "").await?;

    suspend(&world, true).await?;
    nobody_of_it_makes_anything(&world, &dev).await?;

    // What runs goes on.
    let first = pods(&world).await?.into_keys().next().context("a pod")?;
    kind("Pod").within(&dev, SANDBOX).delete(&first, &DeleteParams::default()).await?;
    two_run(&world, &first).await?;
    for (of, name) in [("NetworkPolicy", "kubenova-allow-dns"), ("Application", "web")] {
        let place = Place::new(of, SHOP, name);
        let uid = place.uid(&world).await?;
        place.delete(&world).await?;
        place.another_than(&world, &uid, PATIENCE).await?;
        println!("| {of} {name} was deleted | it is back |");
    }

    // What is asked for waits, and is told so.
    let tag = json!({"spec": {"source": {"containerImage": {"tag": "9.9"}}}});
    let novaapps = kind("NovaApp").within(&dev, SHOP);
    novaapps.patch("web", &merge, &Patch::Merge(&tag)).await?;
    let waiting = [
        (Place::new("NovaProject", HOME, "late"), object::project(TENANT, "late", &json!({}))),
        (Place::new("NovaSandbox", HOME, "late"), object::sandbox(TENANT, "late", &json!({}))),
        (Place::new("NovaApp", SHOP, "late"), object::app(SHOP, "late", &object::image("1"))),
    ];
    for (_, document) in &waiting {
        world.apply_once(document).await?;
    }
    let edited = (Place::new("NovaApp", SHOP, "web"), String::new());
    for (place, _) in waiting.iter().chain([&edited]) {
        eventually(&format!("{place:?} waits"), PATIENCE, async || {
            let live = place.live(&world).await.map_err(|e| e.to_string())?;
            let waits = reason(&live) == "Suspended" && condition(&live, "Suspended").is_some();
            if waits { Ok(()) } else { Err(live.data["status"].to_string()) }
        })
        .await?;
    }
    let application = Place::new("Application", SHOP, "web");
    let live = application.live(&world).await?.data.to_string();
    ensure!(!live.contains("9.9"), "the edit was carried out: {live}");
    for made in [
        Place::new("Application", SHOP, "late"),
        Place::new("Namespace", "", "tn-frozen-app-late"),
        Place::new("Namespace", "", "tn-frozen-sandbox-late"),
    ] {
        ensure!(made.get(&world).await?.is_none(), "{made:?} was made");
    }

    // A deletion makes nothing.
    let sandbox = Place::new("NovaSandbox", HOME, "dev");
    kind("NovaSandbox").within(&owner, HOME).delete("dev", &DeleteParams::default()).await?;
    sandbox.gone(&world, PATIENCE).await?;
    println!("| a sandbox is deleted | it is gone |");

    // Nobody edits anything, and all goes on.
    Place::new("NovaTenant", "", TENANT).merge(&world, &json!({"spec": {"suspended": false}})).await?;
    for (place, _) in waiting.iter().chain([&edited]) {
        place.ready(&world, PATIENCE).await?;
    }
    let live = application.live(&world).await?.data.to_string();
    ensure!(live.contains("9.9"), "the edit was forgotten: {live}");
    kind("ConfigMap").within(&dev, "tn-frozen-sandbox-late").create(&create, &config_map()?).await?;

    // And a suspended tenant can be deleted.
    Place::new("NovaTenant", "", TENANT)
        .merge(&world, &json!({"spec": {"suspended": true, "deletionPolicy": "Cascade"}}))
        .await?;
    let tenant = Place::new("NovaTenant", "", TENANT);
    tenant.delete(&world).await?;
    println!("| the suspended tenant is deleted | gone after {:.1?} |", tenant.gone(&world, PATIENCE).await?);
    Ok(())
}

fn config_map() -> Result<DynamicObject> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "more"}});
    serde_json::from_value(object).context("make a config map")
}

async fn nobody_of_it_makes_anything(world: &World, dev: &kube::Client) -> Result<()> {
    let (create, merge) = (PostParams::default(), PatchParams::default());
    let config_maps = kind("ConfigMap").within(dev, SANDBOX);
    refused("a dev makes a ConfigMap", config_maps.create(&create, &config_map()?).await)?;
    let mine = kind("Deployment").within(dev, SANDBOX);
    let more = json!({"spec": {"replicas": 5}});
    refused("a dev edits a Deployment", mine.patch("mine", &merge, &Patch::Merge(&more)).await)?;
    refused("a dev scales a Deployment", mine.patch_scale("mine", &merge, &Patch::Merge(&more)).await)?;
    let gitops = world.plane.client(&Identity::service_account(HOME, "kubenova-gitops")).await?;
    let config_maps = kind("ConfigMap").within(&gitops, SANDBOX);
    refused("its GitOps tool makes a ConfigMap", config_maps.create(&create, &config_map()?).await)?;

    let controller = async |name: &str| -> Result<kube::Client> {
        world.plane.client(&Identity::service_account("kube-system", name)).await
    };
    let autoscaler = kind("Deployment").within(&controller("horizontal-pod-autoscaler").await?, SANDBOX);
    let scale = autoscaler.get_scale("mine").await?;
    let to = |replicas: i32| {
        let mut scale = scale.clone();
        scale.spec.get_or_insert_default().replicas = Some(replicas);
        scale
    };
    let dry = PostParams { dry_run: true, ..create.clone() };
    let scaled = autoscaler.replace_scale("mine", &create, &to(5)).await;
    refused("an autoscaler scales a Deployment up", scaled)?;
    autoscaler.replace_scale("mine", &dry, &to(1)).await.context("an autoscaler goes down")?;
    let job = |owners: Value| -> Result<DynamicObject> {
        let mut pod = deployment("job")?.data["spec"]["template"]["spec"].take();
        pod["restartPolicy"] = json!("Never");
        let object = json!({"apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"generateName": "often-", "ownerReferences": owners},
            "spec": {"template": {"spec": pod}}});
        serde_json::from_value(object).context("make a job")
    };
    let jobs = kind("Job").within(&controller("cronjob-controller").await?, SANDBOX);
    let owner = json!([{"apiVersion": "batch/v1", "kind": "CronJob", "name": "often", "uid": "1"}]);
    refused("a cron job starts a job", jobs.create(&create, &job(owner)?).await)
}
