//! A desired child: what it is, what it holds, and whether a live object is ours and already so. No I/O.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::names::{MANAGER_PREFIX, annotation, label};

/// The kinds of object the operator writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChildKind {
    /// Core `Namespace`.
    Namespace,
    /// Core `ServiceAccount`.
    ServiceAccount,
    /// Core `ResourceQuota`.
    ResourceQuota,
    /// Core `LimitRange`.
    LimitRange,
    /// `NetworkPolicy`.
    NetworkPolicy,
    /// `RoleBinding`.
    RoleBinding,
    /// Capsule's `Tenant`.
    CapsuleTenant,
    /// Vela's `Application`.
    Application,
}

impl ChildKind {
    /// Every kind, each watched once.
    pub const ALL: [Self; 8] = [
        Self::Namespace,
        Self::ServiceAccount,
        Self::ResourceQuota,
        Self::LimitRange,
        Self::NetworkPolicy,
        Self::RoleBinding,
        Self::CapsuleTenant,
        Self::Application,
    ];

    /// Group, version, kind and plural.
    #[must_use]
    pub const fn gvk(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Namespace => ("", "v1", "Namespace", "namespaces"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::ResourceQuota => ("", "v1", "ResourceQuota", "resourcequotas"),
            Self::LimitRange => ("", "v1", "LimitRange", "limitranges"),
            Self::NetworkPolicy => ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
            Self::RoleBinding => ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
            Self::CapsuleTenant => ("capsule.clastix.io", "v1beta2", "Tenant", "tenants"),
            Self::Application => ("core.oam.dev", "v1beta1", "Application", "applications"),
        }
    }

    /// Kind as people know it; Capsule's `Tenant` is told apart from ours.
    #[must_use]
    pub const fn display(self) -> &'static str {
        match self {
            Self::CapsuleTenant => "Capsule Tenant",
            _ => self.gvk().2,
        }
    }

    /// True for objects without a namespace.
    #[must_use]
    pub const fn cluster_scoped(self) -> bool {
        matches!(self, Self::Namespace | Self::CapsuleTenant)
    }

    /// The reason to give when a foreign object has the name.
    #[must_use]
    pub const fn conflict_reason(self) -> nova_api::conditions::Reason {
        match self {
            Self::Namespace => nova_api::conditions::Reason::NamespaceConflict,
            _ => nova_api::conditions::Reason::Conflict,
        }
    }
}

/// Where a child is: kind, namespace (empty for cluster-scoped) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildRef {
    /// What it is.
    pub kind: ChildKind,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for ChildRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.display(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.display(), self.namespace, self.name)
        }
    }
}

/// A child as it should be, ready for server-side apply.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Where it goes.
    pub at: ChildRef,
    /// UID of the Nova object it is made for.
    pub owner_uid: String,
    /// The whole body, labels and applied hash included.
    pub body: Value,
}

impl Child {
    /// Completes a body: API version, kind, name, labels of the owner and the applied hash.
    ///
    /// `body` may hold `metadata` (labels, annotations, ownerReferences) and any other top-level field.
    #[must_use]
    pub fn new(at: ChildRef, owner: &Owner, body: &impl Serialize) -> Self {
        let mut body = match serde_json::to_value(body) {
            Ok(Value::Object(map)) => map,
            _ => Map::new(),
        };
        let (group, version, kind, _) = at.kind.gvk();
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        body.insert("apiVersion".into(), api_version.into());
        body.insert("kind".into(), kind.into());
        body.remove("status");
        let metadata = object_entry(&mut body, "metadata");
        metadata.insert("name".into(), at.name.clone().into());
        if !at.namespace.is_empty() {
            metadata.insert("namespace".into(), at.namespace.clone().into());
        }
        let labels = object_entry(metadata, "labels");
        for (key, value) in owner.labels() {
            labels.insert(key.into(), value.into());
        }
        let hash = short_hash(&Value::Object(body.clone()));
        let annotations = object_entry(object_entry(&mut body, "metadata"), "annotations");
        annotations.insert(annotation::APPLIED_HASH.into(), hash.into());
        Self { at, owner_uid: owner.uid.clone(), body: Value::Object(body) }
    }

    /// True when `live` already is what this child asks for, so that no write is due.
    #[must_use]
    pub fn matches(&self, live: &Value) -> bool {
        covers(&self.body, live)
    }

    /// True when `live` cannot become this child: the role of a binding is fixed when it is made.
    #[must_use]
    pub fn needs_replacing(&self, live: &Value) -> bool {
        self.at.kind == ChildKind::RoleBinding && self.body["roleRef"] != live["roleRef"]
    }
}

/// Whose children these are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    /// `metadata.uid` of the Nova object.
    pub uid: String,
    /// Tenant name.
    pub tenant: Option<String>,
    /// `status.id` of the tenant.
    pub tenant_id: Option<String>,
    /// Project name.
    pub project: Option<String>,
    /// `status.id` of the project.
    pub project_id: Option<String>,
    /// `status.id` of the app.
    pub app_id: Option<String>,
}

impl Owner {
    fn labels(&self) -> Vec<(&'static str, String)> {
        let mut labels = vec![
            (label::MANAGED_BY, crate::names::MANAGED_BY.to_owned()),
            (label::OWNER_UID, self.uid.clone()),
        ];
        let optional = [
            (label::TENANT, &self.tenant),
            (label::TENANT_ID, &self.tenant_id),
            (label::PROJECT, &self.project),
            (label::PROJECT_ID, &self.project_id),
            (label::APP_ID, &self.app_id),
        ];
        labels.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
        labels
    }
}

/// Whose a live object is, by the rule of ownership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Labelled with the owner's UID, or applied by us and its label lost.
    Ours,
    /// Made for an earlier Nova object of this name, by its owner UID.
    Earlier(String),
    /// Not ours: never touched.
    Foreign,
}

/// Decides whose `live` is. `managedFields` are looked at only when the owner label is gone, so a
/// cached object without them is enough as long as it still carries the label.
#[must_use]
pub fn ownership(live: &Value, owner_uid: &str) -> Ownership {
    match live.pointer("/metadata/labels").and_then(|l| l.get(label::OWNER_UID)).and_then(Value::as_str) {
        Some(uid) if uid == owner_uid => Ownership::Ours,
        Some(uid) if applied_by_us(live) || live.pointer("/metadata/managedFields").is_none() => {
            Ownership::Earlier(uid.to_owned())
        }
        None if applied_by_us(live) => Ownership::Ours,
        _ => Ownership::Foreign,
    }
}

fn applied_by_us(live: &Value) -> bool {
    live.pointer("/metadata/managedFields").and_then(Value::as_array).is_some_and(|entries| {
        entries.iter().any(|e| {
            e["operation"] == "Apply" && e["manager"].as_str().is_some_and(|m| m.starts_with(MANAGER_PREFIX))
        })
    })
}

/// First 16 hex digits of the SHA-256 of a JSON value (keys sorted, as `serde_json` keeps them).
#[must_use]
pub fn short_hash(value: &Value) -> String {
    let digest = Sha256::digest(value.to_string().as_bytes());
    digest.iter().take(8).fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

fn object_entry<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let entry = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !entry.is_object() {
        *entry = Value::Object(Map::new());
    }
    entry.as_object_mut().expect("made an object just above, because nothing else would take the insert")
}

/// True when applying `desired` on `live` would change nothing, by the merge rules of server-side apply:
/// maps are merged key by key, so live may hold more; lists and label selectors are atomic, so they must be
/// equal; owner references and finalizers are sets.
#[must_use]
pub fn covers(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(want), Value::Object(have)) => want.iter().all(|(key, value)| {
            let Some(found) = have.get(key) else { return is_empty(value) };
            match key.as_str() {
                "ownerReferences" => set_covers(value, found, |e| e["uid"].clone()),
                "finalizers" => set_covers(value, found, Value::clone),
                "podSelector" | "namespaceSelector" | "roleRef" => value == found,
                _ => covers(value, found),
            }
        }),
        _ => desired == live,
    }
}

/// The API server leaves out what is empty.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn set_covers(want: &Value, have: &Value, key: impl Fn(&Value) -> Value) -> bool {
    let (Some(want), Some(have)) = (want.as_array(), have.as_array()) else { return want == have };
    want.iter().all(|w| have.iter().any(|h| key(h) == key(w) && covers(w, h)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn child(spec: &Value) -> Child {
        let at = ChildRef { kind: ChildKind::NetworkPolicy, namespace: "n".into(), name: "x".into() };
        let owner = Owner { uid: "u1".into(), tenant: Some("acme".into()), ..Owner::default() };
        Child::new(at, &owner, &json!({ "spec": spec }))
    }

    #[test]
    fn an_object_as_applied_needs_no_write_even_with_foreign_fields() {
        let child = child(&json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
        let mut live = child.body.clone();
        live["metadata"]["labels"]["foreign"] = json!("kept");
        live["metadata"]["uid"] = json!("123");
        live["status"] = json!({"x": 1});
        assert!(child.matches(&live));
    }

    #[test]
    fn every_kind_of_drift_is_seen() {
        let child = child(&json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]}));
        let drifts: [fn(&mut Value); 5] = [
            |l| l["spec"]["podSelector"] = json!({"matchLabels": {"a": "b"}}),
            |l| l["spec"]["ingress"][0]["from"][0]["namespaceSelector"] = json!({}),
            |l| l["spec"]["ingress"] = json!([]),
            |l| l["metadata"]["labels"] = json!({}),
            |l| l["metadata"]["annotations"] = json!({}),
        ];
        for drift in drifts {
            let mut live = child.body.clone();
            drift(&mut live);
            assert!(!child.matches(&live), "{live}");
        }
    }

    #[test]
    fn a_list_written_out_empty_is_drift_once_somebody_fills_it() {
        let child = child(&json!({"podSelector": {}, "ingress": []}));
        let mut live = child.body.clone();
        live["spec"].as_object_mut().unwrap().remove("ingress");
        assert!(child.matches(&live), "the API server leaves out what is empty");
        live["spec"]["ingress"] = json!([{}]);
        assert!(!child.matches(&live));
    }

    #[test]
    fn a_binding_to_another_role_has_to_be_replaced() {
        let at = ChildRef { kind: ChildKind::RoleBinding, namespace: "n".into(), name: "x".into() };
        let child = Child::new(at, &Owner::default(), &json!({"roleRef": {"name": "ours"}, "subjects": []}));
        let mut live = child.body.clone();
        live["subjects"] = json!([{"name": "mallory"}]);
        assert!(!child.needs_replacing(&live));
        live["roleRef"]["name"] = json!("view");
        assert!(child.needs_replacing(&live));
    }

    #[test]
    fn a_field_dropped_from_the_rendering_is_seen_by_the_hash() {
        let before = child(&json!({"podSelector": {}, "limits": {"a": 1}}));
        let after = child(&json!({"podSelector": {}}));
        assert!(!after.matches(&before.body));
    }

    #[test]
    fn ownership_is_by_uid_then_by_our_manager_and_never_by_name() {
        let child = child(&json!({}));
        assert_eq!(ownership(&child.body, "u1"), Ownership::Ours);
        assert_eq!(ownership(&child.body, "u2"), Ownership::Earlier("u1".into()));
        let mut stripped = child.body.clone();
        stripped["metadata"]["labels"] = json!({});
        assert_eq!(ownership(&stripped, "u1"), Ownership::Foreign);
        stripped["metadata"]["managedFields"] =
            json!([{"manager": "kubenova/project", "operation": "Apply"}]);
        assert_eq!(ownership(&stripped, "u1"), Ownership::Ours);
        let forged = json!({"metadata": {"labels": {"kubenova.io/owner-uid": "u2"}, "managedFields": [{"manager": "kubectl", "operation": "Update"}]}});
        assert_eq!(ownership(&forged, "u1"), Ownership::Foreign);
    }
}
