//! Every write of quickstart, drift and deletion goes wrong once: its answer is lost, or it is refused.
//! The end is the same.
//!
//! One operator serves all tenants, side by side, and in each other writes go wrong, told apart by their paths.

mod crash;
mod drift;
mod judge;
#[path = "../faults/stage.rs"]
#[allow(dead_code, reason = "the experiments with faults use the rest of it")]
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Everything, Picture, Signature, World, any, even_quickstart, eventually, plan_of};
use futures::{StreamExt as _, stream};
use kube::api::{Api, DeleteParams, DynamicObject};
use nova_testkit::FaultProxy;
use nova_testkit::fault_proxy::{Fault, Injected, Refusal};

use stage::{alone, falls_silent};

/// One tenant's way to Ready, or out of the world, with others beside it.
const CONVERGES: Duration = Duration::from_mins(2);
/// Within this after the last object is Ready, the counts of its parents are right too.
const SETTLES: Duration = Duration::from_secs(30);
/// After the end is reached, a run waits so long for writes that come late.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Tenants at once.
const SIDE_BY_SIDE: usize = 6;
/// No write for so long at the end.
const QUIET: Duration = Duration::from_secs(5);

/// How a write goes wrong. Refusals alternate.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    Lost,
    Refused,
}

impl Kind {
    fn fault(self, n: usize) -> Fault {
        match self {
            Self::Lost => Fault::LoseAnswer,
            Self::Refused if n.is_multiple_of(2) => Fault::Answer(Refusal::CONFLICT),
            Self::Refused => Fault::Answer(Refusal::INTERNAL),
        }
    }
}

/// What goes wrong in one life.
type Faults = Vec<(Kind, Signature, Fault)>;

#[tokio::test]
async fn a_lost_answer_or_a_refusal_of_any_write_changes_nothing_in_the_end() -> Result<()> {
    alone(async |stage| {
        let (world, proxy) = (stage.world, &stage.proxy);
        let start = Instant::now();
        let _operator = stage.operator().await?;
        let reference = life(world, proxy, "swpref0", None, Default::default()).await?;
        let again = life(world, proxy, "swpref1", Some(&reference.end), Default::default()).await?;
        println!(
            "reference: {} writes to make a tenant, {} to delete it; and again: {}, {}",
            reference.made.len(),
            reference.deleted.len(),
            again.made.len(),
            again.deleted.len()
        );
        let mut making = Coverage::of("make", &reference.made, &again.made);
        let mut deleting = Coverage::of("delete", &reference.deleted, &again.deleted);
        let mut tenants = vec![reference.tenant.clone(), again.tenant.clone()];
        let mut problems = Vec::new();
        // What a round has missed, because time had it otherwise, has another chance or two.
        for round in 0..3 {
            let planned = lives_to_live(round, &making, &deleting);
            println!("round {round}: {} tenants", planned.len());
            let expected = &reference.end;
            let run = async |(tenant, faults): (String, [Faults; 2])| {
                let told = |(kind, what, _): &(Kind, Signature, Fault)| format!("{kind:?} {what}");
                let told: Vec<String> = faults.iter().flatten().map(told).collect();
                let life = life(world, proxy, &tenant, Some(expected), faults).await;
                life.with_context(|| format!("{tenant}: {}", told.join(", ")))
            };
            let lives: Vec<Result<Life>> =
                stream::iter(planned).map(run).buffer_unordered(SIDE_BY_SIDE).collect().await;
            for life in lives {
                match life {
                    Ok(life) => {
                        let [made, deleted] = life.hit;
                        making.hit.extend(made);
                        deleting.hit.extend(deleted);
                        tenants.push(life.tenant);
                    }
                    Err(error) => problems.push(format!("{error:#}")),
                }
            }
            ensure!(
                problems.is_empty(),
                "{} lives did not end as they should: {problems:#?}",
                problems.len()
            );
        }
        println!("{} tenants lived and died in {:.0?}", tenants.len(), start.elapsed());
        let drifted = drift::each_repair_goes_wrong_once(world, proxy).await?;
        println!("with drift: {:.0?}", start.elapsed());

        falls_silent(&stage).await?;
        let before = proxy.writes().len();
        tokio::time::sleep(QUIET).await;
        let late: Vec<String> =
            proxy.writes()[before..].iter().map(|w| format!("{} {}", w.method, w.path)).collect();
        ensure!(late.is_empty(), "no quiet at the end: {late:#?}");
        nothing_is_left(world, &tenants).await?;
        making.judge()?;
        deleting.judge()?;
        judge::history(world, &tenants, &drifted).await?;
        println!("in all {:.0?}", start.elapsed());
        Ok(())
    })
    .await
}

/// Which writes have gone wrong, of those that should.
struct Coverage {
    what: &'static str,
    /// In the order of the reference.
    known: Vec<Signature>,
    /// Written in every run.
    certain: BTreeSet<Signature>,
    hit: BTreeSet<(Kind, Signature)>,
}

impl Coverage {
    fn of(what: &'static str, reference: &[Signature], again: &[Signature]) -> Self {
        // A status is written or overtaken by the next one, as time has it.
        let certain = |s: &&Signature| again.contains(s) && (s.occurrence == 1 || !s.is_status());
        Self {
            what,
            certain: reference.iter().filter(certain).cloned().collect(),
            known: reference.to_vec(),
            hit: BTreeSet::new(),
        }
    }

    /// What is still to go wrong in some way; after the first round only what is sure to be met.
    fn left(&self, kind: Kind, round: usize) -> Faults {
        let wanted = |s: &&Signature| {
            !self.hit.contains(&(kind, (*s).clone())) && (round == 0 || self.certain.contains(*s))
        };
        let all = self.known.iter().filter(wanted).cloned().enumerate();
        // The second chance is another refusal than the first.
        all.map(|(n, s)| (kind, s, kind.fault(n + round))).collect()
    }

    fn judge(&self) -> Result<()> {
        for kind in [Kind::Lost, Kind::Refused] {
            let hit = |s: &&Signature| self.hit.contains(&(kind, (*s).clone()));
            let count = self.known.iter().filter(hit).count();
            let not_hit: Vec<String> =
                self.known.iter().filter(|s| !hit(s)).map(ToString::to_string).collect();
            println!(
                "{kind:?}, {}: signatures hit / known: {count} / {}; not hit: {not_hit:#?}",
                self.what,
                self.known.len()
            );
            let missed: Vec<String> =
                self.certain.iter().filter(|s| !hit(s)).map(ToString::to_string).collect();
            ensure!(missed.is_empty(), "{kind:?}, {}: these writes were not met: {missed:#?}", self.what);
        }
        Ok(())
    }
}

/// What is still to go wrong: in each life an answer lost and, half the list away, a refusal, while the tenant is made
/// and again while it is deleted.
fn lives_to_live(round: usize, making: &Coverage, deleting: &Coverage) -> Vec<(String, [Faults; 2])> {
    let pairs = |coverage: &Coverage| -> Vec<Faults> {
        let (lost, mut refused) = (coverage.left(Kind::Lost, round), coverage.left(Kind::Refused, round));
        let half = refused.len() / 2;
        refused.rotate_left(half);
        let count = lost.len().max(refused.len());
        let (mut lost, mut refused) = (lost.into_iter(), refused.into_iter());
        (0..count).map(|_| lost.next().into_iter().chain(refused.next()).collect()).collect()
    };
    let (mut made, mut deleted) = (pairs(making), pairs(deleting));
    let lives = made.len().max(deleted.len());
    made.resize(lives, Faults::new());
    deleted.resize(lives, Faults::new());
    let both = made.into_iter().zip(deleted).enumerate();
    both.map(|(n, (made, deleted))| (format!("swp{round}{n:03}"), [made, deleted])).collect()
}

/// A tenant from its documents to its end.
struct Life {
    tenant: String,
    made: Vec<Signature>,
    deleted: Vec<Signature>,
    end: Picture,
    /// While it was made, and while it was deleted.
    hit: [Vec<(Kind, Signature)>; 2],
}

fn plans(world: &World) -> Api<DynamicObject> {
    any(&world.admin, "kubenova.io", "v1alpha1", "NovaPlan", "novaplans")
}

fn tenants(world: &World) -> Api<DynamicObject> {
    any(&world.admin, "kubenova.io", "v1alpha1", "NovaTenant", "novatenants")
}

/// The quickstart of a tenant that may be deleted with all that is in it.
fn documents(tenant: &str) -> Result<Vec<String>> {
    let of_its_own = |text: &String| {
        text.replace("  plan: starter", "  plan: starter\n  deletionPolicy: Cascade")
            .replace("starter", &plan_of(tenant))
    };
    Ok(even_quickstart(tenant)?.iter().map(of_its_own).collect())
}

async fn life(
    world: &World,
    proxy: &FaultProxy,
    tenant: &str,
    expected: Option<&Picture>,
    [making, deleting]: [Faults; 2],
) -> Result<Life> {
    let injected = inject(proxy, tenant, making)?;
    world.apply_until_accepted(&documents(tenant)?, CONVERGES).await?;
    world.ready(tenant, CONVERGES).await?;
    let mut end = Picture::settled(world, tenant, expected, SETTLES).await?;
    tokio::time::sleep(AFTERMATH).await;
    if expected.is_none() {
        end = Picture::take(world, tenant).await?;
    }
    let about = || proxy.writes().into_iter().filter(|w| w.resource().contains(tenant)).collect::<Vec<_>>();
    let made = about();
    let made_hit = hit(injected);
    // What is deleted is counted anew.
    let injected = inject(proxy, tenant, deleting)?;
    delete(world, tenant).await?;
    let deleted = Signature::all(&about()[made.len()..], tenant);
    let hit = [made_hit, hit(injected)];
    Ok(Life { tenant: tenant.to_owned(), made: Signature::all(&made, tenant), deleted, end, hit })
}

fn inject(proxy: &FaultProxy, tenant: &str, faults: Faults) -> Result<Vec<(Kind, Signature, Injected)>> {
    let inject = |(kind, what, fault): (Kind, Signature, Fault)| {
        let rule = what.rule(tenant)?;
        Ok((kind, what, proxy.inject(rule, fault)))
    };
    faults.into_iter().map(inject).collect()
}

/// Lifts rules and tells which of them were met.
fn hit(injected: Vec<(Kind, Signature, Injected)>) -> Vec<(Kind, Signature)> {
    let met = |(kind, what, rule): (Kind, Signature, Injected)| {
        rule.lift();
        (rule.hits() > 0).then_some((kind, what))
    };
    injected.into_iter().filter_map(met).collect()
}

/// Deletes a tenant and then its plan, and waits until each is gone.
async fn delete(world: &World, tenant: &str) -> Result<()> {
    for (api, name) in [(tenants(world), tenant.to_owned()), (plans(world), plan_of(tenant))] {
        if api.get_opt(&name).await?.is_some_and(|live| live.metadata.deletion_timestamp.is_none()) {
            api.delete(&name, &DeleteParams::default()).await?;
        }
        eventually(&format!("{name} is gone"), CONVERGES, async || {
            let live = api.get_opt(&name).await.map_err(|e| e.to_string())?;
            live.map_or(Ok(()), |object| Err(object.data["status"].to_string()))
        })
        .await?;
    }
    Ok(())
}

/// Deletes a tenant that is not being deleted yet.
/// Nothing in the cluster speaks of any of these tenants any more.
async fn nothing_is_left(world: &World, tenants: &[String]) -> Result<()> {
    eventually("nothing is left", SETTLES, async || {
        let all = Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"))?;
        let left: BTreeMap<&str, Vec<&str>> = tenants
            .iter()
            .map(|tenant| (tenant.as_str(), all.speaks_of(tenant)))
            .filter(|(_, left)| !left.is_empty())
            .collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
    })
    .await
}
