//! A plan's writes in their order, as data, so that the order can be proven without a cluster. No I/O.

use nova_api::conditions::ConditionType;

use crate::child::{Child, ChildRef, Live};
use crate::problem::Problem;

/// One step of a plan.
#[derive(Debug, Clone)]
pub enum Step {
    /// Make a child so.
    Apply(ConditionType, Box<Child>),
    /// Go on only when a child that somebody else writes is as it has to be; otherwise stop with the problem.
    Await(ChildRef, fn(&Live) -> bool, Box<Problem>),
    /// Take a child away that is no longer asked for.
    Remove(ChildRef),
}

/// The children of an object, which know the order in which they are made.
pub trait Children {
    /// The steps, in order. Implementations destructure without `..`, so that no child can be forgotten.
    fn steps(self) -> Vec<Step>;
}

/// Steps that apply children under a stage.
pub fn apply_all(
    stage: ConditionType,
    children: impl IntoIterator<Item = Child>,
) -> impl Iterator<Item = Step> {
    children.into_iter().map(move |child| Step::Apply(stage, Box::new(child)))
}
