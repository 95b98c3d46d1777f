//! Objects in a place that is not theirs.

use anyhow::{Result, ensure};
use e2e::object::{self, Place, Says, kind};
use e2e::{World, quickstart};
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::{PATIENCE, STAGE};

const TENANT: &str = "stray";

fn app(place: &Place, mut spec: Value) -> String {
    spec["source"] = json!({"kind": "velaTemplate",
        "velaTemplate": {"template": "worker", "parameters": {"image": "nginx"}}});
    object::document("NovaApp", &place.namespace, &place.name, &spec)
}

async fn set_up(world: &World) -> Result<()> {
    world.apply_until_accepted(&quickstart(TENANT)?[..4], PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await
}

/// Each is told so with KN-403, and can be deleted.
async fn are_told(world: &World, misplaced: &[(Place, String)]) -> Result<()> {
    for (_, document) in misplaced {
        world.apply_once(document).await?;
    }
    let says = Says { code: "KN-403", ..Says::default() };
    for (place, _) in misplaced {
        let told = place.says(world, &says, PATIENCE).await?;
        println!("| {place} | {told} |");
    }
    // Nothing was made for any of them.
    for of in ["Namespace", "Application"] {
        let all = kind(of).every(&world.admin).list(&ListParams::default()).await?;
        let of_misplaced = |name: &String| misplaced.iter().any(|(place, _)| name.contains(&place.name));
        let made: Vec<_> = all.iter().map(ResourceExt::name_any).filter(of_misplaced).collect();
        ensure!(made.is_empty(), "{of} for misplaced objects: {made:?}");
    }
    for (place, _) in misplaced {
        place.delete(world).await?;
        place.gone(world, PATIENCE).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_in_a_wrong_place_are_told_so_and_nothing_is_made_for_them() -> Result<()> {
    let world = STAGE.together().await?;
    set_up(&world).await?;
    let mut misplaced = Vec::new();
    for (at, namespace) in ["default", "tn-stray", "tn-stray-sandbox-dev"].into_iter().enumerate() {
        let place = Place::new("NovaApp", namespace, &format!("lost{at}"));
        let document = app(&place, json!({}));
        misplaced.push((place, document));
    }
    for (at, namespace) in ["default", "tn-stray-app-shop", "tn-stray-sandbox-dev"].into_iter().enumerate() {
        for of in ["NovaProject", "NovaSandbox"] {
            let place = Place::new(of, namespace, &format!("lost{at}"));
            let document = object::document(of, namespace, &place.name, &json!({}));
            misplaced.push((place, document));
        }
    }
    are_told(&world, &misplaced).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_names_another_tenant_or_project_is_told_so_and_a_true_name_is_taken() -> Result<()> {
    let world = STAGE.together().await?;
    set_up(&world).await?;
    let place = |name: &str| Place::new("NovaApp", "tn-stray-app-shop", name);
    let untrue = [("echo1", json!({"tenant": "blue"})), ("echo2", json!({"project": "bank"}))];
    let untrue = untrue.map(|(name, spec)| (place(name), app(&place(name), spec)));
    are_told(&world, &untrue).await?;
    let honest = place("honest");
    world.apply_once(&app(&honest, json!({"tenant": TENANT, "project": "shop"}))).await?;
    honest.ready(&world, PATIENCE).await.map(drop)
}
