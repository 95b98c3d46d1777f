//! Documents of Nova kinds, as text that can be applied; JSON, which is YAML. No I/O.

use serde_json::{Value, json};

use super::kind;

/// A document of any kind that has a `spec`; an empty namespace is left out.
#[must_use]
pub fn document(of: &str, namespace: &str, name: &str, spec: &Value) -> String {
    let mut object = json!({
        "apiVersion": kind(of).api_version(),
        "kind": of,
        "metadata": {"name": name},
        "spec": spec,
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object.to_string()
}

/// A plan.
#[must_use]
pub fn plan(name: &str, spec: &Value) -> String {
    document("NovaPlan", "", name, spec)
}

/// A tenant.
#[must_use]
pub fn tenant(name: &str, spec: &Value) -> String {
    document("NovaTenant", "", name, spec)
}

/// A project of a tenant.
#[must_use]
pub fn project(tenant: &str, name: &str, spec: &Value) -> String {
    document("NovaProject", &format!("tn-{tenant}"), name, spec)
}

/// A sandbox of a tenant.
#[must_use]
pub fn sandbox(tenant: &str, name: &str, spec: &Value) -> String {
    document("NovaSandbox", &format!("tn-{tenant}"), name, spec)
}

/// An app in a project's namespace.
#[must_use]
pub fn app(namespace: &str, name: &str, source: &Value) -> String {
    document("NovaApp", namespace, name, &json!({"source": source}))
}

/// The source of an app from an image of this tag; some tags lead a bad life, see the testkit.
#[must_use]
pub fn image(tag: &str) -> Value {
    json!({"kind": "containerImage", "containerImage": {"image": "nginx", "tag": tag}})
}

/// The source of an app from a manifest.
#[must_use]
pub fn manifest(object: &Value) -> Value {
    json!({"kind": "kubeManifest", "kubeManifest": {"manifest": object.to_string()}})
}
