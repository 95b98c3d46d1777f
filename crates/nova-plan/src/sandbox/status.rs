//! How a sandbox stands. Pure.

use jiff::Timestamp;
use nova_api::v1alpha1::{NamespaceQuota, NovaSandbox, NovaSandboxStatus};

use crate::kind::Plan as _;
use crate::tenancy::suspended;
use crate::verdict::Outcome;

/// What was seen around a sandbox, whatever came of the pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its quota, as enforced.
    pub quota: Option<NamespaceQuota>,
    /// Its tenant is suspended.
    pub suspended: bool,
}

/// The whole status.
pub(super) fn status(
    sandbox: &NovaSandbox,
    observed: &Observed,
    outcome: &Outcome,
    now: Timestamp,
) -> NovaSandboxStatus {
    NovaSandboxStatus {
        core: suspended(sandbox, sandbox.core(outcome, now), observed.suspended, now),
        namespace: observed.namespace.clone(),
        quota: observed.quota.clone(),
    }
}
