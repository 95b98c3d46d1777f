//! What is aimed at, and whether the figures meet it. No I/O.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::report::Figures;

/// Convergence from cold, to the bare client's.
const COLD: f64 = 1.15;
/// Writes for an app while Vela is off, and while it is on.
const WRITES: [f64; 2] = [2.0, 3.0];
/// Memory of an operator without apps, in MiB, and for each 1,000 of them.
const MEMORY: [f64; 2] = [12.0, 2.5];
/// From an edit to the Application, in ms: alone, and while another tenant edits 1,000 apps.
const EDIT: [f64; 2] = [50.0, 250.0];
/// Seconds of processor time in an idle minute.
const IDLE: f64 = 0.1;

/// One goal and its figure.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// The goal, the scenario and the operator.
    pub goal: String,
    /// The figure is at most this.
    pub limit: f64,
    /// What was measured.
    pub figure: f64,
    /// Whether it is.
    pub met: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { goal, limit, figure, met } = self;
        write!(f, "{goal:<74}{limit:>12.2}{figure:>12.2}  {}", if *met { "yes" } else { "NO" })
    }
}

/// Peak memory as a base and a slope, from the smallest and the largest scenario.
#[derive(Debug, Serialize)]
pub struct Memory {
    /// Which operator.
    pub operator: String,
    /// Whether vela-core ran.
    pub vela: bool,
    /// MiB without apps.
    pub base_mib: f64,
    /// MiB for each 1,000 apps.
    pub mib_per_1000: f64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operator, vela, base_mib, mib_per_1000 } = self;
        let vela = if *vela { "on" } else { "off" };
        write!(
            f,
            "{operator}, Vela {vela}: {base_mib:.1} MiB + {mib_per_1000:.2} MiB per 1,000 apps at its peak"
        )
    }
}

/// Base and slope for every operator that was measured at two sizes.
#[must_use]
pub fn memory(all: &[Figures]) -> Vec<Memory> {
    let mut groups: BTreeMap<(&str, bool), Vec<(f64, f64)>> = BTreeMap::new();
    for figures in all {
        if let Some(cold) = &figures.cold {
            let group = groups.entry((&figures.operator, figures.vela)).or_default();
            group.push((thousands(figures.apps), cold.peak_memory_mib));
        }
    }
    let line = |((operator, vela), mut points): ((&str, bool), Vec<(f64, f64)>)| {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (first, last) = (points.first()?, points.last()?);
        if last.0 <= first.0 {
            return None;
        }
        let slope = (last.1 - first.1) / (last.0 - first.0);
        let base = first.1 - slope * first.0;
        Some(Memory { operator: operator.to_owned(), vela, base_mib: base, mib_per_1000: slope })
    };
    groups.into_iter().filter_map(line).collect()
}

#[allow(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
fn thousands(apps: usize) -> f64 {
    apps as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
fn number(of: usize) -> f64 {
    of as f64
}

/// Every goal that was measured.
#[must_use]
pub fn verdicts(all: &[Figures]) -> Vec<Verdict> {
    all.iter().flat_map(of).collect()
}

fn of(figures: &Figures) -> Vec<Verdict> {
    let vela = if figures.vela { "on" } else { "off" };
    let mut verdicts = Vec::new();
    let mut judge = |goal: &str, limit: f64, figure: f64| {
        let goal = format!("{goal}; {}, {} apps, Vela {vela}", figures.operator, figures.apps);
        // Figures are shown with two digits, and judged as they are shown.
        let met = figure <= limit + 0.005;
        verdicts.push(Verdict { goal, limit, figure, met });
    };
    if let Some(cold) = &figures.cold {
        judge("cold, from its start, to the bare client", COLD, cold.ratio);
        judge("cold, from its first write, to the bare client", COLD, cold.writing_ratio);
        // Without Vela an app is told later on that Vela is away, which is a write of its own.
        let writes = if figures.vela { cold.settled_writes_per_app } else { cold.writes_per_app };
        judge("writes per app", WRITES[usize::from(figures.vela)], writes);
        judge("peak memory, MiB", MEMORY[0] + MEMORY[1] * thousands(figures.apps), cold.peak_memory_mib);
    }
    if let Some(restart) = &figures.restart {
        judge("writes after a restart", 0.0, number(restart.writes));
    }
    if let Some(idle) = &figures.idle {
        judge("processor time in an idle minute, s", IDLE, idle.cpu_seconds_per_minute);
    }
    if figures.vela {
        // Its webhook renders within each write, and it holds what is deleted: that is not the operator's time.
        return verdicts;
    }
    if let Some(edits) = &figures.edits {
        judge("from an edit to the Application, p99, ms", EDIT[0], edits.p99_ms);
    }
    if let Some(mass) = &figures.mass {
        judge("the same while another tenant edits 1,000", EDIT[1], mass.single.p99_ms);
        judge("of that, from when a watch shows the edit", EDIT[1], mass.single.from_seen_p99_ms);
    }
    if let Some(drift) = &figures.drift {
        judge("repair of an Application, p99, ms", EDIT[0], drift.p99_ms);
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::super::report::{Idle, Restart};
    use super::*;

    #[test]
    fn a_goal_is_met_at_its_limit_and_not_above_it() {
        let idle = |cpu_seconds_per_minute: f64| Figures {
            idle: Some(Idle { cpu_seconds_per_minute, requests_per_minute: 1.0, writes: 0, memory_mib: 1.0 }),
            ..Figures::default()
        };
        let met = |figures: Figures| verdicts(&[figures]).iter().map(|v| v.met).collect::<Vec<_>>();
        assert_eq!(met(idle(0.1)), [true]);
        assert_eq!(met(idle(0.11)), [false]);
    }

    #[test]
    fn one_write_after_a_restart_is_one_too_many() {
        let restart = Restart {
            ready_seconds: 1.0,
            writes: 1,
            requests: 1,
            quiet: true,
            cpu_seconds: 1.0,
            peak_memory_mib: 1.0,
            memory_mib: 1.0,
        };
        let figures = Figures { restart: Some(restart), ..Figures::default() };
        assert!(!verdicts(&[figures])[0].met);
    }

    #[test]
    fn a_slope_needs_two_sizes() {
        assert!(memory(&[Figures::default(), Figures::default()]).is_empty());
    }
}
