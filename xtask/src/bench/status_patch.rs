//! What a status write costs the API server as server-side apply, and as a JSON merge patch. Does I/O.
//!
//! Each way has apps of its own: two owners of the same fields would cost what one does not.

use std::time::Instant;

use anyhow::{Context as _, Result};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::measure::{ratio, server_cpu};
use super::report::{PatchCost, StatusPatch};
use super::scenario::Scenario;
use super::workload::{self, Kind};

/// Turns of each way. They alternate, so that what else the machine does falls on both.
const TURNS: usize = 4;
/// Field manager of all these writes.
const MANAGER: &str = "kubenova-bench-status";

/// Writes the status of every app again and again; each time something differs, so that each is a write.
pub async fn measure(scenario: &Scenario<'_>) -> Result<StatusPatch> {
    scenario.write().await?;
    let (mut apply, mut merge) = (PatchCost::default(), PatchCost::default());
    // The first turn of each makes the fields, the others change them.
    for turn in 0..=TURNS {
        for way in [Way::Apply, Way::Merge] {
            let cost = if way == Way::Apply { &mut apply } else { &mut merge };
            let spent = once(scenario, way, turn).await?;
            if turn > 0 {
                cost.seconds += spent.seconds;
                cost.apiserver_cpu_ms += spent.apiserver_cpu_ms;
                cost.etcd_cpu_ms += spent.etcd_cpu_ms;
            }
        }
    }
    let writes = scenario.places.len() / 2 * TURNS;
    for cost in [&mut apply, &mut merge] {
        cost.apiserver_cpu_ms /= ratio(writes, 1);
        cost.etcd_cpu_ms /= ratio(writes, 1);
    }
    scenario.clear().await?;
    Ok(StatusPatch { writes, apply, merge })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Apply,
    Merge,
}

/// One turn; costs are sums, in milliseconds.
async fn once(scenario: &Scenario<'_>, way: Way, turn: usize) -> Result<PatchCost> {
    let (first, rest) = scenario.places.split_at(scenario.places.len() / 2);
    let places = if way == Way::Apply { first } else { &rest[..first.len()] };
    let client = scenario.world.plane.operator().await?;
    let apps = scenario.observer.parent_metas();
    let before = server_cpu(&scenario.world)?;
    let start = Instant::now();
    workload::each(places, |key| {
        let (client, app) = (&client, apps.get(key));
        async move {
            let app = app.context("an app that was not seen")?;
            let mut status = scenario.template().status_of(key, app)?;
            status["version"] = json!(format!("turn-{turn}"));
            let api = Kind::App.api(client, &key.0);
            let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
            match way {
                Way::Apply => {
                    let body =
                        json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp", "status": status});
                    api.patch_status(&key.1, &params.force(), &Patch::Apply(&body)).await
                }
                Way::Merge => {
                    let body = json!({"status": status});
                    api.patch_status(&key.1, &params, &Patch::Merge(&body)).await
                }
            }
            .context("write a status")?;
            Ok(())
        }
    })
    .await?;
    let seconds = start.elapsed().as_secs_f64();
    let after = server_cpu(&scenario.world)?;
    Ok(PatchCost {
        seconds,
        apiserver_cpu_ms: (after[0] - before[0]) * 1000.0,
        etcd_cpu_ms: (after[1] - before[1]) * 1000.0,
    })
}
