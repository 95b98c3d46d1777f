//! Narrow views of the platforms underneath: what we set on their objects and how they answer. No I/O.
//!
//! These types are incomplete on purpose: with server-side apply we send, and own, only what we set.

pub mod capsule;
pub mod vela;
pub mod workload;
