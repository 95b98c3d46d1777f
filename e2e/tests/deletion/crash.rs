//! The operator is killed while it takes a tenant down.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::{OperatorProcess, quickstart};
use futures::future::try_join_all;

use crate::order::left_over;
use crate::place::tenant;
use crate::{CONVERGES, ENDS, Stage};

/// The tenant whose deletion is the reference, and one for each kill.
const REFERENCE: &str = "dkill0";
const TENANTS: [&str; 5] = ["dkill1", "dkill2", "dkill3", "dkill4", "dkill5"];

/// A write of the reference: method, path, and the how many-th of these it is.
pub type Signature = (String, String, usize);

/// Makes the tenants, and deletes one of them for reference. Gives back the writes that took it down.
pub async fn tenants_to_crash_in(stage: &Stage) -> Result<Vec<Signature>> {
    let all = [REFERENCE].into_iter().chain(TENANTS);
    let each = all.map(|name| async move {
        let mut documents = quickstart(name)?;
        documents[1] = documents[1].replace("  plan: starter", "  plan: starter\n  deletionPolicy: Cascade");
        stage.world.apply_until_accepted(&documents, CONVERGES).await?;
        stage.world.ready(name, CONVERGES).await
    });
    try_join_all(each).await?;
    // Counts of parents follow a moment later.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = stage.proxy.writes().len();
    tenant(REFERENCE).delete(&stage.world).await?;
    let took = tenant(REFERENCE).gone(&stage.world, ENDS).await?;
    left_over(stage, REFERENCE).await?;
    let writes = stage.proxy.writes().split_off(before);
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
    Ok(signatures)
}

/// Killed at five points spread over the writes of the reference. The next tenant is deleted while the one before
/// still goes, so that what is interrupted is interrupted more than once.
pub async fn a_kill_during_the_cascade_changes_nothing_in_the_end(
    stage: &Stage,
    operator: &mut OperatorProcess,
    reference: &[Signature],
) -> Result<()> {
    let Stage { world, proxy } = stage;
    let start = Instant::now();
    for (n, name) in TENANTS.into_iter().enumerate() {
        let at = (reference.len() - 1) * n / (TENANTS.len() - 1);
        let (method, path, occurrence) = &reference[at];
        proxy.reset();
        let path = path.replace(REFERENCE, name);
        proxy.kill_at(method, &path, *occurrence, operator.pid())?;
        tenant(name).delete(world).await?;
        let what = format!("{method} {path} #{occurrence}, {} of {}", at + 1, reference.len());
        operator.ended(ENDS).await.with_context(|| format!("killed after {what}"))?;
        println!("cascade: killed after {what}, {:.1?} after the first delete", start.elapsed());
        proxy.reset();
        *operator = world.operator_with(proxy.kubeconfig()).await?;
    }
    for name in TENANTS {
        tenant(name).gone(world, ENDS).await?;
        left_over(stage, name).await?;
    }
    println!("cascade: all of {} tenants gone {:.1?} after the first delete", TENANTS.len(), start.elapsed());
    Ok(())
}
