//! A source: Kubernetes objects as they are. No I/O.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kubernetes objects as they are.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeManifest {
    /// YAML documents, separated by `---`, at most 256 KiB. Objects without a namespace, or with the project's, are taken; others are refused.
    #[schemars(length(min = 1, max = 262_144))]
    pub manifest: String,
}
