//! Version v1alpha1 of the Nova kinds, and the types that they are made of. No I/O.

pub mod app;
pub mod cluster;
pub mod plan;
pub mod project;
pub mod sandbox;
pub mod source;
pub mod tenant;

pub use app::*;
pub use cluster::*;
pub use plan::*;
pub use project::*;
pub use sandbox::*;
pub use source::*;
pub use tenant::*;

pub use crate::{
    kind::{CoreStatus, NovaKind, NovaStatus},
    quantities::*,
    refs::*,
};
