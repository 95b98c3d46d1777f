//! A real Kubernetes control plane on loopback, for tests and demos. Does I/O: builds and runs processes.
//!
//! [`build::ensure`] builds every component from its pinned Go tool module into a cache, once.
//! [`ControlPlane::start`] runs them as child processes that die with their owner, whatever becomes of it.
//!
//! Pods on the simulated nodes run at once. A bad life is asked for by the image's tag (`:bad-image`, `:crash-loop`,
//! `:never-ready`) or by the pod's annotation `kubenova.io/test-pod-life` (`image-pull-error`, `crash-loop`,
//! `never-ready`); a pod whose annotation turns good recovers.
//!
//! [`FaultProxy`] stands between a client and the API server, counts writes, and makes requests go wrong by rules: it
//! delays, drops, refuses, hangs, cuts, tells older lists, and kills the client after a chosen write.
#![allow(
    clippy::unnecessary_debug_formatting,
    reason = "messages quote their parameters, paths among them, so that blanks and line ends in them show"
)]

pub mod audit;
pub mod build;
mod components;
mod der;
pub mod fault_proxy;
pub mod identity;
pub mod manifests;
mod pki;
mod plane;
mod ports;
pub mod process;

pub use audit::{Audit, Entry, Mark};
pub use fault_proxy::FaultProxy;
pub use identity::Identity;
pub use manifests::Manifests;
pub use plane::{CapsuleValues, Component, ComponentInfo, ControlPlane, Options};
pub use process::{Process, Reaper, Usage};
