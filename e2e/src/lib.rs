//! Shared steps of the end-to-end tests: a world with the chart installed, an operator process, and ways to look.

pub mod access;
mod everything;
pub mod film;
pub mod history;
mod look;
pub mod object;
mod operator;
mod picture;
pub mod quantity;
mod signature;
mod stage;

pub use everything::Everything;
pub use film::Film;
pub use look::{Snapshot, any, condition, eventually, is_ready, message, reason};
pub use operator::{OperatorProcess, program_says};
pub use picture::{Picture, plan_of};
pub use signature::Signature;
pub use stage::{Alone, Stage, Together};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::Client;
use kube::api::{Patch, PatchParams};
use nova_testkit::{CapsuleValues, ControlPlane, Entry, Identity, Manifests, Mark, Options, Reaper};
use serde_json::json;

/// A control plane with the project's chart on it.
pub struct World {
    /// The control plane.
    pub plane: Arc<ControlPlane>,
    /// The administrator. A client belongs to the runtime that made it.
    pub admin: Client,
    reaper: Arc<Reaper>,
    binary: PathBuf,
}

/// Root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

impl World {
    /// Starts a control plane and installs the chart: the operator has the chart's rights and no others.
    pub async fn start(options: Options) -> Result<Self> {
        Self::with_binary(options, operator::binary()?).await
    }

    /// The same for an operator that was built in another way.
    pub async fn with_binary(options: Options, binary: PathBuf) -> Result<Self> {
        let plane = ControlPlane::start_with(options).await?;
        plane
            .install_chart(&root().join("charts/kubenova"), &json!({"deployment": {"enabled": false}}))
            .await?;
        let admin = plane.admin().await?;
        Ok(Self { plane: Arc::new(plane), admin, reaper: Arc::new(Reaper::start(None)?), binary })
    }

    /// The chart's definitions and policies, and these namespaces: no Capsule, no Vela, no nodes.
    pub async fn of_rules(namespaces: &[&str]) -> Result<Self> {
        let options = Options {
            capsule: CapsuleValues::Off,
            vela: false,
            crds_only: true,
            simulated_nodes: 0,
            ..Options::default()
        };
        let world = Self::start(options).await?;
        for name in namespaces {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            world.apply(&namespace.to_string()).await?;
        }
        Ok(world)
    }

    /// The same world with a client of the present runtime.
    pub async fn for_another_runtime(&self) -> Result<Self> {
        Ok(Self {
            plane: self.plane.clone(),
            admin: self.plane.admin().await?,
            reaper: self.reaper.clone(),
            binary: self.binary.clone(),
        })
    }

    /// Starts the operator as its `ServiceAccount` and waits until it is ready.
    pub async fn operator(&self) -> Result<OperatorProcess> {
        let kubeconfig = self.plane.kubeconfig(&Identity::operator()).await?;
        self.operator_with(&kubeconfig).await
    }

    /// The same through another kubeconfig, such as that of a fault proxy.
    pub async fn operator_with(&self, kubeconfig: &Path) -> Result<OperatorProcess> {
        let operator = self.spawn_operator(kubeconfig)?;
        operator.ready(Duration::from_mins(2)).await?;
        Ok(operator)
    }

    /// Starts the operator without waiting for anything.
    pub fn spawn_operator(&self, kubeconfig: &Path) -> Result<OperatorProcess> {
        self.spawn_operator_in(kubeconfig, &[])
    }

    /// The same with more in its environment.
    pub fn spawn_operator_in(&self, kubeconfig: &Path, env: &[(String, String)]) -> Result<OperatorProcess> {
        OperatorProcess::spawn(&self.reaper, &self.binary, self.plane.dir(), kubeconfig, env)
    }

    /// Writes of the operator since `mark`, events and status among them; leases and dry runs are not.
    pub async fn operator_writes(&self, mark: Mark) -> Result<Vec<Entry>> {
        self.plane.audit().settle().await;
        self.plane.audit().writes_by(&Identity::operator().user_name(), mark)
    }

    /// Waits until the operator has written nothing for three seconds, about one tenant or at all: counts of parents
    /// follow a moment after their children.
    pub async fn silent(&self, tenant: Option<&str>, within: Duration) -> Result<()> {
        eventually("the operator falls silent", within, async || {
            let mark = self.mark().await.map_err(|e| e.to_string())?;
            tokio::time::sleep(Duration::from_secs(3)).await;
            let mut writes = self.operator_writes(mark).await.map_err(|e| e.to_string())?;
            writes.retain(|w| tenant.is_none() || history::tenant_of(w) == tenant);
            if writes.is_empty() { Ok(()) } else { Err(format!("{} writes", writes.len())) }
        })
        .await
    }

    /// The present end of the audit log.
    pub async fn mark(&self) -> Result<Mark> {
        self.plane.audit().settle().await;
        self.plane.audit().mark()
    }

    /// From the write that made one version of an object to the write that made another, by the API server's clock.
    pub async fn between(&self, since: Mark, first: &film::Frame, second: &film::Frame) -> Result<Duration> {
        self.plane.audit().settle().await;
        let entries = self.plane.audit().since(since)?;
        let moment = |frame: &film::Frame| {
            history::written(&entries, frame).with_context(|| format!("no write of {}", frame.name()))
        };
        Ok(history::after(moment(first)?, moment(second)?))
    }

    /// Applies YAML once.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        Manifests::from_yaml(yaml, "default")?.apply(&self.admin).await
    }

    /// Applies documents of known kinds; the first refusal ends it. `World::apply` would wait for what is missing.
    pub async fn apply_once(&self, yaml: &str) -> Result<()> {
        for object in Manifests::from_yaml(yaml, "default")?.objects() {
            let types = object.types.as_ref().context("an object without a kind")?;
            let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
            let api = object::kind(&types.kind).within(&self.admin, namespace);
            let params = PatchParams::apply("nova-e2e").force();
            let name = object.metadata.name.as_deref().unwrap_or_default();
            api.patch(name, &params, &Patch::Apply(object)).await.context(format!("apply {name}"))?;
        }
        Ok(())
    }

    /// Applies documents of Nova kinds again and again until the API server has taken each, as GitOps tools do.
    pub async fn apply_until_accepted(&self, documents: &[String], within: Duration) -> Result<()> {
        let mut left: Vec<&String> = documents.iter().collect();
        eventually("every document is accepted", within, async || {
            let mut refused = Vec::new();
            let mut why = String::new();
            for document in std::mem::take(&mut left) {
                if let Err(error) = self.apply_once(document).await {
                    why = format!("{error:#}");
                    refused.push(document);
                }
            }
            left = refused;
            if left.is_empty() { Ok(()) } else { Err(why) }
        })
        .await
    }

    /// Everything that belongs to a tenant, with what differs between runs masked.
    pub async fn snapshot(&self, tenant: &str) -> Result<Snapshot> {
        Snapshot::take(&self.admin, tenant).await
    }

    /// Waits until every Nova object of a tenant that `documents` name is Ready.
    pub async fn ready(&self, tenant: &str, within: Duration) -> Result<()> {
        look::all_ready(&self.admin, tenant, within).await
    }
}

/// The quickstart for a tenant of another name, file by file, in the order of the files.
pub fn quickstart(tenant: &str) -> Result<Vec<String>> {
    let folder = root().join("examples/quickstart");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .with_context(|| format!("read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files.iter().map(|path| Ok(std::fs::read_to_string(path)?.replace("acme", tenant))).collect()
}

/// The same with an even number of load balancers: the only one of the quickstart's plan goes to the older of
/// project and sandbox, so that the end hangs on the order in which they were accepted.
pub fn even_quickstart(tenant: &str) -> Result<Vec<String>> {
    let even = |text: String| text.replace("services.loadbalancers: 1", "services.loadbalancers: 2");
    Ok(quickstart(tenant)?.into_iter().map(even).collect())
}
