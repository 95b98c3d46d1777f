//! `NovaCluster`: which backends are there, and how they are. Pure.

use jiff::Timestamp;
use nova_api::conditions::{Code, ConditionType, Reason};
use nova_api::v1alpha1::{Bootstrap, Capabilities, Component, NovaCluster, NovaClusterStatus};

use crate::adapters::{capsule, vela};
use crate::problem::Problem;
use crate::verdict::{Outcome, core};

/// What a cluster goes through.
pub const STAGES: crate::verdict::Stages = &[ConditionType::DependenciesMet];

/// What was seen of one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backend {
    /// Its CRD is there.
    pub installed: bool,
    /// Why it does not answer, in its own or the API server's words.
    pub unavailable: Option<String>,
    /// What should be set otherwise.
    pub advice: Option<String>,
}

/// What was seen of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Capsule.
    pub capsule: Backend,
    /// Vela.
    pub vela: Backend,
}

/// How to set Capsule up, for advice and fixes.
pub const CAPSULE_VALUES: &str =
    "install Capsule with the values of charts/kubenova/recommended/capsule-values.yaml";

/// What to do while Capsule does not answer.
pub const START_CAPSULE: &str =
    "start Capsule: kubectl -n capsule-system get pods; what waits for it goes on by itself";

/// What to do while Vela does not answer.
pub const START_VELA: &str =
    "start vela-core: kubectl -n vela-system get pods; what waits for it goes on by itself";

impl Seen {
    /// What keeps the cluster from being Ready.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let problems: Vec<Problem> = [
            (&self.capsule, capsule::COMPONENT, capsule::CRD, START_CAPSULE),
            (&self.vela, vela::COMPONENT, vela::CRD, START_VELA),
        ]
        .into_iter()
        .filter_map(|(backend, name, crd, start)| backend.problem(name, crd, start))
        .collect();
        if problems.is_empty() { Outcome::Applied } else { Outcome::Stopped(problems) }
    }
}

impl Backend {
    fn problem(&self, name: &str, crd: &str, start: &str) -> Option<Problem> {
        let stage = ConditionType::DependenciesMet;
        if !self.installed {
            return Some(
                Problem::new(
                    stage,
                    Reason::CapabilityMissing,
                    format!("CustomResourceDefinition {crd}"),
                    format!("{name} is not installed"),
                )
                .code(Code::Kn422)
                .fix(format!("install {name}; what waits for it goes on by itself")),
            );
        }
        let words = self.unavailable.as_ref()?;
        Some(
            Problem::new(stage, Reason::BackendUnavailable, name, format!("it does not answer: {words}"))
                .code(Code::Kn503)
                .fix(start),
        )
    }

    fn component(&self, name: &str) -> Component {
        let message = match (&self.unavailable, &self.advice) {
            (Some(words), _) => Some(words.clone()),
            (None, Some(advice)) => Some(format!("{advice}. Fix: {CAPSULE_VALUES}")),
            (None, None) if !self.installed => Some("not installed".to_owned()),
            (None, None) => None,
        };
        Component {
            name: name.to_owned(),
            version: None,
            ready: self.installed && self.unavailable.is_none(),
            message: message.map(|m| nova_api::conditions::clip(&m, nova_api::conditions::MESSAGE_MAX)),
        }
    }
}

/// The whole status.
#[must_use]
pub fn status(cluster: &NovaCluster, seen: &Seen, now: Timestamp) -> NovaClusterStatus {
    let installed = seen.capsule.installed && seen.vela.installed;
    let available = seen.capsule.unavailable.is_none() && seen.vela.unavailable.is_none();
    NovaClusterStatus {
        core: core(cluster, STAGES, &seen.outcome(), now),
        bootstrap: Some(match (installed, available) {
            (true, true) => Bootstrap::Connected,
            (true, false) => Bootstrap::Error,
            (false, _) => Bootstrap::Bootstrapping,
        }),
        capabilities: Some(Capabilities { capsule: seen.capsule.installed, kube_vela: seen.vela.installed }),
        components: vec![seen.capsule.component(capsule::COMPONENT), seen.vela.component(vela::COMPONENT)],
    }
}
