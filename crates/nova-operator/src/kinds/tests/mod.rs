//! Passes over each kind and its relations, without a cluster.

mod app;
mod cluster;
mod guards;
mod plan;
mod project;
mod relations;
mod sandbox;
mod surroundings;
mod tenant;
