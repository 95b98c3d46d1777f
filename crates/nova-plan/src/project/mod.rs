//! `NovaProject`: a namespace for apps. Pure.

mod build;
mod status;
mod validate;

pub use build::build;
pub use status::Observed;
pub(crate) use validate::too_many;
pub use validate::{References, ValidProject, validate};

use jiff::Timestamp;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{NovaProject, NovaProjectStatus};

use crate::kind::Plan;
use crate::verdict::{Outcome, Stages};

impl Plan for NovaProject {
    const STAGES: Stages = &[
        ConditionType::DependenciesMet,
        ConditionType::NamespacesReady,
        ConditionType::AccessReady,
        ConditionType::TenantSynced,
    ];

    type Observed = Observed;

    fn compute_status(&self, observed: &Observed, outcome: &Outcome, now: Timestamp) -> NovaProjectStatus {
        status::status(self, observed, outcome, now)
    }
}
