//! The operator is killed after each write of drift and deletion; those of the quickstart are in `tests/crash.rs`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{OperatorProcess, Picture, Signature, World, eventually};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use nova_testkit::fault_proxy::Fault;

use crate::drift::{children, drift, is_as};
use crate::stage::{Stage, alone};
use crate::{AFTERMATH, CONVERGES, SETTLES, SIDE_BY_SIDE, delete, documents, judge, nothing_is_left};

#[tokio::test]
async fn a_kill_after_any_write_of_drift_or_deletion_changes_nothing_in_the_end() -> Result<()> {
    alone(async |stage| {
        let start = Instant::now();
        let mut operator = stage.operator().await?;
        let tenants = deletions(&stage, &mut operator).await?;
        println!("deletions: {:.0?}", start.elapsed());
        let drifted = drifts(&stage, &mut operator).await?;
        println!("with drift: {:.0?}", start.elapsed());
        nothing_is_left(stage.world, &tenants).await?;
        judge::history(stage.world, &tenants, &drifted).await
    })
    .await
}

async fn make(world: &World, tenant: String) -> Result<String> {
    world.apply_until_accepted(&documents(&tenant)?, CONVERGES).await?;
    world.ready(&tenant, CONVERGES).await?;
    // Counts of parents follow a moment later.
    tokio::time::sleep(AFTERMATH).await;
    Ok(tenant)
}

/// Waits until the operator is killed, and starts it anew. False when `over` ended first: the write was never made.
async fn killed(
    stage: &Stage<'_>,
    operator: &mut OperatorProcess,
    over: impl Future<Output = Result<()>>,
) -> Result<bool> {
    let kill = eventually("the operator is killed", CONVERGES, async || {
        if stage.proxy.has_killed() { Ok(()) } else { Err("the write was not made".to_owned()) }
    });
    tokio::select! {
        biased;
        killed = kill => killed?,
        over = over => {
            over?;
            if !stage.proxy.has_killed() {
                return Ok(false);
            }
        }
    }
    operator.ended(Duration::from_secs(2)).await?;
    stage.proxy.clear();
    stage.proxy.reset();
    *operator = stage.operator().await?;
    Ok(true)
}

/// A tenant for each write of a deletion. The next one is deleted while the one before may still go, so that what is
/// interrupted is interrupted more than once.
async fn deletions(stage: &Stage<'_>, operator: &mut OperatorProcess) -> Result<Vec<String>> {
    let Stage { world, proxy } = stage;
    let reference = make(world, "swk000".to_owned()).await?;
    let before = proxy.writes().len();
    delete(world, &reference).await?;
    let targets = Signature::all(&proxy.writes()[before..], &reference);
    let targets: Vec<Signature> = targets.into_iter().filter(|s| !s.is_status()).collect();
    println!("deletion: {} writes that are no status", targets.len());

    let names = (1..=targets.len()).map(|n| make(world, format!("swk{n:03}")));
    let tenants: Vec<String> = stream::iter(names).buffered(SIDE_BY_SIDE).try_collect().await?;
    let mut missed = Vec::new();
    for (tenant, target) in tenants.iter().zip(&targets) {
        proxy.clear();
        proxy.reset();
        proxy.kill_at(&target.method, &target.path_for(tenant), target.occurrence, operator.pid())?;
        let before = proxy.writes().len();
        let gone = delete(world, tenant);
        if killed(stage, operator, gone).await.with_context(|| format!("{tenant}: killed after {target}"))? {
            println!("killed after {target}");
        } else {
            let made = Signature::all(&proxy.writes()[before..], tenant);
            let made: Vec<String> = made.iter().map(ToString::to_string).collect();
            missed.push(format!("{target}, but {}", made.join(", ")));
        }
    }
    for tenant in &tenants {
        delete(world, tenant).await?;
    }
    ensure!(missed.is_empty(), "these writes of the reference did not happen again: {missed:#?}");
    Ok([reference].into_iter().chain(tenants).collect())
}

/// Each child of a tenant drifts, and the operator is killed after the write that repairs it.
async fn drifts(stage: &Stage<'_>, operator: &mut OperatorProcess) -> Result<Vec<String>> {
    let Stage { world, proxy } = stage;
    let tenant = make(world, "swkdrift".to_owned()).await?;
    let expected = Picture::settled(world, &tenant, None, SETTLES).await?;
    for child in children(world, &tenant).await? {
        proxy.clear();
        proxy.reset();
        proxy.inject(child.rule.clone(), Fault::Kill(operator.pid()));
        let drifted = drift(&child).await?;
        killed(stage, operator, std::future::pending()).await.with_context(|| child.title.clone())?;
        eventually("it is as before", CONVERGES, async || is_as(&child, &drifted).await).await?;
        println!("killed after the repair of {}", child.title);
    }
    world.ready(&tenant, CONVERGES).await?;
    Picture::settled(world, &tenant, Some(&expected), SETTLES).await.context("after all drift")?;
    Ok(vec![tenant])
}
