//! `NovaTenant`: a Capsule tenant, a home namespace, and the plan divided over its namespaces. Pure.

mod build;
mod status;
mod validate;

pub use build::{Children, build, capsule, capsule_ref};
pub use status::{Seen, status};
pub use validate::{References, ValidTenant, plan_in_force, validate};
pub(crate) use validate::{check_subject, refused};

use nova_api::conditions::ConditionType;

/// What a tenant goes through.
pub const STAGES: crate::verdict::Stages = &[
    ConditionType::DependenciesMet,
    ConditionType::TenantSynced,
    ConditionType::NamespacesReady,
    ConditionType::AccessReady,
];
