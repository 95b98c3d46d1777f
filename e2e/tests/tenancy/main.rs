//! Who may do what, tenants side by side, and what an attacker can make of each identity.

mod attacks;
mod expected;
mod names;
mod places;
mod roles;
mod suspension;
mod table;
mod writes;

use std::time::Duration;

use e2e::Stage;
use nova_testkit::Options;

/// For everything that is awaited.
const PATIENCE: Duration = Duration::from_mins(5);

static STAGE: Stage = Stage::new(Options::default);
