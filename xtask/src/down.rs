//! `cargo xtask down`: ends the control plane that `up` started. Does I/O: signals a process.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use nova_testkit::process;
use tokio::time::{Instant, sleep};

use crate::up::state::Place;

/// End the control plane that `up` started. Everything in it is gone.
#[derive(Args)]
#[command(after_help = "Example:
  cargo xtask down")]
pub struct Down {}

impl Down {
    /// Asks the supervisor to end and waits until it has.
    #[allow(clippy::unused_self, reason = "every word is run the same way")]
    pub async fn run(self) -> Result<()> {
        let place = Place::new()?;
        let Some(pid) = place.holder()? else {
            println!("No control plane is up.");
            return Ok(());
        };
        process::terminate(pid).context("end the control plane")?;
        let until = Instant::now() + Duration::from_secs(20);
        while place.is_held()? {
            if Instant::now() > until {
                bail!("the supervisor, process {pid}, does not end; see {:?}", place.log());
            }
            sleep(Duration::from_millis(50)).await;
        }
        println!("The control plane is down.");
        Ok(())
    }
}
