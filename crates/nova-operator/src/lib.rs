//! The hands: watches the cluster, asks `nova-plan` what to do, and is the only crate that writes to it.

mod engine;
mod kinds;
pub mod reference;

pub use engine::metrics::Metrics;
pub use engine::request::{TimeLimits, client};
pub use engine::run::{Operator, Settings};
pub use kinds::controllers;
