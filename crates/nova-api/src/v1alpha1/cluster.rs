//! `NovaCluster`: this cluster, its capabilities and its default plan. No I/O.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kind::{CoreStatus, nova_kind},
    rules,
};

/// What the platform team says about the cluster.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cel", kube(cel))]
#[kube(
    group = "kubenova.io",
    version = "v1alpha1",
    kind = "NovaCluster",
    status = "NovaClusterStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "ncluster",
    category = "nova",
    doc = "A cluster that KubeNova looks after. `local` is the one it runs in; the operator creates it when it is absent and reports in its status which backends are there.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether everything that the operator needs is there."
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Capsule", type_ = "boolean", json_path = ".status.capabilities.capsule"),
    printcolumn(name = "KubeVela", type_ = "boolean", json_path = ".status.capabilities.kubeVela"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::cluster_is_local()
)]
#[serde(rename_all = "camelCase")]
pub struct NovaClusterSpec {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// Name of the `NovaPlan` of tenants that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub default_plan: Option<String>,
}

/// What the operator found in the cluster.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({ "observedGeneration": -1 })))]
pub struct NovaClusterStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub core: CoreStatus,
    /// Where the set-up of the cluster stands: `pending_bootstrap`, bootstrapping, connected or error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<Bootstrap>,
    /// The backends that can be used, by name, such as capsule: tenants can be made, kubeVela: apps can be delivered.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub capabilities: BTreeMap<String, bool>,
    /// The backends, one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub components: Vec<Component>,
}

/// Where the set-up of a cluster stands.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bootstrap {
    /// Not looked at yet.
    PendingBootstrap,
    /// Being looked at; something is still missing.
    Bootstrapping,
    /// Everything that is needed is there.
    Connected,
    /// Something is wrong that does not pass by itself.
    Error,
}

/// A backend.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Its name, such as capsule or kubevela.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its version, as far as it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// Whether it can be used.
    pub ready: bool,
    /// What is missing, or what should be set otherwise, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

nova_kind!(NovaCluster, NovaClusterStatus, "cluster", Platform, None);
