//! A folder of a Git repository: not delivered yet. Pure.

use nova_api::v1alpha1::{GitRepo, SourceKind};

use super::{Deliver, Delivery, Target};
use crate::problem::Problem;

impl Deliver for GitRepo {
    fn deliver(&self, to: &Target<'_>) -> Result<Delivery, Problem> {
        Err(to.not_delivered(SourceKind::GitRepo))
    }
}
