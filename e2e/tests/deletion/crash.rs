//! The operator is killed while it takes a tenant down.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use e2e::World;
use futures::future::try_join_all;
use nova_testkit::{FaultProxy, Identity, Mark};

use crate::{PATIENCE, STAGE, cascading, ended, tenant};

/// The tenant whose deletion is the reference, and one for each kill.
const REFERENCE: &str = "dkill0";
const TENANTS: [&str; 5] = ["dkill1", "dkill2", "dkill3", "dkill4", "dkill5"];

/// A write of the reference: method, path, and the how many-th of these it is.
type Signature = (String, String, usize);

/// Killed at five points spread over the writes of the reference. The next tenant is deleted while the one before
/// still goes, so that what is interrupted is interrupted more than once.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_during_the_cascade_changes_nothing_in_the_end() -> Result<()> {
    let world = STAGE.alone().await?;
    drop(world.take_operator().await?);
    let proxy = FaultProxy::start(&world.plane, &Identity::operator()).await?;
    let mut operator = world.start_operator(Some(proxy.kubeconfig())).await?;
    let mark = world.mark().await?;
    let reference = reference(&world, &proxy, mark).await?;
    let start = Instant::now();
    for (n, name) in TENANTS.into_iter().enumerate() {
        let at = (reference.len() - 1) * n / (TENANTS.len() - 1);
        let (method, path, occurrence) = &reference[at];
        proxy.reset();
        let path = path.replace(REFERENCE, name);
        proxy.kill_at(method, &path, *occurrence, operator.pid())?;
        tenant(name).delete(&world).await?;
        let what = format!("{method} {path} #{occurrence}, {} of {}", at + 1, reference.len());
        operator.ended(PATIENCE).await.with_context(|| format!("killed after {what}"))?;
        println!("cascade: killed after {what}, {:.1?} after the first delete", start.elapsed());
        proxy.reset();
        operator = world.start_operator(Some(proxy.kubeconfig())).await?;
    }
    for name in TENANTS {
        tenant(name).gone(&world, PATIENCE).await?;
        ended(&world, name, mark).await?;
    }
    println!("cascade: all of {} tenants gone {:.1?} after the first delete", TENANTS.len(), start.elapsed());
    Ok(())
}

/// Makes the tenants, and deletes one of them for reference. Gives back the writes that took it down.
async fn reference(world: &World, proxy: &FaultProxy, mark: Mark) -> Result<Vec<Signature>> {
    let all = [REFERENCE].into_iter().chain(TENANTS);
    try_join_all(all.map(async |name| {
        world.apply_until_accepted(&cascading(name)?, PATIENCE).await?;
        world.ready(name, PATIENCE).await
    }))
    .await?;
    world.silent(None, PATIENCE).await?;
    proxy.reset();
    tenant(REFERENCE).delete(world).await?;
    let took = tenant(REFERENCE).gone(world, PATIENCE).await?;
    ended(world, REFERENCE, mark).await?;
    let writes = proxy.writes();
    let about: Vec<_> = writes.iter().filter(|w| w.path.contains(REFERENCE)).collect();
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut signatures = Vec::new();
    for write in &about {
        let occurrence = seen.entry((&write.method, write.resource())).or_default();
        *occurrence += 1;
        // A status is written or overtaken by the next one, as time has it.
        if !write.resource().ends_with("/status") {
            signatures.push((write.method.clone(), write.resource().to_owned(), *occurrence));
        }
    }
    println!(
        "cascade: {} writes, {} of them no status, gone after {took:.1?}",
        about.len(),
        signatures.len()
    );
    ensure!(signatures.len() >= TENANTS.len(), "a cascade has more writes than {signatures:?}");
    Ok(signatures)
}
