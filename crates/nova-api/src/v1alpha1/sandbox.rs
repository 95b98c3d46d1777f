//! `NovaSandbox`: a namespace of a tenant in which developers may do as they like. No I/O.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    conditions::time_schema,
    kind::{CoreStatus, nova_kind},
    quantities::{Limits, NamespaceQuota, Quotas},
    refs::is_default,
    rules,
};

/// A namespace to try things in.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cel", kube(cel))]
#[kube(
    group = "kubenova.io",
    version = "v1alpha1",
    kind = "NovaSandbox",
    status = "NovaSandboxStatus",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    shortname = "nsandbox",
    category = "nova",
    doc = "A place for the developers of the tenant in whose home namespace it is made. It gets the namespace tn-<tenant>-sandbox-<name>, in which they have full edit; only quota, limits, network policy and bindings are kept right.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the sandbox is as its spec asks."
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".status.namespace"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.expiresAt", priority = 1),
    validation = rules::name_length("sandbox", 25),
    validation = rules::name_shape("sandbox"),
    validation = rules::name_without_double_hyphen("sandbox")
)]
#[serde(rename_all = "camelCase")]
pub struct NovaSandboxSpec {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// What the sandbox is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// How long the sandbox lives, counted from its creation, such as `8h` or `1h30m`, at least `10m`. Then it is deleted, with everything in it. Without it the sandbox stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(validation = rules::ttl())]
    pub ttl: Option<String>,
    /// The sandbox's own share of the tenant's quota. Without it the sandbox shares what is left with the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// Limits of a single container. Each part named here replaces that of the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// What the sandbox has.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({ "observedGeneration": -1 })))]
pub struct NovaSandboxStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub core: CoreStatus,
    /// The sandbox's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// When the sandbox is deleted, because its time to live is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time_schema")]
    pub expires_at: Option<Time>,
    /// Whether that is soon: a tenth of its time to live is left, at most half an hour.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expires_soon: bool,
    /// Quota of the sandbox's namespace, as the cluster reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<NamespaceQuota>,
}

nova_kind!(NovaSandbox, NovaSandboxStatus, "sandbox", Home, Some("kubenova.io/novasandbox"));
