//! From a valid tenant to its children. Pure and infallible.

use nova_api::Kind;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{Subject, SubjectKind};
use serde_json::{Value, json};

use super::ValidTenant;
use crate::adapters::capsule::{self as adapter, Allowed, IngressOptions, Permissions, TenantSpec};
use crate::child::{Child, ChildRef};
use crate::division::Hard;
use crate::names::{GITOPS, NamespaceType, role};
use crate::namespace::{NamespaceBuilder, await_quota, group, rbac_subject, service_account};
use crate::quantity::Amount;
use crate::step::{self, Step, apply_all};

/// Children of a tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// The Capsule Tenant.
    pub capsule: Child,
    /// Home namespace.
    pub home: Child,
    /// The operator's own rights there.
    pub manager: Child,
    /// Nothing runs in the home namespace.
    pub quota: Child,
    /// How many projects and sandboxes there may be.
    pub objects: Child,
    /// Closed network.
    pub network_policies: Vec<Child>,
    /// Identity of the tenant's GitOps tool.
    pub gitops: Child,
    /// People.
    pub bindings: Vec<Child>,
}

impl step::Children for Children {
    /// What limits the home namespace comes before the first person may enter it.
    fn steps(self) -> Vec<Step> {
        let Self { capsule, home, manager, quota, objects, network_policies, gitops, bindings } = self;
        let (at, counted) = (quota.at.clone(), objects.at.clone());
        let stage = ConditionType::NamespacesReady;
        let mut steps: Vec<Step> = apply_all(ConditionType::TenantSynced, [capsule]).collect();
        steps.extend(apply_all(stage, [home, manager, quota, objects]));
        steps.extend(apply_all(stage, network_policies));
        steps.push(await_quota(at));
        steps.push(await_quota(counted));
        steps.extend(apply_all(ConditionType::AccessReady, [gitops]));
        steps.extend(apply_all(ConditionType::AccessReady, bindings));
        steps
    }
}

/// Where the Capsule tenant is.
#[must_use]
pub fn capsule_ref(tenant: &str) -> ChildRef {
    adapter::tenant_ref(tenant)
}

/// The Capsule tenant, protected; the last step of a deletion takes the protection off.
fn capsule(tenant: &ValidTenant) -> Child {
    let allowed = |classes: &[String]| (!classes.is_empty()).then(|| Allowed { allowed: classes.to_vec() });
    let spec = TenantSpec {
        owners: tenant.owners.iter().map(capsule_owner).collect(),
        force_tenant_prefix: false,
        prevent_deletion: true,
        // It would stop the deployer too, and nobody but Capsule's users besides: see ADR 0008.
        cordoned: false,
        permissions: Permissions { allow_owner_promotion: false },
        storage_classes: allowed(&tenant.storage_classes),
        ingress_options: allowed(&tenant.ingress_classes)
            .map(|allowed_classes| IngressOptions { allowed_classes }),
    };
    Child::new(capsule_ref(tenant.name.as_str()), &tenant.owner, &json!({ "spec": spec }))
}

fn capsule_owner(subject: &Subject) -> adapter::Owner {
    let (kind, name) = match subject.kind {
        SubjectKind::User => ("User", subject.name.clone()),
        SubjectKind::Group => ("Group", subject.name.clone()),
        SubjectKind::ServiceAccount => ("ServiceAccount", format!("system:serviceaccount:{}", subject.name)),
    };
    adapter::Owner { kind: kind.to_owned(), name, cluster_roles: vec![role::TENANT_BASE.to_owned()] }
}

impl ValidTenant {
    /// Owners and the tenant's GitOps identity, as subjects.
    #[must_use]
    pub fn owner_subjects(&self) -> Vec<Value> {
        let gitops = service_account(&self.name.home(), GITOPS);
        self.owners.iter().map(rbac_subject).chain([gitops]).collect()
    }
}

/// Projects, and sandboxes, of a tenant whose plan does not say how many.
const MOST: i32 = 200;

/// Builds the children.
#[must_use]
pub fn build(tenant: &ValidTenant) -> Children {
    let home = tenant.name.home();
    let place = NamespaceBuilder { namespace: &home, owner: &tenant.owner };
    let nothing: Hard = ["pods", "persistentvolumeclaims", "services"]
        .into_iter()
        .map(|key| (key.to_owned(), Amount::ZERO))
        .collect();
    Children {
        capsule: capsule(tenant),
        home: place.namespace(NamespaceType::Home, tenant),
        manager: place.manager_binding(),
        quota: place.quota(&nothing),
        objects: place.objects(&[
            (Kind::NovaProject.plural(), tenant.max_projects.unwrap_or(MOST)),
            (Kind::NovaSandbox.plural(), tenant.max_sandboxes.unwrap_or(MOST)),
        ]),
        network_policies: place.network_policies(nova_api::v1alpha1::Isolation::DefaultDeny),
        gitops: place.service_account(GITOPS),
        bindings: vec![
            place.binding(role::TENANT_OWNER, tenant.owner_subjects()),
            place.binding(role::HOME_READER, vec![group(&tenant.dev_group)]),
        ],
    }
}
