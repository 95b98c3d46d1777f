//! `NovaCluster`: which backends are there, how they are, and what the operator cannot see. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use nova_api::conditions::{Code, ConditionType, MESSAGE_MAX, Reason, clip};
use nova_api::v1alpha1::{Bootstrap, Component, NovaCluster, NovaClusterStatus};

use crate::adapters::Backend;
use crate::kind::Plan;
use crate::problem::Problem;
use crate::verdict::{Outcome, Stages};

/// What was observed of one backend.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendState {
    /// The backend.
    pub backend: &'static Backend,
    /// The first of its definitions that is not there.
    pub missing: Option<&'static str>,
    /// Why it does not answer, in its own or the API server's words.
    pub outage: Option<String>,
    /// What should be set otherwise.
    pub advice: Option<String>,
}

/// A kind of object that the operator cannot list or watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlindSpot {
    /// Name of its resource, such as `jobs.batch`.
    pub resource: String,
    /// Its definition is not there.
    pub undefined: bool,
    /// Why it cannot be listed.
    pub message: String,
}

/// What was observed of the cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Every backend.
    pub backends: Vec<BackendState>,
    /// What the operator cannot see, though it should.
    pub blind_spots: Vec<BlindSpot>,
}

impl Observed {
    /// What keeps the cluster from being Ready.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let backends = self.backends.iter().filter_map(BackendState::problem);
        backends.chain(self.blind_spots.iter().map(BlindSpot::problem)).collect()
    }
}

/// The problem of an object about which nothing true can be said while a kind cannot be listed.
#[must_use]
pub fn cannot_list(resource: &str, why: &str) -> Problem {
    let message = format!("the operator cannot list it, so nothing can be said for sure: {why}");
    Problem::new(ConditionType::Ready, Reason::BackendUnavailable, format!("APIResource {resource}"), message)
        .code(Code::Kn503)
        .fix("see the operator's roles (charts/kubenova) and NovaCluster local; this goes on by itself then")
}

/// The same while the first list of the kind is under way.
#[must_use]
pub fn being_listed(resource: &str) -> Problem {
    Problem::progress(ConditionType::Ready, format!("APIResource {resource}"), "the operator is listing it")
}

impl BlindSpot {
    fn problem(&self) -> Problem {
        let Self { resource, undefined, message } = self;
        let stage = ConditionType::DependenciesMet;
        if *undefined {
            let message = "it does not exist; objects of the kind are not looked after, all others are";
            return Problem::new(
                stage,
                Reason::CapabilityMissing,
                format!("CustomResourceDefinition {resource}"),
                message,
            )
            .code(Code::Kn422)
            .fix("install the definitions of charts/kubenova; this goes on by itself then");
        }
        Problem::new(
            stage,
            Reason::BackendUnavailable,
            format!("APIResource {resource}"),
            format!("it cannot be listed, and what needs it waits: {message}"),
        )
        .code(Code::Kn503)
        .fix(format!("see that the operator may list and watch {resource} (roles of charts/kubenova), and that the API server answers"))
    }
}

impl BackendState {
    fn problem(&self) -> Option<Problem> {
        if let Some(crd) = self.missing {
            return Some(self.backend.missing(crd));
        }
        let words = self.outage.as_ref()?;
        let message = format!("it does not answer: {words}");
        let stage = ConditionType::DependenciesMet;
        Some(
            Problem::new(stage, Reason::BackendUnavailable, self.backend.id, message)
                .code(Code::Kn503)
                .fix(self.backend.start),
        )
    }

    fn component(&self) -> Component {
        let message = match (&self.outage, &self.advice) {
            (Some(words), _) => Some(words.clone()),
            (None, Some(advice)) => Some(advice.clone()),
            (None, None) => self.missing.map(|_| "not installed".to_owned()),
        };
        Component {
            name: self.backend.id.to_owned(),
            version: None,
            ready: self.missing.is_none() && self.outage.is_none(),
            message: message.map(|m| clip(&m, MESSAGE_MAX)),
        }
    }
}

impl Plan for NovaCluster {
    const STAGES: Stages = &[ConditionType::DependenciesMet];

    type Observed = Observed;

    fn compute_status(&self, observed: &Observed, outcome: &Outcome, now: Timestamp) -> NovaClusterStatus {
        let installed = observed.backends.iter().all(|b| b.missing.is_none());
        let available =
            observed.backends.iter().all(|b| b.outage.is_none()) && observed.blind_spots.is_empty();
        NovaClusterStatus {
            core: self.core(outcome, now),
            bootstrap: Some(match (installed, available) {
                (true, true) => Bootstrap::Connected,
                (true, false) => Bootstrap::Error,
                (false, _) => Bootstrap::Bootstrapping,
            }),
            capabilities: observed
                .backends
                .iter()
                .map(|b| (b.backend.capability.to_owned(), b.missing.is_none()))
                .collect::<BTreeMap<String, bool>>(),
            components: observed.backends.iter().map(BackendState::component).collect(),
        }
    }
}
