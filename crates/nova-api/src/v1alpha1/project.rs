//! `NovaProject`: a namespace of a tenant for apps. No I/O.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kind::{CoreStatus, nova_kind},
    quantities::{Limits, NamespaceQuota, Quotas},
    refs::{Access, DeletionPolicy, DevGroupRole, is_default},
    rules,
};

/// A project and who works on it.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cel", kube(cel))]
#[kube(
    group = "kubenova.io",
    version = "v1alpha1",
    kind = "NovaProject",
    status = "NovaProjectStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    shortname = "nproj",
    category = "nova",
    doc = "A project of the tenant in whose home namespace it is made. It gets the namespace tn-<tenant>-app-<name>, where developers write NovaApps and everything else is theirs to read only.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the project is as its spec asks."
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace"),
    printcolumn(name = "Apps", type_ = "integer", json_path = ".status.apps"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::name_length("project", 25),
    validation = rules::name_shape("project"),
    validation = rules::name_without_double_hyphen("project")
)]
#[serde(rename_all = "camelCase")]
pub struct NovaProjectSpec {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// What the project is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Who may do what here, besides the tenant's owners and its developer group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["kind".into(), "name".into()]))]
    pub access: Vec<Access>,
    /// What members of the tenant's developer group may do here: projectDev (write apps), readOnly or none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "projectDev"))]
    pub dev_group_role: DevGroupRole,
    /// The project's own share of the tenant's quota. Without it the project shares what is left with the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// Limits of a single container. Each part named here replaces that of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// What the deletion of the project does while it has apps: Block waits for them to be deleted, Cascade deletes them first.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "Block"))]
    pub deletion_policy: DeletionPolicy,
}

/// What the project has.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({ "observedGeneration": -1 })))]
pub struct NovaProjectStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub core: CoreStatus,
    /// The namespace for the project's apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Number of apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<i64>,
    /// Quota of the project's namespace, as the cluster reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<NamespaceQuota>,
}

nova_kind!(NovaProject, NovaProjectStatus, "project", Home, Some("kubenova.io/novaproject"));
