//! A kind of object that the operator writes or looks at, as data: a new one is one constant. No I/O.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use nova_api::conditions::Reason;

use super::ChildRef;
use crate::names::MANAGED_SELECTOR;

/// Which objects of a kind are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// All of them, foreign ones too: what is not in the store is not there.
    All,
    /// Those that a label selector finds.
    Labels(&'static str),
    /// Those of one namespace.
    Namespace(&'static str),
}

/// A kind of object that the operator writes or looks at.
pub struct ChildKind {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version of the group.
    pub version: &'static str,
    /// Kind, as in a manifest.
    pub kind: &'static str,
    /// Plural, as in a URL.
    pub plural: &'static str,
    /// Kind as people know it: Capsule's `Tenant` is told apart from ours.
    pub title: &'static str,
    /// True for objects without a namespace.
    pub cluster_scoped: bool,
    /// The backend that defines it, by its id; none for Kubernetes itself.
    pub backend: Option<&'static str>,
    /// Which objects are watched.
    pub watch: Selection,
    /// People write what is in an object, so that it can be large: lists come in small pages.
    pub large: bool,
    /// Its status changes in bursts that nobody waits for, such as usage: one pass for a burst is enough.
    pub bursts: Option<Duration>,
    /// JSON pointers of what cannot be changed in place: the object is deleted and made anew.
    pub fixed: &'static [&'static str],
    /// Why an object is not Ready whose child's name is taken by a foreign object.
    pub conflict: Reason,
    /// Where to look when its deletion does not end; none where nothing can be said.
    pub stuck: fn(&ChildRef) -> Option<String>,
}

impl ChildKind {
    /// A kind of Kubernetes' own in namespaces, of which those with our label are watched.
    #[must_use]
    pub const fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            title: kind,
            cluster_scoped: false,
            backend: None,
            watch: Selection::Labels(MANAGED_SELECTOR),
            large: false,
            bursts: None,
            fixed: &[],
            conflict: Reason::Conflict,
            stuck: |_| None,
        }
    }

    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Name of the definition of a kind that a backend defines.
    #[must_use]
    pub fn crd_name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }
}

impl PartialEq for ChildKind {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.plural) == (other.group, other.plural)
    }
}

impl Eq for ChildKind {}

impl PartialOrd for ChildKind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ChildKind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.group, self.plural).cmp(&(other.group, other.plural))
    }
}

impl Hash for ChildKind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.group, self.plural).hash(state);
    }
}

impl fmt::Debug for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title)
    }
}

/// Declares kinds, and the list of them under the first name: one that is declared cannot be forgotten in the list.
macro_rules! child_kinds {
    ($(#[$list_doc:meta])* $list:ident: $($(#[$doc:meta])* $name:ident = $kind:expr;)+) => {
        $(
            $(#[$doc])*
            pub static $name: $crate::child::ChildKind = $kind;
        )+
        $(#[$list_doc])*
        pub static $list: &[&$crate::child::ChildKind] = &[$(&$name),+];
    };
}
pub(crate) use child_kinds;

child_kinds! {
    /// Kinds of Kubernetes' own that the operator writes.
    KUBERNETES:
    /// Core `Namespace`.
    NAMESPACE = ChildKind {
        cluster_scoped: true,
        watch: Selection::All,
        conflict: Reason::NamespaceConflict,
        stuck: |at| Some(format!("see what is left: kubectl describe namespace {}", at.name)),
        ..ChildKind::new("", "v1", "Namespace", "namespaces")
    };
    /// Core `ServiceAccount`.
    SERVICE_ACCOUNT = ChildKind::new("", "v1", "ServiceAccount", "serviceaccounts");
    /// Core `ResourceQuota`.
    RESOURCE_QUOTA = ChildKind {
        bursts: Some(Duration::from_millis(300)),
        ..ChildKind::new("", "v1", "ResourceQuota", "resourcequotas")
    };
    /// Core `LimitRange`.
    LIMIT_RANGE = ChildKind::new("", "v1", "LimitRange", "limitranges");
    /// `NetworkPolicy`.
    NETWORK_POLICY = ChildKind::new("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies");
    /// `RoleBinding`. Its role is fixed when it is made.
    ROLE_BINDING = ChildKind {
        fixed: &["/roleRef"],
        ..ChildKind::new("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
    };
}
