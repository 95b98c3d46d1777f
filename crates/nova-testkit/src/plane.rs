//! The control plane: starts its parts in order, hands out clients, stops everything. Does I/O.

mod bring_up;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};

use crate::audit::Audit;
use crate::build::{self, Built};
use crate::components::{self, Launch, kubernetes::Site};
use crate::identity::{self, ADMIN, Credential, Identity};
use crate::manifests::Manifests;
use crate::pki::Pki;
use crate::ports::Port;
use crate::process::{Process, Reaper};

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
                memory: memory(running.process.pid()),
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

    /// A kubeconfig file for an identity.
    pub async fn kubeconfig(&self, identity: &Identity) -> Result<PathBuf> {
        let config = self.config(identity).await?;
        let folder = self.dir.join("kubeconfigs");
        std::fs::create_dir_all(&folder).with_context(|| format!("create {folder:?}"))?;
        let path = folder.join(format!("{}.yaml", identity.slug()));
        let text = serde_yaml::to_string(&config).context("write a kubeconfig")?;
        // Another thread may be reading the file of the same identity, so it is replaced as a whole.
        let fresh =
            tempfile::NamedTempFile::new_in(&folder).with_context(|| format!("write in {folder:?}"))?;
        std::fs::write(fresh.path(), text).with_context(|| format!("write {path:?}"))?;
        fresh.persist(&path).with_context(|| format!("write {path:?}"))?;
        Ok(path)
    }

    /// A client for an identity. It does not retry: what the API server says is what the caller gets.
    ///
    /// A client belongs to the runtime that made it, so every test asks for its own.
    pub async fn client(&self, identity: &Identity) -> Result<Client> {
        client_for(self.config(identity).await?).await
    }

    /// A client of the administrator.
    pub async fn admin(&self) -> Result<Client> {
        client_for(identity::kubeconfig(&self.server, Some(&self.pki.ca_pem()), &self.masters()?)).await
    }

    /// A client of the operator's ServiceAccount.
    pub async fn operator(&self) -> Result<Client> {
        self.client(&Identity::operator()).await
    }

    async fn config(&self, identity: &Identity) -> Result<Value> {
        let credential = match identity {
            Identity::Admin => self.masters()?,
            Identity::User { name, groups } => certificate(&self.pki, name, groups)?,
            Identity::ServiceAccount { namespace, name } => {
                Credential::Token(self.token(namespace, name).await?)
            }
        };
        Ok(identity::kubeconfig(&self.server, Some(&self.pki.ca_pem()), &credential))
    }

    fn masters(&self) -> Result<Credential> {
        certificate(&self.pki, ADMIN, &["system:masters".to_owned()])
    }

    /// A token that outlasts every test, for an account that is made if it is absent.
    async fn token(&self, namespace: &str, name: &str) -> Result<String> {
        let admin = self.admin().await?;
        let objects = vec![
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}),
        ];
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
        if accounts.get_opt(name).await.context("read a ServiceAccount")?.is_none() {
            Manifests::from_values(objects, namespace)?.apply(&admin).await?;
        }
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(30 * 24 * 3600),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await
            .with_context(|| format!("request a token for {namespace}/{name}"))?;
        answer.status.and_then(|status| status.token).context("an answer without a token")
    }

    /// Runs `kubectl` as the administrator and returns what it prints.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_as(&Identity::Admin, args).await
    }

    /// Runs `kubectl` as an identity and returns what it prints.
    pub async fn kubectl_as(&self, identity: &Identity, args: &[&str]) -> Result<String> {
        let kubeconfig = self.kubeconfig(identity).await?;
        let output = tokio::process::Command::new(self.kubectl_path())
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(args)
            .output()
            .await
            .context("run kubectl")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Renders a chart with its CRDs. Nothing is installed.
    pub async fn helm_template(
        &self,
        chart: &Path,
        release: &str,
        namespace: &str,
        values: &Value,
    ) -> Result<Manifests> {
        let file = tempfile::NamedTempFile::new_in(&self.dir).context("write values")?;
        std::fs::write(file.path(), values.to_string()).context("write values")?;
        let output = tokio::process::Command::new(self.helm_path())
            .args(["template", release, "--namespace", namespace, "--include-crds", "--values"])
            .arg(file.path())
            .arg(chart)
            .output()
            .await
            .context("run helm")?;
        if !output.status.success() {
            bail!("helm template {chart:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Manifests::from_yaml(&String::from_utf8_lossy(&output.stdout), namespace)
    }

    /// Installs a chart as release `kubenova` in `kubenova-system`, with its CRDs, and makes the namespace.
    ///
    /// Workloads are left out: here the operator runs as a process, and KWOK would only pretend to run its pod.
    pub async fn install_chart(&self, chart: &Path, values: &Value) -> Result<Manifests> {
        let admin = self.admin().await?;
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubenova-system"}});
        Manifests::from_values(vec![namespace], "kubenova-system")?.apply(&admin).await?;
        let manifests = self.helm_template(chart, "kubenova", "kubenova-system", values).await?;
        let manifests = manifests.filter(|object| {
            let kind = object.types.as_ref().map(|types| types.kind.as_str()).unwrap_or_default();
            !["Deployment", "StatefulSet", "DaemonSet", "Job", "Pod"].contains(&kind)
        });
        manifests.apply(&admin).await?;
        Ok(manifests)
    }

    /// Applies YAML documents as the administrator.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        Manifests::from_yaml(yaml, "default")?.apply(&self.admin().await?).await
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

fn certificate(pki: &Pki, name: &str, groups: &[String]) -> Result<Credential> {
    let pair = pki.user(name, groups)?;
    Ok(Credential::Certificate { cert: pair.cert, key: pair.key })
}

pub(crate) async fn client_for(config: Value) -> Result<Client> {
    let config: Kubeconfig = serde_json::from_value(config).context("read a kubeconfig")?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
        .await
        .context("read a kubeconfig")?;
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    Client::try_from(config).context("make a client")
}

/// Resident memory of a process in bytes.
fn memory(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
