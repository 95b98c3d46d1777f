//! Figures of processes and of the audit log, and how many figures become few. Does I/O: reads `/proc` and the log.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use e2e::World;
use nova_testkit::{Component, Entry, Identity, Mark};

/// Clock ticks a second in `/proc`, on every Linux there is.
const TICKS: u64 = 100;

/// What a process has used since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Seconds of processor time, user and system.
    pub cpu: f64,
    /// Resident memory now, in MiB.
    pub memory: f64,
    /// The most resident memory it ever had, in MiB.
    pub peak_memory: f64,
    /// Of the resident memory, what is not pages of the program's own file: its data.
    pub data: f64,
}

/// What process `pid` has used.
pub fn usage(pid: u32) -> Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        std::fs::read_to_string(&path).with_context(|| format!("read {path}"))
    };
    let status = read("status")?;
    let mib = |name: &str| -> Option<f64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1024.0)
    };
    let stat = read("stat")?;
    // The program's name, in brackets, may hold anything; user and system time are the 12th and 13th after it.
    let ticks = stat.rsplit_once(')').and_then(|(_, rest)| {
        let fields: Vec<&str> = rest.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    });
    let ticks = ticks.context("/proc tells no processor time")?;
    let cpu = Duration::from_millis(ticks * 1000 / TICKS).as_secs_f64();
    let memory = mib("VmRSS:").context("/proc tells no memory")?;
    Ok(Usage {
        cpu,
        memory,
        peak_memory: mib("VmHWM:").unwrap_or(memory),
        data: mib("RssAnon:").unwrap_or(memory),
    })
}

/// Processor time of the API server and of etcd so far, in seconds.
pub fn server_cpu(world: &World) -> Result<[f64; 2]> {
    let cpu = |wanted: Component| {
        let components = world.plane.components();
        let found = components.iter().find(|c| c.component == wanted).context("no such component")?;
        Ok::<_, anyhow::Error>(usage(found.pid)?.cpu)
    };
    Ok([cpu(Component::ApiServer)?, cpu(Component::Etcd)?])
}

/// Every request that the operator has made since a mark.
pub async fn requests(world: &World, mark: Mark) -> Result<Vec<Entry>> {
    let audit = world.plane.audit();
    audit.settle().await;
    let user = Identity::operator().user_name();
    Ok(audit.since(mark)?.into_iter().filter(|entry| entry.user == user).collect())
}

/// Microseconds of the wall clock at a moment.
pub fn wall_clock(at: Instant) -> i64 {
    let ago = at.elapsed();
    let then = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
    let micros = then.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// When a request came in, in microseconds of the wall clock.
pub fn received(entry: &Entry) -> i64 {
    entry.received.map_or(0, k8s_openapi::jiff::Timestamp::as_microsecond)
}

/// Number of writes of a resource.
pub fn count(writes: &[&Entry], resource: &str, subresource: &str) -> usize {
    writes.iter().filter(|e| e.object.resource == resource && e.object.subresource == subresource).count()
}

/// A share, for people.
#[allow(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
pub fn ratio(of: usize, to: usize) -> f64 {
    of as f64 / to as f64
}

/// The value below which `per_mille` of all lie; the nearest rank, so that it is one that was measured.
pub fn percentile(sorted: &[f64], per_mille: usize) -> f64 {
    let rank = (sorted.len() * per_mille).div_ceil(1000).max(1);
    sorted.get(rank - 1).or(sorted.last()).copied().unwrap_or(f64::NAN)
}

/// The middle one; of an even number the lower.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    percentile(&values, 500)
}

/// One minute's load of the machine, where it tells.
pub fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{median, percentile};

    #[test]
    fn a_percentile_is_one_of_the_values_and_the_last_is_the_greatest() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert!((percentile(&values, 500) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 990) - 198.0).abs() < f64::EPSILON);
        assert!((percentile(&values, 1000) - 200.0).abs() < f64::EPSILON);
        assert!((percentile(&[7.0], 990) - 7.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 500).is_nan());
    }

    #[test]
    fn a_median_does_not_depend_on_the_order() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
