//! An API server out of a map, for tests without a cluster: it keeps what is written to it, checks preconditions as the
//! real one does, notes every request, and answers otherwise where a test says so.

mod server;
mod world;

pub use server::{Asked, Reply};
pub use world::World;
