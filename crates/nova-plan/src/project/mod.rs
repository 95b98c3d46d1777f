//! `NovaProject`: a namespace for apps. Pure.

mod build;
mod status;
mod validate;

pub use build::build;
pub use status::{Seen, status};
pub(crate) use validate::too_many;
pub use validate::{References, ValidProject, validate};

use nova_api::conditions::ConditionType;

/// What a project goes through.
pub const STAGES: crate::verdict::Stages = &[
    ConditionType::DependenciesMet,
    ConditionType::NamespacesReady,
    ConditionType::AccessReady,
    ConditionType::TenantSynced,
];
