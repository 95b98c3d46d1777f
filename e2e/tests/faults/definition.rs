//! A definition of KubeNova's own that is missing when the operator starts.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{World, any, eventually, root};
use kube::api::{Api, DeleteParams, DynamicObject};
use nova_testkit::Options;

use crate::stage::{CONVERGES, HEALS, SERVED, Stage, TOLD, project, sandbox, takes_effect};

const CRD: &str = "novasandboxes.kubenova.io";

/// With a control plane of its own, for in a shared one it would be missing for all.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_definition_stops_no_other_kind_and_heals_without_a_restart() -> Result<()> {
    const NAME: &str = "boxless";
    let world = World::start(Options::default()).await?;
    let stage = Stage::new(&world).await?;
    stage.tenant_of_old(NAME).await?;
    let (group, version) = ("apiextensions.k8s.io", "v1");
    let definitions: Api<DynamicObject> =
        any(&world.admin, group, version, "CustomResourceDefinition", "customresourcedefinitions");
    definitions.delete(CRD, &DeleteParams::default()).await?;
    eventually("the definition is gone", CONVERGES, async || {
        let live = definitions.get_opt(CRD).await.map_err(|e| e.to_string())?;
        live.map_or(Ok(()), |crd| Err(crd.data["status"].to_string()))
    })
    .await?;

    println!("the operator starts without {CRD}:");
    let operator = stage.spawn_operator()?;
    takes_effect(&world, NAME, "web", "boxless", SERVED).await?;
    stage.cluster_speaks_of("novasandbox", true, TOLD).await?;
    world.apply_until_accepted(&[project(NAME, "another")], CONVERGES).await?;
    project_ready(&world, NAME, "another").await?;

    let file = root().join("crds/novasandboxes.yaml");
    world.apply(&std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?).await?;
    println!("  the definition is there again");
    world.apply_until_accepted(&[sandbox(NAME, "dev")], CONVERGES).await?;
    world.ready(NAME, HEALS).await?;
    stage.cluster_speaks_of("novasandbox", false, HEALS).await?;
    operator.ready(Duration::from_secs(5)).await?;
    ensure!(operator.is_running(), "the operator has ended");
    Ok(())
}

async fn project_ready(world: &World, tenant: &str, name: &str) -> Result<()> {
    let api = crate::stage::nova(world, "NovaProject", "novaprojects", &format!("tn-{tenant}"));
    eventually("a new project is Ready", CONVERGES, async || {
        let live = api.get(name).await.map_err(|e| e.to_string())?;
        if e2e::is_ready(&live) { Ok(()) } else { Err(e2e::message(&live).to_owned()) }
    })
    .await
}
