//! Figures of a bench run, for people and for programs. No I/O.

use std::fmt;

use serde::Serialize;

/// What one scenario gave.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// Number of apps.
    pub apps: usize,
    /// Whether vela-core ran.
    pub vela: bool,
    /// The bare client.
    pub bare: Bare,
    /// The operator, from its start until every app had its Application and a status.
    pub convergence: Convergence,
    /// The operator after that.
    pub repose: Repose,
}

/// The bare client: the same writes, 32 at once, without any look at the answers.
#[derive(Debug, Serialize)]
pub struct Bare {
    /// Seconds for all writes; with Vela, until every Application runs.
    pub seconds: f64,
    /// Writes in all.
    pub writes: usize,
}

/// Convergence of the operator.
#[derive(Debug, Serialize)]
pub struct Convergence {
    /// Seconds from its start until it was ready.
    pub ready_seconds: f64,
    /// Seconds from its start until the last app.
    pub seconds: f64,
    /// Writes of Applications.
    pub application_writes: usize,
    /// Writes of status of apps.
    pub status_writes: usize,
    /// Any other write.
    pub other_writes: usize,
    /// The first two, for each app.
    pub writes_per_app: f64,
    /// CPU that it took.
    pub cpu_seconds: f64,
    /// The most memory it held.
    pub peak_memory_mib: f64,
}

/// Restart and idleness.
#[derive(Debug, Serialize)]
pub struct Repose {
    /// Seconds from a restart until it was ready.
    pub restart_seconds: f64,
    /// Writes since the restart.
    pub writes: usize,
    /// CPU while idle, in per cent of one core.
    pub idle_cpu_percent: f64,
    /// Memory while idle.
    pub memory_mib: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { apps, vela, bare, convergence: c, repose: r } = self;
        writeln!(f, "{apps} apps, Capsule on, Vela {}", if *vela { "on" } else { "off" })?;
        writeln!(f, "  bare client      {:>8.2} s   {} writes", bare.seconds, bare.writes)?;
        writeln!(
            f,
            "  operator         {:>8.2} s   {:.2} × the bare client; ready after {:.2} s",
            c.seconds,
            c.seconds / bare.seconds,
            c.ready_seconds
        )?;
        writeln!(
            f,
            "  writes per app   {:>8.2}     {} Applications, {} status, {} other",
            c.writes_per_app, c.application_writes, c.status_writes, c.other_writes
        )?;
        writeln!(
            f,
            "  operator CPU     {:>8.2} s   peak memory {:.0} MiB",
            c.cpu_seconds, c.peak_memory_mib
        )?;
        writeln!(
            f,
            "  restart          {:>8.2} s   {} writes; idle {:.2} % of a core, {:.0} MiB",
            r.restart_seconds, r.writes, r.idle_cpu_percent, r.memory_mib
        )
    }
}
