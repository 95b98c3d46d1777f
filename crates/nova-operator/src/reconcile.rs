//! One pass over one object, the same for every kind: look, try, tell, and say when to look again.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;
use nova_api::NovaStatus;
use nova_api::conditions::{Code, ConditionType, Reason};
use nova_plan::{Outcome, Problem};

use crate::context::{Context, Tabled};
use crate::key::Key;
use crate::status::status_time;
use crate::stop::Stop;

/// Looks again at work in progress, in case the event that ends it got lost.
const WHILE_IN_PROGRESS: Duration = Duration::from_secs(5);
/// Looks again at everything, for the same reason. Costs no request where nothing differs.
const RESYNC: Duration = Duration::from_mins(10);
/// So many races in a row are bad luck; more are a fault.
const RACES: u32 = 5;

/// What a kind has to say; the pass itself is the same for all.
pub trait Reconcile: Tabled {
    /// What status shows besides the outcome.
    type Seen: Default + Send;

    /// Makes the object so. Facts for the status go into `seen` as they are found.
    fn attempt(&self, ctx: &Context, seen: &mut Self::Seen) -> impl Future<Output = Result<(), Stop>> + Send;

    /// Takes everything away that the finalizer stands for; `Ok` when it is gone.
    fn cleanup(&self, ctx: &Context, seen: &mut Self::Seen) -> impl Future<Output = Result<(), Stop>> + Send;

    /// The whole status.
    fn judge(&self, ctx: &Context, seen: &Self::Seen, outcome: &Outcome, now: Timestamp) -> Self::Status;
}

/// Runs a pass over the object that `key` names. Returns a word for the metrics.
pub async fn pass<K: Reconcile>(ctx: &Context, key: &Key) -> &'static str {
    let Some(object) = K::table(&ctx.tables).get(&key.namespace, &key.name) else {
        ctx.backoff.reset(key);
        return "gone";
    };
    let deleting = object.meta().deletion_timestamp.is_some();
    if deleting && !object.finalizers().iter().any(|f| Some(f.as_str()) == K::finalizer()) {
        // Ours is done; it waits for others.
        ctx.backoff.reset(key);
        return "gone";
    }
    let mut seen = K::Seen::default();
    let result = if deleting && definition_goes::<K>(ctx) {
        Err(kept_for_definition::<K>().into())
    } else if deleting {
        match object.cleanup(ctx, &mut seen).await {
            Ok(()) => match ctx.release(object.as_ref()).await {
                Ok(()) => {
                    ctx.backoff.reset(key);
                    return "deleted";
                }
                Err(stop) => Err(stop),
            },
            Err(stop) => Err(stop),
        }
    } else {
        object.attempt(ctx, &mut seen).await
    };
    let outcome = match result {
        Ok(()) => Outcome::Applied,
        Err(Stop::Problem(problem)) => Outcome::Stopped(vec![*problem]),
        Err(Stop::Problems(problems)) => Outcome::Stopped(problems),
        Err(Stop::Again(moment)) if ctx.backoff.count(key) < RACES => {
            ctx.queue.add_after(key.clone(), ctx.backoff.again(key, moment));
            return "again";
        }
        Err(Stop::Again(_)) => Outcome::from(lasting_race::<K>(key)),
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
    // The pass may have written to the object itself; a namesake created meanwhile gets a pass of its own.
    let Some(object) = K::table(&ctx.tables).get(&key.namespace, &key.name) else { return "gone" };
    if object.meta().uid != was.meta().uid {
        return "gone";
    }
    // An edit or a deletion came in meanwhile. What was found holds for the earlier generation only, and the edit
    // has queued the object already.
    if object.meta().generation != was.meta().generation {
        return "overtaken";
    }
    let status = object.judge(ctx, seen, outcome, status_time());
    let before = object.status().map(|s| s.core().clone());
    match ctx.write_status(object.as_ref(), &status).await {
        Ok(true) => ctx.report(object.as_ref(), before.as_ref(), status.core()).await,
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
        Outcome::Stopped(problems) if problems.iter().all(Problem::is_progress) => {
            ctx.backoff.reset(key);
            (WHILE_IN_PROGRESS, "progress")
        }
        Outcome::Stopped(_) => (ctx.backoff.failed(key), "waiting"),
    };
    ctx.queue.add_after(key.clone(), delay);
    word
}

/// The kind's own definition is on its way out: that is not a wish to delete what each object stands for.
fn definition_goes<K: Reconcile>(ctx: &Context) -> bool {
    ctx.tables.crds.get("", &definition::<K>()).is_some_and(|row| row.deleting())
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
    crate::cleanup::blocked(object, message.to_owned(), fix)
}

/// A race that does not pass is a fault, and is told.
fn lasting_race<K: Reconcile>(key: &Key) -> Problem {
    let message = "another writer is faster time and again, or a kind it needs cannot be listed";
    Problem::new(ConditionType::Ready, Reason::BackendUnavailable, format!("{} {}", K::KIND, key.name), message)
        .code(Code::Kn503)
        .fix("see the operator's log for watches and requests that fail: kubectl -n kubenova-system logs deployment/kubenova-operator")
}

/// Times a pass and counts it.
pub async fn measured<K: Reconcile>(ctx: &Context, key: &Key) {
    let start = Instant::now();
    let outcome = pass::<K>(ctx, key).await;
    let took = start.elapsed();
    ctx.metrics.reconciled(K::KEY.as_str(), outcome, took);
    tracing::debug!(outcome, took_ms = took.as_millis(), "pass");
}
