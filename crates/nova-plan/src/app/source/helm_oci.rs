//! A chart from an OCI registry: not delivered yet. Pure.

use nova_api::v1alpha1::{HelmOci, SourceKind};

use super::{Deliver, Delivery, Target};
use crate::problem::Problem;

impl Deliver for HelmOci {
    fn deliver(&self, to: &Target<'_>) -> Result<Delivery, Problem> {
        Err(to.not_delivered(SourceKind::HelmOci))
    }
}
