//! `NovaSandbox`: a namespace that developers may edit. Pure.

mod build;
mod expiry;
mod status;
mod validate;

pub use build::build;
pub use expiry::{Expiry, Life};
pub use status::Observed;
pub use validate::{References, ValidSandbox, validate};

use jiff::Timestamp;
use nova_api::v1alpha1::{NovaSandbox, NovaSandboxStatus};

use crate::kind::Plan;
use crate::verdict::{Outcome, Stages};

impl Plan for NovaSandbox {
    const STAGES: Stages = <nova_api::v1alpha1::NovaProject as Plan>::STAGES;

    type Observed = Observed;

    fn compute_status(&self, observed: &Observed, outcome: &Outcome, now: Timestamp) -> NovaSandboxStatus {
        status::status(self, observed, outcome, now)
    }
}
