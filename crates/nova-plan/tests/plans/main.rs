//! What objects are turned into, and what holds for every plan whatever is asked for. No cluster is needed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "only tests are in here, their steps among them")]
#![allow(clippy::needless_pass_by_value, reason = "`json!` is easier to read without references")]

mod cluster;
mod given;
mod isolation;
mod order;
mod passes;
mod prefix;
mod quantities;
mod quickstart;
mod tenancy;
