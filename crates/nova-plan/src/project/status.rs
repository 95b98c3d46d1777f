//! How a project stands. Pure.

use jiff::Timestamp;
use nova_api::v1alpha1::{NamespaceQuota, NovaProject, NovaProjectStatus};

use crate::kind::Plan as _;
use crate::tenancy::suspended;
use crate::verdict::Outcome;

/// What was seen around a project, whatever came of the pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Number of apps.
    pub apps: usize,
    /// Its quota, as enforced.
    pub quota: Option<NamespaceQuota>,
    /// Its tenant is suspended.
    pub suspended: bool,
}

/// The whole status.
pub(super) fn status(
    project: &NovaProject,
    observed: &Observed,
    outcome: &Outcome,
    now: Timestamp,
) -> NovaProjectStatus {
    NovaProjectStatus {
        core: suspended(project, project.core(outcome, now), observed.suspended, now),
        namespace: observed.namespace.clone(),
        apps: Some(i64::try_from(observed.apps).unwrap_or(i64::MAX)),
        quota: observed.quota.clone(),
    }
}
