//! Amounts of cpu, memory, storage and things. No I/O.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::rules;

/// How much of each resource there may be, summed over requests. A resource that is not named is not limited.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Quotas {
    /// Cores that pods may request together, such as `4` or `500m` (requests.cpu).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "cpu_schema")]
    pub cpu: Option<Quantity>,
    /// Memory that pods may request together, such as `8Gi` (requests.memory).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bytes_schema")]
    pub memory: Option<Quantity>,
    /// Number of pods that may run at the same time, such as `20`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "count_schema")]
    pub pods: Option<Quantity>,
    /// Storage that volume claims may request together, such as `100Gi` (requests.storage).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bytes_schema")]
    pub storage: Option<Quantity>,
    /// Number of Services of type `LoadBalancer`.
    #[serde(rename = "services.loadbalancers", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "count_schema")]
    pub services_loadbalancers: Option<Quantity>,
}

/// Limits of a single container: what it gets when it asks for nothing, and the most it may ask for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::at_most("defaultRequest", "default", "cpu"),
    validation = rules::at_most("defaultRequest", "default", "memory"),
    validation = rules::at_most("default", "max", "cpu"),
    validation = rules::at_most("default", "max", "memory"),
    validation = rules::at_most("defaultRequest", "max", "cpu"),
    validation = rules::at_most("defaultRequest", "max", "memory")
)]
pub struct Limits {
    /// Limit of a container that sets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<ResourceAmounts>,
    /// Request of a container that sets none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_request: Option<ResourceAmounts>,
    /// The most that one container may have as its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<ResourceAmounts>,
}

/// An amount of cpu and of memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceAmounts {
    /// Cores, such as `1` or `250m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "cpu_schema")]
    pub cpu: Option<Quantity>,
    /// Memory, such as `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bytes_schema")]
    pub memory: Option<Quantity>,
}

/// Quota of one namespace as the cluster reports it: resource name to amount.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceQuota {
    /// The most there may be, by resource, as enforced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts_schema")]
    pub hard: BTreeMap<String, String>,
    /// What is used now, by resource.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "amounts_schema")]
    pub used: BTreeMap<String, String>,
}

/// Schema of a number of cores. An integer is taken as well, because `cpu: 4` is what people write.
pub(crate) fn cpu_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 16,
        "x-kubernetes-validations": [rules::cores()],
    })
}

/// Schema of a number of things: an integer or a text, as in a `ResourceQuota`.
pub(crate) fn count_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 8,
        "x-kubernetes-validations": [rules::count()],
    })
}

/// Schema of a number of bytes.
pub(crate) fn bytes_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "maxLength": 24,
        "x-kubernetes-validations": [rules::bytes()],
    })
}

/// Schema of a map from resource names to amounts, in a status.
pub(crate) fn amounts_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 32,
        "additionalProperties": { "type": "string", "maxLength": 32 },
    })
}
