//! The pure half of a controller, and what it may see of the cluster. No I/O.

use std::sync::Arc;

use jiff::Timestamp;
use nova_api::{CoreStatus, NovaKind};

use crate::child::ChildRef;
use crate::verdict::{Outcome, Stages, core};

/// What a kind has to say about its objects; the rest of a pass is the same for all.
pub trait Plan: NovaKind {
    /// What an object of the kind goes through.
    const STAGES: Stages;

    /// What was observed around an object, whatever came of the pass.
    type Observed: Default + Send + Sync;

    /// The whole status.
    fn compute_status(&self, observed: &Self::Observed, outcome: &Outcome, now: Timestamp) -> Self::Status;

    /// The part of the status that every kind has.
    fn core(&self, outcome: &Outcome, now: Timestamp) -> CoreStatus {
        core(self, Self::STAGES, outcome, now)
    }
}

/// A child as the store has it, as far as decisions need it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChildFacts {
    /// `metadata.uid`.
    pub uid: String,
    /// UID of the Nova object it was made for, by its label.
    pub owner_uid: Option<String>,
    /// Being deleted.
    pub deleting: bool,
}

/// A read-only view of what is watched.
pub trait Lookup {
    /// A Nova object; none where it is absent or cannot be read.
    fn nova<K: NovaKind>(&self, namespace: &str, name: &str) -> Option<Arc<K>>;

    /// A Nova object is there and cannot be read.
    fn unreadable<K: NovaKind>(&self, namespace: &str, name: &str) -> bool;

    /// A child.
    fn child(&self, at: &ChildRef) -> Option<ChildFacts>;

    /// True when objects of a definition can be made.
    fn installed(&self, crd: &str) -> bool;

    /// Name of the oldest object of a kind whose value in an index is `value`, readable or not.
    fn oldest<K: NovaKind>(&self, index: &'static str, value: &str) -> Option<String>;
}

/// Names of the indexes that decisions ask for.
pub mod index {
    /// Tenants by developer group.
    pub const DEV_GROUP: &str = "devGroup";
    /// Tenants by the plan they name; empty for those that name none.
    pub const PLAN: &str = "plan";
    /// Apps by `<namespace>/<component>`.
    pub const COMPONENT: &str = "component";
}
