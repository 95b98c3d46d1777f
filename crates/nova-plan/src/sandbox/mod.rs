//! `NovaSandbox`: a namespace that developers may edit. Pure.

mod build;
mod status;
mod validate;

pub use build::build;
pub use status::{Seen, status};
pub use validate::{References, ValidSandbox, validate};

/// What a sandbox goes through: the same as a project.
pub const STAGES: crate::verdict::Stages = crate::project::STAGES;
