//! The end of a sandbox's time to live. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::NovaSandbox;

use crate::problem::Problem;
use crate::tenancy::title;

/// It is told at the latest so long before.
const WARNED: SignedDuration = SignedDuration::from_mins(30);

/// When a sandbox ends, and how long before that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// When its time to live is over.
    pub at: Timestamp,
    /// How long before it is told: a tenth of its time to live, at most half an hour.
    pub warning: SignedDuration,
}

/// Where a sandbox is in its time to live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Nothing is to be told for so long.
    Long(Duration),
    /// Its end is soon, after so long.
    Short(Duration),
    /// It is over.
    Over,
}

impl Expiry {
    /// Of a sandbox with a time to live; none of one without.
    pub fn of(sandbox: &NovaSandbox) -> Result<Option<Self>, Problem> {
        let (Some(ttl), Some(created)) = (&sandbox.spec.ttl, &sandbox.metadata.creation_timestamp) else {
            return Ok(None);
        };
        let me = title(sandbox);
        let invalid = || {
            Problem::invalid(
                ConditionType::DependenciesMet,
                &me,
                format!("spec.ttl {ttl:?} is no time such as 8h"),
            )
            .fix(format!("correct spec.ttl of {me}"))
        };
        let ttl: SignedDuration = ttl.parse().map_err(|_| invalid())?;
        let at = created.0.checked_add(ttl).map_err(|_| invalid())?;
        Ok(Some(Self { at, warning: (ttl / 10).min(WARNED) }))
    }

    /// Where that is now.
    #[must_use]
    pub fn life(&self, now: Timestamp) -> Life {
        let left = self.at.duration_since(now);
        let wait = |time: SignedDuration| Duration::try_from(time).unwrap_or_default();
        if left <= SignedDuration::ZERO {
            Life::Over
        } else if left <= self.warning {
            Life::Short(wait(left))
        } else {
            Life::Long(wait(left - self.warning))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn sandbox(ttl: &str) -> NovaSandbox {
        let mut sandbox = NovaSandbox::default();
        sandbox.spec.ttl = Some(ttl.to_owned());
        sandbox.metadata.creation_timestamp = Some(Time(at("08:00:00")));
        sandbox
    }

    fn at(time: &str) -> Timestamp {
        format!("2026-01-02T{time}Z").parse().unwrap()
    }

    #[test]
    fn a_sandbox_ends_when_its_time_is_over_and_that_is_told_before() {
        let expiry = Expiry::of(&sandbox("1h30m")).unwrap().unwrap();
        assert_eq!(expiry.at, at("09:30:00"));
        let minutes = |n: u64| Duration::from_mins(n);
        assert_eq!(expiry.life(at("09:00:00")), Life::Long(minutes(21)));
        assert_eq!(expiry.life(at("09:21:00")), Life::Short(minutes(9)));
        assert_eq!(expiry.life(at("09:30:00")), Life::Over);
        let long = Expiry::of(&sandbox("12h")).unwrap().unwrap();
        assert_eq!(long.life(at("19:29:00")), Life::Long(minutes(1)), "half an hour before at the most");
    }

    #[test]
    fn without_a_time_it_stays_and_what_is_no_time_is_told() {
        assert_eq!(Expiry::of(&NovaSandbox::default()).unwrap(), None);
        for bad in ["", "soon", "8", "99999999999999h"] {
            let problem = Expiry::of(&sandbox(bad)).unwrap_err();
            assert!(problem.is_terminal() && problem.fix.contains("spec.ttl"), "{bad}: {problem:?}");
        }
    }
}
