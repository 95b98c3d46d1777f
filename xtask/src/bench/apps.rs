//! The apps of a bench run: tenants and projects for them, the apps themselves, and a bare client's rendering.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use e2e::{World, any};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, ResourceExt as _};
use serde_json::{Value, json};

use super::report::Bare;

/// Requests at once.
const IN_FLIGHT: usize = 32;
/// Tenants, each with two projects.
const TENANTS: usize = 10;

/// So many apps, spread over the projects.
pub struct Workload<'a> {
    world: &'a World,
    count: usize,
}

/// Kind of an object, as far as it is written here.
#[derive(Clone, Copy)]
enum Kind {
    App,
    Application,
}

impl Kind {
    fn api(self, world: &World, namespace: &str) -> Api<DynamicObject> {
        let (group, version, kind, plural) = match self {
            Self::App => ("kubenova.io", "v1alpha1", "NovaApp", "novaapps"),
            Self::Application => ("core.oam.dev", "v1beta1", "Application", "applications"),
        };
        let gvk = GroupVersionKind::gvk(group, version, kind);
        Api::namespaced_with(world.admin.clone(), namespace, &ApiResource::from_gvk_with_plural(&gvk, plural))
    }
}

impl<'a> Workload<'a> {
    /// A workload of `count` apps.
    pub fn new(world: &'a World, count: usize) -> Self {
        Self { world, count }
    }

    fn namespaces() -> Vec<String> {
        (0..TENANTS).flat_map(|t| ["one", "two"].map(|p| format!("tn-bench{t}-app-{p}"))).collect()
    }

    /// Name and namespace of every app, out of `namespaces`.
    fn places(&self, namespaces: &[String]) -> Vec<(String, String)> {
        (0..self.count).map(|n| (namespaces[n % namespaces.len()].clone(), format!("app-{n}"))).collect()
    }

    /// Does what the operator will do, without the operator: an Application and a status for each app.
    pub async fn bare(&self) -> Result<Bare> {
        let namespaces: Vec<String> = (0..TENANTS * 2).map(|n| format!("bare-{n}")).collect();
        let documents: Vec<String> = namespaces
            .iter()
            .map(|name| {
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string()
            })
            .collect();
        self.world.apply(&documents.join("\n---\n")).await?;
        let places = self.places(&namespaces);
        self.each(&places, |namespace, name| self.apply(Kind::App, namespace, name, app(namespace, name)))
            .await?;
        let start = Instant::now();
        self.each(&places, |namespace, name| async move {
            self.apply(Kind::Application, namespace, name, application(namespace, name)).await?;
            self.apply_status(namespace, name).await
        })
        .await?;
        if self.world.plane.options().vela {
            self.until(Duration::from_mins(10), || self.running("bare-")).await?;
        }
        let seconds = start.elapsed().as_secs_f64();
        // Out of the operator's sight again.
        self.each(&places, |namespace, name| self.delete(Kind::App, namespace, name)).await?;
        self.each(&places, |namespace, name| self.delete(Kind::Application, namespace, name)).await?;
        self.until(Duration::from_mins(10), || self.gone()).await?;
        Ok(Bare { seconds, writes: self.count * 2 })
    }

    /// Tenants and projects, Ready.
    pub async fn make_room(&self) -> Result<()> {
        let plan = json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaPlan", "metadata": {"name": "bench"},
            "spec": {"quotas": {"pods": 100_000}}});
        let mut documents = vec![plan.to_string()];
        for t in 0..TENANTS {
            documents.push(
                json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaTenant",
                    "metadata": {"name": format!("bench{t}")}, "spec": {"plan": "bench"}})
                .to_string(),
            );
            for project in ["one", "two"] {
                documents.push(
                    json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaProject",
                        "metadata": {"name": project, "namespace": format!("tn-bench{t}")}, "spec": {}})
                    .to_string(),
                );
            }
        }
        self.world.apply_until_accepted(&documents, Duration::from_mins(3)).await?;
        for t in 0..TENANTS {
            self.world.ready(&format!("bench{t}"), Duration::from_mins(3)).await?;
        }
        Ok(())
    }

    /// The apps.
    pub async fn write_apps(&self) -> Result<()> {
        let places = self.places(&Self::namespaces());
        self.each(&places, |namespace, name| self.apply(Kind::App, namespace, name, app(namespace, name)))
            .await
    }

    /// Waits until every app has its Application and a status for its generation; with Vela, until it is Ready.
    pub async fn converged(&self, vela: bool, within: Duration) -> Result<()> {
        self.until(within, || async move {
            let apps = self.list("kubenova.io", "v1alpha1", "NovaApp", "novaapps").await?;
            let done = |app: &&DynamicObject| {
                if vela {
                    e2e::is_ready(app)
                } else {
                    app.data["status"]["observedGeneration"] == 1
                        && app.data["status"]["application"].is_string()
                }
            };
            Ok(apps.iter().filter(done).count() == self.count)
        })
        .await
    }

    async fn running(&self, prefix: &str) -> Result<bool> {
        let applications = self.list("core.oam.dev", "v1beta1", "Application", "applications").await?;
        let runs = |a: &&DynamicObject| {
            a.namespace().is_some_and(|n| n.starts_with(prefix)) && a.data["status"]["status"] == "running"
        };
        Ok(applications.iter().filter(runs).count() == self.count)
    }

    async fn gone(&self) -> Result<bool> {
        Ok(self.list("core.oam.dev", "v1beta1", "Application", "applications").await?.is_empty())
    }

    async fn list(&self, group: &str, version: &str, kind: &str, plural: &str) -> Result<Vec<DynamicObject>> {
        let api = any(&self.world.admin, group, version, kind, plural);
        Ok(api.list(&ListParams::default()).await.with_context(|| format!("list {plural}"))?.items)
    }

    async fn until<F: Future<Output = Result<bool>>>(
        &self,
        within: Duration,
        look: impl Fn() -> F,
    ) -> Result<()> {
        let start = Instant::now();
        while !look().await? {
            if start.elapsed() > within {
                bail!("not converged within {within:?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    async fn each<'p, F>(
        &self,
        places: &'p [(String, String)],
        work: impl Fn(&'p str, &'p str) -> F,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>>,
    {
        stream::iter(places)
            .map(|(namespace, name)| work(namespace, name))
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn apply(&self, kind: Kind, namespace: &str, name: &str, body: Value) -> Result<()> {
        let api = kind.api(self.world, namespace);
        let params = PatchParams::apply("bench").force();
        api.patch(name, &params, &Patch::Apply(&body))
            .await
            .with_context(|| format!("apply {namespace}/{name}"))?;
        Ok(())
    }

    async fn apply_status(&self, namespace: &str, name: &str) -> Result<()> {
        let api = Kind::App.api(self.world, namespace);
        let params = PatchParams::apply("bench").force();
        let body = status(namespace, name);
        api.patch_status(name, &params, &Patch::Apply(&body)).await.context("apply a status")?;
        Ok(())
    }

    async fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        kind.api(self.world, namespace).delete(name, &kube::api::DeleteParams::default()).await?;
        Ok(())
    }
}

fn app(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": {"kind": "containerImage", "containerImage": {
            "image": "nginxinc/nginx-unprivileged", "tag": "1.29", "ports": [{"port": 8080, "expose": true}]}}}})
}

fn application(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "core.oam.dev/v1beta1", "kind": "Application",
        "metadata": {"name": name, "namespace": namespace, "labels": {"bench": "bare"},
            "annotations": {"app.oam.dev/publishVersion": "bench"}},
        "spec": {"components": [{"name": name, "type": "webservice", "properties": {
            "image": "nginxinc/nginx-unprivileged:1.29",
            "ports": [{"port": 8080, "protocol": "TCP", "expose": true}]}}]}})
}

fn status(namespace: &str, name: &str) -> Value {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "False", "reason": "RolloutInProgress", "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "message": format!("NovaApp {name} is not ready yet because Application {namespace}/{name}: KubeVela has not seen it yet")})
    };
    json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp",
        "metadata": {"name": name, "namespace": namespace},
        "status": {"observedGeneration": 1, "phase": "Applying", "sourceKind": "containerImage",
            "application": name, "version": "1.29",
            "conditions": [condition("Ready"), condition("Reconciling"), condition("DeliveryReady")]}})
}
