//! What every experiment works with: the shared control plane, a proxy, an operator behind it, tenants. Does I/O.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{OperatorProcess, World, eventually, is_ready};
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use nova_testkit::{FaultProxy, Identity, Options};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell};

/// From documents to Ready.
pub const CONVERGES: Duration = Duration::from_mins(2);
/// Kinds that nothing is wrong with are served within this.
pub const SERVED: Duration = Duration::from_secs(10);
/// A fault that lasts is told within this: a request is given up after 30 s at the latest.
pub const TOLD: Duration = Duration::from_mins(1);
/// What was held up goes on within this after the fault.
pub const HEALS: Duration = Duration::from_mins(1);

/// A client and a proxy live as long as the runtime that made them, and each test has one of its own.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime can be started"));
static WORLD: OnceCell<World> = OnceCell::const_new();
static TURN: Mutex<()> = Mutex::const_new(());

/// Runs an experiment when it is its turn.
pub async fn alone(experiment: impl AsyncFnOnce(Stage) -> Result<()> + Send + 'static) -> Result<()> {
    let _turn = TURN.lock().await;
    let run = || {
        RUNTIME.block_on(async {
            let world = WORLD.get_or_try_init(|| World::start(Options::default())).await?;
            experiment(Stage::new(world).await?).await
        })
    };
    tokio::task::spawn_blocking(run).await.context("the experiment panicked")?
}

/// The shared world, and a proxy of this experiment's own. The operator ends with it.
pub struct Stage<'a> {
    pub world: &'a World,
    pub proxy: FaultProxy,
}

impl<'a> Stage<'a> {
    pub async fn new(world: &'a World) -> Result<Self> {
        Ok(Self { world, proxy: FaultProxy::start(&world.plane, &Identity::operator()).await? })
    }

    /// Starts the operator behind the proxy and waits until it is ready.
    pub async fn operator(&self) -> Result<OperatorProcess> {
        self.world.operator_with(self.proxy.kubeconfig()).await
    }

    /// Starts the operator behind the proxy.
    pub fn spawn_operator(&self) -> Result<OperatorProcess> {
        self.world.spawn_operator(self.proxy.kubeconfig())
    }

    /// A tenant with the project `shop` and the app `web` in it, all Ready. An operator has to run.
    pub async fn tenant(&self, name: &str) -> Result<()> {
        let mut documents = place_for_apps(name);
        documents.push(app(name, "web"));
        self.world.apply_until_accepted(&documents, CONVERGES).await?;
        self.world.ready(name, CONVERGES).await
    }

    /// The same, made by an operator that works without faults and is stopped then.
    pub async fn tenant_of_old(&self, name: &str) -> Result<()> {
        let operator = self.world.operator().await?;
        self.tenant(name).await?;
        operator.stop().await;
        Ok(())
    }

    /// `NovaCluster local` names a kind in its status, or does not any more, within a time.
    pub async fn cluster_speaks_of(&self, word: &str, speaks: bool, within: Duration) -> Result<()> {
        let start = Instant::now();
        let what =
            format!("NovaCluster local {} {word}", if speaks { "speaks of" } else { "is silent about" });
        let clusters = nova(self.world, "NovaCluster", "novaclusters", "");
        let status = eventually(&what, within, async || {
            let cluster = clusters.get("local").await.map_err(|e| e.to_string())?;
            let status = cluster.data["status"].clone();
            let said = status.to_string().to_lowercase().contains(word);
            if said == speaks && (speaks || is_ready(&cluster)) {
                Ok(status)
            } else {
                Err(status.to_string())
            }
        })
        .await?;
        println!("  {what} after {:.1?}", start.elapsed());
        if speaks {
            println!("    {}", status["conditions"][0]["message"].as_str().unwrap_or_default());
        }
        Ok(())
    }
}

/// Kinds of `kubenova.io`, in a namespace or, where it is empty, without.
pub fn nova(world: &World, kind: &str, plural: &str, namespace: &str) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kubenova.io", "v1alpha1", kind), plural);
    if namespace.is_empty() {
        return Api::all_with(world.admin.clone(), &resource);
    }
    Api::namespaced_with(world.admin.clone(), namespace, &resource)
}

/// The namespace of a tenant's project `shop`.
pub fn shop(tenant: &str) -> String {
    format!("tn-{tenant}-app-shop")
}

pub fn apps(world: &World, tenant: &str) -> Api<DynamicObject> {
    nova(world, "NovaApp", "novaapps", &shop(tenant))
}

pub fn applications(world: &World, tenant: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("core.oam.dev", "v1beta1", "Application");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "applications");
    Api::namespaced_with(world.admin.clone(), &shop(tenant), &resource)
}

/// Plan, tenant and project.
pub fn place_for_apps(tenant: &str) -> Vec<String> {
    let plan = "apiVersion: kubenova.io/v1alpha1\nkind: NovaPlan\nmetadata: {name: roomy}\nspec: {quotas: {cpu: 100, \
                memory: 200Gi, pods: 500}, maxProjects: 5, maxSandboxes: 5, maxAppsPerProject: 60}";
    let tenant_of = format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaTenant\nmetadata: {{name: {tenant}}}\nspec: {{plan: roomy}}"
    );
    vec![plan.to_owned(), tenant_of, project(tenant, "shop")]
}

pub fn project(tenant: &str, name: &str) -> String {
    in_home("NovaProject", tenant, name)
}

pub fn sandbox(tenant: &str, name: &str) -> String {
    in_home("NovaSandbox", tenant, name)
}

fn in_home(kind: &str, tenant: &str, name: &str) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: tn-{tenant}}}\nspec: {{}}"
    )
}

pub fn app(tenant: &str, name: &str) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaApp\nmetadata: {{name: {name}, namespace: {}}}\nspec: {{source: \
         {{kind: containerImage, containerImage: {{image: nginx, tag: '1'}}}}}}",
        shop(tenant)
    )
}

/// Gives an app another tag.
pub async fn edit(world: &World, tenant: &str, name: &str, tag: &str) -> Result<Instant> {
    let patch = json!({"spec": {"source": {"containerImage": {"tag": tag}}}});
    let params = PatchParams::default();
    let patched = apps(world, tenant).patch(name, &params, &Patch::Merge(&patch)).await;
    patched.with_context(|| format!("edit the app {name}"))?;
    Ok(Instant::now())
}

/// Gives an app another tag, and tells how long it takes until its Application has it.
pub async fn takes_effect(
    world: &World,
    tenant: &str,
    name: &str,
    tag: &str,
    within: Duration,
) -> Result<Duration> {
    let since = edit(world, tenant, name, tag).await?;
    has_tag(world, tenant, name, tag, within.saturating_sub(since.elapsed())).await?;
    let took = since.elapsed();
    println!("  tn-{tenant}: an edit of the app {name} took effect after {took:.0?}");
    ensure!(took <= within, "an edit of the app {name} took effect after {took:.1?} only");
    Ok(took)
}

/// Waits until the Application of an app has this tag.
pub async fn has_tag(world: &World, tenant: &str, name: &str, tag: &str, within: Duration) -> Result<()> {
    let start = Instant::now();
    let (api, image) = (applications(world, tenant), format!("nginx:{tag}"));
    loop {
        let live = api.get_opt(name).await?;
        let spec = live.map(|object| object.data["spec"].to_string()).unwrap_or_default();
        if spec.contains(&image) {
            return Ok(());
        }
        if start.elapsed() > within {
            let app = apps(world, tenant).get_opt(name).await?;
            let status = app.map_or(Value::Null, |app| app.data["status"].clone());
            bail!("not within {within:?}: the Application {name} has {image}: {spec}; the app says {status}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// An app says something in the reason of Ready.
pub async fn app_status(
    world: &World,
    tenant: &str,
    name: &str,
    within: Duration,
    wanted: impl Fn(&DynamicObject) -> bool,
) -> Result<DynamicObject> {
    let api = apps(world, tenant);
    eventually(&format!("the status of the app {name}"), within, async || {
        let app = api.get(name).await.map_err(|e| e.to_string())?;
        if wanted(&app) { Ok(app) } else { Err(app.data["status"].to_string()) }
    })
    .await
}

/// All of a kind, for what is not Nova's.
pub fn limit_ranges(world: &World, tenant: &str) -> Api<DynamicObject> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "LimitRange"), "limitranges");
    Api::namespaced_with(world.admin.clone(), &shop(tenant), &resource)
}

/// No write for three seconds.
pub async fn falls_silent(stage: &Stage<'_>) -> Result<()> {
    eventually("the operator falls silent", CONVERGES, async || {
        let before = stage.proxy.writes().len();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let writes = stage.proxy.writes().len() - before;
        if writes == 0 { Ok(()) } else { Err(format!("{writes} writes")) }
    })
    .await
}
