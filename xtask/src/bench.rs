//! `cargo xtask bench`: how fast apps converge, next to a bare client that does the same writes in the same run.
//! Does I/O: builds, starts control planes, writes apps.

mod apps;
mod report;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use e2e::{OperatorProcess, World};
use nova_testkit::{Entry, Mark, Options, build};

use crate::r#gen::cargo;
use apps::Workload;
use report::{Convergence, Figures, Repose};

/// Longest wait for one scenario to converge.
const PATIENCE: Duration = Duration::from_mins(10);
/// How long the idle operator is watched.
const IDLE: Duration = Duration::from_secs(30);

/// Measure convergence, restart and idleness on a real control plane.
///
/// The bare client applies the same Applications and patches a status of the same size, 32 requests at once,
/// before the operator starts; figures of the operator are to be read as ratios to it. Apps are written before
/// the operator starts, so that only the operator is measured.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench                     100 and 1,000 apps without Vela, 100 with Vela
  cargo xtask bench --no-vela 100       one scenario
  cargo xtask bench -o json > now.json")]
pub struct Bench {
    /// Numbers of apps with Capsule on and Vela off.
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1000])]
    no_vela: Vec<usize>,

    /// Numbers of apps with Capsule and Vela on.
    #[arg(long, value_delimiter = ',', default_values_t = [100])]
    vela: Vec<usize>,

    /// How the figures are printed.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Bench {
    /// Runs every scenario, each on a control plane of its own.
    ///
    /// # Errors
    ///
    /// When something does not build, start or converge.
    pub async fn run(self) -> Result<()> {
        tokio::task::spawn_blocking(build::ensure).await.context("build the control plane")??;
        let built = cargo().args(["build", "--release", "--locked", "--package", "kubenova"]).status().await;
        if !built.context("run cargo")?.success() {
            bail!("the operator does not build, see above");
        }
        let scenarios = self.no_vela.iter().map(|n| (*n, false)).chain(self.vela.iter().map(|n| (*n, true)));
        let mut all = Vec::new();
        for (count, vela) in scenarios {
            eprintln!("{count} apps, Vela {} …", if vela { "on" } else { "off" });
            let figures = Box::pin(scenario(count, vela)).await?;
            if self.output == Output::Text {
                println!("{figures}");
            }
            all.push(figures);
        }
        if self.output == Output::Json {
            println!("{}", serde_json::to_string_pretty(&all).context("write JSON")?);
        }
        Ok(())
    }
}

async fn scenario(count: usize, vela: bool) -> Result<Figures> {
    let options = Options { vela, ..Options::default() };
    let this = std::env::current_exe().context("find this program's own file")?;
    let target = this.ancestors().nth(2).context("find the target folder")?;
    let world = World::with_binary(options, target.join("release/kubenova")).await?;
    let workload = Workload::new(&world, count);

    let bare = workload.bare().await.context("run the bare client")?;
    // The tenants and projects are made by the operator, which then steps aside while the apps are written.
    let operator = world.operator().await?;
    workload.make_room().await?;
    operator.stop().await;
    workload.write_apps().await?;

    let mark = world.mark().await?;
    let start = Instant::now();
    let operator = world.operator().await?;
    let ready = start.elapsed();
    workload.converged(vela, PATIENCE).await?;
    let took = start.elapsed();
    let convergence = convergence(&world, &operator, mark, count, (ready, took)).await?;

    operator.stop().await;
    let mark = world.mark().await?;
    let start = Instant::now();
    let operator = world.operator().await?;
    let restart = start.elapsed();
    let before = operator.usage().context("measure the operator")?;
    tokio::time::sleep(IDLE).await;
    let after = operator.usage().context("measure the operator")?;
    let writes = world.operator_writes(mark).await?.len();
    operator.stop().await;
    Ok(Figures {
        apps: count,
        vela,
        bare,
        convergence,
        repose: Repose {
            restart_seconds: restart.as_secs_f64(),
            writes,
            idle_cpu_percent: (after.cpu.saturating_sub(before.cpu)).as_secs_f64() / IDLE.as_secs_f64()
                * 100.0,
            memory_mib: mib(after.memory),
        },
    })
}

async fn convergence(
    world: &World,
    operator: &OperatorProcess,
    mark: Mark,
    count: usize,
    (ready, took): (Duration, Duration),
) -> Result<Convergence> {
    let writes = world.operator_writes(mark).await?;
    let of = |resource: &str, subresource: &str| {
        let wanted = |e: &&Entry| e.object.resource == resource && e.object.subresource == subresource;
        writes.iter().filter(wanted).count()
    };
    let usage = operator.usage().context("measure the operator")?;
    let (applications, statuses) = (of("applications", ""), of("novaapps", "status"));
    Ok(Convergence {
        ready_seconds: ready.as_secs_f64(),
        seconds: took.as_secs_f64(),
        application_writes: applications,
        status_writes: statuses,
        other_writes: writes.len() - applications - statuses,
        writes_per_app: ratio(applications + statuses, count),
        cpu_seconds: usage.cpu.as_secs_f64(),
        peak_memory_mib: mib(usage.peak_memory),
    })
}

#[allow(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
fn ratio(of: usize, to: usize) -> f64 {
    of as f64 / to as f64
}

#[allow(clippy::cast_precision_loss, reason = "figures for people, far below 2^52")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}
