//! The brain: from a Nova object and what was observed to desired children and status. No I/O.
//!
//! Each noun has the same rooms: `validate` turns what the user wrote and what it refers to into a valid
//! value, `build` turns that into children and cannot fail, `status` says how it stands.

pub mod adapters;
pub mod answers;
pub mod app;
pub mod child;
pub mod cluster;
pub mod deletion;
pub mod division;
pub mod kind;
pub mod names;
pub mod namespace;
pub mod plans;
pub mod problem;
pub mod project;
pub mod quantity;
pub mod sandbox;
pub mod step;
pub mod tenancy;
pub mod tenant;
pub mod verdict;
pub mod workspace;

pub use kind::{ChildFacts, Lookup, Plan};
pub use problem::{Problem, Retry};
pub use verdict::Outcome;
