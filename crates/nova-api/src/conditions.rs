//! The words of a status: condition types, reasons, error codes, phases and blockers. No I/O.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Longest message of a condition, a blocker's fix or a last error, in characters. What is longer is cut by [`clip`].
pub const MESSAGE_MAX: usize = 1024;

/// Longest name of an object in a blocker, in characters: kind, namespace and name with their separators.
pub const OBJECT_MAX: usize = 512;

/// Most blockers that a status lists.
pub const BLOCKERS_MAX: usize = 20;

/// Cuts `text` to at most `max` characters, ending in `…` when something was cut.
///
/// A status that the API server refuses for its length is worse than a message without its end.
#[must_use]
pub fn clip(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word as it stands in a status.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// Type of a condition. The abnormal ones, from `Drifted` on, and `Reconciling` and `Stalled` are present only while true.
    ConditionType {
        /// The object is observed to be as its spec asks.
        Ready => "Ready",
        /// Work is under way (kstatus).
        Reconciling => "Reconciling",
        /// Retrying cannot help; somebody has to act (kstatus).
        Stalled => "Stalled",
        /// Everything that the object refers to is there.
        DependenciesMet => "DependenciesMet",
        /// Capsule has taken the tenant and its namespaces in.
        TenantSynced => "TenantSynced",
        /// The namespaces with their quota, limits and network policies are as asked.
        NamespacesReady => "NamespacesReady",
        /// The role bindings are as asked.
        AccessReady => "AccessReady",
        /// The delivery engine reports the app as rolled out and healthy.
        DeliveryReady => "DeliveryReady",
        /// A child was changed by somebody else.
        Drifted => "Drifted",
        /// The object is suspended by its spec.
        Suspended => "Suspended",
        /// A deletion waits for something.
        DeletionBlocked => "DeletionBlocked",
        /// The backend slows the operator down.
        Throttled => "Throttled",
        /// A quota does not leave room for what is asked.
        QuotaExceeded => "QuotaExceeded",
        /// A backend that the kind needs is not installed.
        CapabilityMissing => "CapabilityMissing",
    }
}

words! {
    /// Why a condition has its status. A closed list: nothing else is ever written.
    Reason {
        /// Observed to match the spec.
        Reconciled => "Reconciled",
        /// On its way.
        Progressing => "Progressing",
        /// Something that the spec names does not exist yet.
        DependencyMissing => "DependencyMissing",
        /// A Secret that the spec names, or its key, does not exist.
        SecretMissing => "SecretMissing",
        /// The backend that the kind needs is not installed.
        CapabilityMissing => "CapabilityMissing",
        /// An admission policy of the chart is missing or was changed.
        AdmissionMissing => "AdmissionMissing",
        /// The backend is installed but does not answer.
        BackendUnavailable => "BackendUnavailable",
        /// A namespace of the needed name exists and is not ours.
        NamespaceConflict => "NamespaceConflict",
        /// An object of the needed name exists and is not ours.
        Conflict => "Conflict",
        /// Another live object of the kind has the same id.
        IdConflict => "IdConflict",
        /// The spec cannot be fulfilled as it stands.
        Invalid => "Invalid",
        /// The API server or a backend refuses the write.
        Forbidden => "Forbidden",
        /// A quota does not leave room.
        QuotaExceeded => "QuotaExceeded",
        /// The app's source cannot be read.
        SourceUnavailable => "SourceUnavailable",
        /// The new version is being rolled out.
        RolloutInProgress => "RolloutInProgress",
        /// The roll-out failed.
        RolloutFailed => "RolloutFailed",
        /// Rolled out, but a workload is not healthy.
        Unhealthy => "Unhealthy",
        /// Waits for somebody to approve.
        AwaitingApproval => "AwaitingApproval",
        /// Suspended by its spec.
        Suspended => "Suspended",
        /// The backend slows the operator down.
        Throttled => "Throttled",
        /// Being deleted.
        Deleting => "Deleting",
        /// The deletion waits for something.
        DeletionBlocked => "DeletionBlocked",
        /// Its time is over.
        Expired => "Expired",
        /// Revoked by its spec.
        Revoked => "Revoked",
        /// A defect of KubeNova itself.
        InternalError => "InternalError",
    }
}

words! {
    /// Error code: the same in a status, in the API and in denial messages. The number follows the HTTP status of that meaning.
    Code {
        /// Malformed.
        Kn400 => "KN-400",
        /// Not authenticated.
        Kn401 => "KN-401",
        /// Not allowed.
        Kn403 => "KN-403",
        /// Something that was named does not exist.
        Kn404 => "KN-404",
        /// Not possible for this kind.
        Kn405 => "KN-405",
        /// Something that is not ours, or not empty, is in the way.
        Kn409 => "KN-409",
        /// Understood, but cannot be fulfilled here.
        Kn422 => "KN-422",
        /// Too much at once, or a quota is used up.
        Kn429 => "KN-429",
        /// A defect of KubeNova itself.
        Kn500 => "KN-500",
        /// A backend does not answer.
        Kn503 => "KN-503",
    }
}

/// A word for people about where the object stands. Programs read the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Waits for something.
    Pending,
    /// Being applied.
    Applying,
    /// As asked.
    Deployed,
    /// A child was changed by somebody else.
    Drifted,
    /// Somebody has to act.
    Error,
    /// Being deleted.
    Deleting,
}

impl Phase {
    /// The word as it stands in a status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Applying => "Applying",
            Self::Deployed => "Deployed",
            Self::Drifted => "Drifted",
            Self::Error => "Error",
            Self::Deleting => "Deleting",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who has to do something about a blocker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BlockerClass {
    /// The one who wrote the object.
    User,
    /// The platform team.
    Platform,
    /// Nobody: it is expected to pass.
    Transient,
    /// A defect of KubeNova: report it.
    Bug,
}

/// The leaf object that keeps this one from being Ready, and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Blocker {
    /// The object that blocks, as `Kind namespace/name` or `Kind name`.
    #[schemars(length(max = 512))]
    pub object: String,
    /// The condition, or the state, of that object that blocks.
    #[schemars(length(max = 316))]
    pub condition: String,
    /// Why it blocks, a word of the reasons in the documentation.
    #[schemars(length(max = 128))]
    pub reason: String,
    /// Since when it blocks.
    #[schemars(schema_with = "time_schema")]
    pub since: Time,
    /// Who has to act: user, platform, transient (nobody, it passes) or bug.
    pub class: BlockerClass,
    /// Who can solve it, in words.
    #[schemars(length(max = 256))]
    pub actor: String,
    /// What to do: a command, or whom to ask.
    #[schemars(length(max = 1024))]
    pub fix: String,
}

/// The last error that the operator met with this object. Gone once the object is Ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastError {
    /// Error code, such as KN-404.
    #[schemars(length(max = 16))]
    pub code: String,
    /// Reason, a word of the reasons in the documentation.
    #[schemars(length(max = 128))]
    pub reason: String,
    /// What happened and how to fix it.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When it happened first in this form.
    #[schemars(schema_with = "time_schema")]
    pub at: Time,
}

/// Schema of a point in time. Its description is that of the field.
pub(crate) fn time_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time" })
}

/// Schema of metav1 conditions as a map by type, bounded as the Kubernetes API conventions ask.
pub(crate) fn conditions_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "description": "One aspect of the object's state.",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {
                    "type": "string", "maxLength": 316, "minLength": 1,
                    "description": "Name of the aspect, such as Ready."
                },
                "status": {
                    "type": "string", "enum": ["True", "False", "Unknown"],
                    "description": "True, False or Unknown."
                },
                "observedGeneration": {
                    "type": "integer", "format": "int64", "minimum": 0,
                    "description": "The metadata.generation that this was found for."
                },
                "lastTransitionTime": {
                    "type": "string", "format": "date-time",
                    "description": "When the status last changed."
                },
                "reason": {
                    "type": "string", "maxLength": 128, "minLength": 1,
                    "description": "Why, in one word of the reasons in the documentation."
                },
                "message": {
                    "type": "string", "maxLength": MESSAGE_MAX,
                    "description": "Why, in a sentence, with what to do about it."
                }
            }
        }
    })
}
