//! A source: a chart from a Helm repository. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{
    refs::{FreeForm, SecretRef},
    rules,
};

/// A chart from a Helm repository.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::url("repoUrl", "https?", "https://charts.example.com"),
    validation = rules::no_password("repoUrl")
)]
pub struct HelmHttp {
    /// URL of the repository, such as `https://charts.example.com`.
    #[schemars(length(min = 1, max = 2048))]
    pub repo_url: String,
    /// Name of the chart.
    #[schemars(length(min = 1, max = 253))]
    pub chart: String,
    /// Version of the chart.
    #[schemars(length(min = 1, max = 128))]
    pub version: String,
    /// Values for the chart.
    #[serde(default, skip_serializing_if = "FreeForm::is_empty")]
    pub values: FreeForm,
    /// Secret of this namespace with the keys username and password for the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}
