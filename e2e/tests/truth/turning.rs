//! Apps that were Ready and turn bad: nobody ever sees them Ready at the bad generation.

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::film::Frame;
use e2e::{Film, World, is_ready};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::SOON;
use crate::cases::{app, apps, ready_reason};
use crate::table::deployment;

const NAMESPACE: &str = "tn-turn-app-shop";

fn source(name: &str, tag: &str) -> Value {
    if name == "image" {
        json!({"kind": "containerImage", "containerImage": {"image": "nginx", "tag": tag}})
    } else {
        json!({"kind": "kubeManifest", "kubeManifest": {"manifest": deployment("bare", tag).to_string()}})
    }
}

/// Turns good and bad several times; to Vela a manifest is healthy at once, so it is the one that tempts.
pub async fn an_app_that_turns_bad_is_never_ready_at_that_generation(
    world: &World,
    film: &Film,
) -> Result<()> {
    world
        .apply_once("apiVersion: kubenova.io/v1alpha1\nkind: NovaTenant\nmetadata: {name: turn}\nspec: {}")
        .await?;
    let project = "apiVersion: kubenova.io/v1alpha1\nkind: NovaProject\nmetadata: {name: shop, namespace: tn-turn}\nspec: {}";
    world.apply_until_accepted(&[project.to_owned()], SOON).await?;
    let names = ["image", "bare"];
    world.apply_until_accepted(&names.map(|name| app(NAMESPACE, name, &source(name, "1"))), SOON).await?;
    world.ready("turn", SOON).await?;
    futures::future::try_join_all(names.map(|name| turns(world, film, name))).await?;
    Ok(())
}

async fn turns(world: &World, film: &Film, name: &str) -> Result<()> {
    let apps = apps(world, NAMESPACE);
    let object = format!("napp/{name}");
    let mut bad = Vec::new();
    for tag in ["bad-image", "crash-loop", "never-ready"] {
        let start = Instant::now();
        let patch = json!({"spec": {"source": source(name, tag)}});
        let patched = apps.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        let generation = patched.metadata.generation.unwrap_or(0);
        bad.push(generation);
        // kubectl sees Ready of the earlier generation at first, and must not fall for it.
        let wait = ["-n", NAMESPACE, "wait", "--for=condition=Ready", object.as_str(), "--timeout=3s"];
        ensure!(world.plane.kubectl(&wait).await.is_err(), "kubectl wait takes {name}:{tag} for Ready");
        let told = |f: &Frame| {
            let reason = ready_reason(f);
            f.is("NovaApp", NAMESPACE, name)
                && f.observed() == generation
                && !["Reconciled", ""].contains(&reason)
                && (tag == "never-ready" || !["RolloutInProgress", "Progressing"].contains(&reason))
        };
        let told = film.first("the turn is told", start, SOON, told).await?;
        println!("{name}:{tag} told as {} {:.1?} after the edit", ready_reason(&told), told.at - start);

        let start = Instant::now();
        let patch = json!({"spec": {"source": source(name, "1")}});
        apps.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        let wait = ["-n", NAMESPACE, "wait", "--for=condition=Ready", object.as_str(), "--timeout=60s"];
        world.plane.kubectl(&wait).await?;
        println!("{name}:{tag} healed: kubectl wait returned {:.1?} after the fix", start.elapsed());
    }
    let frames = film.of("NovaApp", NAMESPACE, name);
    let lie = frames.iter().find(|f| {
        let at = e2e::condition(&f.object, "Ready").and_then(|c| c["observedGeneration"].as_i64());
        f.says_ready() && (bad.contains(&f.observed()) || at.is_some_and(|at| bad.contains(&at)))
    });
    ensure!(lie.is_none(), "{name} was shown Ready while it was bad: {:?}", lie.map(|f| &f.object.data));
    ensure!(frames.iter().any(|f| is_ready(&f.object)), "{name} was never Ready");
    Ok(())
}
