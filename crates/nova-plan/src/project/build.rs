//! From a valid project to its children. Pure and infallible.

use nova_api::Kind;
use nova_api::v1alpha1::{AccessRole, DevGroupRole};
use serde_json::Value;

use super::ValidProject;
use crate::names::{DEPLOYER, NamespaceType, role};
use crate::namespace::{Children, NamespaceBuilder, group, rbac_subject};

/// Apps of a project whose plan does not say how many.
const MOST: i32 = 1000;

/// Builds the children.
#[must_use]
pub fn build(project: &ValidProject<'_>) -> Children {
    let place = NamespaceBuilder { namespace: &project.namespace, owner: &project.owner };
    let tenant = project.tenant;
    let with = |wanted: AccessRole| {
        project.access.iter().filter(move |a| a.role == wanted).map(|a| rbac_subject(&a.subject()))
    };
    let devs = group(&tenant.dev_group);
    let mut readers: Vec<Value> = tenant.owner_subjects();
    readers.extend(project.access.iter().map(|a| rbac_subject(&a.subject())));
    let mut writers: Vec<Value> = with(AccessRole::ProjectDev).collect();
    if project.dev_group_role != DevGroupRole::None {
        readers.push(devs.clone());
    }
    if project.dev_group_role == DevGroupRole::ProjectDev {
        writers.push(devs);
    }
    let owners = tenant.owner_subjects().into_iter().chain(with(AccessRole::TenantOwner)).collect();
    let mut bindings = vec![
        place.deployer_binding(),
        place.binding(role::APP_READER, readers),
        place.binding(role::PROJECT_OWNER, owners),
    ];
    let network_policies = place.network_policies(tenant.isolation);
    let mut absent = if network_policies.is_empty() { place.network_policy_refs() } else { Vec::new() };
    if writers.is_empty() {
        absent.push(place.binding_ref(role::PROJECT_DEV));
    } else {
        bindings.push(place.binding(role::PROJECT_DEV, writers));
    }
    Children {
        namespace: place.namespace(NamespaceType::App, tenant),
        manager: place.manager_binding(),
        limits: place.limit_range(&project.limits),
        critical_pods: place.no_critical_pods(),
        objects: Some(
            place.objects(&[(Kind::NovaApp.plural(), tenant.max_apps_per_project.unwrap_or(MOST))]),
        ),
        network_policies,
        accounts: vec![place.service_account(DEPLOYER)],
        bindings,
        absent,
        quota: place.quota_ref(),
    }
}
