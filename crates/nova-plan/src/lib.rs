//! The brain: from a Nova object and what was observed to desired children and status. No I/O.
//!
//! Each noun has the same rooms: `validate` turns what the user wrote and what it refers to into a valid
//! value, `build` turns that into children and cannot fail, `status` says how it stands.

pub mod adapters;
pub mod app;
pub mod child;
pub mod cluster;
pub mod division;
pub mod names;
pub mod namespace;
pub mod plan;
pub mod problem;
pub mod project;
pub mod quantity;
pub mod sandbox;
pub mod tenant;
pub mod verdict;

pub use problem::Problem;
pub use verdict::Outcome;
