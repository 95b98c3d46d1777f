//! The kinds that tests look at: KubeNova's own from their definitions, others from one table. No I/O.

use std::sync::LazyLock;

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;

/// A kind of object as the API server serves it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kind {
    /// API group, empty for the core group.
    pub group: String,
    /// Version that the tests speak.
    pub version: String,
    /// Kind.
    pub kind: String,
    /// Plural.
    pub plural: String,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
}

/// Kinds of others: group, version, kind, plural, namespaced. `Tenant` is Capsule's.
const OTHERS: [(&str, &str, &str, &str, bool); 23] = [
    ("capsule.clastix.io", "v1beta2", "Tenant", "tenants", false),
    ("core.oam.dev", "v1beta1", "Application", "applications", true),
    ("core.oam.dev", "v1beta1", "ResourceTracker", "resourcetrackers", false),
    ("core.oam.dev", "v1beta1", "ComponentDefinition", "componentdefinitions", true),
    ("", "v1", "Namespace", "namespaces", false),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    ("", "v1", "ResourceQuota", "resourcequotas", true),
    ("", "v1", "LimitRange", "limitranges", true),
    ("", "v1", "Service", "services", true),
    ("", "v1", "Pod", "pods", true),
    ("", "v1", "ConfigMap", "configmaps", true),
    ("", "v1", "Secret", "secrets", true),
    ("apps", "v1", "Deployment", "deployments", true),
    ("batch", "v1", "Job", "jobs", true),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", true),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", true),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", true),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false),
    ("events.k8s.io", "v1", "Event", "events", true),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false),
    (
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
        false,
    ),
    (
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    ),
];

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let own = nova_api::crds::all().into_iter().filter_map(|crd| {
        let version = crd.spec.versions.into_iter().find(|v| v.storage)?.name;
        let namespaced = crd.spec.scope == "Namespaced";
        let names = crd.spec.names;
        Some(Kind { group: crd.spec.group, version, kind: names.kind, plural: names.plural, namespaced })
    });
    let others = OTHERS.iter().map(|(group, version, kind, plural, namespaced)| Kind {
        group: (*group).to_owned(),
        version: (*version).to_owned(),
        kind: (*kind).to_owned(),
        plural: (*plural).to_owned(),
        namespaced: *namespaced,
    });
    own.chain(others).collect()
});

/// KubeNova's own kinds, each with a definition in `nova-api`.
pub fn nova() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| kind.is_nova())
}

/// KubeNova's own kinds, and those of others by name, in that order.
pub fn all(others: &[&str]) -> Vec<&'static Kind> {
    nova().chain(others.iter().copied().map(kind)).collect()
}

/// A kind by its name.
///
/// # Panics
/// When the table lacks it.
#[must_use]
pub fn kind(name: &str) -> &'static Kind {
    let found = KINDS.iter().find(|kind| kind.kind == name);
    assert!(found.is_some(), "{name} is no kind of the tests; add it to e2e/src/object/kinds.rs");
    found.expect("it was found, because the line above says so")
}

impl Kind {
    /// Whether it is one of KubeNova's own.
    #[must_use]
    pub fn is_nova(&self) -> bool {
        self.group == "kubenova.io"
    }

    /// `group/version`, as documents write it.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// What kube's client calls it.
    #[must_use]
    pub fn resource(&self) -> ApiResource {
        let gvk = GroupVersionKind::gvk(&self.group, &self.version, &self.kind);
        ApiResource::from_gvk_with_plural(&gvk, &self.plural)
    }

    /// All its objects, whatever their namespace.
    #[must_use]
    pub fn every(&self, client: &Client) -> Api<DynamicObject> {
        Api::all_with(client.clone(), &self.resource())
    }

    /// Its objects in a namespace; all of them if it has none.
    #[must_use]
    pub fn within(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.resource())
        } else {
            self.every(client)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_product_is_known_with_its_plural_and_scope() {
        assert_eq!(nova().count(), nova_api::crds::all().len());
        assert_eq!(kind("NovaSandbox").plural, "novasandboxes");
        assert!(kind("NovaApp").namespaced && !kind("NovaTenant").namespaced);
    }

    #[test]
    fn no_two_kinds_have_one_name() {
        let mut names: Vec<&str> = KINDS.iter().map(|kind| kind.kind.as_str()).collect();
        names.sort_unstable();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
