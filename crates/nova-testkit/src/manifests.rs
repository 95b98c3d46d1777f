//! Applies manifests: CRDs and namespaces first, the rest when the API server serves its kinds. Does I/O.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{Discovery, Scope};
use kube::{Client, ResourceExt as _};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The field manager of everything the testkit applies.
const MANAGER: &str = "nova-testkit";
/// How many objects are applied at once.
const PARALLEL: usize = 12;
/// How long an object may be refused for reasons that pass: a kind not served yet, a webhook starting.
const PATIENCE: Duration = Duration::from_secs(30);

/// Kubernetes objects to apply, and the namespace of those that name none.
#[derive(Clone, Debug)]
pub struct Manifests {
    objects: Vec<DynamicObject>,
    namespace: String,
}

impl Manifests {
    /// Reads YAML documents. Empty documents are left out and lists are taken apart.
    pub fn from_yaml(text: &str, namespace: &str) -> Result<Self> {
        let documents: Vec<Value> = serde_yaml::from_multiple(text).context("read YAML")?;
        Self::from_values(documents, namespace)
    }

    /// Reads every `.yaml`, `.yml` and `.json` file of a folder in the order of their names.
    pub fn from_dir(dir: &Path, namespace: &str) -> Result<Self> {
        let mut paths: Vec<_> = std::fs::read_dir(dir)
            .with_context(|| format!("read {dir:?}"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        paths.retain(|path| {
            path.extension().is_some_and(|kind| ["yaml", "yml", "json"].iter().any(|known| kind == *known))
        });
        paths.sort();
        let mut all = Self { objects: Vec::new(), namespace: namespace.to_owned() };
        for path in paths {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
            all.objects
                .extend(Self::from_yaml(&text, namespace).with_context(|| format!("{path:?}"))?.objects);
        }
        Ok(all)
    }

    /// Takes JSON documents.
    pub fn from_values(documents: Vec<Value>, namespace: &str) -> Result<Self> {
        let mut objects = Vec::new();
        for mut document in documents {
            if document.is_null() {
                continue;
            }
            let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
            match document.get_mut("items").map(Value::take) {
                Some(Value::Array(items)) if is_list => {
                    objects.extend(Self::from_values(items, namespace)?.objects);
                }
                _ => objects.push(serde_json::from_value(document).context("a document that is no object")?),
            }
        }
        Ok(Self { objects, namespace: namespace.to_owned() })
    }

    /// The objects, in the order of the documents.
    #[must_use]
    pub fn objects(&self) -> &[DynamicObject] {
        &self.objects
    }

    /// Leaves out what `keep` refuses.
    #[must_use]
    pub fn filter(mut self, keep: impl Fn(&DynamicObject) -> bool) -> Self {
        self.objects.retain(keep);
        self
    }

    /// Applies everything by forced server-side apply.
    ///
    /// CRDs and namespaces go first; the rest follows once every CRD is established. Refusals that pass, such as
    /// a kind that is not served yet or a webhook that is starting, are tried again for half a minute.
    ///
    /// # Errors
    /// With the kind and name of the first object that the API server refuses for good.
    pub async fn apply(&self, client: &Client) -> Result<()> {
        let early = |object: &&DynamicObject| {
            ["CustomResourceDefinition", "Namespace"].contains(&kind(object).as_str())
        };
        let (first, rest): (Vec<_>, Vec<_>) = self.objects.iter().partition(early);
        let crds: Vec<String> = first
            .iter()
            .filter(|object| kind(object) != "Namespace")
            .map(|object| object.name_any())
            .collect();
        self.apply_all(client, first).await?;
        established(client, &crds).await?;
        self.apply_all(client, rest).await
    }

    async fn apply_all(&self, client: &Client, objects: Vec<&DynamicObject>) -> Result<()> {
        if objects.is_empty() {
            return Ok(());
        }
        let kinds = self.kinds(client, &objects).await?;
        stream::iter(objects)
            .map(|object| {
                let api = self.api(client, &kinds, object);
                async move { apply_one(&api?, object).await }
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    /// Discovers until every kind of `objects` is served: discovery lags a little behind a CRD.
    async fn kinds(&self, client: &Client, objects: &[&DynamicObject]) -> Result<Discovery> {
        let wanted: BTreeSet<(String, String)> = objects
            .iter()
            .filter_map(|object| object.types.as_ref())
            .map(|types| (types.api_version.clone(), types.kind.clone()))
            .collect();
        let until = Instant::now() + PATIENCE;
        loop {
            let found = Discovery::new(client.clone()).run_aggregated().await.context("discover the API")?;
            let missing: Vec<_> =
                wanted.iter().filter(|(version, kind)| resolve(&found, version, kind).is_none()).collect();
            if missing.is_empty() {
                return Ok(found);
            }
            if Instant::now() > until {
                bail!("the API server does not serve {missing:?}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn api(&self, client: &Client, kinds: &Discovery, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let types = object.types.as_ref().with_context(|| format!("{:?} has no kind", object.name_any()))?;
        let (resource, scope) = resolve(kinds, &types.api_version, &types.kind).context("a kind vanished")?;
        Ok(match scope {
            Scope::Cluster => Api::all_with(client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = object.metadata.namespace.as_deref().unwrap_or(&self.namespace);
                Api::namespaced_with(client.clone(), namespace, &resource)
            }
        })
    }
}

fn kind(object: &DynamicObject) -> String {
    object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default()
}

fn resolve(kinds: &Discovery, api_version: &str, kind: &str) -> Option<(ApiResource, Scope)> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let (resource, capabilities) = kinds.resolve_gvk(&GroupVersionKind::gvk(group, version, kind))?;
    Some((resource, capabilities.scope))
}

async fn apply_one(api: &Api<DynamicObject>, object: &DynamicObject) -> Result<()> {
    let name =
        object.metadata.name.as_deref().with_context(|| format!("a {} without a name", kind(object)))?;
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await;
        let Err(error) = answer else { return Ok(()) };
        if !passes(&error) || Instant::now() > until {
            return Err(error).with_context(|| format!("apply {} {name:?}", kind(object)));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Whether a refusal is worth another try.
fn passes(error: &kube::Error) -> bool {
    match error {
        // 404 is a kind not served yet or a namespace still missing; 500 is what an absent webhook makes of it.
        kube::Error::Api(status) => [404, 409, 429, 500, 503, 504].contains(&status.code),
        _ => true,
    }
}

/// Waits until the API server serves these CRDs.
pub(crate) async fn established(client: &Client, names: &[String]) -> Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let until = Instant::now() + PATIENCE;
    let mut waiting: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    while !waiting.is_empty() {
        for crd in api.list(&kube::api::ListParams::default()).await.context("list CRDs")? {
            let conditions = crd.status.iter().flat_map(|status| status.conditions.iter().flatten());
            if conditions
                .clone()
                .any(|condition| condition.type_ == "Established" && condition.status == "True")
            {
                waiting.remove(crd.name_any().as_str());
            }
        }
        if Instant::now() > until {
            bail!("CRDs are not established: {waiting:?}");
        }
        if !waiting.is_empty() {
            sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}
