//! One control plane for all tests of a program, and one operator: tests share it, or have it to themselves. Does I/O.
//!
//! A program's tests run in threads side by side, each with a runtime of its own. The control plane is bound to none
//! of them; clients are, so each test gets its own. When the program ends, in whatever way, the reapers of control
//! plane and operator see it and end everything.

use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use nova_testkit::{Identity, Options};
use tokio::sync::{Notify, OnceCell};

use crate::{OperatorProcess, World};

/// The operator's name for a variable, and its value.
type Variable = (&'static str, &'static str);

/// A control plane with the chart and an operator, started by the first test that needs it.
pub struct Stage {
    options: fn() -> Options,
    env: &'static [Variable],
    /// A failure is kept: what did not start for the first test is not tried again by each of the others.
    world: OnceCell<Result<World, String>>,
    seats: Seats,
    operator: tokio::sync::Mutex<Option<Arc<OperatorProcess>>>,
}

impl Stage {
    /// A stage with these options, not started yet.
    #[must_use]
    pub const fn new(options: fn() -> Options) -> Self {
        Self::with_env(options, &[])
    }

    /// The same with more in the operator's environment.
    #[must_use]
    pub const fn with_env(options: fn() -> Options, env: &'static [Variable]) -> Self {
        Self {
            options,
            env,
            world: OnceCell::const_new(),
            seats: Seats::new(),
            operator: tokio::sync::Mutex::const_new(None),
        }
    }

    /// Takes part beside other tests. The test has tenants of its own, and leaves operator and backends alone.
    pub async fn together(&'static self) -> Result<Together> {
        let seat = self.seats.take(false).await;
        let world = self.world().await?;
        let operator = self.running(&world).await?;
        Ok(Together { world, operator, _seat: seat })
    }

    /// Has the stage alone, once no other test is on it. The test may stop the operator and backends.
    pub async fn alone(&'static self) -> Result<Alone> {
        let seat = self.seats.take(true).await;
        let world = self.world().await?;
        self.running(&world).await?;
        Ok(Alone { world, stage: self, _seat: seat })
    }

    async fn world(&self) -> Result<World> {
        let start = async || World::start((self.options)()).await.map_err(|error| format!("{error:#}"));
        let world = self.world.get_or_init(start).await;
        let world = world.as_ref().map_err(|why| anyhow!("the control plane did not start: {why}"))?;
        // A test before this one may have failed while a backend was stopped.
        for part in world.plane.components().into_iter().filter(|part| !part.running) {
            world.plane.start_component(part.component).await?;
        }
        world.for_another_runtime().await
    }

    /// The operator, started if no test has left one.
    async fn running(&self, world: &World) -> Result<Arc<OperatorProcess>> {
        let mut slot = self.operator.lock().await;
        if let Some(operator) = &*slot {
            let operator = operator.clone();
            if !operator.is_running() {
                // The next test may have another one; this end is told once.
                *slot = None;
                bail!("the operator has ended: {}", operator.last_words());
            }
            return Ok(operator);
        }
        let kubeconfig = world.plane.kubeconfig(&Identity::operator()).await?;
        let operator = Arc::new(self.start(world, &kubeconfig).await?);
        *slot = Some(operator.clone());
        Ok(operator)
    }

    async fn start(&self, world: &World, kubeconfig: &Path) -> Result<OperatorProcess> {
        let env: Vec<_> = self.env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let operator = world.spawn_operator_in(kubeconfig, &env)?;
        operator.ready(Duration::from_mins(2)).await?;
        Ok(operator)
    }
}

/// A test's part in a stage that it shares.
pub struct Together {
    world: World,
    operator: Arc<OperatorProcess>,
    _seat: Seat,
}

impl Deref for Together {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Together {
    /// The operator, for whoever wants to look at it.
    #[must_use]
    pub fn operator(&self) -> &OperatorProcess {
        &self.operator
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        // Nobody may end it while tests share it, so it has ended by itself; a failure of the test is no reason.
        let ended = !self.operator.is_running() && !std::thread::panicking();
        assert!(!ended, "the operator has ended: {}", self.operator.last_words());
    }
}

/// A test's part in a stage that it has alone.
pub struct Alone {
    world: World,
    stage: &'static Stage,
    _seat: Seat,
}

impl Deref for Alone {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

impl Alone {
    /// The stage's operator leaves it and becomes the test's own. The next test starts another.
    pub async fn take_operator(&self) -> Result<OperatorProcess> {
        let taken = self.stage.operator.lock().await.take();
        let taken = taken.context("this test has taken the operator before")?;
        Arc::into_inner(taken).context("another test still holds the operator")
    }

    /// Starts an operator of the test's own, through the stage's kubeconfig or another, and waits until it is ready.
    pub async fn start_operator(&self, kubeconfig: Option<&Path>) -> Result<OperatorProcess> {
        if let Some(kubeconfig) = kubeconfig {
            return self.stage.start(&self.world, kubeconfig).await;
        }
        let kubeconfig = self.world.plane.kubeconfig(&Identity::operator()).await?;
        self.stage.start(&self.world, &kubeconfig).await
    }
}

/// Many tests that share a stage, or one that has it alone. Whoever shares goes first, so that the stage is not
/// emptied for each test that wants it alone; there are only so many tests, so none waits for ever.
struct Seats {
    /// How many share it; -1 while one has it alone.
    taken: Mutex<isize>,
    changed: Notify,
}

/// A seat, free again when it is dropped.
struct Seat {
    seats: &'static Seats,
    alone: bool,
}

impl Seats {
    const fn new() -> Self {
        Self { taken: Mutex::new(0), changed: Notify::const_new() }
    }

    async fn take(&'static self, alone: bool) -> Seat {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if self.try_take(alone) {
                return Seat { seats: self, alone };
            }
            changed.await;
        }
    }

    fn try_take(&self, alone: bool) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let free = if alone { *taken == 0 } else { *taken >= 0 };
        if free {
            *taken += if alone { -1 } else { 1 };
        }
        free
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner) -= if self.alone { -1 } else { 1 };
        self.seats.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_alone_waits_for_all_who_share_and_they_for_it() {
        static SEATS: Seats = Seats::new();
        let (one, other) = (SEATS.take(false).await, SEATS.take(false).await);
        assert!(!SEATS.try_take(true));
        drop(one);
        assert!(!SEATS.try_take(true));
        let waiting = tokio::spawn(SEATS.take(true));
        tokio::task::yield_now().await;
        drop(other);
        let alone = waiting.await.expect("the task ends, because the seats are free");
        assert!(!SEATS.try_take(false) && !SEATS.try_take(true));
        drop(alone);
        assert!(SEATS.try_take(false));
    }
}
