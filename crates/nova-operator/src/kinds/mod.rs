//! One file a kind: what wakes it, how it is made so, how it is taken down.

mod app;
mod cluster;
mod plan;
mod project;
mod quota;
mod sandbox;
mod tenant;
#[cfg(test)]
mod tests;
mod wakes;
mod workspace;

use crate::engine::run::{Of, Registered};

macro_rules! of_each {
    ($($kind:ident)+) => {
        vec![$(Box::new(Of::<nova_api::v1alpha1::$kind>::default())),+]
    };
}

/// The controllers of all kinds.
#[must_use]
pub fn controllers() -> Vec<Box<dyn Registered>> {
    nova_api::for_each_kind!(of_each)
}
