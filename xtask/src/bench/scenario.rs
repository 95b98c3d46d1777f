//! One scenario: a control plane of its own, rounds of cold starts, then what one operator is asked. Does I/O.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use e2e::World;
use nova_testkit::{Entry, Options};

use super::bare::Template;
use super::measure::{self, count, median, ratio, received, server_cpu, usage, wall_clock};
use super::observer::{End, Key, Observer};
use super::operator::{Binary, Operator};
use super::report::{Bare, Cold, Figures};
use super::{PATIENCE, Part, QUIET, latency, rest, status_patch, workload};

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Number of apps.
    pub count: usize,
    /// Whether vela-core runs.
    pub vela: bool,
    /// The operators, one after the other in each round.
    pub operators: &'a [Binary],
    /// Rounds of cold starts.
    pub rounds: usize,
    /// What of it.
    pub parts: &'a [Part],
}

/// A scenario that is under way.
pub struct Scenario<'a> {
    /// What is measured.
    pub plan: Plan<'a>,
    /// The control plane.
    pub world: World,
    /// What the bench sees.
    pub observer: Observer,
    /// All apps.
    pub places: Vec<Key>,
    template: Template,
}

impl Plan<'_> {
    fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// Rounds of cold starts: one is needed for what comes after it, none for the bare client alone.
    fn rounds(&self) -> usize {
        if self.wants(Part::Cold) {
            self.rounds
        } else {
            usize::from(self.parts.iter().any(|part| *part != Part::StatusPatch))
        }
    }

    /// When an app is done.
    pub fn end(&self) -> End {
        if self.vela { End::Ready } else { End::Status }
    }

    /// Runs it; one set of figures for each operator.
    pub async fn run(self) -> Result<Vec<Figures>> {
        let scenario = Scenario::start(self).await?;
        let load = measure::load();
        let mut bare: Vec<Bare> = Vec::new();
        let mut cold: Vec<Vec<Cold>> = self.operators.iter().map(|_| Vec::new()).collect();
        let mut all: Vec<Figures> = self
            .operators
            .iter()
            .map(|binary| Figures {
                apps: self.count,
                vela: self.vela,
                operator: binary.label.clone(),
                load,
                ..Figures::default()
            })
            .collect();
        let rounds = self.rounds();
        for round in 0..rounds {
            let reference = if self.wants(Part::Cold) { Some(scenario.bare(round).await?) } else { None };
            // The order turns, so that none is always the first after the bare client.
            for turn in 0..self.operators.len() {
                let n = (turn + round) % self.operators.len();
                let (operator, colds) = scenario.cold(&self.operators[n], reference.as_ref(), round).await?;
                cold[n].extend(colds);
                if round + 1 == rounds {
                    scenario.warm(operator, &self.operators[n], &mut all[n]).await?;
                } else {
                    operator.stop().await;
                }
                scenario.clear().await?;
            }
            bare.extend(reference);
        }
        if let (Some(figures), true) = (all.first_mut(), self.wants(Part::StatusPatch)) {
            eprintln!("  status writes of the bare client in two ways …");
            figures.status_patch = Some(status_patch::measure(&scenario).await?);
        }
        for (figures, rounds) in all.iter_mut().zip(cold) {
            figures.bare = middle(&bare, |b| b.seconds).cloned();
            figures.cold = middle(&rounds, |c| c.ratio)
                .map(|found| Cold { ratios: rounds.iter().map(|c| c.ratio).collect(), ..found.clone() });
        }
        Ok(all)
    }
}

fn middle<T>(all: &[T], by: impl Fn(&T) -> f64) -> Option<&T> {
    let wanted = median(all.iter().map(&by));
    all.iter().find(|one| by(one).total_cmp(&wanted).is_eq())
}

impl<'a> Scenario<'a> {
    async fn start(plan: Plan<'a>) -> Result<Self> {
        eprintln!("  control plane, tenants and projects …");
        let options = Options { vela: plan.vela, ..Options::default() };
        let first = plan.operators.first().context("no operator to measure")?;
        let world = World::with_binary(options, PathBuf::from(&first.path)).await?;
        let observer = Observer::start(&world.admin);
        let operator = Operator::start(&world, first).await?;
        operator.ready().await?;
        workload::make_room(&world).await?;
        let template = Template::take(&world, &operator, &observer).await?;
        operator.stop().await;
        let places = workload::places(plan.count);
        Ok(Self { plan, world, observer, places, template })
    }

    /// What the operator writes for an app.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Writes the apps while no operator runs.
    pub async fn write(&self) -> Result<()> {
        workload::write(&self.world.admin, &self.places).await?;
        self.observer.parents(self.places.len(), PATIENCE).await
    }

    /// Deletes them, whatever else was made beside them, and waits until all are gone.
    pub async fn clear(&self) -> Result<()> {
        let all: Vec<Key> = self.observer.parent_metas().into_keys().collect();
        workload::delete(&self.world.admin, &all).await?;
        self.observer.empty(PATIENCE).await
    }

    async fn bare(&self, round: usize) -> Result<Bare> {
        eprintln!("  round {}: the bare client …", round + 1);
        self.write().await?;
        let bare = self.template.run(&self.world, &self.observer, &self.places, round).await?;
        eprintln!("    {:.2} s", bare.seconds);
        self.clear().await?;
        Ok(bare)
    }

    /// Lets an operator start on apps that are there already, and leaves it running.
    async fn cold(
        &self,
        binary: &Binary,
        bare: Option<&Bare>,
        round: usize,
    ) -> Result<(Operator, Option<Cold>)> {
        eprintln!("  round {}: cold start of {} …", round + 1, binary.label);
        self.write().await?;
        let mark = self.world.mark().await?;
        let before = server_cpu(&self.world)?;
        self.observer.want(workload::fresh(&self.places, self.plan.end()));
        let operator = Operator::start(&self.world, binary).await?;
        let ready = operator.ready().await?;
        let done = self.observer.all(PATIENCE).await.with_context(|| binary.label.clone())?;
        let (after, used) = (server_cpu(&self.world)?, usage(operator.pid())?);
        let seconds = done.saturating_duration_since(operator.started()).as_secs_f64();
        eprintln!("    {seconds:.2} s");
        let end = wall_clock(done);
        if !self.observer.quiet(QUIET, PATIENCE).await? {
            eprintln!("    it does not become quiet");
        }
        operator.check()?;
        let settled = usage(operator.pid())?;
        let Some(bare) = bare else { return Ok((operator, None)) };
        let requests = measure::requests(&self.world, mark).await?;
        let of_apps = |e: &&Entry| ["applications", "novaapps"].contains(&e.object.resource.as_str());
        let writes: Vec<&Entry> = requests.iter().filter(|e| e.is_write()).collect();
        let in_time: Vec<&Entry> = writes.iter().copied().filter(|e| received(e) <= end).collect();
        let first = in_time
            .iter()
            .copied()
            .filter(of_apps)
            .map(received)
            .min()
            .context("no write of the operator")?;
        let writing_seconds =
            std::time::Duration::from_micros(u64::try_from(end - first).unwrap_or(0)).as_secs_f64();
        let per_app = |writes: &[&Entry]| {
            let (children, statuses) =
                (count(writes, "applications", ""), count(writes, "novaapps", "status"));
            (children, statuses, ratio(children + statuses, self.plan.count))
        };
        let (application_writes, status_writes, writes_per_app) = per_app(&in_time);
        let until = requests.iter().filter(|e| received(e) <= end);
        let cold = Cold {
            round,
            ready_seconds: ready.as_secs_f64(),
            seconds,
            writing_seconds,
            ratio: seconds / bare.seconds,
            writing_ratio: writing_seconds / bare.seconds,
            ratios: Vec::new(),
            application_writes,
            status_writes,
            other_writes: in_time.len() - application_writes - status_writes,
            writes_per_app,
            settled_writes_per_app: per_app(&writes).2,
            requests_per_app: ratio(until.clone().count(), self.plan.count),
            refused: until.filter(|e| !e.succeeded()).count(),
            cpu_seconds: used.cpu,
            apiserver_cpu_seconds: after[0] - before[0],
            etcd_cpu_seconds: after[1] - before[1],
            peak_memory_mib: settled.peak_memory,
            settled_memory_mib: settled.memory,
            settled_data_mib: settled.data,
        };
        Ok((operator, Some(cold)))
    }

    /// Everything that is asked of an operator whose apps are there.
    async fn warm(&self, operator: Operator, binary: &Binary, figures: &mut Figures) -> Result<()> {
        let wants = |part| self.plan.wants(part);
        let started = Instant::now();
        let operator = if wants(Part::Restart) {
            eprintln!("  restart …");
            operator.stop().await;
            let (operator, restart) = rest::restart(self, binary).await?;
            figures.restart = Some(restart);
            operator
        } else {
            operator
        };
        if wants(Part::Idle) {
            eprintln!("  a minute without work …");
            figures.idle = Some(rest::idle(self, &operator).await?);
        }
        if wants(Part::Edits) {
            eprintln!("  single edits …");
            figures.edits = Some(latency::edits(self).await?);
        }
        if wants(Part::Drift) {
            eprintln!("  Applications deleted and changed …");
            figures.drift = Some(latency::drift(self).await?);
        }
        if wants(Part::Mass) && self.plan.count >= latency::MASS {
            eprintln!("  single edits beside {} of another tenant …", latency::MASS);
            figures.mass = Some(latency::mass(self).await?);
        }
        operator.check()?;
        operator.stop().await;
        eprintln!("    {:.0} s", started.elapsed().as_secs_f64());
        Ok(())
    }
}
