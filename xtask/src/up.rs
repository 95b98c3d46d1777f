//! `cargo xtask up`: a control plane for people, in the background. Does I/O: starts processes, writes its state.

pub mod state;

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use nova_testkit::{CapsuleValues, ControlPlane, Identity, Options, build};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use state::{Claim, Part, Place, State};

/// How long a start may take before it counts as failed.
const PATIENCE: Duration = Duration::from_mins(3);

/// Start a control plane and leave it running: Kubernetes, Capsule and KubeVela, with simulated nodes.
///
/// The first time everything is built, which takes ten to twenty minutes; afterwards it is up in some ten seconds.
#[derive(Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch on the command line")]
#[command(after_help = "Examples:
  cargo xtask up                      start it, or say where it is
  eval \"$(cargo xtask up --exports)\"  … and let this shell's kubectl talk to it
  cargo xtask up --capsule defaults   with the defaults of Capsule's chart
  cargo xtask up --foreground         stay here; Ctrl-C ends it
  cargo xtask down                    end it")]
pub struct Up {
    /// Capsule's values: what the documentation recommends, its chart's defaults, or no Capsule.
    #[arg(long, value_enum, default_value_t = Capsule::Recommended)]
    capsule: Capsule,

    /// Leave vela-core out; its CRDs and definitions are there all the same.
    #[arg(long)]
    no_vela: bool,

    /// Stay in the foreground until Ctrl-C.
    #[arg(long)]
    foreground: bool,

    /// Print only the lines that a shell evaluates.
    #[arg(long)]
    exports: bool,

    /// Hold the control plane for another process of this program.
    #[arg(long, hide = true)]
    supervise: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Capsule {
    Recommended,
    Defaults,
    Off,
}

impl Up {
    /// Starts it unless it is up, and tells how to reach it.
    pub async fn run(self) -> Result<()> {
        let place = Place::new()?;
        if self.supervise || self.foreground {
            return self.hold(&place).await;
        }
        if place.is_held()? {
            if !self.exports {
                eprintln!("A control plane of this user is already up; `cargo xtask down` ends it.");
            }
        } else {
            // Built here and not in the background, where nobody would see the progress.
            tokio::task::spawn_blocking(build::ensure).await.context("build the control plane")??;
            self.detach(&place).await?;
        }
        let state = place.wait(PATIENCE).await?;
        print!("{}", if self.exports { exports(&state) } else { report(&state) });
        Ok(())
    }

    /// Starts this program again as a process of its own that outlives this one, and waits until it is ready.
    async fn detach(&self, place: &Place) -> Result<()> {
        let log = std::fs::File::create(place.log()).with_context(|| format!("create {:?}", place.log()))?;
        let mut command = std::process::Command::new(std::env::current_exe().context("find this program")?);
        command.args(["up", "--supervise", "--capsule"]);
        command.arg(
            self.capsule.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default(),
        );
        if self.no_vela {
            command.arg("--no-vela");
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log file")?).stderr(log);
        // A group of its own, so that Ctrl-C in this terminal does not reach it.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.current_dir("/").spawn().context("start the supervisor")?;

        let bar = ProgressBar::new_spinner().with_message("Starting the control plane");
        if let Ok(style) = ProgressStyle::with_template("{msg} … {elapsed} {spinner}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let until = Instant::now() + PATIENCE;
        while place.read().is_none_or(|state| state.pid != child.id()) {
            if let Some(status) = child.try_wait().context("watch the supervisor")? {
                if place.is_held()? {
                    // Somebody else's `up` was a moment earlier; its control plane serves as well.
                    break;
                }
                let text = std::fs::read_to_string(place.log()).unwrap_or_default();
                bail!("the control plane did not start ({status}):\n{}", text.trim());
            }
            if Instant::now() > until {
                bail!("the control plane does not get ready; see {:?}", place.log());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Starts a control plane and holds it until told to end.
    async fn hold(&self, place: &Place) -> Result<()> {
        let Some(claim) = Claim::take(place)? else {
            bail!("A control plane of this user is already up; `cargo xtask down` ends it.");
        };
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for Ctrl-C")?;
        let mut terminate = signal(SignalKind::terminate()).context("listen for the end")?;
        // A supervisor outlives the terminal that it was started from; in the foreground it ends with it.
        let mut hangup = signal(SignalKind::hangup()).context("listen for the terminal's end")?;
        let told = async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => return,
                    _ = terminate.recv() => return,
                    _ = hangup.recv() => if self.foreground { return },
                }
            }
        };
        let work = async {
            let control = ControlPlane::start_with(self.options()).await?;
            let state = describe(place, &control).await?;
            claim.publish(&state)?;
            if self.foreground {
                print!("{}", report(&state));
                println!("\nCtrl-C ends it.");
            }
            anyhow::Ok(control.died().await)
        };
        tokio::select! {
            () = told => Ok(()),
            outcome = work => Err(outcome?),
        }
    }

    fn options(&self) -> Options {
        let capsule = match self.capsule {
            Capsule::Recommended => CapsuleValues::Recommended,
            Capsule::Defaults => CapsuleValues::Defaults,
            Capsule::Off => CapsuleValues::Off,
        };
        Options { capsule, vela: !self.no_vela, ..Options::default() }
    }
}

/// Copies the kubeconfig to where it stays from one start to the next, and says what runs.
async fn describe(place: &Place, control: &ControlPlane) -> Result<State> {
    let kubeconfig = place.kubeconfig();
    let made = control.kubeconfig(&Identity::Admin).await?;
    std::fs::copy(&made, &kubeconfig).with_context(|| format!("write {kubeconfig:?}"))?;
    let parts = control.components().into_iter().map(|info| Part {
        name: info.component.to_string(),
        pid: info.pid,
        port: info.port,
        log: info.log,
    });
    Ok(State {
        pid: std::process::id(),
        server: control.server().to_owned(),
        kubeconfig,
        kubectl: control.kubectl_path().to_path_buf(),
        audit_log: control.dir().join("audit.log"),
        seconds: control.started_in().as_secs_f32(),
        parts: parts.collect(),
    })
}

fn report(state: &State) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    };
    line(format!("The control plane is up at {} (started in {:.0} s).\n", state.server, state.seconds));
    line(format!("{:<24} {:>7} {:>6}  {}", "COMPONENT", "PID", "PORT", "LOG"));
    for part in &state.parts {
        line(format!("{:<24} {:>7} {:>6}  {}", part.name, part.pid, part.port, part.log.display()));
    }
    line(format!("{:<24} {:>7} {:>6}  {}\n", "audit log", "", "", state.audit_log.display()));
    line("To use it from this shell:\n".to_owned());
    text + &exports(state)
}

fn exports(state: &State) -> String {
    let kubectl = state.kubectl.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
    format!("export KUBECONFIG='{}'\nexport PATH='{kubectl}':\"$PATH\"\n", state.kubeconfig.display())
}
