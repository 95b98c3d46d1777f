//! How a tenant stands. Pure.

use jiff::Timestamp;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason, clip};
use nova_api::v1alpha1::{NovaTenant, NovaTenantStatus, Subject, TenantQuota};

use super::ValidTenant;
use crate::adapters::capsule::{self, Answer};
use crate::division::{Division, Hard, Member, Shortfall, sum};
use crate::kind::Plan as _;
use crate::names::TenantName;
use crate::namespace::shown;
use crate::problem::Problem;
use crate::tenancy::suspended;
use crate::verdict::Outcome;
use crate::workspace::capsule_says;

/// What was seen around a tenant, whatever came of the pass.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Name of the plan in force.
    pub plan: Option<String>,
    /// Number of projects.
    pub projects: usize,
    /// Number of sandboxes.
    pub sandboxes: usize,
    /// Number of apps.
    pub apps: usize,
    /// The tenant's whole quota.
    pub total: Hard,
    /// `spec.hard` of its namespaces.
    pub allocated: Vec<Hard>,
    /// `status.used` of its namespaces.
    pub used: Vec<Hard>,
}

/// The whole status.
pub(super) fn status(
    tenant: &NovaTenant,
    observed: &Observed,
    outcome: &Outcome,
    now: Timestamp,
) -> NovaTenantStatus {
    let count = |n: usize| Some(i64::try_from(n).unwrap_or(i64::MAX));
    let name = tenant.metadata.name.as_deref().unwrap_or_default();
    NovaTenantStatus {
        core: suspended(tenant, tenant.core(outcome, now), tenant.spec.suspended, now),
        plan: observed.plan.clone(),
        owners: owners(&tenant.spec.owners),
        projects: count(observed.projects),
        sandboxes: count(observed.sandboxes),
        apps: count(observed.apps),
        quota: quota(observed),
        home_namespace: TenantName::parse(name).ok().map(|n| n.home()),
    }
}

/// What Capsule says of a tenant and of its home namespace, given by UID and time of creation. `outage` says why it
/// does not answer to what this tenant needs.
#[must_use]
pub fn capsule_problem(
    tenant: &ValidTenant,
    capsule: Result<&capsule::Tenant, &str>,
    (home_uid, home_created): (&str, Option<Timestamp>),
    outage: Option<&str>,
) -> Option<Problem> {
    let at = capsule::tenant_ref(tenant.name.as_str());
    if let Some(words) = outage {
        return Some(
            capsule_says(&at, &format!("Capsule does not answer: {words}")).fix(capsule::BACKEND.start),
        );
    }
    let capsule = match capsule {
        Ok(capsule) => capsule,
        Err(why) => {
            return Some(capsule_says(
                &at,
                &format!("its status is not what KubeNova knows of Capsule: {why}"),
            ));
        }
    };
    match (capsule.answer(), capsule.namespace(&tenant.name.home(), home_uid, home_created)) {
        (Answer::Ready, Answer::Ready) => None,
        (Answer::Failed(words) | Answer::Unreadable(words), _)
        | (_, Answer::Failed(words) | Answer::Unreadable(words)) => Some(capsule_says(&at, &words)),
        _ => Some(Problem::progress(ConditionType::TenantSynced, &at, "Capsule has not taken it in yet")),
    }
}

/// Longest list of owners that a column shows.
const OWNERS: usize = 256;

/// Names of the owners, for a column: it can show no list.
fn owners(owners: &[Subject]) -> Option<String> {
    let names: Vec<&str> = owners.iter().map(|owner| owner.name.as_str()).collect();
    (!names.is_empty()).then(|| clip(&names.join(", "), OWNERS))
}

fn quota(observed: &Observed) -> Option<TenantQuota> {
    if observed.total.is_empty() {
        return None;
    }
    let within = |hard: Hard| -> Hard {
        observed.total.keys().map(|k| (k.clone(), hard.get(k).copied().unwrap_or_default())).collect()
    };
    let allocated = within(sum(&observed.allocated));
    let free: Hard =
        observed.total.iter().map(|(k, total)| (k.clone(), total.saturating_sub(allocated[k]))).collect();
    Some(TenantQuota {
        used: shown(&within(sum(&observed.used))),
        allocated: shown(&allocated),
        free: shown(&free),
    })
}

impl Division {
    /// Shares that do not fit, as problems of the tenant.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.shortfalls.iter().map(Shortfall::problem).collect()
    }
}

impl Division {
    /// Shares that are smaller than they should be, because others still hold the rest.
    #[must_use]
    pub fn unsettled(&self, members: &[Member]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for member in members.iter().filter(|m| m.writable) {
            let (next, target) = (&self.next[&member.namespace], &self.target[&member.namespace]);
            let Some((key, wanted)) = target.iter().find(|(key, wanted)| next[*key] < **wanted) else {
                continue;
            };
            let object = format!("ResourceQuota {}/{}", member.namespace, crate::names::QUOTA);
            let message = format!("{} of its {wanted} of {key}; other namespaces hold the rest", next[key]);
            problems.push(if self.moving(members, key) {
                Problem::progress(ConditionType::NamespacesReady, object, message)
            } else {
                Problem::new(ConditionType::NamespacesReady, Reason::QuotaExceeded, object, message)
                    .code(Code::Kn429)
                    .class(BlockerClass::User)
                    .fix("it grows when other namespaces of the tenant use less; or move the tenant to a larger plan")
            });
        }
        problems
    }

    /// A namespace that is to shrink has not been seen to have shrunk yet.
    fn moving(&self, members: &[Member], key: &str) -> bool {
        members.iter().any(|m| self.next[&m.namespace].get(key).is_some_and(|next| *next < m.held(key)))
    }
}

impl Shortfall {
    /// The share as a problem, with its numbers.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let Self { namespace, resource, wanted, got, total } = self;
        let message = if *wanted > *got {
            format!("its own quota asks for {wanted} of {resource}, but {got} is left of the plan's {total}")
        } else {
            format!("nothing is left for it of the plan's {total} of {resource}")
        };
        Problem::new(
            ConditionType::NamespacesReady,
            Reason::QuotaExceeded,
            format!("ResourceQuota {namespace}/{}", crate::names::QUOTA),
            message,
        )
        .code(Code::Kn429)
        .class(BlockerClass::User)
        .fix("lower spec.quotas of a project or sandbox of the tenant, or move the tenant to a larger plan")
    }
}
