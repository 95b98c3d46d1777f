//! Where an app comes from: the six kinds of source. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    quantities::ResourceAmounts,
    refs::{FreeForm, SecretKeyRef, SecretRef, is_default},
    rules,
};

/// Kind of a source: the name of the one member of the source that is set.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SourceKind {
    /// A chart from a Helm repository.
    HelmHttp,
    /// A chart from an OCI registry.
    HelmOci,
    /// A `KubeVela` component by its name.
    VelaTemplate,
    /// Kubernetes objects as they are.
    KubeManifest,
    /// A container image.
    ContainerImage,
    /// A folder of a Git repository.
    GitRepo,
}

impl SourceKind {
    /// Every kind of source.
    pub const ALL: &'static [Self] = &[
        Self::HelmHttp,
        Self::HelmOci,
        Self::VelaTemplate,
        Self::KubeManifest,
        Self::ContainerImage,
        Self::GitRepo,
    ];

    /// The word as it stands in the spec.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HelmHttp => "helmHttp",
            Self::HelmOci => "helmOci",
            Self::VelaTemplate => "velaTemplate",
            Self::KubeManifest => "kubeManifest",
            Self::ContainerImage => "containerImage",
            Self::GitRepo => "gitRepo",
        }
    }
}

impl std::fmt::Display for SourceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an app comes from. The member named by `kind` is set, and no other.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::member("helmHttp"),
    validation = rules::member("helmOci"),
    validation = rules::member("velaTemplate"),
    validation = rules::member("kubeManifest"),
    validation = rules::member("containerImage"),
    validation = rules::member("gitRepo")
)]
pub struct AppSource {
    /// helmHttp, helmOci, velaTemplate, kubeManifest, containerImage or gitRepo. The member of that name is set, and no other.
    pub kind: SourceKind,
    /// A chart from a Helm repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_http: Option<HelmHttp>,
    /// A chart from an OCI registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm_oci: Option<HelmOci>,
    /// A `KubeVela` component by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vela_template: Option<VelaTemplate>,
    /// Kubernetes objects as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_manifest: Option<KubeManifest>,
    /// A container image, run as a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_image: Option<ContainerImage>,
    /// A folder of a Git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_repo: Option<GitRepo>,
}

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

/// A `KubeVela` component by its name.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VelaTemplate {
    /// Name of the `ComponentDefinition`, such as webservice or worker.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::definition_name("template"))]
    pub template: String,
    /// What the component is told. Its definition says what may stand here.
    #[serde(default, skip_serializing_if = "FreeForm::is_empty")]
    pub parameters: FreeForm,
}

/// Kubernetes objects as they are.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeManifest {
    /// YAML documents, separated by `---`, at most 256 KiB. Objects without a namespace, or with the project's, are taken; others are refused.
    #[schemars(length(min = 1, max = 262_144))]
    pub manifest: String,
}

/// A container image, run as a service.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::tag_or_digest()
)]
pub struct ContainerImage {
    /// Repository of the image, without tag and digest, such as nginx or `ghcr.io/example/web`.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = rules::repository_shape(), validation = rules::repository_alone())]
    pub image: String,
    /// Tag of the image, such as `1.29`. Either this or the digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::tag_shape())]
    pub tag: Option<String>,
    /// Digest of the image, `sha256:` and 64 hexadecimal digits. Either this or the tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = rules::digest_shape())]
    pub digest: Option<String>,
    /// Ports on which the container listens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["port".into(), "protocol".into()]))]
    pub ports: Vec<Port>,
    /// Environment of the container, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub env: Vec<EnvVar>,
    /// Cpu and memory of the container. The limits of the project when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Secret of this namespace, of type kubernetes.io/dockerconfigjson, for pulling the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}

/// Protocol of a port.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, JsonSchema)]
pub enum Protocol {
    /// TCP.
    #[default]
    #[serde(rename = "TCP")]
    Tcp,
    /// UDP.
    #[serde(rename = "UDP")]
    Udp,
}

impl Protocol {
    /// The word as it stands in the spec.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        }
    }
}

/// A port on which the container listens.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// Number of the port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
    /// Whether a Service is made for the port.
    #[serde(default, skip_serializing_if = "is_default")]
    pub expose: bool,
}

/// A variable of the container's environment.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::value_or_secret()
)]
pub struct EnvVar {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = rules::variable_name())]
    pub name: String,
    /// Its value. Either this or secretKeyRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub value: Option<String>,
    /// Where its value stands in a Secret of this namespace. Either this or value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// Cpu and memory of a container.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::at_most("requests", "limits", "cpu"),
    validation = rules::at_most("requests", "limits", "memory")
)]
pub struct Resources {
    /// What the container is sure to get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceAmounts>,
    /// The most that the container may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceAmounts>,
}

/// A folder of a Git repository.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::url("url", "https?|ssh", "https://git.example.com/team/repo.git"),
    validation = rules::no_password("url"),
    validation = rules::inner_path()
)]
pub struct GitRepo {
    /// URL of the repository, such as `https://git.example.com/team/repo.git`.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// Branch, tag or commit.
    #[schemars(length(min = 1, max = 253))]
    pub revision: String,
    /// Folder in the repository, its root when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub path: Option<String>,
    /// Secret of this namespace with the keys username and password, or identity and `known_hosts`, for the repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretRef>,
}
