//! The control plane: starts its parts in order, hands out clients, stops everything. Does I/O.

mod access;
mod bring_up;
mod tools;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::audit::Audit;
use crate::build::{self, Built};
use crate::components::{self, Launch, kubernetes::Site};
use crate::pki::Pki;
use crate::ports::Port;
use crate::process::{Process, Reaper};
use anyhow::{Context as _, Result, bail};

/// With which values Capsule's chart is installed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CapsuleValues {
    /// What KubeNova's documentation recommends: no `generic` and `metadata` hooks, no throttled client, and
    /// webhooks that leave KubeNova's own kinds alone.
    #[default]
    Recommended,
    /// The chart's defaults, and the administrator that every installation needs.
    Defaults,
    /// No Capsule: neither its process nor its CRDs.
    Off,
}

/// What a control plane consists of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Capsule and its values.
    pub capsule: CapsuleValues,
    /// Whether vela-core runs. Without it its CRDs and definitions are there all the same.
    pub vela: bool,
    /// Neither Capsule's nor Vela's process, but the CRDs and objects of both charts (Capsule's if it is not off).
    pub crds_only: bool,
    /// Appended to vela-core's command line, where they win over the chart's.
    pub vela_args: Vec<String>,
    /// How many nodes KWOK simulates. With none, pods stay pending.
    pub simulated_nodes: usize,
    /// Where the state is kept; a temporary folder in memory, where there is room, if not given.
    /// It is removed at the end.
    pub dir: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            capsule: CapsuleValues::Recommended,
            vela: true,
            crds_only: false,
            vela_args: Vec::new(),
            simulated_nodes: 3,
            dir: None,
        }
    }
}

/// A part of the control plane that runs as a process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each is the program of that name")]
pub enum Component {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Kwok,
    Capsule,
    Vela,
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
            Self::Capsule => "capsule",
            Self::Vela => "vela-core",
        })
    }
}

/// What is known of a running component.
#[derive(Clone, Debug)]
pub struct ComponentInfo {
    /// Which.
    pub component: Component,
    /// Its process id.
    pub pid: u32,
    /// The loopback port that it serves on: its API, its webhooks or its health.
    pub port: u16,
    /// Its log.
    pub log: PathBuf,
    /// Whether it runs.
    pub running: bool,
    /// Resident memory in bytes, where `/proc` tells.
    pub memory: Option<u64>,
}

struct Running {
    launch: Launch,
    port: u16,
    process: Process,
}

/// A control plane. Dropping it ends every process of it and removes its state.
pub struct ControlPlane {
    built: Built,
    options: Options,
    dir: PathBuf,
    server: String,
    pki: Pki,
    ports: BTreeMap<&'static str, Port>,
    running: Mutex<BTreeMap<Component, Running>>,
    reaper: Reaper,
    started_in: Duration,
}

impl ControlPlane {
    /// Builds what is missing and starts a control plane with everything on.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// Builds what is missing and starts a control plane; returns when every part of it answers.
    ///
    /// # Errors
    /// When something cannot be built, or when a component ends or does not answer in time; the message then has
    /// the end of its log. Nothing is left running.
    pub async fn start_with(options: Options) -> Result<Self> {
        let built = tokio::task::spawn_blocking(build::ensure).await.context("build the control plane")??;
        for attempt in 1.. {
            match bring_up::bring_up(built.clone(), options.clone()).await {
                // Somebody who does not know of our locks took a port between the check and its use.
                Err(error) if attempt < 3 && format!("{error:#}").contains("address already in use") => {
                    tracing::info!(%error, "a port was taken, starting again");
                }
                outcome => return outcome,
            }
        }
        bail!("every port was taken")
    }

    /// The control plane that all tests of one program share, started by whoever asks first.
    ///
    /// It lives as long as the program. Tests tell their objects apart by names of their own.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: tokio::sync::OnceCell<ControlPlane> = tokio::sync::OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// How long the start took, building aside.
    #[must_use]
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The folder with state, logs and kubeconfigs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The API server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The options it was started with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The API server's audit log.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::new(components::kubernetes::audit_log(&self.dir))
    }

    /// The `kubectl` of the same version.
    #[must_use]
    pub fn kubectl_path(&self) -> &Path {
        &self.built.kubectl
    }

    /// The Helm client.
    #[must_use]
    pub fn helm_path(&self) -> &Path {
        &self.built.helm
    }

    /// Every component, in the order of their start.
    #[must_use]
    pub fn components(&self) -> Vec<ComponentInfo> {
        self.running()
            .iter()
            .map(|(component, running)| ComponentInfo {
                component: *component,
                pid: running.process.pid(),
                port: running.port,
                log: running.process.log().to_path_buf(),
                running: running.process.is_running(),
                memory: running.process.usage().map(|usage| usage.memory),
            })
            .collect()
    }

    /// An error with the end of its log if a component has ended that was not stopped.
    pub fn check(&self) -> Result<()> {
        self.running().values().try_for_each(|running| running.process.check())
    }

    /// Waits until a component ends that was not stopped, for an error with the end of its log.
    pub async fn died(&self) -> anyhow::Error {
        loop {
            if let Err(error) = self.check() {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Runs a program that ends with this control plane, or with the process that holds it if that is earlier.
    ///
    /// Its output goes to `logs/<name>.log` in [`ControlPlane::dir`].
    pub fn spawn(
        &self,
        name: &str,
        program: &Path,
        args: &[String],
        env: &[(String, String)],
    ) -> Result<Process> {
        let log = self.dir.join("logs").join(format!("{name}.log"));
        self.reaper.spawn(name, program, args, env, &log)
    }

    /// Ends a component and waits for its end.
    pub async fn stop(&self, component: Component) -> Result<()> {
        let taken = self.running().remove(&component);
        let running = taken.with_context(|| format!("there is no {component} in this control plane"))?;
        running.process.stop(Duration::from_secs(5)).await;
        self.reaper.forget(&running.process);
        self.running().insert(component, running);
        Ok(())
    }

    /// Starts a component that was stopped, and waits until it answers.
    pub async fn start_component(&self, component: Component) -> Result<()> {
        let (launch, port) = {
            let running = self.running();
            let known = running
                .get(&component)
                .with_context(|| format!("there is no {component} in this control plane"))?;
            if known.process.is_running() {
                return Ok(());
            }
            (known.launch.clone(), known.port)
        };
        self.launch(component, launch, port)?;
        self.ready(component).await
    }

    /// Installs Capsule on a control plane that was started without it, and waits until it answers.
    pub async fn install_capsule(&self, values: CapsuleValues) -> Result<()> {
        self.bring_up_capsule(values).await
    }

    fn launch(&self, component: Component, launch: Launch, port: u16) -> Result<()> {
        let log = self.dir.join("logs").join(format!("{component}.log"));
        let process =
            self.reaper.spawn(&component.to_string(), &launch.program, &launch.args, &launch.env, &log)?;
        self.running().insert(component, Running { launch, port, process });
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<Component, Running>> {
        // The map is replaced entry by entry, so a panic elsewhere leaves nothing half done in it.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn site(&self) -> Site<'_> {
        Site { built: &self.built, dir: &self.dir, pki: &self.pki }
    }

    fn port(&self, name: &str) -> u16 {
        self.ports.get(name).map_or(0, Port::number)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for running in self.running().values() {
            running.process.kill();
        }
        self.reaper.finish();
    }
}
