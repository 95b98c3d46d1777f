//! Narrow views of the platforms underneath: what we set on their objects and how they answer. No I/O.
//!
//! These types are incomplete on purpose: with server-side apply we send, and own, only what we set.

pub mod capsule;
pub mod vela;
pub mod workload;

use std::collections::BTreeMap;
use std::time::Duration;

use nova_api::conditions::{Code, ConditionType, Reason};
use serde_json::Value;

use crate::app::Leaf;
use crate::child::ChildKind;
use crate::problem::Problem;

/// Every backend. A new one is its file and a line here.
pub static BACKENDS: &[&Backend] = &[&capsule::BACKEND, &vela::BACKEND];

/// A platform underneath, as data.
#[derive(Debug)]
pub struct Backend {
    /// Its id: label of metrics, name of the component in the status of `NovaCluster`.
    pub id: &'static str,
    /// Its key in `status.capabilities` of `NovaCluster`.
    pub capability: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// Definitions that have to be there.
    pub crds: &'static [&'static str],
    /// Kinds of it that the operator writes.
    pub children: &'static [&'static ChildKind],
    /// Kinds of it that are only read, watched while the backend is installed.
    pub reads: &'static [&'static ChildKind],
    /// Kinds of Kubernetes' own that tell something of it, watched always.
    pub tells: &'static [&'static ChildKind],
    /// Kinds whose objects tell how what it delivers is; of each only its health is kept.
    pub leaves: &'static [&'static ChildKind],
    /// Reads an object of [`Self::leaves`]; none where it is of no interest.
    pub leaf: fn(&'static ChildKind, &LeafMeta<'_>, &str) -> Option<(String, Leaf)>,
    /// Whether an admission webhook of this name is its own.
    pub owns_webhook: fn(&str) -> bool,
    /// Silence after which it counts as away, where an object waits for it; none where its objects do not tell.
    pub silence: Option<Duration>,
    /// What should be set otherwise, out of the objects of [`Self::tells`].
    pub advice: fn(&[Value]) -> Option<String>,
    /// What to do while it does not answer.
    pub start: &'static str,
}

/// What is read of the metadata of a leaf.
#[derive(Debug, Clone, Copy)]
pub struct LeafMeta<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its labels.
    pub labels: &'a BTreeMap<String, String>,
}

impl PartialEq for Backend {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Backend {
    /// The problem of who needs the backend while one of its definitions is missing.
    #[must_use]
    pub fn missing(&self, crd: &str) -> Problem {
        Problem::new(
            ConditionType::DependenciesMet,
            Reason::CapabilityMissing,
            format!("CustomResourceDefinition {crd}"),
            format!("{} is not installed", self.title),
        )
        .code(Code::Kn422)
        .fix(format!("install {}; what waits for it goes on by itself then", self.title))
    }
}

/// The backend that has a kind of child.
#[must_use]
pub fn backend_of(kind: &ChildKind) -> Option<&'static Backend> {
    let id = kind.backend?;
    BACKENDS.iter().copied().find(|backend| backend.id == id)
}

/// The backend whose webhook has a name.
#[must_use]
pub fn backend_of_webhook(webhook: &str) -> Option<&'static Backend> {
    BACKENDS.iter().copied().find(|backend| (backend.owns_webhook)(webhook))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_backend_and_its_kinds_know_each_other() {
        let ids: BTreeSet<&str> = BACKENDS.iter().map(|b| b.id).collect();
        let capabilities: BTreeSet<&str> = BACKENDS.iter().map(|b| b.capability).collect();
        assert_eq!((ids.len(), capabilities.len()), (BACKENDS.len(), BACKENDS.len()));
        for backend in BACKENDS {
            for kind in backend.children.iter().chain(backend.reads) {
                assert_eq!(backend_of(kind), Some(*backend), "{kind:?}");
            }
            for kind in backend.children {
                assert!(backend.crds.contains(&kind.crd_name().as_str()), "{kind:?}");
            }
            assert!(backend.tells.iter().all(|kind| kind.backend.is_none()));
        }
    }
}
