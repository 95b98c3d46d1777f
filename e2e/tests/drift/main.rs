//! Every child of every kind: changed, stripped, deleted. It is as it was, what others added is kept, and then it is
//! quiet. And what is not ours is never touched.

mod children;
mod foreign;
mod namespaces;
mod owned;
mod role_ref;

use std::time::Duration;

use e2e::Stage;
use nova_testkit::Options;

/// Half of all drifts are answered within this.
const REPAIR: Duration = Duration::from_secs(2);
/// Each is, however busy the machine.
const WORST: Duration = Duration::from_secs(15);
/// For everything that is not measured.
const PATIENCE: Duration = Duration::from_mins(5);

static STAGE: Stage = Stage::new(Options::default);
