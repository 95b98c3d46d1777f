//! From a valid sandbox to its children. Pure and infallible.

use super::ValidSandbox;
use crate::names::{NamespaceType, role};
use crate::namespace::{Children, NamespaceBuilder, group};

/// Builds the children.
#[must_use]
pub fn build(sandbox: &ValidSandbox<'_>) -> Children {
    let place = NamespaceBuilder { namespace: &sandbox.namespace, owner: &sandbox.owner };
    let tenant = sandbox.tenant;
    let mut editors = tenant.owner_subjects();
    editors.push(group(&tenant.dev_group));
    let network_policies = place.network_policies(tenant.isolation);
    Children {
        namespace: place.namespace(NamespaceType::Sandbox, tenant),
        manager: place.manager_binding(),
        limits: place.limit_range(&sandbox.limits),
        critical_pods: place.no_critical_pods(),
        objects: None,
        absent: if network_policies.is_empty() { place.network_policy_refs() } else { Vec::new() },
        network_policies,
        accounts: Vec::new(),
        bindings: vec![place.binding(role::SANDBOX_EDITOR, editors)],
        quota: place.quota_ref(),
    }
}
