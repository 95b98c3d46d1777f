//! A chart from a Helm repository: not delivered yet. Pure.

use nova_api::v1alpha1::{HelmHttp, SourceKind};

use super::{Deliver, Delivery, Target};
use crate::problem::Problem;

impl Deliver for HelmHttp {
    fn deliver(&self, to: &Target<'_>) -> Result<Delivery, Problem> {
        Err(to.not_delivered(SourceKind::HelmHttp))
    }
}
