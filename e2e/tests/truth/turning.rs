//! Apps that were Ready and turn bad: nobody ever sees them Ready at the bad generation.

use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::film::Frame;
use e2e::object::{self, Place, image, manifest};
use e2e::{Film, World, is_ready};
use serde_json::{Value, json};

use crate::cases::ready_reason;
use crate::table::deployment;
use crate::{PATIENCE, filmed, honest};

const NAMESPACE: &str = "tn-turn-app-shop";

const TENANT: &str = "turn";

fn source(name: &str, tag: &str) -> Value {
    if name == "image" { image(tag) } else { manifest(&deployment("bare", tag)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_from_an_image_that_turns_bad_is_never_ready_at_that_generation() -> Result<()> {
    is_never_ready_when_bad("image").await
}

/// To Vela a manifest is healthy at once, so it is the one that tempts.
#[tokio::test(flavor = "multi_thread")]
async fn an_app_from_a_manifest_that_turns_bad_is_never_ready_at_that_generation() -> Result<()> {
    is_never_ready_when_bad("bare").await
}

async fn is_never_ready_when_bad(name: &str) -> Result<()> {
    let (world, film) = filmed().await?;
    let (tenant, project) = (object::tenant(TENANT, &json!({})), object::project(TENANT, "shop", &json!({})));
    let app = object::app(NAMESPACE, name, &source(name, "1"));
    world.apply_until_accepted(&[tenant, project, app], PATIENCE).await?;
    Place::new("NovaApp", NAMESPACE, name).ready(&world, PATIENCE).await?;
    turns(&world, &film, name).await?;
    honest(&film)
}

async fn turns(world: &World, film: &Film, name: &str) -> Result<()> {
    let app = Place::new("NovaApp", NAMESPACE, name);
    let object = format!("napp/{name}");
    let mut bad = Vec::new();
    for tag in ["bad-image", "crash-loop", "never-ready"] {
        let start = Instant::now();
        let patch = json!({"spec": {"source": source(name, tag)}});
        let patched = app.merge(world, &patch).await?;
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
        let told = film.first("the turn is told", start, PATIENCE, told).await?;
        println!("{name}:{tag} told as {} {:.1?} after the edit", ready_reason(&told), told.at - start);

        let start = Instant::now();
        let patch = json!({"spec": {"source": source(name, "1")}});
        app.merge(world, &patch).await?;
        let wait = ["-n", NAMESPACE, "wait", "--for=condition=Ready", object.as_str(), "--timeout=120s"];
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
