//! `NovaPlan`: who uses it. Pure.

use jiff::Timestamp;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{NovaPlan, NovaPlanStatus};

use crate::kind::Plan;
use crate::problem::Problem;
use crate::verdict::{Outcome, Stages};

/// Most tenants that a status names.
const NAMED: usize = 20;

/// A deletion waits until no tenant uses the plan.
#[must_use]
pub fn deletion(used_by: &[String]) -> Option<Problem> {
    let first = used_by.first()?;
    let others = if used_by.len() > 1 { format!(" and {} more", used_by.len() - 1) } else { String::new() };
    Some(
        Problem::new(
            ConditionType::DeletionBlocked,
            Reason::DeletionBlocked,
            format!("NovaTenant {first}"),
            format!("it uses the plan{others}"),
        )
        .code(Code::Kn409)
        .class(BlockerClass::Platform)
        .fix("move these tenants to another plan first: kubectl get novatenants"),
    )
}

impl Plan for NovaPlan {
    const STAGES: Stages = &[];

    /// Tenants that use it, in the order of names.
    type Observed = Vec<String>;

    fn compute_status(&self, used_by: &Vec<String>, outcome: &Outcome, now: Timestamp) -> NovaPlanStatus {
        NovaPlanStatus {
            core: self.core(outcome, now),
            tenants: i64::try_from(used_by.len()).ok(),
            used_by: used_by.iter().take(NAMED).cloned().collect(),
        }
    }
}
