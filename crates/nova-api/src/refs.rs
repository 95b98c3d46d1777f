//! References to people and objects, and the choices that several kinds share. No I/O.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod free_form;
mod json_text;

pub use self::{
    free_form::FreeForm,
    json_text::{DEEPEST, JsonText, RESERVED_KEY},
};
use crate::rules;

/// Kind of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum SubjectKind {
    /// A person, by the name that the API server's authentication gives.
    User,
    /// A group, by the name that the API server's authentication gives.
    Group,
    /// A `ServiceAccount`, named `<namespace>:<name>`.
    ServiceAccount,
}

/// A person, a group or a `ServiceAccount`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::no_system_subject(),
    validation = rules::service_account_name(),
    validation = rules::no_outer_space()
)]
pub struct Subject {
    /// User, Group or `ServiceAccount`.
    pub kind: SubjectKind,
    /// Name of the user or group as the API server sees it, or `<namespace>:<name>` of a `ServiceAccount`. Names that begin with `system:` are refused.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What somebody may do in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AccessRole {
    /// Everything that an owner of the tenant may do in this project.
    TenantOwner,
    /// Write apps, read the rest.
    ProjectDev,
    /// Read.
    ReadOnly,
}

/// A role for a subject.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = rules::no_system_subject(),
    validation = rules::service_account_name(),
    validation = rules::no_outer_space()
)]
pub struct Access {
    /// User, Group or `ServiceAccount`.
    pub kind: SubjectKind,
    /// Name of the user or group as the API server sees it, or `<namespace>:<name>` of a `ServiceAccount`. Names that begin with `system:` are refused.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// tenantOwner, projectDev or readOnly.
    pub role: AccessRole,
}

impl Access {
    /// Whom the role is for.
    #[must_use]
    pub fn subject(&self) -> Subject {
        Subject { kind: self.kind, name: self.name.clone() }
    }
}

/// What members of the tenant's developer group may do in a project.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum DevGroupRole {
    /// Write apps, read the rest.
    #[default]
    ProjectDev,
    /// Read.
    ReadOnly,
    /// Nothing.
    None,
}

/// What a deletion does when there is still something inside.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum DeletionPolicy {
    /// Wait, and say what is still inside.
    #[default]
    Block,
    /// Delete what is inside first.
    Cascade,
}

/// How far the network of a namespace is closed.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Isolation {
    /// Nothing in or out but DNS and the same namespace.
    #[default]
    #[serde(rename = "default-deny")]
    DefaultDeny,
    /// No network policy.
    #[serde(rename = "open")]
    Open,
}

/// A Secret in the namespace of the object that names it. Another namespace cannot be named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A key of a Secret in the namespace of the object that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret, in the namespace of this object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the Secret's data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Whether a value is the default one, for leaving it out of what is written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
