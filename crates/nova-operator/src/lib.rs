//! The hands: watches the cluster, asks `nova-plan` what to do, and is the only crate that writes to it.

mod app;
mod apply;
mod backoff;
mod cleanup;
mod cluster;
mod context;
mod guard;
mod key;
mod metrics;
mod observe;
mod pace;
mod plan;
mod project;
mod prune;
mod queue;
mod quota;
mod reconcile;
mod report;
mod routes;
mod row;
mod run;
mod sandbox;
mod since;
mod status;
mod stop;
mod table;
mod tenancy;
mod tenant;
mod watches;
mod workspace;

pub use metrics::Metrics;
pub use run::{Operator, Settings};
