//! Faults between the operator and the API server: what is hit says so and heals, everything else goes on.
//!
//! All tests share one control plane and take turns, because there is one operator at a time.

mod definition;
mod lists;
mod slow;
mod stage;
mod watches;
mod writes;
