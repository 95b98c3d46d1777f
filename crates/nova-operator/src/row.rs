//! A child as it is kept in memory. No I/O.

use std::sync::Arc;

use kube::ResourceExt;
use kube::api::DynamicObject;
use nova_plan::names::label;
use serde_json::Value;

use crate::table::{Versioned, version_of};

/// A child as kept in memory: what is looked at often, and the whole as compact text, a tenth of a parsed tree.
#[derive(Debug, Clone)]
pub struct Row(Arc<RowInner>);

#[derive(Debug)]
struct RowInner {
    version: u64,
    uid: String,
    owner_uid: Option<String>,
    deleting: bool,
    created: Option<jiff::Timestamp>,
    seen_at: tokio::time::Instant,
    status_hash: u64,
    body: Box<str>,
}

impl Versioned for Row {
    fn version(&self) -> u64 {
        self.0.version
    }
}

impl Row {
    /// Keeps an object without its `managedFields`.
    #[must_use]
    pub fn new(mut object: DynamicObject) -> Self {
        object.metadata.managed_fields = None;
        let status_hash = hash(&object.data["status"]);
        Self(Arc::new(RowInner {
            version: version_of(&object),
            uid: object.uid().unwrap_or_default(),
            owner_uid: object.labels().get(label::OWNER_UID).cloned(),
            deleting: object.metadata.deletion_timestamp.is_some(),
            created: object.metadata.creation_timestamp.as_ref().map(|t| t.0),
            seen_at: tokio::time::Instant::now(),
            status_hash,
            body: serde_json::to_string(&object).unwrap_or_default().into(),
        }))
    }

    /// `metadata.uid`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.0.uid
    }

    /// UID of the Nova object it was made for, by its label.
    #[must_use]
    pub fn owner_uid(&self) -> Option<&str> {
        self.0.owner_uid.as_deref()
    }

    /// Being deleted.
    #[must_use]
    pub fn deleting(&self) -> bool {
        self.0.deleting
    }

    /// When it was created.
    #[must_use]
    pub fn created(&self) -> Option<jiff::Timestamp> {
        self.0.created
    }

    /// When this process first saw this version of it.
    #[must_use]
    pub fn seen_at(&self) -> tokio::time::Instant {
        self.0.seen_at
    }

    /// Equal for equal `status`.
    #[must_use]
    pub fn status_hash(&self) -> u64 {
        self.0.status_hash
    }

    /// The object, parsed anew.
    #[must_use]
    pub fn body(&self) -> Value {
        serde_json::from_str(&self.0.body).unwrap_or_default()
    }
}

fn hash(value: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
