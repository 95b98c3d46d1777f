//! Brings a control plane up, in parallel where it can, and tells when a part of it answers. Does I/O.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{CapsuleValues, Component, ControlPlane, Options};
use crate::build::Built;
use crate::components::{capsule, kubernetes, kwok, vela};
use crate::identity::Identity;
use crate::manifests::Manifests;
use crate::pki::Pki;
use crate::ports::Port;
use crate::process::Reaper;

/// How long any part may take. A busy machine is slow; a broken part usually ends, which is seen at once.
const PATIENCE: Duration = Duration::from_mins(2);
const PORTS: &[&str] =
    &["etcd", "etcd-peer", "apiserver", "kcm", "scheduler", "kwok", "webhook", "capsule", "vela"];

pub(super) async fn bring_up(built: Built, options: Options) -> Result<ControlPlane> {
    let begun = Instant::now();
    let dir = state_dir(options.dir.as_deref())?;
    // From here on the reaper owns the folder: it is removed however this ends.
    let reaper = Reaper::start(Some(&dir))?;
    std::fs::create_dir_all(dir.join("logs")).with_context(|| format!("create {dir:?}"))?;
    let pki = Pki::create(&dir.join("pki"))?;
    let mut ports = BTreeMap::new();
    for name in PORTS {
        ports.insert(*name, Port::reserve()?);
    }
    let server = format!("https://127.0.0.1:{}", ports.get("apiserver").map_or(0, Port::number));
    let running = Mutex::new(BTreeMap::new());
    let mut plane =
        ControlPlane { built, options, dir, server, pki, ports, running, reaper, started_in: Duration::ZERO };
    tokio::select! {
        outcome = plane.run() => outcome?,
        error = plane.died() => return Err(error),
    }
    plane.started_in = begun.elapsed();
    Ok(plane)
}

/// A folder in memory if there is room for a large test run, else one where temporary files go.
fn state_dir(given: Option<&Path>) -> Result<PathBuf> {
    const ROOM: u64 = 2 << 30;
    if let Some(dir) = given {
        std::fs::create_dir_all(dir).with_context(|| format!("create {dir:?}"))?;
        return Ok(dir.to_path_buf());
    }
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    let base = if free > ROOM { memory.to_path_buf() } else { std::env::temp_dir() };
    let made =
        tempfile::Builder::new().prefix("kubenova-").tempdir_in(&base).or_else(|_| tempfile::tempdir());
    Ok(made.context("make a temporary folder")?.keep())
}

impl ControlPlane {
    async fn run(&self) -> Result<()> {
        let site = self.site();
        self.launch(
            Component::Etcd,
            kubernetes::etcd(&site, self.port("etcd"), self.port("etcd-peer")),
            self.port("etcd"),
        )?;
        self.ready(Component::Etcd).await?;
        let port = self.port("apiserver");
        self.launch(Component::ApiServer, kubernetes::apiserver(&site, port, self.port("etcd"))?, port)?;
        self.ready(Component::ApiServer).await?;
        self.kubeconfig(&Identity::Admin).await?;
        tokio::try_join!(self.workers(), self.bring_up_capsule(self.options.capsule), self.bring_up_vela())?;
        Ok(())
    }

    /// Controller manager, scheduler, KWOK and its nodes.
    async fn workers(&self) -> Result<()> {
        let site = self.site();
        let named = |name: &str| Identity::User { name: name.to_owned(), groups: Vec::new() };
        let kubeconfig = self.kubeconfig(&named("system:kube-controller-manager")).await?;
        let port = self.port("kcm");
        self.launch(
            Component::ControllerManager,
            kubernetes::controller_manager(&site, port, &kubeconfig),
            port,
        )?;
        let kubeconfig = self.kubeconfig(&named("system:kube-scheduler")).await?;
        let port = self.port("scheduler");
        self.launch(Component::Scheduler, kubernetes::scheduler(&site, port, &kubeconfig)?, port)?;
        let kwok_user = Identity::User { name: "kwok".to_owned(), groups: vec!["system:masters".to_owned()] };
        let kubeconfig = self.kubeconfig(&kwok_user).await?;
        let port = self.port("kwok");
        self.launch(Component::Kwok, kwok::kwok(&site, port, &kubeconfig)?, port)?;
        let nodes = Manifests::from_values(kwok::nodes(self.options.simulated_nodes), "default")?;
        nodes.apply(&self.admin().await?).await?;
        for component in [Component::ControllerManager, Component::Scheduler, Component::Kwok] {
            self.ready(component).await?;
        }
        self.nodes_ready().await
    }

    async fn nodes_ready(&self) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.admin().await?);
        self.until("simulated nodes to be ready", async || {
            let list = nodes.list(&ListParams::default()).await?;
            let usable = list.iter().filter(|node| {
                let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
                let mut conditions = conditions.filter(|found| found.type_ == "Ready");
                let tainted =
                    node.spec.as_ref().is_some_and(|spec| spec.taints.iter().flatten().next().is_some());
                conditions.any(|found| found.status == "True") && !tainted
            });
            Ok(usable.count() >= self.options.simulated_nodes)
        })
        .await
    }

    /// Installs Capsule's CRDs and objects and starts it; nothing for [`CapsuleValues::Off`].
    pub(super) async fn bring_up_capsule(&self, values: CapsuleValues) -> Result<()> {
        if values == CapsuleValues::Off {
            return Ok(());
        }
        let recommended = values == CapsuleValues::Recommended;
        let admin = self.admin().await?;
        let (namespace, name) = capsule::ACCOUNT;
        let webhook = self.port("webhook");
        let mut objects = capsule::objects(&self.built.assets, recommended, webhook, &self.pki.ca_pem())?;
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        if self.options.crds_only {
            objects.retain(|object| object["kind"] != "CapsuleConfiguration");
            for object in &mut objects {
                // Nobody answers the conversion webhook, and there is one stored version anyhow.
                if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
                    spec.remove("conversion");
                }
            }
        }
        Manifests::from_values(objects, namespace)?.apply(&admin).await.context("install Capsule")?;
        if self.options.crds_only {
            return Ok(());
        }
        let kubeconfig = self.kubeconfig(&Identity::service_account(namespace, name)).await?;
        let kubeconfig = kubeconfig.display().to_string();
        let launch = capsule::launch(&self.site(), recommended, webhook, self.port("capsule"), &kubeconfig)?;
        self.launch(Component::Capsule, launch, webhook)?;
        self.ready(Component::Capsule).await
    }

    async fn bring_up_vela(&self) -> Result<()> {
        let admin = self.admin().await?;
        let (namespace, name) = vela::ACCOUNT;
        let mut objects = self.built.assets.vela()?.objects;
        objects.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        Manifests::from_values(objects, namespace)?.apply(&admin).await.context("install KubeVela")?;
        if self.options.crds_only || !self.options.vela {
            return Ok(());
        }
        let kubeconfig = self.kubeconfig(&Identity::service_account(namespace, name)).await?;
        let port = self.port("vela");
        let mut launch = vela::launch(&self.site(), port, &kubeconfig.display().to_string())?;
        launch.args.extend_from_slice(&self.options.vela_args);
        self.launch(Component::Vela, launch, port)?;
        self.ready(Component::Vela).await
    }

    /// Waits until a component answers.
    pub(super) async fn ready(&self, component: Component) -> Result<()> {
        let what = format!("{component} to answer");
        match component {
            Component::Etcd => self.until(&what, async || http_ok(self.port("etcd"), "/health").await).await,
            Component::ApiServer => {
                let admin = self.admin().await?;
                self.until(&what, async || served(&admin, "/readyz").await).await
            }
            // Their health is served over TLS with certificates of their own, so the port alone is looked at.
            Component::ControllerManager => self.until(&what, async || open(self.port("kcm")).await).await,
            Component::Scheduler => self.until(&what, async || open(self.port("scheduler")).await).await,
            Component::Kwok => self.until(&what, async || http_ok(self.port("kwok"), "/healthz").await).await,
            Component::Vela => self.until(&what, async || http_ok(self.port("vela"), "/readyz").await).await,
            Component::Capsule => {
                self.until(&what, async || http_ok(self.port("capsule"), "/readyz").await).await?;
                let admin = self.admin().await?;
                self.until("Capsule's webhooks to answer", async || webhooks_answer(&admin).await).await
            }
        }
    }

    /// Asks again and again, for as long as nothing ends and patience lasts. Errors count as "not yet".
    async fn until(&self, what: &str, mut done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
        let begun = Instant::now();
        let mut last = String::new();
        loop {
            match done().await {
                Ok(true) => {
                    tracing::debug!(what, seconds = begun.elapsed().as_secs_f32(), "ready");
                    return Ok(());
                }
                Ok(false) => {}
                Err(error) => last = format!(": {error:#}"),
            }
            self.check()?;
            if begun.elapsed() > PATIENCE {
                bail!(
                    "waited {} s for {what}{last}; logs are in {:?}",
                    PATIENCE.as_secs(),
                    self.dir.join("logs")
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Both of Capsule's webhook configurations are there, and a Tenant passes through them.
async fn webhooks_answer(admin: &Client) -> Result<bool> {
    let list = ListParams::default();
    let validating = Api::<ValidatingWebhookConfiguration>::all(admin.clone()).list(&list).await?;
    let mutating = Api::<MutatingWebhookConfiguration>::all(admin.clone()).list(&list).await?;
    let ours = |name: String| name.starts_with("capsule-");
    if !validating
        .iter()
        .any(|found| ours(found.name_any()) && found.webhooks.iter().flatten().next().is_some())
        || !mutating
            .iter()
            .any(|found| ours(found.name_any()) && found.webhooks.iter().flatten().next().is_some())
    {
        return Ok(false);
    }
    let kind = GroupVersionKind::gvk("capsule.clastix.io", "v1beta2", "Tenant");
    let tenants: Api<DynamicObject> = Api::all_with(admin.clone(), &ApiResource::from_gvk(&kind));
    let probe: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "capsule.clastix.io/v1beta2",
        "kind": "Tenant",
        "metadata": {"name": "kubenova-testkit-probe"},
        "spec": {"owners": [{"kind": "User", "name": "nobody"}]},
    }))?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    tenants.create(&dry, &probe).await.context("a Tenant through Capsule's webhooks")?;
    Ok(true)
}

async fn served(client: &Client, path: &str) -> Result<bool> {
    let request = axum::http::Request::get(path).body(Vec::new())?;
    Ok(client.request_text(request).await? == "ok")
}

async fn open(port: u16) -> Result<bool> {
    Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
}

/// Whether a plain HTTP server on loopback answers 200.
async fn http_ok(port: u16, path: &str) -> Result<bool> {
    let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else { return Ok(false) };
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(answer.ends_with(b" 200"))
}
