//! How a project stands. Pure.

use jiff::Timestamp;
use nova_api::v1alpha1::{NamespaceQuota, NovaProject, NovaProjectStatus};

use super::STAGES;
use crate::verdict::{Outcome, core};

/// What was seen around a project, whatever came of the pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Number of apps.
    pub apps: usize,
    /// Its quota, as enforced.
    pub quota: Option<NamespaceQuota>,
}

/// The whole status.
#[must_use]
pub fn status(project: &NovaProject, seen: &Seen, outcome: &Outcome, now: Timestamp) -> NovaProjectStatus {
    NovaProjectStatus {
        core: core(project, STAGES, outcome, now),
        namespace: seen.namespace.clone(),
        apps: Some(i64::try_from(seen.apps).unwrap_or(i64::MAX)),
        quota: seen.quota.clone(),
    }
}
