//! The API server refuses Nova objects whose metadata is too large for them to be told about or deleted, however they
//! are written, and lets every change through that makes such an object smaller.

mod stored;
mod written;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use e2e::{World, eventually};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicyBinding;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams, Request};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

const PATIENCE: Duration = Duration::from_mins(1);
const POLICY: &str = "kubenova-objects";
const NAMESPACE: &str = "tn-acme-app-shop";
/// Entries that a field of the metadata may have.
const MOST: [(&str, usize); 4] =
    [("finalizers", 8), ("labels", 64), ("annotations", 64), ("ownerReferences", 4)];

/// One control plane for all tests of this file. What was stored before the policy is made before it is in force.
async fn world() -> Result<&'static World> {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD.get_or_try_init(set_up).await
}

/// A client of the runtime that asks.
async fn admin() -> Result<Client> {
    world().await?.plane.admin().await
}

async fn set_up() -> Result<World> {
    let world = World::of_rules(&["tn-acme", NAMESPACE]).await?;
    let apps = apps(&world.admin);
    let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(world.admin.clone());
    let mut binding = bindings.get(POLICY).await?;
    bindings.delete(POLICY, &DeleteParams::default()).await?;
    in_force(&apps, false).await?;
    for old in [
        app("old-metadata", &old_metadata()),
        app("old-finalizers", &json!({"finalizers": finalizers(12_000)})),
        app("old-lengths", &lengths(1)),
    ] {
        apps.create(&PostParams::default(), &serde_json::from_value(old)?).await?;
    }
    binding.metadata.resource_version = None;
    binding.metadata.uid = None;
    bindings.create(&PostParams::default(), &binding).await?;
    in_force(&apps, true).await?;
    Ok(world)
}

/// Waits until the API server judges by the policy, or no longer does.
async fn in_force(apps: &Api<DynamicObject>, wanted: bool) -> Result<()> {
    let probe = serde_json::from_value(app("probe", &json!({"finalizers": finalizers(9)})))?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    eventually(&format!("the policy is in force: {wanted}"), PATIENCE, async || {
        match apps.create(&dry, &probe).await {
            Ok(_) if !wanted => Ok(()),
            Err(kube::Error::Api(status)) if wanted && status.message.contains("KN-422") => Ok(()),
            Ok(_) => Err("it was taken".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
}

fn apps(client: &Client) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), NAMESPACE, &resource("NovaApp", "novaapps"))
}

fn resource(kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("kubenova.io", "v1alpha1", kind), plural)
}

fn finalizers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("example.com/f{n:05}{}", "x".repeat(40))).collect()
}

/// Of a kind that is not there: Kubernetes would collect what has only owners that are gone.
fn owner(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "name": name, "uid": name})
}

/// So many entries of a field of the metadata.
fn entries(field: &str, count: usize) -> Value {
    let named = |value: &str| (0..count).map(|n| (format!("example.com/k{n}"), json!(value))).collect();
    match field {
        "finalizers" => json!(finalizers(count)),
        "ownerReferences" => (0..count).map(|n| owner(&format!("o{n}"))).collect(),
        _ => Value::Object(named("v")),
    }
}

fn old_metadata() -> Value {
    MOST.iter().map(|(field, most)| ((*field).to_owned(), entries(field, most + 42))).collect()
}

/// Metadata with few entries that are too long, and longer by `more`.
fn lengths(more: usize) -> Value {
    json!({
        "finalizers": [finalizer(128 + more)],
        "annotations": {"a": "x".repeat(65_536 + more)},
        "ownerReferences": [owner(&"x".repeat(253 + more))],
    })
}

fn finalizer(length: usize) -> String {
    let end = format!(".example.com/{}", "x".repeat(63));
    format!("{}{end}", "a".repeat(length - end.len()))
}

fn with_spec(name: &str, metadata: &Value, spec: &Value) -> Value {
    let mut object =
        json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp", "metadata": metadata, "spec": spec});
    object["metadata"]["name"] = json!(name);
    object["metadata"]["namespace"] = json!(NAMESPACE);
    object
}

fn app(name: &str, metadata: &Value) -> Value {
    let source = json!({"kind": "containerImage", "containerImage": {"image": "nginx", "tag": "1.29"}});
    with_spec(name, metadata, &json!({"source": source}))
}

fn of_manifest(name: &str, metadata: &Value, manifest: &str) -> Value {
    let source = json!({"kind": "kubeManifest", "kubeManifest": {"manifest": manifest}});
    with_spec(name, metadata, &json!({"source": source}))
}

/// Fails unless the API server refused with these words.
fn refused<T>(what: &str, answer: Result<T, kube::Error>, words: &str) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) => {
            ensure!(status.code == 422, "{what}: {} {}", status.code, status.message);
            ensure!(status.message.contains(words), "{what}: {words:?} is not in: {}", status.message);
            println!("| {what} | {} |", status.message.split("request: ").last().unwrap_or_default());
            Ok(())
        }
        Err(error) => bail!("{what}: {error}"),
        Ok(_) => bail!("{what} was taken"),
    }
}

/// What the API server answered, for the eye of whoever reads the output.
fn told<T>(answer: Result<T, kube::Error>) -> String {
    match answer {
        Ok(_) => "taken".to_owned(),
        Err(kube::Error::Api(status)) => status.message,
        Err(error) => error.to_string(),
    }
}

async fn create(apps: &Api<DynamicObject>, object: Value) -> Result<Result<DynamicObject, kube::Error>> {
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    Ok(apps.create(&dry, &serde_json::from_value(object)?).await)
}

/// Writes an object as a whole. `Api::replace` is not for this project's own code, but others use it.
async fn put(client: &Client, whole: &DynamicObject) -> Result<Result<DynamicObject, kube::Error>> {
    let path = Request::new(format!("/apis/kubenova.io/v1alpha1/namespaces/{NAMESPACE}/novaapps"));
    let request = path.replace(&whole.name_any(), &PostParams::default(), serde_json::to_vec(whole)?)?;
    Ok(client.request(request).await)
}
