//! Every store, and the one way to name one. No I/O.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use nova_api::Kind;
use nova_plan::adapters::{BACKENDS, Backend};
use nova_plan::child::{ChildKind, KUBERNETES};

use super::cached_object::{CachedLeaf, CachedNova, CachedObject};
use super::key::{Key, ObjectKey};
use super::store::{Index, Store};

/// Names a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StoreId {
    /// Objects of a Nova kind.
    Nova(Kind),
    /// Children and what else is read whole.
    Child(&'static ChildKind),
    /// Leaves of what is delivered.
    Leaf(&'static ChildKind),
    /// Custom resource definitions.
    Definitions,
}

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nova(kind) => f.write_str(kind.plural()),
            Self::Child(kind) | Self::Leaf(kind) => f.write_str(kind.plural),
            Self::Definitions => f.write_str("customresourcedefinitions"),
        }
    }
}

impl StoreId {
    /// Name of the definition that the kind needs; none for Kubernetes' own.
    #[must_use]
    pub fn crd(&self) -> Option<String> {
        match self {
            Self::Nova(kind) => Some(kind.crd_name().to_owned()),
            Self::Child(kind) | Self::Leaf(kind) => kind.backend.map(|_| kind.crd_name()),
            Self::Definitions => None,
        }
    }

    /// Name of the resource, with its group.
    #[must_use]
    pub fn resource(&self) -> String {
        match self {
            Self::Child(kind) | Self::Leaf(kind) if kind.group.is_empty() => kind.plural.to_owned(),
            Self::Child(kind) | Self::Leaf(kind) => kind.crd_name(),
            Self::Nova(kind) => kind.crd_name().to_owned(),
            Self::Definitions => "customresourcedefinitions.apiextensions.k8s.io".to_owned(),
        }
    }
}

/// Index of leaves by the object that they were delivered for, as `<namespace>/<name>`.
pub const LEAF_OF: &str = "of";
/// Index of Nova objects by age in their namespace.
pub const AGE: &str = "age";

static LEAF_INDEXES: &[Index<CachedLeaf>] =
    &[Index { name: LEAF_OF, value: |at, leaf| Some(format!("{}/{}", at.namespace, leaf.of)) }];

/// A place in the index by age.
#[allow(clippy::unnecessary_wraps, reason = "the signature of an index, whose value an object may not have")]
#[must_use]
pub fn age_of(at: &ObjectKey, row: &CachedNova) -> Option<String> {
    let created = row.meta().created.map_or(0, jiff::Timestamp::as_second);
    Some(format!("{}/{created:020}", at.namespace))
}

/// Every store.
#[derive(Debug)]
pub struct Stores {
    nova: HashMap<Kind, Store<CachedNova>>,
    children: HashMap<&'static ChildKind, Store<CachedObject>>,
    leaves: HashMap<&'static ChildKind, Store<CachedLeaf>>,
    /// Custom resource definitions, by name; metadata only.
    pub definitions: Store<CachedObject>,
    /// Live Nova objects by UID.
    owners: Mutex<HashMap<String, Key>>,
}

impl Stores {
    /// Empty stores, `indexes` being those of each Nova kind.
    #[must_use]
    pub fn new(indexes: impl Fn(Kind) -> &'static [Index<CachedNova>]) -> Self {
        Self {
            nova: Kind::ALL.iter().map(|kind| (*kind, Store::new(indexes(*kind)))).collect(),
            children: Self::child_kinds().map(|kind| (kind, Store::new(&[]))).collect(),
            leaves: Self::leaf_kinds().map(|(_, kind)| (kind, Store::new(LEAF_INDEXES))).collect(),
            definitions: Store::new(&[]),
            owners: Mutex::default(),
        }
    }

    /// Every kind that is read whole: Kubernetes' own and those of the backends.
    pub fn child_kinds() -> impl Iterator<Item = &'static ChildKind> {
        let backends = BACKENDS.iter().flat_map(|b| b.children.iter().chain(b.reads).chain(b.tells));
        KUBERNETES.iter().chain(backends).copied()
    }

    /// Every kind of leaf, with its backend.
    pub fn leaf_kinds() -> impl Iterator<Item = (&'static Backend, &'static ChildKind)> {
        BACKENDS.iter().flat_map(|backend| backend.leaves.iter().map(|kind| (*backend, *kind)))
    }

    /// Every store's name.
    pub fn ids() -> impl Iterator<Item = StoreId> {
        let nova = Kind::ALL.iter().map(|kind| StoreId::Nova(*kind));
        let leaves = Self::leaf_kinds().map(|(_, kind)| StoreId::Leaf(kind));
        nova.chain(Self::child_kinds().map(StoreId::Child)).chain(leaves).chain([StoreId::Definitions])
    }

    /// Objects of a Nova kind.
    #[must_use]
    pub fn nova(&self, kind: Kind) -> &Store<CachedNova> {
        &self.nova[&kind]
    }

    /// Objects of a kind that is read whole.
    #[must_use]
    pub fn children(&self, kind: &'static ChildKind) -> &Store<CachedObject> {
        &self.children[kind]
    }

    /// Leaves of a kind.
    #[must_use]
    pub fn leaves(&self, kind: &'static ChildKind) -> &Store<CachedLeaf> {
        &self.leaves[kind]
    }

    /// Objects in a store, and how many bytes those of Nova kinds take as text.
    #[must_use]
    pub fn size(&self, store: &StoreId) -> usize {
        match store {
            StoreId::Nova(kind) => self.nova(*kind).len(),
            StoreId::Child(kind) => self.children(kind).len(),
            StoreId::Leaf(kind) => self.leaves(kind).len(),
            StoreId::Definitions => self.definitions.len(),
        }
    }

    /// True while a store holds what the cluster has.
    #[must_use]
    pub fn is_listed(&self, store: &StoreId) -> bool {
        match store {
            StoreId::Nova(kind) => self.nova(*kind).is_listed(),
            StoreId::Child(kind) => self.children(kind).is_listed(),
            StoreId::Leaf(kind) => self.leaves(kind).is_listed(),
            StoreId::Definitions => self.definitions.is_listed(),
        }
    }

    /// A store can no longer be listed.
    pub fn unlist(&self, store: &StoreId) {
        match store {
            StoreId::Nova(kind) => self.nova(*kind).unlist(),
            StoreId::Child(kind) => self.children(kind).unlist(),
            StoreId::Leaf(kind) => self.leaves(kind).unlist(),
            StoreId::Definitions => self.definitions.unlist(),
        }
    }

    /// True when there may be objects of a definition: also while it is being deleted.
    #[must_use]
    pub fn defined(&self, crd: &str) -> bool {
        // Where the definitions cannot be listed, the API server's answers tell.
        !self.definitions.is_listed() || self.definitions.get("", crd).is_some()
    }

    /// True when objects of a definition can be made.
    #[must_use]
    pub fn installed(&self, crd: &str) -> bool {
        self.definitions.get("", crd).is_some_and(|row| !row.deleting())
    }

    /// The Nova object that has a UID, if it is alive.
    #[must_use]
    pub fn owner(&self, uid: &str) -> Option<Key> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(uid).cloned()
    }

    /// Keeps the index of live Nova objects by UID.
    pub fn record_owner(&self, key: &Key, old: Option<&CachedNova>, new: Option<&CachedNova>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = old {
            owners.remove(&old.meta().uid);
        }
        if let Some(new) = new {
            owners.insert(new.meta().uid.clone(), key.clone());
        }
    }
}
