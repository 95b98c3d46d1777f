//! The operator when there is nothing to do: after a restart, and for a minute. Does I/O.

use std::time::Duration;

use anyhow::Result;
use nova_testkit::Entry;

use super::measure::{self, usage};
use super::operator::{Binary, Operator};
use super::report::{Idle, Restart};
use super::scenario::Scenario;
use super::{PATIENCE, QUIET};

/// Writes without need that are told.
const TOLD: usize = 5;
/// How long an idle operator is watched.
const MINUTE: Duration = Duration::from_mins(1);

/// Starts an operator on apps that are as they should be, and counts what it does until all is quiet.
pub async fn restart(scenario: &Scenario<'_>, binary: &Binary) -> Result<(Operator, Restart)> {
    let mark = scenario.world.mark().await?;
    let operator = Operator::start(&scenario.world, binary).await?;
    let ready = operator.ready().await?;
    // Nothing may happen at all, so the quiet must last that long from here.
    tokio::time::sleep(QUIET).await;
    let quiet = scenario.observer.quiet(QUIET, PATIENCE).await?;
    operator.check()?;
    let used = usage(operator.pid())?;
    let requests = measure::requests(&scenario.world, mark).await?;
    let restart = Restart {
        ready_seconds: ready.as_secs_f64(),
        writes: needless(&requests),
        requests: requests.len(),
        quiet,
        cpu_seconds: used.cpu,
        peak_memory_mib: used.peak_memory,
        memory_mib: used.memory,
    };
    Ok((operator, restart))
}

/// Watches an operator that has nothing to do.
pub async fn idle(scenario: &Scenario<'_>, operator: &Operator) -> Result<Idle> {
    scenario.observer.quiet(QUIET, PATIENCE).await?;
    let mark = scenario.world.mark().await?;
    let before = usage(operator.pid())?;
    tokio::time::sleep(MINUTE).await;
    let after = usage(operator.pid())?;
    let requests = measure::requests(&scenario.world, mark).await?;
    let minutes = MINUTE.as_secs_f64() / 60.0;
    Ok(Idle {
        cpu_seconds_per_minute: (after.cpu - before.cpu) / minutes,
        requests_per_minute: measure::ratio(requests.len(), 1) / minutes,
        writes: needless(&requests),
        memory_mib: after.memory,
    })
}

/// Number of writes where none was needed; the first of them are told as they come.
fn needless(requests: &[Entry]) -> usize {
    let writes: Vec<&Entry> = requests.iter().filter(|e| e.is_write()).collect();
    for write in writes.iter().take(TOLD) {
        let body = write.body.as_ref().map(ToString::to_string).unwrap_or_default();
        eprintln!("    written without need: {} {} {body:.400}", write.verb, write.uri);
    }
    writes.len()
}
