//! How a sandbox stands. Pure.

use jiff::Timestamp;
use nova_api::v1alpha1::{NamespaceQuota, NovaSandbox, NovaSandboxStatus};

use super::STAGES;
use crate::verdict::{Outcome, core};

/// What was seen around a sandbox, whatever came of the pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its quota, as enforced.
    pub quota: Option<NamespaceQuota>,
}

/// The whole status.
#[must_use]
pub fn status(sandbox: &NovaSandbox, seen: &Seen, outcome: &Outcome, now: Timestamp) -> NovaSandboxStatus {
    NovaSandboxStatus {
        core: core(sandbox, STAGES, outcome, now),
        namespace: seen.namespace.clone(),
        quota: seen.quota.clone(),
    }
}
