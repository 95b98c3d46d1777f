//! What all controllers share. Nothing in here knows a kind or a backend by name.

pub mod apply;
pub mod backoff;
pub mod cached_object;
pub mod cx;
pub mod delete;
pub mod events;
pub mod fetched;
pub mod health;
pub mod interrupt;
pub mod key;
pub mod log;
pub mod metrics;
pub mod packed;
pub mod queue;
pub mod reconcile;
pub mod relations;
pub mod request;
pub mod run;
pub mod slots;
pub mod status;
pub mod store;
pub mod stores;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
pub mod throttle;
pub mod watch;
pub mod watches;
