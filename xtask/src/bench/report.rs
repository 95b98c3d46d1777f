//! Figures of a bench run, for people and for programs: both see the same names. No I/O.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::goals::{Memory, Verdict};

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Cores of the machine.
    pub cores: usize,
    /// One set for each scenario and operator.
    pub figures: Vec<Figures>,
    /// Memory as a base and a slope, for each operator that was measured at two sizes.
    pub memory: Vec<Memory>,
    /// What was aimed at, and whether it was met.
    pub verdicts: Vec<Verdict>,
}

/// What one scenario gave for one operator. What was not measured is left out.
#[derive(Debug, Default, Serialize)]
pub struct Figures {
    /// Number of apps.
    pub apps: usize,
    /// Whether vela-core ran.
    pub vela: bool,
    /// Which operator.
    pub operator: String,
    /// One minute's load of the machine before the scenario; more than its cores makes seconds worthless.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// The bare client; the middle round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bare: Option<Bare>,
    /// A cold start; the middle round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold: Option<Cold>,
    /// A restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// Single edits while nothing else happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edits: Option<Latency>,
    /// Single edits while another tenant edits 1,000 apps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mass: Option<Mass>,
    /// Applications deleted or changed by others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Latency>,
    /// Status writes of the bare client in two ways.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_patch: Option<StatusPatch>,
}

/// The bare client: the same writes, 32 at once, seen by the same watch.
#[derive(Clone, Debug, Serialize)]
pub struct Bare {
    /// Which round.
    pub round: usize,
    /// Seconds from the first write until the last was seen; with Vela, until every Application runs.
    pub seconds: f64,
    /// Writes in all.
    pub writes: usize,
    /// Processor time of the API server meanwhile.
    pub apiserver_cpu_seconds: f64,
    /// The same of etcd.
    pub etcd_cpu_seconds: f64,
}

/// Apps are there, the operator starts.
#[derive(Clone, Debug, Serialize)]
pub struct Cold {
    /// Which round.
    pub round: usize,
    /// Seconds from the operator's start until it was ready.
    pub ready_seconds: f64,
    /// Seconds from the operator's start until every app was as wanted.
    pub seconds: f64,
    /// Seconds from the operator's first write until every app was as wanted.
    pub writing_seconds: f64,
    /// The former to the bare client's, in the same round.
    pub ratio: f64,
    /// The latter to the bare client's, in the same round.
    pub writing_ratio: f64,
    /// The ratios of all rounds, from start.
    pub ratios: Vec<f64>,
    /// Writes of Applications until then.
    pub application_writes: usize,
    /// Writes of status of apps until then.
    pub status_writes: usize,
    /// Any other write until then.
    pub other_writes: usize,
    /// The first two, for each app.
    pub writes_per_app: f64,
    /// The same until nothing has happened for a while.
    pub settled_writes_per_app: f64,
    /// Requests of the operator of any kind until then, for each app.
    pub requests_per_app: f64,
    /// Answers other than success until then.
    pub refused: usize,
    /// Processor time of the operator until every app was as wanted.
    pub cpu_seconds: f64,
    /// The same of the API server.
    pub apiserver_cpu_seconds: f64,
    /// The same of etcd.
    pub etcd_cpu_seconds: f64,
    /// The most memory that it held until all was quiet.
    pub peak_memory_mib: f64,
    /// Memory when all was quiet.
    pub settled_memory_mib: f64,
    /// Of that, what is not pages of the program's own file.
    pub settled_data_mib: f64,
}

/// The operator starts again, and nothing is to be done.
#[derive(Debug, Serialize)]
pub struct Restart {
    /// Seconds from its start until it was ready.
    pub ready_seconds: f64,
    /// Its writes until nothing has happened for a while.
    pub writes: usize,
    /// Its requests until then.
    pub requests: usize,
    /// Whether it became quiet at all.
    pub quiet: bool,
    /// Processor time until then.
    pub cpu_seconds: f64,
    /// The most memory that it held.
    pub peak_memory_mib: f64,
    /// Memory after that.
    pub memory_mib: f64,
}

/// Nothing happens.
#[derive(Debug, Serialize)]
pub struct Idle {
    /// Processor time of the operator in a minute.
    pub cpu_seconds_per_minute: f64,
    /// Its requests in a minute, by the audit log.
    pub requests_per_minute: f64,
    /// Writes among them.
    pub writes: usize,
    /// Memory at the end.
    pub memory_mib: f64,
}

/// How long single changes take, in milliseconds, from the answer to the change until it was seen.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// How many.
    pub samples: usize,
    /// 99 of 100 changes were seen by the bench's own watch after so long: the API server's part.
    pub seen_p99_ms: f64,
    /// Half of the Applications were right so long after that.
    pub from_seen_p50_ms: f64,
    /// 99 of 100: the operator's part, its write included.
    pub from_seen_p99_ms: f64,
    /// Half of the Applications were right after so long.
    pub p50_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
    /// 99 of 100 were right, their status included.
    pub status_p99_ms: f64,
    /// Half of the bench's own changes were answered after so long: what any write costs at that time.
    pub own_write_p50_ms: f64,
    /// 99 of 100.
    pub own_write_p99_ms: f64,
}

/// Single edits beside edits in bulk.
#[derive(Debug, Serialize)]
pub struct Mass {
    /// Apps that the other tenant edits.
    pub apps: usize,
    /// How often.
    pub rounds: usize,
    /// Seconds for one of these, until the last app is as wanted; the middle one.
    pub seconds: f64,
    /// The single edits of another tenant.
    pub single: Latency,
}

/// One status write in two ways, by a client that does nothing else.
#[derive(Debug, Serialize)]
pub struct StatusPatch {
    /// Writes in each way.
    pub writes: usize,
    /// Server-side apply.
    pub apply: PatchCost,
    /// JSON merge patch.
    pub merge: PatchCost,
}

/// What a write costs.
#[derive(Debug, Default, Serialize)]
pub struct PatchCost {
    /// Seconds for all.
    pub seconds: f64,
    /// Processor time of the API server for one, in milliseconds.
    pub apiserver_cpu_ms: f64,
    /// The same of etcd.
    pub etcd_cpu_ms: f64,
}

impl Report {
    /// The same figures as the JSON, a row for each and a column for each operator.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut rest = self.figures.as_slice();
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|f| (f.apps, f.vela) == (first.apps, first.vela)).count();
            let (scenario, others) = rest.split_at(same);
            rest = others;
            let vela = if first.vela { "on" } else { "off" };
            // Writing into a String cannot fail.
            let _ = writeln!(text, "{} apps, Capsule on, Vela {vela}, {} cores", first.apps, self.cores);
            table(&mut text, scenario);
        }
        for memory in &self.memory {
            let _ = writeln!(text, "memory of {memory}");
        }
        if !self.verdicts.is_empty() {
            let _ = writeln!(text, "\n{:<74}{:>12}{:>12}  met", "goal", "at most", "figure");
        }
        for verdict in &self.verdicts {
            let _ = writeln!(text, "{verdict}");
        }
        text
    }
}

/// Several operators get a last column: the last one's figure to the first one's.
fn table(text: &mut String, scenario: &[Figures]) {
    let columns: Vec<BTreeMap<String, f64>> = scenario.iter().map(rows).collect();
    let Some(first) = columns.first() else { return };
    let _ = write!(text, "  {:<36}", "");
    for figures in scenario {
        let _ = write!(text, "{:>16}", figures.operator);
    }
    let compared = columns.len() > 1;
    let _ = writeln!(text, "{}", if compared { "   last/first" } else { "" });
    for (name, value) in first {
        let _ = write!(text, "  {name:<36}");
        for column in &columns {
            match column.get(name) {
                Some(value) => drop(write!(text, "{value:>16.2}")),
                None => drop(write!(text, "{:>16}", "")),
            }
        }
        if let Some(last) = columns.last().and_then(|column| column.get(name)).filter(|_| compared) {
            let _ = write!(text, "{:>13.2}", last / value);
        }
        text.push('\n');
    }
}

/// Every number of a scenario, by its path.
fn rows(figures: &Figures) -> BTreeMap<String, f64> {
    let mut rows = BTreeMap::new();
    // Structures of numbers and words alone always serialise.
    flatten("", &serde_json::to_value(figures).unwrap_or_default(), &mut rows);
    rows.retain(|name, _| name != "apps" && !name.split('.').any(|word| word == "round"));
    rows
}

fn flatten(path: &str, value: &Value, rows: &mut BTreeMap<String, f64>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(&path, value, rows);
            }
        }
        Value::Number(number) => rows.extend(number.as_f64().map(|number| (path.to_owned(), number))),
        Value::Array(list) => {
            for (n, value) in list.iter().enumerate().filter(|_| list.len() > 1) {
                flatten(&format!("{path}.{n}"), value, rows);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_compares_the_last_operator_with_the_first() {
        let figures = |operator: &str, seconds: f64| Figures {
            apps: 100,
            operator: operator.to_owned(),
            bare: Some(Bare {
                round: 0,
                seconds,
                writes: 200,
                apiserver_cpu_seconds: 1.0,
                etcd_cpu_seconds: 1.0,
            }),
            ..Figures::default()
        };
        let report = Report {
            cores: 2,
            figures: vec![figures("old", 4.0), figures("new", 3.0)],
            memory: Vec::new(),
            verdicts: Vec::new(),
        };
        let text = report.text();
        let row = text.lines().find(|line| line.contains("bare.seconds")).unwrap();
        assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["bare.seconds", "4.00", "3.00", "0.75"]);
    }
}
