//! `NovaApp`: one Vela Application, and whether what it runs is healthy. Pure.

mod bounds;
mod build;
mod manifest;
mod source;
mod status;
mod validate;

pub use build::{Children, Published, application_ref, build};
pub use source::needed_definition;
pub use status::{Leaf, Observed, Watched, delivery_problems, in_turn, worth_another_try};
pub use validate::{References, ValidApp, validate};

use jiff::Timestamp;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{NovaApp, NovaAppStatus};

use crate::kind::Plan;
use crate::verdict::{Outcome, Stages};

impl Plan for NovaApp {
    const STAGES: Stages = &[ConditionType::DependenciesMet, ConditionType::DeliveryReady];

    type Observed = Observed;

    fn compute_status(&self, observed: &Observed, outcome: &Outcome, now: Timestamp) -> NovaAppStatus {
        status::status(self, observed, outcome, now)
    }
}
