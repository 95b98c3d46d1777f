//! `NovaTenant`: a Capsule tenant, a home namespace, and the plan divided over its namespaces. Pure.

mod build;
mod status;
mod validate;

pub use build::{Children, build, capsule_ref};
pub use status::{Observed, capsule_problem};
pub use validate::{References, ValidTenant, dev_group_of, plan_in_force, validate};
pub(crate) use validate::{check_subject, refused};

use jiff::Timestamp;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{NovaTenant, NovaTenantStatus};

use crate::kind::Plan;
use crate::verdict::{Outcome, Stages};

impl Plan for NovaTenant {
    const STAGES: Stages = &[
        ConditionType::DependenciesMet,
        ConditionType::TenantSynced,
        ConditionType::NamespacesReady,
        ConditionType::AccessReady,
    ];

    type Observed = Observed;

    fn compute_status(&self, observed: &Observed, outcome: &Outcome, now: Timestamp) -> NovaTenantStatus {
        status::status(self, observed, outcome, now)
    }
}
