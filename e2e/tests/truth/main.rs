//! What goes wrong is told truly and soon, concerns nobody else, and heals by itself.

mod again;
mod cases;
mod events;
mod plans;
mod shares;
mod table;
mod turning;

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::film::trouble;
use e2e::{Film, Stage, Together};
use nova_testkit::Options;

/// For what nobody measures.
pub const PATIENCE: Duration = Duration::from_mins(5);

static STAGE: Stage = Stage::new(Options::default);

/// A part in the stage, and a film of everything that shows trouble.
async fn filmed() -> Result<(Together, Film)> {
    let world = STAGE.together().await?;
    let film = Film::start(&world.admin, &trouble()).await?;
    Ok((world, film))
}

/// No status on a film, whosesoever, was untrue.
fn honest(film: &Film) -> Result<()> {
    let lies = film.lies();
    ensure!(lies.is_empty(), "a status was not true: {lies:#?}");
    println!("{} versions of objects seen, none of them lied", film.all().len());
    Ok(())
}
