//! `NovaApp`: one app of a project, delivered from one source. No I/O.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    kind::{CoreStatus, nova_kind},
    refs::FreeForm,
    rules,
    v1alpha1::source::AppSource,
};

/// An app and where it comes from.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[cfg_attr(feature = "cel", kube(cel))]
#[kube(
    group = "kubenova.io",
    version = "v1alpha1",
    kind = "NovaApp",
    status = "NovaAppStatus",
    namespaced,
    derive = "PartialEq",
    shortname = "napp",
    category = "nova",
    doc = "An app of the project in whose namespace it is made. It comes from exactly one source and is delivered with the rights of the project's deployer.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "Whether the app is rolled out and healthy."
    ),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Source", type_ = "string", json_path = ".status.sourceKind"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Healthy", type_ = "string", json_path = ".status.healthy"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = rules::name_length("NovaApp", 50),
    validation = rules::name_shape("NovaApp"),
    validation = rules::component_immutable()
)]
#[serde(rename_all = "camelCase")]
pub struct NovaAppSpec {
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub display_name: Option<String>,
    /// What the app does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Name of the tenant, for readers only: the namespace decides, and another name than its is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 25))]
    pub tenant: Option<String>,
    /// Name of the project, for readers only: the namespace decides, and another name than its is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 25))]
    pub project: Option<String>,
    /// Where the app comes from.
    pub source: AppSource,
    /// Name of the app's component and of its workload, the app's own name when left out. It cannot be changed, and no two apps of a project share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    #[x_kube(validation = rules::component_shape())]
    pub component: Option<String>,
    /// Additions to the app's workload, such as scaling or ingress, by the name of their `KubeVela` trait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub traits: Vec<Trait>,
}

impl NovaAppSpec {
    /// Name of the component: the spec's, or that of the app.
    #[must_use]
    pub fn component<'a>(&'a self, app: &'a str) -> &'a str {
        self.component.as_deref().unwrap_or(app)
    }
}

/// An addition to an app's workload.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trait {
    /// Name of the `KubeVela` trait, such as scaler.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::definition_name("type"))]
    pub type_: String,
    /// What the trait is told. Its definition says what may stand here.
    #[serde(default, skip_serializing_if = "FreeForm::is_empty")]
    pub properties: FreeForm,
}

/// Where the app stands.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = serde_json::json!({ "observedGeneration": -1 })))]
pub struct NovaAppStatus {
    /// The part that every kind has.
    #[serde(flatten)]
    pub core: CoreStatus,
    /// Kind of the source in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub source_kind: Option<String>,
    /// Name of the Application that delivers the app, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub application: Option<String>,
    /// What is delivered: image tag or digest, template, or the beginning of the manifest's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub version: Option<String>,
    /// Version under which the Application was published last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub publish_version: Option<String>,
    /// Healthy workloads of all, such as `2/3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub healthy: Option<String>,
    /// Number of workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<i64>,
}

nova_kind!(NovaApp, NovaAppStatus, "app", Project, None);
