//! What a piece of work is about, and where an object is. No I/O.

use std::fmt;

use kube::ResourceExt;
use nova_api::{Kind, Place};
use nova_plan::names::parse_namespace;

/// A Nova object: kind, namespace (empty for cluster-scoped) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Kind.
    pub kind: Kind,
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// A key of any kind.
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// An object by its place in the store of its kind.
    #[must_use]
    pub fn of(kind: Kind, at: &ObjectKey) -> Self {
        Self::new(kind, &at.namespace, &at.name)
    }

    /// The tenant the object belongs to; empty for the platform's. Work is shared fairly between these.
    #[must_use]
    pub fn group(&self) -> &str {
        match self.kind.place() {
            Place::Platform => "",
            Place::Tenant => &self.name,
            Place::Home | Place::Project => parse_namespace(&self.namespace).map_or("", |(tenant, _)| tenant),
        }
    }

    /// Its place in the store of its kind.
    #[must_use]
    pub fn object(&self) -> ObjectKey {
        ObjectKey::new(&self.namespace, &self.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let controller = self.kind.controller();
        if self.namespace.is_empty() {
            write!(f, "{controller}/{}", self.name)
        } else {
            write!(f, "{controller}/{}/{}", self.namespace, self.name)
        }
    }
}

/// Namespace (empty for cluster-scoped objects) and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ObjectKey {
    /// Namespace, or empty.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// A key.
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of any object.
    #[must_use]
    pub fn of(object: &impl ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}
