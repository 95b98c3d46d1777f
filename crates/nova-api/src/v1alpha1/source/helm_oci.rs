//! A source: a chart from an OCI registry. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    refs::{FreeForm, SecretRef},
    rules,
};

/// A chart from an OCI registry.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::url("registry", "oci", "oci://ghcr.io/example/charts"),
    validation = rules::no_password("registry")
)]
pub struct HelmOci {
    /// Registry and path of the chart without its name, such as `oci://ghcr.io/example/charts`.
    #[schemars(length(min = 1, max = 2048))]
    pub registry: String,
    /// Name of the chart.
    #[schemars(length(min = 1, max = 253))]
    pub chart: String,
    /// Version of the chart.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// Values for the chart.
    #[serde(default, skip_serializing_if = "FreeForm::is_empty")]
    pub values: FreeForm,
    /// Secret of this namespace, of type kubernetes.io/dockerconfigjson, for the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}
