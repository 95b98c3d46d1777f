//! A source: a folder of a Git repository. No I/O.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::{refs::SecretRef, rules};

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
