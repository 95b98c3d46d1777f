//! Ways to look at the cluster: waiting for something, conditions, and whole tenants as comparable pictures.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::{GroupVersionKind, ResourceExt};
use serde_json::Value;

use crate::object;

/// Looks every 100 ms until `look` is content, and fails with its last word after `within`.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return Ok(found),
            Err(why) if start.elapsed() > within => bail!("not within {within:?}: {what}: {why}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A condition of any object.
#[must_use]
pub fn condition<'a>(object: &'a DynamicObject, kind: &str) -> Option<&'a Value> {
    object.data["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// Ready is True, for the present generation.
#[must_use]
pub fn is_ready(object: &DynamicObject) -> bool {
    let generation = object.metadata.generation.unwrap_or(0);
    condition(object, "Ready").is_some_and(|c| c["status"] == "True" && c["observedGeneration"] == generation)
}

/// Reason of Ready.
#[must_use]
pub fn reason(object: &DynamicObject) -> &str {
    condition(object, "Ready").and_then(|c| c["reason"].as_str()).unwrap_or_default()
}

/// Message of Ready.
#[must_use]
pub fn message(object: &DynamicObject) -> &str {
    condition(object, "Ready").and_then(|c| c["message"].as_str()).unwrap_or_default()
}

/// Kinds of others that a picture of a tenant holds.
const OTHERS: [&str; 13] = [
    "Tenant",
    "Application",
    "ResourceTracker",
    "Namespace",
    "ServiceAccount",
    "ResourceQuota",
    "LimitRange",
    "Service",
    "Pod",
    "Deployment",
    "NetworkPolicy",
    "RoleBinding",
    "ClusterRoleBinding",
];

/// Any kind, all namespaces.
#[must_use]
pub fn any(client: &Client, group: &str, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk(group, version, kind);
    Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&gvk, plural))
}

/// What belongs to a tenant: `<Kind> <namespace>/<name>` to the object, stripped of what differs between runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot(pub BTreeMap<String, Value>);

impl Snapshot {
    pub(crate) async fn take(client: &Client, tenant: &str) -> Result<Self> {
        let everywhere = ListParams::default();
        let namespaces = object::kind("Namespace").every(client).list(&everywhere).await?;
        let ours: Vec<String> =
            namespaces.iter().map(ResourceExt::name_any).filter(|n| is_in(n, tenant)).collect();
        // Namespace by namespace, so that a picture of one tenant costs the same however many there are.
        let mut lists = Vec::new();
        for of in object::all(&OTHERS) {
            let apis: Vec<Api<DynamicObject>> = if of.namespaced {
                ours.iter().map(|namespace| of.within(client, namespace)).collect()
            } else {
                vec![of.every(client)]
            };
            let kind = of.kind.as_str();
            lists.extend(
                apis.into_iter()
                    .map(|api| async move { anyhow::Ok((kind, api.list(&ListParams::default()).await?)) }),
            );
        }
        let mut objects = BTreeMap::new();
        for (kind, list) in futures::future::try_join_all(lists).await? {
            for object in list {
                if let Some(key) = belongs(kind, &object, tenant) {
                    let mut masked = mask(&object, tenant);
                    // What is used is the quota controller's count, which it mends at its own time.
                    if kind == "ResourceQuota" {
                        masked["status"]["used"].take();
                    }
                    objects.insert(key, masked);
                }
            }
        }
        Ok(Self(objects))
    }

    /// Names of what differs between two pictures, for a failed assertion.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let keys = self.0.keys().chain(other.0.keys().filter(|k| !self.0.contains_key(*k)));
        keys.filter_map(|key| match (self.0.get(key), other.0.get(key)) {
            (Some(a), Some(b)) if a == b => None,
            (Some(a), Some(b)) => Some(format!("{key} differs:\n  {a}\n  {b}")),
            (Some(_), None) => Some(format!("{key} is only in the first")),
            _ => Some(format!("{key} is only in the second")),
        })
        .collect()
    }

    /// Names of everything in it.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

/// A namespace of the tenant.
fn is_in(namespace: &str, tenant: &str) -> bool {
    let rest = namespace.strip_prefix("tn-").and_then(|rest| rest.strip_prefix(tenant));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The key of an object in a picture, with the tenant's name masked; pods have random names and are left to their Deployments.
fn belongs(kind: &str, object: &DynamicObject, tenant: &str) -> Option<String> {
    let home = format!("tn-{tenant}");
    let ours = |namespace: &str| is_in(namespace, tenant);
    let mut name = object.name_any();
    if name.starts_with("capsule:managed:") {
        // The rest of the name is a hash, the tenant's owners among what it is made of.
        name = format!("capsule:managed:{}", object.data["roleRef"]["name"].as_str().unwrap_or_default());
    }
    let text = match object.namespace() {
        Some(namespace) if ours(&namespace) => format!("{kind} {namespace}/{name}"),
        None if kind == "Namespace" && ours(&name) => format!("{kind} {name}"),
        None if ["NovaTenant", "Tenant"].contains(&kind) && name == tenant => format!("{kind} {name}"),
        None if kind == "ResourceTracker" && name.contains(&home) => format!("{kind} {name}"),
        None if kind == "ClusterRoleBinding" && object.data.to_string().contains(&home) => {
            format!("{kind} {name}")
        }
        _ => return None,
    };
    if kind == "Pod" { None } else { Some(text.replace(tenant, "TENANT")) }
}

/// Takes out identities, versions, times and Vela's generated values; the tenant's name is masked.
fn mask(object: &DynamicObject, tenant: &str) -> Value {
    let mut text = serde_json::to_string(object).unwrap_or_default().replace(tenant, "TENANT");
    if object.name_any().starts_with("capsule:managed:") {
        text = text.replace(&object.name_any(), "capsule:managed");
    }
    let mut value: Value = serde_json::from_str(&text).unwrap_or_default();
    strip(&mut value);
    value
}

/// Keys whose values differ from run to run.
const VOLATILE: [&str; 34] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "lastTransitionTime",
    "lastUpdateTime",
    "lastHeartbeatTime",
    "observedGeneration",
    "id",
    "since",
    "at",
    "startTime",
    "endTime",
    "clusterIP",
    "clusterIPs",
    "firstExecuteTime",
    "lastExecuteTime",
    "kubenova.io/owner-uid",
    "kubenova.io/tenant-id",
    "kubenova.io/project-id",
    "kubenova.io/app-id",
    "kubenova.io/applied-hash",
    "app.oam.dev/last-applied-time",
    "app.oam.dev/last-applied-configuration",
    "app.oam.dev/app-revision-hash",
    "app.oam.dev/resourceTracker",
    "app.oam.dev/uid",
    "oam.dev/render-hash",
    "compression",
    "capsule.clastix.io/role-binding",
    "latestRevision",
    "contextBackend",
    "deployment.kubernetes.io/revision",
];

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !VOLATILE.contains(&key.as_str()));
            // Capsule lists namespaces in the order in which it met them.
            if let Some(Value::Array(spaces)) = map.get_mut("spaces") {
                spaces.sort_by_key(|space| space["name"].to_string());
            }
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Waits until every Nova object of a tenant is Ready.
pub(crate) async fn all_ready(client: &Client, tenant: &str, within: Duration) -> Result<()> {
    eventually("every Nova object is Ready", within, async || {
        let mut seen = 0;
        for of in object::nova() {
            let kind = of.kind.as_str();
            let objects = of.every(client).list(&ListParams::default()).await;
            for object in objects.map_err(|e| e.to_string())? {
                if belongs(kind, &object, tenant).is_none() {
                    continue;
                }
                seen += 1;
                if !is_ready(&object) {
                    return Err(format!(
                        "{kind} {}: {} {}",
                        object.name_any(),
                        reason(&object),
                        message(&object)
                    ));
                }
            }
        }
        if seen > 0 { Ok(()) } else { Err("there is none".to_owned()) }
    })
    .await
}
