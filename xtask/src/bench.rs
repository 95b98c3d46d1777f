//! `cargo xtask bench`: how fast apps converge, next to a bare client that does the same writes in the same run.
//! Does I/O: builds, starts control planes, writes apps.

mod bare;
mod goals;
mod latency;
mod measure;
mod observer;
mod operator;
mod report;
mod rest;
mod scenario;
mod seen;
mod status_patch;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use nova_testkit::build;

use crate::r#gen::{cargo, root};
use operator::Binary;
use report::Report;
use scenario::Plan;

/// Longest wait for one step.
const PATIENCE: Duration = Duration::from_mins(20);
/// After so long without any change of an app or an Application, all is quiet: longer than any pause of the operator.
const QUIET: Duration = Duration::from_secs(16);

/// Measure convergence, restart, idleness, edits and repairs on a real control plane.
///
/// The bare client repeats the operator's own writes for as many apps, 32 requests at once, as the same identity:
/// their bodies are taken from the audit log. Figures of the operator are to be read as ratios to it. Apps are
/// written before the operator starts, so that only the operator is measured. The end of both is seen by the same
/// two watches, one on apps and one on Applications.
///
/// With Vela off, an app is done when its Application is there with the image that is wanted, and its status is for
/// its generation. With Vela on, it must be Ready.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask bench                    100, 1,000 and 5,000 apps without Vela, 100 with Vela
  cargo xtask bench --no-vela 100 --vela=                         one scenario
  cargo xtask bench --only cold --rounds 5                        the middle of five cold starts
  cargo xtask bench --only edits,mass --no-vela 1000 --vela=
  cargo xtask bench --operator old=/tmp/kubenova --operator new=target/release/kubenova
                                       two binaries, in turn, on the same control plane
  cargo xtask bench --only status-patch --no-vela 1000 --vela=    without an operator
  cargo xtask bench -o json > now.json")]
pub struct Bench {
    /// Numbers of apps with Capsule on and Vela off; none if empty
    #[arg(
        long,
        value_delimiter = ',',
        default_values_t = [100, 1000, 5000].map(Number),
        num_args = 0..,
        value_name = "APPS"
    )]
    no_vela: Vec<Number>,

    /// Numbers of apps with Capsule and Vela on; none if empty
    #[arg(long, value_delimiter = ',', default_values_t = [Number(100)], num_args = 0.., value_name = "APPS")]
    vela: Vec<Number>,

    /// Measure these parts only
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Part::DEFAULT, value_name = "PART")]
    only: Vec<Part>,

    /// Rounds of bare client and cold start; the middle one is reported, and the last is asked for the other parts
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    rounds: u8,

    /// A binary to measure instead of the one of this repository; more than one are compared with the first
    #[arg(long = "operator", value_name = "[LABEL=]PATH")]
    operators: Vec<Binary>,

    /// How the figures are printed
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// A number of apps. Nothing stands for none, so that a default can be taken away.
#[derive(Clone, Copy, Debug)]
struct Number(usize);

impl std::str::FromStr for Number {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() { Ok(Self(0)) } else { text.parse().map(Self) }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Apps are there, the operator starts: time, writes, processor time, memory, next to the bare client
    Cold,
    /// The operator starts again: time, writes, memory
    Restart,
    /// A minute without work
    Idle,
    /// From a single edit to the Application, nothing else going on
    Edits,
    /// From an Application deleted or changed to its repair
    Drift,
    /// The same as edits, while another tenant edits 1,000 apps; from 1,000 apps on
    Mass,
    /// A status as apply and as merge patch, written by the bare client
    StatusPatch,
}

impl Part {
    /// Everything that concerns the operator.
    const DEFAULT: [Self; 6] = [Self::Cold, Self::Restart, Self::Idle, Self::Edits, Self::Drift, Self::Mass];
}

impl Bench {
    /// Runs every scenario, each on a control plane of its own.
    ///
    /// # Errors
    ///
    /// When something does not build, start or converge.
    pub async fn run(self) -> Result<()> {
        if cfg!(debug_assertions) {
            return optimised().await;
        }
        tokio::task::spawn_blocking(build::ensure).await.context("build the control plane")??;
        let operators = if self.operators.is_empty() { vec![built().await?] } else { self.operators };
        let scenarios =
            self.no_vela.iter().map(|n| (n.0, false)).chain(self.vela.iter().map(|n| (n.0, true)));
        let (mut figures, mut outcome) = (Vec::new(), Ok(()));
        for (count, vela) in scenarios.filter(|(count, _)| *count > 0) {
            eprintln!("{count} apps, Vela {} …", if vela { "on" } else { "off" });
            let plan = Plan {
                count,
                vela,
                operators: &operators,
                rounds: usize::from(self.rounds),
                parts: &self.only,
            };
            match Box::pin(plan.run()).await {
                Ok(found) => figures.extend(found),
                Err(error) => {
                    outcome = Err(error.context(format!("{count} apps")));
                    break;
                }
            }
        }
        // What was measured before something failed took minutes.
        let memory = goals::memory(&figures);
        let verdicts = goals::verdicts(&figures);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let report = Report { cores, figures, memory, verdicts };
        match self.output {
            Output::Text => print!("{}", report.text()),
            Output::Json => println!("{}", serde_json::to_string_pretty(&report).context("write JSON")?),
        }
        outcome
    }
}

/// Runs the same in an optimised build: what the bench itself takes, and above all its bare client, must not count.
async fn optimised() -> Result<()> {
    let here = std::env::current_dir().context("find the present folder")?;
    let mut command = cargo();
    command.args(["run", "--profile", "bench", "--locked", "--package", "xtask", "--manifest-path"]);
    command.arg(root().join("Cargo.toml")).arg("--").args(std::env::args_os().skip(1));
    // Paths among the arguments are meant from here.
    let done = command.current_dir(here).status().await.context("run cargo")?;
    if !done.success() {
        bail!("the bench has failed, see above");
    }
    Ok(())
}

/// The operator of this repository, as it is released.
async fn built() -> Result<Binary> {
    let built = cargo().args(["build", "--release", "--locked", "--package", "kubenova"]).status().await;
    if !built.context("run cargo")?.success() {
        bail!("the operator does not build, see above");
    }
    let this = std::env::current_exe().context("find this program's own file")?;
    let target = this.ancestors().nth(2).context("find the target folder")?;
    let path: PathBuf = target.join("release/kubenova");
    Ok(Binary { label: "operator".to_owned(), path })
}
