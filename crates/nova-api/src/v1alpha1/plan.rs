//! `NovaPlan`: what a tenant may have. No I/O.
#![allow(clippy::duplicated_attributes)] // Two printer columns next to each other have the same type.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kind::{CoreStatus, nova_kind},
    quantities::{Limits, Quotas},
};

/// What each tenant of the plan may have.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "cel", kube(cel))]
#[kube(
    group = "kubenova.io",
    version = "v1alpha1",
    kind = "NovaPlan",
    status = "NovaPlanStatus",
    derive = "Default",
    derive = "PartialEq",
    shortname = "nplan",
    category = "nova",
    doc = "What a tenant may have: quotas, limits of a container, numbers of projects and apps, storage and ingress classes. A plan that tenants use cannot be deleted.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the plan can be used."
    ),
    printcolumn(name = "CPU", type_ = "string", json_path = ".spec.quotas.cpu"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".spec.quotas.memory"),
    printcolumn(name = "Pods", type_ = "string", json_path = ".spec.quotas.pods"),
    printcolumn(name = "Tenants", type_ = "integer", json_path = ".status.tenants"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct NovaPlanSpec {
    /// What the plan is for, for people who choose one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// What all namespaces of one tenant may have together. It is divided among them; at no time do their shares add up to more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quotas: Option<Quotas>,
    /// Limits of a single container in the tenant's namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Most projects that a tenant may have. Not limited when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_projects: Option<i32>,
    /// Most sandboxes that a tenant may have. Not limited when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_sandboxes: Option<i32>,
    /// Most apps that one project may have. Not limited when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10000))]
    pub max_apps_per_project: Option<i32>,
    /// Storage classes that may be used. Any, when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub storage_classes: Vec<String>,
    /// Ingress classes that may be used. Any, when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    pub ingress_classes: Vec<String>,
}

/// Who uses the plan.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({ "observedGeneration": -1 })))]
pub struct NovaPlanStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub core: CoreStatus,
    /// Number of tenants that use the plan, by name or as the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<i64>,
    /// Names of the tenants that use the plan, the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub used_by: Vec<String>,
}

nova_kind!(NovaPlan, NovaPlanStatus, "plan", Platform, Some("kubenova.io/novaplan"));
