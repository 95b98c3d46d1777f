//! Tests of the engine, without a cluster.

mod names;
mod probe;
mod reconcile;
mod status;
mod store;
