//! `NovaTenant`: a team, with its owners, its plan and its home namespace. No I/O.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kind::{CoreStatus, nova_kind},
    quantities::{Limits, Quotas, amounts_schema},
    refs::{DeletionPolicy, Isolation, Subject, is_default},
    rules,
};

/// A team and what it may have.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cel", kube(cel))]
#[kube(
    group = "kubenova.io",
    version = "v1alpha1",
    kind = "NovaTenant",
    status = "NovaTenantStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "ntenant",
    category = "nova",
    doc = "A team: its owners, its developer group, its plan. It gets the namespace tn-<name> as its home, where its owners make projects and sandboxes.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the tenant is as its spec asks."
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Plan", type_ = "string", json_path = ".status.plan"),
    printcolumn(name = "Projects", type_ = "integer", json_path = ".status.projects"),
    printcolumn(name = "Apps", type_ = "integer", json_path = ".status.apps"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Owners", type_ = "string", json_path = ".status.owners", priority = 1),
    printcolumn(
        name = "Blocked-By",
        type_ = "string",
        json_path = ".status.blockers[0].object",
        priority = 1
    ),
    validation = rules::name_length("tenant", 25),
    validation = rules::name_shape("tenant"),
    validation = rules::name_without_double_hyphen("tenant"),
    validation = rules::tenant_name_tokens(),
    validation = rules::tenant_name_reserved(),
    validation = rules::dev_group_immutable()
)]
#[serde(rename_all = "camelCase")]
pub struct NovaTenantSpec {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// What the team does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Who makes projects and sandboxes for this tenant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    pub owners: Vec<Subject>,
    /// Name of the group of the tenant's developers, `<name>-devs` when left out. It cannot be changed, and no two tenants share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::no_system_group())]
    pub dev_group: Option<String>,
    /// Name of the `NovaPlan`. The cluster's default plan when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub plan: Option<String>,
    /// What all namespaces of the tenant may have together. Each resource named here replaces that of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// Limits of a single container. Each part named here replaces that of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// How far the network of the tenant's namespaces is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policy: Option<TenantNetworkPolicy>,
    /// Whether the tenant is put on hold: what runs goes on, nothing new is made in its namespaces.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspended: bool,
    /// What the deletion of the tenant does while it has projects or sandboxes: Block waits for them to be deleted, Cascade deletes them first.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "Block"))]
    pub deletion_policy: DeletionPolicy,
}

impl NovaTenantSpec {
    /// How far the network is closed, the default where the spec says nothing.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.network_policy.as_ref().map(|policy| policy.isolation).unwrap_or_default()
    }
}

/// Network of a tenant's namespaces.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantNetworkPolicy {
    /// default-deny closes each namespace but for DNS and itself, open leaves it open.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "default-deny"))]
    pub isolation: Isolation,
}

/// What the tenant has.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({ "observedGeneration": -1 })))]
pub struct NovaTenantStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub core: CoreStatus,
    /// Name of the plan in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub plan: Option<String>,
    /// Names of the owners, as one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub owners: Option<String>,
    /// Number of projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<i64>,
    /// Number of sandboxes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandboxes: Option<i64>,
    /// Number of apps in all projects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<i64>,
    /// The tenant's quota and how it is divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<TenantQuota>,
    /// The namespace where projects and sandboxes are made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub home_namespace: Option<String>,
}

/// A tenant's quota, by resource name.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TenantQuota {
    /// What its namespaces hold as their shares.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts_schema")]
    pub allocated: BTreeMap<String, String>,
    /// What is used in its namespaces now.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts_schema")]
    pub used: BTreeMap<String, String>,
    /// What no namespace holds yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts_schema")]
    pub free: BTreeMap<String, String>,
}

nova_kind!(NovaTenant, NovaTenantStatus, "tenant", Tenant, Some("kubenova.io/novatenant"));
