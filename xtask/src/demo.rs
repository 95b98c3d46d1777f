//! `cargo xtask demo`: from a clean clone to a tenant with a running app, and what a user would look at.
//! Does I/O: builds, starts processes, applies the quickstart.

mod picture;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use e2e::{World, quickstart};
use indicatif::{ProgressBar, ProgressStyle};
use nova_testkit::{Identity, Options, build};
use tokio::signal::unix::{SignalKind, signal};

use crate::r#gen::cargo;

/// The quickstart's tenant.
const TENANT: &str = "acme";
/// How long the quickstart may take until everything is Ready.
const PATIENCE: Duration = Duration::from_mins(2);

/// Build everything, start a control plane and the operator, apply the quickstart, and show what came of it.
///
/// The first time the control plane is built, which takes ten to twenty minutes; afterwards it is a matter of
/// half a minute.
#[derive(Args)]
#[command(after_help = "Examples:
  cargo xtask demo          stays until Ctrl-C, for looking around with kubectl
  cargo xtask demo --once   shows everything, cleans up and exits")]
pub struct Demo {
    /// Exit when everything was shown.
    #[arg(long)]
    once: bool,
}

impl Demo {
    /// Runs the demo.
    ///
    /// # Errors
    ///
    /// When something does not build or start, or the quickstart does not become Ready in time; nothing is left
    /// running in any case.
    pub async fn run(self) -> Result<()> {
        // Dropping the work ends every process of it, whatever it was at.
        tokio::select! {
            outcome = Box::pin(self.show()) => outcome,
            stopped = asked_to_stop() => stopped,
        }
    }

    async fn show(&self) -> Result<()> {
        let begin = Instant::now();
        tokio::task::spawn_blocking(build::ensure).await.context("build the control plane")??;
        step("the operator is built", async {
            let status =
                cargo().args(["build", "--quiet", "--locked", "--package", "kubenova"]).status().await;
            if status.context("run cargo")?.success() {
                Ok(())
            } else {
                bail!("the operator does not build, see above")
            }
        })
        .await?;
        let world = step(
            "a control plane with Capsule, KubeVela and the chart is up",
            Box::pin(World::start(Options::default())),
        )
        .await?;
        let operator = step("the operator is ready", world.operator()).await?;
        for document in quickstart(TENANT)? {
            step(&title(&document), world.apply_until_accepted(std::slice::from_ref(&document), PATIENCE))
                .await?;
        }
        step("every object of the quickstart is Ready", world.ready(TENANT, PATIENCE)).await?;
        println!("\nFrom the first process to a running app in {:.1} s.\n", begin.elapsed().as_secs_f64());

        println!("$ kubectl get nova -A\n{}", world.plane.kubectl(&["get", "nova", "-A"]).await?);
        println!("What was made for tenant {TENANT}:\n{}", picture::tree(&world.admin, TENANT).await?);
        println!("Who may do what:\n{}", picture::access(&world.admin, TENANT).await?);
        if self.once {
            operator.stop().await;
            return Ok(());
        }
        let kubeconfig = world.plane.kubeconfig(&Identity::Admin).await?;
        let folder = world.plane.kubectl_path().parent().context("find kubectl")?.display().to_string();
        println!(
            "To go on by hand, in another terminal:\n  export KUBECONFIG={}\n  export PATH={folder}:$PATH\n  \
             kubectl describe novaapp -n tn-{TENANT}-app-shop web\n\nThe operator's log: {}\n\nCtrl-C ends it all.",
            kubeconfig.display(),
            operator.log().display()
        );
        Err(world.plane.died().await)
    }
}

/// What a document asks for, for people.
fn title(document: &str) -> String {
    let field = |name: &str| {
        let line = document.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    format!("{} {} is applied", field("kind:"), field("name:"))
}

/// Shows a line that turns while `work` goes on, and what it took.
async fn step<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let start = Instant::now();
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed}").context("draw progress")?);
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    let outcome = work.await;
    bar.finish_and_clear();
    match outcome {
        Ok(done) => {
            println!("✓ {what} ({:.1} s)", start.elapsed().as_secs_f64());
            Ok(done)
        }
        Err(error) => Err(error.context(format!("not done: {what}"))),
    }
}

/// Ctrl-C, or the end that a process manager asks for.
async fn asked_to_stop() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
