//! How long it takes until a single edit, or a repair, is seen in an Application. Does I/O.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::measure::{median, percentile};
use super::observer::{Done, End, Key, Wanted};
use super::report::{Latency, Mass};
use super::scenario::Scenario;
use super::{PATIENCE, QUIET, workload};

/// Single edits.
const EDITS: usize = 200;
/// Applications that are deleted or changed.
const DRIFTS: usize = 60;
/// Apps that one tenant edits at once.
pub const MASS: usize = 1000;
/// Mean pause between two single edits. Twice as long at most, never none: the last one is over then.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for a single edit.
const SINGLE: Duration = Duration::from_mins(1);

/// Pseudo-random numbers, the same in each run: which app comes next and when.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).unwrap_or(0);
        high % bound.max(1)
    }

    async fn pause(&mut self, mean: Duration) {
        let bound = usize::try_from(mean.as_micros()).unwrap_or(usize::MAX).saturating_mul(2);
        tokio::time::sleep(Duration::from_micros(self.below(bound) as u64)).await;
    }

    fn pick<'k>(&mut self, keys: &'k [Key]) -> Result<&'k Key> {
        keys.get(self.below(keys.len())).context("no apps")
    }
}

/// Milliseconds of each change.
#[derive(Default)]
struct Samples {
    seen: Vec<f64>,
    from_seen: Vec<f64>,
    child: Vec<f64>,
    status: Vec<f64>,
    own: Vec<f64>,
}

impl Samples {
    fn add(&mut self, asked: Instant, answered: Instant, done: Done) {
        let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1000.0;
        self.seen.push(ms(answered, done.edit));
        // The operator's watch may well be ahead of the bench's.
        self.from_seen.push(ms(answered.max(done.edit), done.child));
        self.child.push(ms(answered, done.child));
        self.status.push(ms(answered, done.all));
        self.own.push(ms(asked, answered));
    }

    fn latency(mut self) -> Latency {
        let Self { seen, from_seen, child, status, own } = &mut self;
        for values in [seen, from_seen, child, status, own] {
            values.sort_by(f64::total_cmp);
        }
        Latency {
            samples: self.child.len(),
            seen_p99_ms: percentile(&self.seen, 990),
            from_seen_p50_ms: percentile(&self.from_seen, 500),
            from_seen_p99_ms: percentile(&self.from_seen, 990),
            p50_ms: percentile(&self.child, 500),
            p99_ms: percentile(&self.child, 990),
            max_ms: percentile(&self.child, 1000),
            status_p99_ms: percentile(&self.status, 990),
            own_write_p50_ms: percentile(&self.own, 500),
            own_write_p99_ms: percentile(&self.own, 990),
        }
    }
}

/// Edits one app after the other, with pauses, while nothing else happens.
pub async fn edits(scenario: &Scenario<'_>) -> Result<Latency> {
    scenario.observer.want([]);
    let mut dice = Dice(1);
    let mut samples = Samples::default();
    for turn in 0..EDITS {
        one(scenario, dice.pick(&scenario.places)?, turn, &mut samples).await?;
        dice.pause(PAUSE).await;
    }
    Ok(samples.latency())
}

/// One edit, until its app's status is for it, too.
async fn one(scenario: &Scenario<'_>, key: &Key, turn: usize, samples: &mut Samples) -> Result<()> {
    want(scenario, key, turn);
    let asked = Instant::now();
    workload::edit(&scenario.world.admin, key, turn).await?;
    let answered = Instant::now();
    let done = scenario.observer.one(key, SINGLE).await?;
    samples.add(asked, answered, done);
    Ok(())
}

fn want(scenario: &Scenario<'_>, key: &Key, turn: usize) {
    let generation = scenario.observer.generation(key) + 1;
    let wanted = Wanted { generation, ..Wanted::new(&workload::edited_image(turn), End::Status) };
    scenario.observer.want_also(key.clone(), wanted);
}

/// The same for some tenants, while one tenant edits [`MASS`] apps at once, again and again until there are enough.
pub async fn mass(scenario: &Scenario<'_>) -> Result<Mass> {
    let observer = &scenario.observer;
    let mine = workload::places_of_one(MASS, scenario.places.len());
    let (_, others) = workload::split(scenario.places.clone());
    // Those that were edited are not as they were at first, and need not be.
    let more: Vec<Key> = mine.iter().filter(|key| observer.generation(key) == 0).cloned().collect();
    observer.want(workload::fresh(&more, scenario.plan.end()));
    workload::write(&scenario.world.admin, &more).await?;
    observer.all(PATIENCE).await.context("more apps of one tenant")?;
    observer.quiet(QUIET, PATIENCE).await?;

    let mut dice = Dice(2);
    let mut samples = Samples::default();
    let mut seconds = Vec::new();
    // Turns that no edit before has had.
    let mut turn = EDITS;
    while samples.child.len() < EDITS {
        observer.want([]);
        let bulk = turn;
        turn += 1;
        let start = Instant::now();
        let edit = async {
            for key in &mine {
                want(scenario, key, bulk);
            }
            workload::each(&mine, |key| workload::edit(&scenario.world.admin, key, bulk)).await?;
            for key in &mine {
                observer.one(key, PATIENCE).await?;
            }
            Ok::<_, anyhow::Error>(())
        };
        let mut edit = std::pin::pin!(edit);
        loop {
            let this = turn;
            turn += 1;
            let single = async {
                dice.pause(PAUSE / 2).await;
                one(scenario, dice.pick(&others)?, this, &mut samples).await
            };
            let mut single = std::pin::pin!(single);
            tokio::select! {
                outcome = &mut edit => {
                    outcome?;
                    // What is under way is finished, but it was not beside the others all the time; it counts all the
                    // same, for it was begun beside them.
                    single.await?;
                    break;
                }
                outcome = &mut single => outcome?,
            }
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok(Mass { apps: mine.len(), rounds: seconds.len(), seconds: median(seconds), single: samples.latency() })
}

/// Deletes and changes Applications, in turn, each until it is as it should be.
pub async fn drift(scenario: &Scenario<'_>) -> Result<Latency> {
    let (observer, admin) = (&scenario.observer, &scenario.world.admin);
    observer.want([]);
    let mut dice = Dice(3);
    let mut samples = Samples::default();
    for turn in 0..DRIFTS {
        let key = dice.pick(&scenario.places)?;
        let image = observer.child_image(key).context("an app without an Application")?;
        let wanted = Wanted::new(&image, End::Status);
        let asked = Instant::now();
        let answered = if turn % 2 == 0 {
            let not = observer.child_uid(key);
            observer.want_also(key.clone(), Wanted { not, ..wanted });
            workload::delete_child(admin, key).await?;
            Instant::now()
        } else {
            let after = workload::spoil(admin, key).await?;
            let answered = Instant::now();
            observer.want_also(key.clone(), Wanted { after, ..wanted });
            answered
        };
        let done = observer.one(key, SINGLE).await?;
        samples.add(asked, answered, done);
        dice.pause(PAUSE).await;
    }
    Ok(samples.latency())
}
