//! How a sandbox stands. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
    /// When its time to live is over.
    pub expires: Option<Timestamp>,
    /// That is soon.
    pub expires_soon: bool,
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
        expires_at: observed.expires.map(Time),
        expires_soon: observed.expires_soon,
        quota: observed.quota.clone(),
    }
}
