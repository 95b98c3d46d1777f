//! A desired child: what it is, what it holds, and whether a live object is ours and already so. No I/O.

mod kind;
mod owned_fields;
mod ownership;

pub(crate) use kind::child_kinds;
pub use kind::{
    ChildKind, KUBERNETES, LIMIT_RANGE, NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, ROLE_BINDING,
    SERVICE_ACCOUNT, Selection,
};
pub use owned_fields::{is_ours, union};
pub use ownership::{Ownership, ownership};

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::names::{annotation, label};

/// Where a child is: kind, namespace (empty for cluster-scoped) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChildRef {
    /// What it is.
    pub kind: &'static ChildKind,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ChildRef {
    /// An object in a namespace.
    #[must_use]
    pub fn new(kind: &'static ChildKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// An object without a namespace.
    #[must_use]
    pub fn cluster(kind: &'static ChildKind, name: &str) -> Self {
        Self::new(kind, "", name)
    }
}

impl std::fmt::Display for ChildRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.title, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.title, self.namespace, self.name)
        }
    }
}

/// An object as it is in the cluster.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Live {
    /// The object without its `managedFields`.
    pub body: Value,
    /// The fields of it that we applied, in the format of `managedFields`; none where we applied nothing.
    pub applied: Option<Value>,
}

impl Live {
    /// Reads an object as the API server gives it.
    #[must_use]
    pub fn new(mut body: Value) -> Self {
        let applied = owned_fields::take_applied(&mut body);
        Self { body, applied }
    }

    /// A text in it, by JSON pointer.
    #[must_use]
    pub fn text(&self, pointer: &str) -> Option<&str> {
        self.body.pointer(pointer).and_then(Value::as_str)
    }

    /// Being deleted.
    #[must_use]
    pub fn deleting(&self) -> bool {
        self.body.pointer("/metadata/deletionTimestamp").is_some()
    }
}

/// A child as it should be. Its owner references name other children; their UIDs are filled in when it is applied, so
/// that it can be built, and shown, before any of them is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// Where it goes.
    pub at: ChildRef,
    /// UID of the Nova object it is made for.
    pub owner_uid: String,
    /// Children that Kubernetes takes it along with.
    pub owners: Vec<ChildRef>,
    /// The body, labels and applied hash included, but for [`Self::owners`].
    pub body: Value,
}

impl Child {
    /// Completes a body: API version, kind, name, labels of the owner and the applied hash.
    ///
    /// `body` may hold `metadata` (labels, annotations, ownerReferences) and any other top-level field.
    ///
    /// # Panics
    /// Never with a body of our own making: each is an object whose keys are text.
    #[must_use]
    pub fn new(at: ChildRef, owner: &Owner, body: &impl Serialize) -> Self {
        let body =
            serde_json::to_value(body).expect("a JSON value because bodies are maps with text as keys");
        let Value::Object(mut body) = body else { unreachable!("a body is made of an object") };
        body.insert("apiVersion".into(), at.kind.api_version().into());
        body.insert("kind".into(), at.kind.kind.into());
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
        Self { at, owner_uid: owner.uid.clone(), owners: Vec::new(), body: Value::Object(body) }
    }

    /// The same, owned by another child.
    #[must_use]
    pub fn owned_by(mut self, owner: ChildRef) -> Self {
        self.owners.push(owner);
        self
    }

    /// The whole body, once the UID of every owner is known; otherwise the owner that is not.
    pub fn resolved(&self, uid_of: impl Fn(&ChildRef) -> Option<String>) -> Result<Value, ChildRef> {
        let mut body = self.body.clone();
        for owner in &self.owners {
            let uid = uid_of(owner).ok_or_else(|| owner.clone())?;
            let reference = json!({
                "apiVersion": owner.kind.api_version(),
                "kind": owner.kind.kind,
                "name": owner.name,
                "uid": uid,
            });
            match &mut body["metadata"]["ownerReferences"] {
                Value::Array(references) => references.push(reference),
                none => *none = json!([reference]),
            }
        }
        Ok(body)
    }

    /// True when `live` cannot become `desired`, a resolved body of a child of this kind, in place.
    #[must_use]
    pub fn needs_replacing(&self, desired: &Value, live: &Live) -> bool {
        self.at.kind.fixed.iter().any(|pointer| desired.pointer(pointer) != live.body.pointer(pointer))
    }
}

/// True when applying `desired`, a resolved body, on `live` would change nothing.
#[must_use]
pub fn is_applied(desired: &Value, live: &Live) -> bool {
    live.applied.as_ref().is_some_and(|owned| owned_fields::is_applied(desired, &live.body, owned))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn child(spec: &Value) -> Child {
        let at = ChildRef::new(&NETWORK_POLICY, "n", "x");
        let owner = Owner { uid: "u1".into(), tenant: Some("acme".into()), ..Owner::default() };
        Child::new(at, &owner, &json!({ "spec": spec }))
    }

    #[test]
    fn owners_are_names_until_the_child_is_applied() {
        let owner = ChildRef::cluster(&NAMESPACE, "home");
        let child = child(&json!({})).owned_by(owner.clone());
        assert_eq!(child.resolved(|_| None), Err(owner));
        let body = child.resolved(|_| Some("u9".into())).unwrap();
        assert_eq!(body["metadata"]["ownerReferences"][0]["uid"], "u9");
        assert_eq!(body["metadata"]["ownerReferences"][0]["kind"], "Namespace");
    }

    #[test]
    fn a_binding_to_another_role_has_to_be_replaced() {
        let at = ChildRef::new(&ROLE_BINDING, "n", "x");
        let child = Child::new(at, &Owner::default(), &json!({"roleRef": {"name": "ours"}, "subjects": []}));
        let mut live = Live { body: child.body.clone(), applied: None };
        live.body["subjects"] = json!([{"name": "mallory"}]);
        assert!(!child.needs_replacing(&child.body, &live));
        live.body["roleRef"]["name"] = json!("view");
        assert!(child.needs_replacing(&child.body, &live));
    }

    #[test]
    fn what_is_dropped_inside_of_a_value_owned_as_a_whole_is_seen_by_the_hash() {
        let before = child(&json!({"podSelector": {}, "limits": {"a": 1}}));
        let after = child(&json!({"podSelector": {}, "limits": {}}));
        let owned = json!({
            "f:metadata": {
                "f:labels": {"f:app.kubernetes.io/managed-by": {}, "f:kubenova.io/owner-uid": {}, "f:kubenova.io/tenant": {}},
                "f:annotations": {"f:kubenova.io/applied-hash": {}}},
            "f:spec": {"f:podSelector": {}, "f:limits": {}},
        });
        let live = Live { body: before.body.clone(), applied: Some(owned) };
        assert!(is_applied(&before.body, &live));
        assert!(!is_applied(&after.body, &live));
    }
}
