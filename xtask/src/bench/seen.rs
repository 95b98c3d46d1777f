//! `NovaApps` and Applications as the bench reads them: a few fields, since it works beside the operator. No I/O.
#![allow(missing_docs, reason = "the fields have the names that they have in the API")]

use serde::Deserialize;

/// A `NovaApp`, as far as it is looked at.
#[derive(Clone, Debug, Deserialize)]
pub struct Parent {
    pub metadata: Meta,
    #[serde(default)]
    pub status: ParentStatus,
}

/// An Application, as far as it is looked at.
#[derive(Clone, Debug, Deserialize)]
pub struct Child {
    pub metadata: Meta,
    #[serde(default)]
    pub spec: ChildSpec,
    #[serde(default)]
    pub status: ChildStatus,
}

/// Metadata that are looked at.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    #[serde(default)]
    pub generation: i64,
}

impl Meta {
    /// The version as a number: a later write has a greater one.
    pub fn version(&self) -> u64 {
        self.resource_version.parse().unwrap_or(0)
    }
}

/// Status of a `NovaApp`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParentStatus {
    #[serde(default)]
    pub observed_generation: i64,
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A condition of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    #[serde(default)]
    pub observed_generation: i64,
}

/// Spec of an Application.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ChildSpec {
    #[serde(default)]
    pub components: Vec<Component>,
}

/// A component of it.
#[derive(Clone, Debug, Deserialize)]
pub struct Component {
    #[serde(default)]
    pub properties: Properties,
}

/// What a component is told.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Properties {
    #[serde(default)]
    pub image: String,
}

/// Status of an Application.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ChildStatus {
    #[serde(default)]
    pub status: String,
}
