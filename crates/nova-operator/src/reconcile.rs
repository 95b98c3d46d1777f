//! One pass over one object, the same for every kind: look, try, tell, and say when to look again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use kube::api::Api;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Phase, Reason};
use nova_api::{CoreStatus, NovaStatus};
use nova_plan::verdict::{Stages, core};
use nova_plan::{Outcome, Problem};

use crate::cleanup::{DELETING, blocked};
use crate::context::{Context, Tabled};
use crate::key::Key;
use crate::status::status_time;
use crate::stop::{Doing, Stop};

/// Looks again at work in progress, in case the event that ends it got lost.
const WHILE_IN_PROGRESS: Duration = Duration::from_secs(5);
/// Looks again at everything, for the same reason. Costs no request where nothing differs.
const RESYNC: Duration = Duration::from_mins(10);
/// Longest pass over one object.
const LONGEST: Duration = Duration::from_mins(1);
/// So many races in a row are bad luck; more are a fault.
const RACES: u32 = 5;

/// What a kind has to say; the pass itself is the same for all.
pub trait Reconcile: Tabled {
    /// What status shows besides the outcome.
    type Seen: Default + Send;

    /// What an object of the kind goes through.
    const STAGES: Stages;

    /// Makes the object so. Facts for the status go into `seen` as they are found.
    fn attempt(&self, ctx: &Context, seen: &mut Self::Seen) -> impl Future<Output = Result<(), Stop>> + Send;

    /// Takes everything away that the finalizer stands for; `Ok` when it is gone.
    fn cleanup(&self, ctx: &Context, seen: &mut Self::Seen) -> impl Future<Output = Result<(), Stop>> + Send;

    /// Lets go of what may be left of an object that is gone already.
    fn absent(_: &Context, _: &Key) -> impl Future<Output = Result<(), Stop>> + Send {
        std::future::ready(Ok(()))
    }

    /// The whole status.
    fn judge(&self, ctx: &Context, seen: &Self::Seen, outcome: &Outcome, now: Timestamp) -> Self::Status;
}

/// Runs a pass over the object that `key` names. Returns a word for the metrics.
pub async fn pass<K: Reconcile>(ctx: &Context, key: &Key) -> &'static str {
    let Some(object) = K::table(&ctx.tables).get(&key.namespace, &key.name) else {
        return match K::absent(ctx, key).await {
            Ok(()) => {
                ctx.forget(key);
                "gone"
            }
            Err(stop) => {
                tracing::warn!(object = %key, ?stop, "what is left of it cannot be let go; it is tried again");
                ctx.queue.add_after(key.clone(), ctx.backoff.failed(key));
                "retry"
            }
        };
    };
    let deleting = object.meta().deletion_timestamp.is_some();
    if deleting && !object.finalizers().iter().any(|f| Some(f.as_str()) == K::finalizer()) {
        ctx.backoff.reset(key);
        if !object.finalizers().is_empty() {
            tell_only(ctx, object.as_ref(), held_by_others(object.as_ref())).await;
        }
        return "gone";
    }
    let mut seen = K::Seen::default();
    let result = if deleting {
        match take_down(ctx, object.as_ref(), &mut seen).await {
            Ok(()) => {
                ctx.backoff.reset(key);
                return "deleted";
            }
            Err(stop) => Err(stop),
        }
    } else {
        object.attempt(ctx, &mut seen).await
    };
    let outcome = match result {
        Ok(()) => Outcome::Applied,
        Err(Stop::Problem(problem)) => Outcome::Stopped(vec![*problem]),
        Err(Stop::Problems(problems)) => Outcome::Stopped(problems),
        Err(Stop::Again(moment)) if ctx.backoff.races(key) < RACES => {
            ctx.queue.add_after(key.clone(), ctx.backoff.again(key, moment));
            return "again";
        }
        Err(Stop::Again(_)) => Outcome::from(lasting_race(object.title())),
    };
    tell(ctx, key, object.as_ref(), &seen, &outcome).await
}

async fn tell<K: Reconcile>(
    ctx: &Context,
    key: &Key,
    was: &K,
    seen: &K::Seen,
    outcome: &Outcome,
) -> &'static str {
    let Some(object) = current(ctx, was) else { return "overtaken" };
    let status = object.judge(ctx, seen, outcome, status_time());
    let before = object.status().map(|s| s.core().clone());
    let more_of_the_same = goes_on(before.as_ref(), status.core(), outcome);
    if more_of_the_same && let Some(wait) = ctx.pace.wait(key) {
        ctx.queue.add_after(key.clone(), wait);
        return "progress";
    }
    match ctx.write_status(object.as_ref(), &status).await {
        Ok(true) => {
            if outcome.is_progress() {
                ctx.pace.told(key);
            } else {
                ctx.pace.ended(key);
            }
            ctx.report(object.as_ref(), before.as_ref(), status.core()).await;
        }
        Ok(false) => {}
        Err(Stop::Again(moment)) => {
            ctx.queue.add_after(key.clone(), ctx.backoff.again(key, moment));
            return "again";
        }
        Err(stop) => {
            tracing::warn!(object = %key, ?stop, "status could not be written; it is tried again");
            ctx.queue.add_after(key.clone(), ctx.backoff.failed(key));
            return "retry";
        }
    }
    let (delay, word) = match outcome {
        Outcome::Applied => {
            ctx.backoff.reset(key);
            (RESYNC, "ready")
        }
        Outcome::Stopped(problems) if problems.iter().all(|p| p.terminal) => {
            ctx.backoff.reset(key);
            (RESYNC, "stalled")
        }
        progress if progress.is_progress() => {
            ctx.backoff.reset(key);
            (WHILE_IN_PROGRESS, "progress")
        }
        Outcome::Stopped(_) => (ctx.backoff.failed(key), "waiting"),
    };
    ctx.queue.add_after(key.clone(), delay);
    word
}

/// The object as it is now, which the pass may have written to itself. None where what was found about it no longer
/// holds: it is gone, was made anew, or an edit or a deletion came in, each of which has queued it already.
fn current<K: Reconcile>(ctx: &Context, was: &K) -> Option<Arc<K>> {
    let object = K::table(&ctx.tables).get(&was.namespace().unwrap_or_default(), &was.name_any())?;
    let same = object.meta().uid == was.meta().uid && object.meta().generation == was.meta().generation;
    same.then_some(object)
}

/// The same work as told before goes on, a little further.
fn goes_on(before: Option<&CoreStatus>, now: &CoreStatus, outcome: &Outcome) -> bool {
    outcome.is_progress()
        && matches!(now.phase, Some(Phase::Applying | Phase::Deleting))
        && before.is_some_and(|b| b.phase == now.phase && b.observed_generation == now.observed_generation)
}

/// Takes down what an object stands for, and then lets it go.
async fn take_down<K: Reconcile>(ctx: &Context, object: &K, seen: &mut K::Seen) -> Result<(), Stop> {
    if definition_goes::<K>(ctx).await? {
        return Err(kept_for_definition::<K>().into());
    }
    object.cleanup(ctx, seen).await?;
    ctx.release(object).await
}

/// The kind's own definition is on its way out: that is not a wish to delete what each object stands for. Asks the API
/// server, because the news of the definition may come after that of its objects.
async fn definition_goes<K: Reconcile>(ctx: &Context) -> Result<bool, Stop> {
    let name = definition::<K>();
    let object = format!("CustomResourceDefinition {name}");
    let doing = Doing { stage: DELETING, object: &object };
    let api: Api<CustomResourceDefinition> = Api::all(ctx.client.clone());
    match ctx.ask(doing, api.get_metadata_opt(&name)).await? {
        Ok(found) => Ok(found.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some())),
        Err(error) => Err(ctx.failed(&error, doing)),
    }
}

fn definition<K: Reconcile>() -> String {
    format!("{}.{}", K::plural(&()), K::group(&()))
}

fn kept_for_definition<K: Reconcile>() -> Problem {
    let object = format!("CustomResourceDefinition {}", definition::<K>());
    let message = "it is being deleted, and nothing is taken down for that";
    let fix = format!(
        "to give up what the object stands for without taking it down, remove the finalizer {}; to take it down, \
         restore the definition from a backup and delete the object",
        K::finalizer().unwrap_or_default()
    );
    blocked(object, message.to_owned(), fix)
}

/// A race that does not pass is a fault, and is told.
fn lasting_race(object: String) -> Problem {
    let message = "another writer is faster time and again, or a kind it needs cannot be listed";
    Problem::new(ConditionType::Ready, Reason::BackendUnavailable, object, message)
        .code(Code::Kn503)
        .fix("see the operator's log for watches and requests that fail: kubectl -n kubenova-system logs deployment/kubenova-operator")
}

/// Times a pass and counts it. One that panics or hangs concerns this object only, and its status says so.
pub async fn measured<K: Reconcile>(ctx: &Context, key: &Key) {
    let start = Instant::now();
    let before = K::table(&ctx.tables).get(&key.namespace, &key.name);
    let whole = AssertUnwindSafe(pass::<K>(ctx, key)).catch_unwind();
    let broken = match tokio::time::timeout(LONGEST, whole).await {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_)) => Err("KubeNova has a fault: the pass over it panicked"),
        Err(_) => Err("a pass over it did not end within a minute and was given up"),
    };
    let outcome = match (broken, before) {
        (Ok(outcome), _) => outcome,
        (Err(how), before) => {
            tracing::error!(how, "pass did not end well; it is tried again");
            ctx.queue.add_after(key.clone(), ctx.backoff.failed(key));
            if let Some(was) = before {
                tell_only(ctx, was.as_ref(), broken_off(was.as_ref(), how)).await;
            }
            "broken"
        }
    };
    let took = start.elapsed();
    ctx.metrics.reconciled(K::KEY.as_str(), outcome, took);
    tracing::debug!(outcome, took_ms = took.as_millis(), "pass");
}

/// A pass that did not come to its end.
fn broken_off<K: Reconcile>(object: &K, how: &str) -> Problem {
    let fix =
        "report it with the operator's log: kubectl -n kubenova-system logs deployment/kubenova-operator";
    Problem::new(ConditionType::Ready, Reason::InternalError, object.title(), how)
        .code(Code::Kn500)
        .class(BlockerClass::Bug)
        .fix(fix)
}

/// What KubeNova had to do for a deletion is done, and others hold the object.
fn held_by_others<K: Reconcile>(object: &K) -> Problem {
    let message = format!("it waits for {}", object.finalizers().join(", "));
    let fix = "see who put these finalizers there, and why that does not take them off";
    Problem { reason: Reason::Deleting, ..Problem::progress(DELETING, object.title(), message) }.fix(fix)
}

/// Tells of a problem without having looked: what the kind's status shows besides stays as it was.
async fn tell_only<K: Reconcile>(ctx: &Context, was: &K, problem: Problem) {
    let Some(object) = current(ctx, was) else { return };
    let mut status = object.status().cloned().unwrap_or_default();
    let before = object.status().map(|s| s.core().clone());
    *status.core_mut() = core(object.as_ref(), K::STAGES, &problem.into(), status_time());
    match ctx.write_status(object.as_ref(), &status).await {
        Ok(true) => ctx.report(object.as_ref(), before.as_ref(), status.core()).await,
        Ok(false) => {}
        Err(stop) => tracing::warn!(?stop, "status could not be written"),
    }
}
