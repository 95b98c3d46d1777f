//! Tests of the engine, without a cluster.

mod names;
mod store;
