//! What every Nova kind has in common: the core of its status and the traits to reach it. No I/O.

use std::fmt::Debug;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::conditions::{Blocker, ConditionType, LastError, Phase, conditions_schema};
use crate::kinds::Kind;

/// The fields that every status starts with. They stand flat in the status, not under a key of their own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CoreStatus {
    /// The metadata.generation that this status was computed for; -1 as long as no status was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Identity of the object for other systems, a UUID. It identifies, it never authorises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub id: Option<String>,
    /// A word for people: Pending, Applying, Deployed, Drifted, Error or Deleting. Programs read the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The state of the object, aspect by aspect. Ready is the summary.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions_schema")]
    pub conditions: Vec<Condition>,
    /// The leaf objects that keep this one from being Ready, each with what to do about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "atomic"))]
    pub blockers: Vec<Blocker>,
    /// The last error that the operator met with this object. Gone once the object is Ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
}

impl CoreStatus {
    /// The condition of a type, if it is present.
    #[must_use]
    pub fn condition(&self, type_: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|c| c.type_ == type_.as_str())
    }
}

/// A status with the common core.
pub trait NovaStatus {
    /// The common part.
    fn core(&self) -> &CoreStatus;
    /// The common part, to be changed.
    fn core_mut(&mut self) -> &mut CoreStatus;
}

/// Where objects of a kind live, which says whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Without a namespace: the platform team's.
    Platform,
    /// Without a namespace, named after the tenant it is.
    Tenant,
    /// In the home namespace of a tenant.
    Home,
    /// In the namespace of a project.
    Project,
}

/// A Nova kind: what generic code needs to know of it.
pub trait NovaKind:
    kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// Its status.
    type Status: NovaStatus
        + Clone
        + Debug
        + Default
        + PartialEq
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    /// Its entry in the list of kinds.
    const ID: Kind;
    /// Its kind, as in a manifest.
    const KIND: &'static str;
    /// Name of its controller, in logs and metrics.
    const CONTROLLER: &'static str;
    /// Field manager of its controller.
    const MANAGER: &'static str;
    /// Where its objects live.
    const PLACE: Place;

    /// Its status, if one was ever written.
    fn status(&self) -> Option<&Self::Status>;

    /// The finalizer that keeps it until its children elsewhere are gone; none where garbage collection does the work.
    fn finalizer() -> Option<&'static str>;
}

/// Implements [`NovaKind`] and [`NovaStatus`] for a kind whose status has its common part in a field `core`.
macro_rules! nova_kind {
    ($kind:ident, $status:ident, $controller:literal, $place:ident, $finalizer:expr) => {
        impl $crate::kind::NovaStatus for $status {
            fn core(&self) -> &$crate::kind::CoreStatus {
                &self.core
            }

            fn core_mut(&mut self) -> &mut $crate::kind::CoreStatus {
                &mut self.core
            }
        }

        impl $crate::kind::NovaKind for $kind {
            type Status = $status;

            const ID: $crate::kinds::Kind = $crate::kinds::Kind::$kind;
            const KIND: &'static str = stringify!($kind);
            const CONTROLLER: &'static str = $controller;
            const MANAGER: &'static str = concat!("kubenova/", $controller);
            const PLACE: $crate::kind::Place = $crate::kind::Place::$place;

            fn status(&self) -> Option<&Self::Status> {
                self.status.as_ref()
            }

            fn finalizer() -> Option<&'static str> {
                $finalizer
            }
        }
    };
}
pub(crate) use nova_kind;
