//! What users write: the Nova kinds, their validation rules, conditions and reasons. No I/O.

pub mod conditions;
pub mod crds;
pub mod kind;
pub mod kinds;
pub mod quantities;
pub mod refs;
mod rules;
pub mod v1alpha1;

pub use kind::{CoreStatus, NovaKind, NovaStatus, Place};
pub use kinds::Kind;

/// API group of every Nova kind.
pub const GROUP: &str = "kubenova.io";
/// Version of every Nova kind.
pub const VERSION: &str = "v1alpha1";
