//! `NovaApp`: one Vela Application, and whether what it runs is healthy. Pure.

mod build;
mod manifest;
mod status;
mod validate;

pub use build::{Children, Published, build};
pub use status::{Leaf, Seen, Watched, judge, status, worth_another_try};
pub use validate::{References, ValidApp, validate};

use nova_api::conditions::ConditionType;

/// What an app goes through.
pub const STAGES: crate::verdict::Stages = &[ConditionType::DependenciesMet, ConditionType::DeliveryReady];
