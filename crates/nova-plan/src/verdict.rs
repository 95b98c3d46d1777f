//! From problems to the common part of a status: conditions, blockers, phase, last error. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use nova_api::conditions::{
    BLOCKERS_MAX, Blocker, ConditionType, LastError, MESSAGE_MAX, OBJECT_MAX, Phase, Reason, clip,
};
use nova_api::{CoreStatus, NovaKind, NovaStatus};

use crate::problem::Problem;

/// How a pass over an object ended. Status is computed from it in every case.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Every child was observed to match the rendering of this generation, and is healthy.
    Ready,
    /// Kept from it by these, the leading one first; never empty.
    NotReady(Vec<Problem>),
}

impl Outcome {
    /// True while ordinary work goes on, and nothing else is in the way.
    #[must_use]
    pub fn is_progress(&self) -> bool {
        match self {
            Self::Ready => false,
            Self::NotReady(problems) => problems.iter().all(Problem::is_progress),
        }
    }
}

impl From<Problem> for Outcome {
    fn from(problem: Problem) -> Self {
        Self::NotReady(vec![problem])
    }
}

/// The stages a kind goes through, in order.
pub type Stages = &'static [ConditionType];

/// Computes the common part for `object`, keeping times of what did not change.
#[must_use]
pub fn core<K: NovaKind>(object: &K, stages: Stages, outcome: &Outcome, now: Timestamp) -> CoreStatus {
    let empty = CoreStatus::default();
    let before = object.status().map_or(&empty, NovaStatus::core);
    core_of(K::KIND, object.meta(), before, stages, outcome, now)
}

/// The same for an object of which only the metadata are known.
#[must_use]
pub fn core_of(
    kind: &str,
    meta: &ObjectMeta,
    before: &CoreStatus,
    stages: Stages,
    outcome: &Outcome,
    now: Timestamp,
) -> CoreStatus {
    let generation = meta.generation.unwrap_or(0);
    let problems: &[Problem] = match outcome {
        Outcome::Ready => &[],
        Outcome::NotReady(problems) => problems,
    };
    let what = format!("{kind} {}", meta.name.as_deref().unwrap_or_default());
    let deleting = meta.deletion_timestamp.is_some();
    let phase = phase(problems, deleting);
    let mut writer = Writer { before, generation, now, conditions: Vec::new() };
    writer.ready(&what, phase, problems);
    writer.stages(stages, problems, deleting);
    writer.abnormal(problems);
    let conditions = writer.conditions;
    CoreStatus {
        observed_generation: Some(generation),
        id: meta.uid.clone(),
        phase: Some(phase),
        conditions,
        blockers: blockers(before, problems, now),
        last_error: last_error(before, problems, now),
    }
}

fn phase(problems: &[Problem], deleting: bool) -> Phase {
    match problems.first() {
        _ if deleting => Phase::Deleting,
        None => Phase::Deployed,
        Some(p) if p.is_progress() => Phase::Applying,
        Some(p)
            if !p.is_terminal()
                && matches!(
                    p.reason,
                    Reason::DependencyMissing | Reason::CapabilityMissing | Reason::Suspended
                ) =>
        {
            Phase::Pending
        }
        Some(_) => Phase::Error,
    }
}

/// `<what> is <state> because <leaf>: <its message>. Fix: <fix>`
fn sentence(what: &str, phase: Phase, problem: &Problem) -> String {
    let state = match phase {
        Phase::Deleting => "being deleted, and waits",
        Phase::Applying => "not ready yet",
        Phase::Pending => "waiting",
        _ => "not ready",
    };
    let message = problem.message.trim_end_matches('.');
    let text = format!("{what} is {state} because {}: {message}", problem.object);
    let text = if problem.fix.is_empty() { text } else { format!("{text}. Fix: {}", problem.fix) };
    clip(&text, MESSAGE_MAX)
}

/// Adds a condition that is present only while true and does not concern Ready.
pub fn mark(
    core: &mut CoreStatus,
    before: Option<&CoreStatus>,
    kind: ConditionType,
    reason: Reason,
    message: &str,
    now: Timestamp,
) {
    let empty = CoreStatus::default();
    let generation = core.observed_generation.unwrap_or(0);
    let mut writer = Writer {
        before: before.unwrap_or(&empty),
        generation,
        now,
        conditions: std::mem::take(&mut core.conditions),
    };
    writer.push(kind, "True", reason, message.to_owned());
    core.conditions = writer.conditions;
}

struct Writer<'a> {
    before: &'a CoreStatus,
    generation: i64,
    now: Timestamp,
    conditions: Vec<Condition>,
}

impl Writer<'_> {
    fn push(&mut self, kind: ConditionType, status: &str, reason: Reason, message: String) {
        let since = self
            .before
            .condition(kind)
            .filter(|c| c.status == status)
            .map_or_else(|| Time(self.now), |c| c.last_transition_time.clone());
        self.conditions.push(Condition {
            type_: kind.to_string(),
            status: status.to_owned(),
            observed_generation: Some(self.generation),
            last_transition_time: since,
            reason: reason.to_string(),
            message,
        });
    }

    fn ready(&mut self, what: &str, phase: Phase, problems: &[Problem]) {
        let Some(leading) = problems.first() else {
            self.push(
                ConditionType::Ready,
                "True",
                Reason::Reconciled,
                format!("{what} is as its spec asks"),
            );
            return;
        };
        let text = sentence(what, phase, leading);
        self.push(ConditionType::Ready, "False", leading.reason, text.clone());
        let kstatus = if leading.is_terminal() { ConditionType::Stalled } else { ConditionType::Reconciling };
        self.push(kstatus, "True", leading.reason, text);
    }

    /// Stages before the first problem hold, its own does not, later ones are not known yet. A problem of none of them
    /// says nothing about any.
    fn stages(&mut self, stages: Stages, problems: &[Problem], deleting: bool) {
        if deleting {
            return;
        }
        let first = stages.iter().position(|s| problems.iter().any(|p| p.stage == *s));
        let known = problems.is_empty() || first.is_some();
        for (at, stage) in stages.iter().enumerate() {
            if let Some(problem) = problems.iter().find(|p| p.stage == *stage) {
                let text = clip(&format!("{}: {}", problem.object, problem.message), MESSAGE_MAX);
                self.push(*stage, "False", problem.reason, text);
            } else if !known {
                self.push(*stage, "Unknown", Reason::Progressing, "not looked at in this pass".to_owned());
            } else if first.is_some_and(|first| at > first) {
                let text = format!("waits for {}", stages[first.unwrap_or(0)]);
                self.push(*stage, "Unknown", Reason::Progressing, text);
            } else {
                self.push(*stage, "True", Reason::Reconciled, "as asked".to_owned());
            }
        }
    }

    /// Conditions that are present only while true.
    fn abnormal(&mut self, problems: &[Problem]) {
        for (kind, reason) in [
            (ConditionType::Suspended, Reason::Suspended),
            (ConditionType::DeletionBlocked, Reason::DeletionBlocked),
            (ConditionType::Throttled, Reason::Throttled),
            (ConditionType::QuotaExceeded, Reason::QuotaExceeded),
            (ConditionType::CapabilityMissing, Reason::CapabilityMissing),
        ] {
            if let Some(problem) = problems.iter().find(|p| p.reason == reason) {
                let text = clip(&format!("{}: {}", problem.object, problem.message), MESSAGE_MAX);
                self.push(kind, "True", reason, text);
            }
        }
    }
}

fn blockers(before: &CoreStatus, problems: &[Problem], now: Timestamp) -> Vec<Blocker> {
    problems
        .iter()
        .filter(|p| !matches!(p.reason, Reason::Progressing | Reason::RolloutInProgress))
        .take(BLOCKERS_MAX)
        .map(|p| {
            let mut blocker = Blocker {
                object: clip(&p.object, OBJECT_MAX),
                condition: p.stage.to_string(),
                reason: p.reason.to_string(),
                since: Time(now),
                class: p.class,
                actor: p.actor().to_owned(),
                fix: clip(&p.fix, MESSAGE_MAX),
            };
            let same = |b: &&Blocker| {
                (&b.object, &b.condition, &b.reason) == (&blocker.object, &blocker.condition, &blocker.reason)
            };
            if let Some(earlier) = before.blockers.iter().find(same) {
                blocker.since = earlier.since.clone();
            }
            blocker
        })
        .collect()
}

/// Stays until the object is Ready: while work goes on, nobody knows yet whether the trouble is over.
fn last_error(before: &CoreStatus, problems: &[Problem], now: Timestamp) -> Option<LastError> {
    let problem = problems.first()?;
    let Some(code) = problem.code else { return before.last_error.clone() };
    let code = code.to_string();
    let message = clip(&format!("{}: {}", problem.object, problem.message), MESSAGE_MAX);
    let at = before
        .last_error
        .as_ref()
        .filter(|e| e.code == code && e.message == message)
        .map_or_else(|| Time(now), |e| e.at.clone());
    Some(LastError { code, reason: problem.reason.to_string(), message, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::conditions::Code;
    use nova_api::v1alpha1::{NovaProject, NovaProjectSpec};

    const STAGES: Stages =
        &[ConditionType::DependenciesMet, ConditionType::NamespacesReady, ConditionType::AccessReady];

    fn project() -> NovaProject {
        let mut project = NovaProject::new("shop", NovaProjectSpec::default());
        project.metadata.generation = Some(3);
        project.metadata.uid = Some("u".into());
        project
    }

    fn status_of(core: &CoreStatus, kind: ConditionType) -> Option<&str> {
        core.condition(kind).map(|c| c.status.as_str())
    }

    #[test]
    fn a_problem_splits_the_stages_into_done_failed_and_unknown() {
        let problem = Problem::missing(ConditionType::NamespacesReady, "NovaPlan gold", "it does not exist")
            .fix("kubectl apply a NovaPlan named gold");
        let core = core(&project(), STAGES, &problem.into(), Timestamp::UNIX_EPOCH);
        assert_eq!(status_of(&core, ConditionType::DependenciesMet), Some("True"));
        assert_eq!(status_of(&core, ConditionType::NamespacesReady), Some("False"));
        assert_eq!(status_of(&core, ConditionType::AccessReady), Some("Unknown"));
        assert_eq!(status_of(&core, ConditionType::Ready), Some("False"));
        assert_eq!(status_of(&core, ConditionType::Reconciling), Some("True"));
        assert_eq!(status_of(&core, ConditionType::Stalled), None);
        assert_eq!(core.phase, Some(Phase::Pending));
        assert_eq!(
            core.condition(ConditionType::Ready).unwrap().message,
            "NovaProject shop is waiting because NovaPlan gold: it does not exist. Fix: kubectl apply a NovaPlan named gold"
        );
    }

    #[test]
    fn a_problem_of_no_stage_says_nothing_of_any() {
        let problem = Problem::new(ConditionType::Ready, Reason::InternalError, "x", "y");
        let core = core(&project(), STAGES, &problem.into(), Timestamp::UNIX_EPOCH);
        assert!(STAGES.iter().all(|stage| status_of(&core, *stage) == Some("Unknown")));
        assert_eq!(status_of(&core, ConditionType::Ready), Some("False"));
    }

    #[test]
    fn the_same_outcome_later_gives_the_same_status() {
        let problem = Problem::invalid(ConditionType::DependenciesMet, "x", "y").code(Code::Kn422);
        let outcome = Outcome::from(problem);
        let mut project = project();
        let first = core(&project, STAGES, &outcome, Timestamp::UNIX_EPOCH);
        project.status =
            Some(nova_api::v1alpha1::NovaProjectStatus { core: first.clone(), ..Default::default() });
        assert_eq!(core(&project, STAGES, &outcome, Timestamp::from_second(99).unwrap()), first);
        assert_eq!(status_of(&first, ConditionType::Stalled), Some("True"));
        let working = Problem::progress(ConditionType::DependenciesMet, "x", "y").into();
        assert_eq!(core(&project, STAGES, &working, Timestamp::UNIX_EPOCH).last_error, first.last_error);
        let ready = core(&project, STAGES, &Outcome::Ready, Timestamp::from_second(99).unwrap());
        assert!(ready.last_error.is_none() && ready.blockers.is_empty());
        assert_eq!(status_of(&ready, ConditionType::Stalled), None);
    }
}
