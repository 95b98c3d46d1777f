//! What projects and sandboxes have in common: the share of the plan and Capsule's word on their namespace. Pure.

use jiff::Timestamp;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{Limits, NamespaceQuota, Quotas};

use crate::adapters::capsule::{self, Answer};
use crate::child::{ChildRef, Live};
use crate::names::QUOTA;
use crate::namespace::{ContainerLimits, InvalidAmount, amounts_at, hard, hard_or_none, shown};
use crate::problem::Problem;
use crate::quantity::Amount;
use crate::tenant::ValidTenant;

/// What every container needs: a namespace with none of it runs nothing.
const NEEDED: [&str; 3] = ["pods", "requests.cpu", "requests.memory"];

/// Limits of a container in a workspace with limits of its own, which may not go beyond its tenant's.
pub(crate) fn limits(
    me: &str,
    tenant: &ValidTenant,
    own: Option<&Limits>,
    quotas: Option<&Quotas>,
) -> Result<ContainerLimits, Problem> {
    let stage = ConditionType::DependenciesMet;
    let invalid = |why: InvalidAmount| invalid_amount(stage, me, &why);
    hard(quotas).map_err(invalid)?;
    let limits = tenant.container_limits(own).map_err(invalid)?;
    let outer = tenant.container_limits(None).map_err(invalid)?;
    match limits.beyond(&outer).or_else(|| limits.contradiction()) {
        Some(contradiction) => {
            Err(Problem::invalid(stage, me, contradiction).fix(format!("change spec.limits of {me}")))
        }
        None => Ok(limits),
    }
}

/// An amount that does not parse, as a problem of its object.
pub(crate) fn invalid_amount(stage: ConditionType, object: &str, why: &InvalidAmount) -> Problem {
    Problem::invalid(stage, object, format!("spec.{why}"))
        .fix(format!("correct spec.{} of {object}", why.field))
}

/// The quota of a namespace as the cluster enforces it; none where nothing is limited.
#[must_use]
pub fn enforced_quota(quota: &Live) -> Option<NamespaceQuota> {
    let quota = NamespaceQuota {
        hard: shown(&amounts_at(&quota.body, "/status/hard")),
        used: shown(&amounts_at(&quota.body, "/status/used")),
    };
    (quota != NamespaceQuota::default()).then_some(quota)
}

/// A share that is smaller than the workspace's own `quotas`, or nothing at all. While `lasting` is false, shares may
/// still be moving.
#[must_use]
pub fn share_problem(namespace: &str, quota: &Live, own: Option<&Quotas>, lasting: bool) -> Option<Problem> {
    let message = lack(quota, own)?;
    let object = format!("ResourceQuota {namespace}/{QUOTA}");
    let stage = ConditionType::NamespacesReady;
    if !lasting {
        return Some(Problem::progress(stage, object, message));
    }
    let fix = "lower spec.quotas of this or of another project or sandbox of the tenant, or move the tenant to a \
               larger plan";
    Some(
        Problem::new(stage, Reason::QuotaExceeded, object, message)
            .code(Code::Kn429)
            .class(BlockerClass::User)
            .fix(fix),
    )
}

/// What a namespace's quota lacks, in words.
#[must_use]
pub fn lack(quota: &Live, own: Option<&Quotas>) -> Option<String> {
    let asked = amounts_at(&quota.body, "/spec/hard");
    let own = hard_or_none(own);
    if let Some((key, _)) = own.iter().find(|(key, wanted)| asked.get(*key).is_some_and(|got| got < *wanted))
    {
        return Some(format!(
            "it has {} of {key}, not the {} that spec.quotas asks for",
            asked[key], own[key]
        ));
    }
    let none =
        NEEDED.iter().find(|key| !own.contains_key(**key) && asked.get(**key) == Some(&Amount::ZERO))?;
    Some(format!("nothing of {none} is left for it of the tenant's plan"))
}

/// What Capsule says of a namespace. While it is away its last word counts: what was made stays as it was asked for.
#[must_use]
pub fn capsule_problem(
    tenant: &str,
    capsule: &capsule::Tenant,
    namespace: &str,
    uid: &str,
    created: Option<Timestamp>,
) -> Option<Problem> {
    let at = capsule::tenant_ref(tenant);
    match capsule.namespace(namespace, uid, created) {
        Answer::Ready => None,
        Answer::Pending => Some(Problem::progress(
            ConditionType::TenantSynced,
            &at,
            format!("Capsule has not taken {namespace} in yet"),
        )),
        Answer::Failed(words) | Answer::Unreadable(words) => {
            Some(capsule_says(&at, &format!("of {namespace}: {words}")))
        }
    }
}

/// A problem in Capsule's own words.
pub(crate) fn capsule_says(at: &ChildRef, words: &str) -> Problem {
    Problem::new(ConditionType::TenantSynced, Reason::BackendUnavailable, at, words)
        .code(Code::Kn503)
        .fix(format!("see what Capsule says: kubectl describe tenants.capsule.clastix.io {}", at.name))
}
