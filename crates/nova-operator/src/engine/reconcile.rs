//! One pass over one object, the same for every kind: observe, ensure, write the status, and say when to look again.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures::FutureExt;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Phase, Reason};
use nova_api::{CoreStatus, NovaStatus};
use nova_plan::answers::RequestContext;
use nova_plan::deletion::{DELETING, held_by_others, kept_for_definition};
use nova_plan::verdict::core_of;
use nova_plan::{Outcome, Plan, Problem, Retry};
use serde_json::Value;

use super::cached_object::{CachedNova, Known, title};
use super::cx::{Cx, Engine};
use super::events::event_for;
use super::interrupt::Interrupt;
use super::key::Key;
use super::relations::Relations;
use super::request::CALL_TIMEOUT;
use super::status::{status_patch, status_time};
use super::store::Index;
use super::stores::StoreId;
use super::throttle::News;

/// Looks again at a deletion: it is decided from live reads, and not all that these find is watched.
const WHILE_DELETING: Duration = Duration::from_secs(5);
/// An object that was Ready and is not: what it waits for may have come while its status was being written.
const LOOK_ONCE_MORE: Duration = Duration::from_secs(1);
/// Longest pass over one object.
const LONGEST: Duration = Duration::from_mins(1);
/// So many races in a row are bad luck; more are a fault, and are told.
const RACES: u32 = 5;

/// What a kind does; the pass itself is the same for all.
pub trait Controller: Plan {
    /// The one object of the kind that is always there, if there is one: it is looked at also where it is absent.
    const SINGLETON: Option<&'static str> = None;

    /// What wakes its objects, and what they read.
    fn relations(to: &mut Relations);

    /// Its indexes, besides that by age.
    fn indexes() -> &'static [Index<CachedNova>];

    /// Makes the object so. Facts for the status go into `observed` as they are found.
    fn ensure(
        &self,
        cx: &Cx<'_>,
        observed: &mut Self::Observed,
    ) -> impl Future<Output = Result<(), Interrupt>> + Send;

    /// Takes everything away that the finalizer stands for; `Ok` when it is gone. Needs only what is known of any object,
    /// because one that cannot be read is deleted too.
    fn cleanup(
        object: &CachedNova,
        known: &Known<Self>,
        cx: &Cx<'_>,
        observed: &mut Self::Observed,
    ) -> impl Future<Output = Result<(), Interrupt>> + Send;

    /// Lets go of what may be left of an object that is gone already.
    fn absent(_: &Cx<'_>) -> impl Future<Output = Result<(), Interrupt>> + Send {
        std::future::ready(Ok(()))
    }
}

/// How a pass ended: a word for the metrics, and when to look again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    word: &'static str,
    again: Option<Duration>,
}

impl End {
    fn last(word: &'static str) -> Self {
        Self { word, again: None }
    }

    fn again(word: &'static str, delay: Duration) -> Self {
        Self { word, again: Some(delay) }
    }
}

/// Runs a pass over the object of `cx`.
async fn reconcile<K: Controller>(cx: &Cx<'_>, needs: &BTreeSet<StoreId>) -> End {
    let (engine, key) = (cx.engine, cx.key);
    if !engine.stores.is_listed(&StoreId::Nova(K::ID)) {
        // Nothing is known of any object of the kind; its list wakes all.
        return End::last("unlisted");
    }
    let Some(object) = cx.get(K::ID, &key.namespace, &key.name) else { return absent::<K>(cx).await };
    let deleting = object.meta().deleting.is_some();
    let ours = |f: &&String| Some(f.as_str()) == K::finalizer();
    if deleting {
        // Whoever is on its way out needs no place any more.
        engine.give_back_slot(key);
    }
    if deleting && !object.meta().finalizers.iter().any(|f| ours(&f)) {
        engine.backoff.reset(key);
        let others: Vec<&str> = object.meta().finalizers.iter().map(String::as_str).collect();
        if !others.is_empty() {
            let problem = held_by_others(&title(K::ID, object.meta()), &others);
            return match write_problem_status::<K>(cx, problem).await {
                Ok(()) => End::again("gone", engine.resync),
                Err(_) => End::again("retry", engine.backoff.failed(key)),
            };
        }
        return End::last("gone");
    }
    let mut observed = K::Observed::default();
    let known = object.read::<K>();
    let result = match (&known, deleting) {
        (_, true) => match take_down::<K>(cx, &object, &known, &mut observed).await {
            Ok(()) => {
                engine.backoff.reset(key);
                // Others may hold it still, which is told next.
                let held = object.meta().finalizers.iter().any(|f| !ours(&f));
                return if held { End::again("deleted", Duration::ZERO) } else { End::last("deleted") };
            }
            Err(interrupt) => Err(interrupt),
        },
        (Ok(known), false) => match unlisted(cx, needs) {
            Some(problem) => Err(problem.into()),
            None => known.ensure(cx, &mut observed).await,
        },
        (Err(why), false) => Err(unreadable::<K>(&object, why).into()),
    };
    let outcome = match result {
        Ok(()) => Outcome::Ready,
        Err(Interrupt::Problem(problem) | Interrupt::Contested(problem)) => Outcome::NotReady(vec![*problem]),
        Err(Interrupt::Problems(problems)) => Outcome::NotReady(problems),
        Err(Interrupt::Requeue) if engine.backoff.races(key) < RACES => {
            return End::again("requeued", engine.backoff.raced(key));
        }
        Err(Interrupt::Requeue) => lasting_race(title(K::ID, object.meta())).into(),
    };
    finish::<K>(cx, &object, &observed, &outcome).await
}

async fn absent<K: Controller>(cx: &Cx<'_>) -> End {
    match K::absent(cx).await {
        Ok(()) => {
            cx.engine.forget(cx.key);
            End::last("gone")
        }
        Err(interrupt) => {
            if let Interrupt::Problem(problem) = &interrupt {
                cx.engine.failures.failed(cx.key, problem);
            }
            End::again("retry", cx.engine.backoff.failed(cx.key))
        }
    }
}

/// The first store that cannot be listed and without which nothing true can be decided.
fn unlisted(cx: &Cx<'_>, needs: &BTreeSet<StoreId>) -> Option<Problem> {
    needs.iter().find_map(|store| cx.blind(store))
}

/// Computes the status of an outcome, writes it where it differs and is due, and tells when to look again.
async fn finish<K: Controller>(
    cx: &Cx<'_>,
    was: &CachedNova,
    observed: &K::Observed,
    outcome: &Outcome,
) -> End {
    let (engine, key) = (cx.engine, cx.key);
    let Some(object) = current::<K>(cx, was) else { return End::last("overtaken") };
    let now = status_time();
    let readable = object.read::<K>().ok();
    let before = readable.as_deref().and_then(|o| o.status().map(|s| s.core().clone()));
    let (core, status, keep) = if let Some(readable) = &readable {
        let status = readable.compute_status(observed, outcome, now);
        (status.core().clone(), serde_json::to_value(&status), false)
    } else {
        // What cannot be read keeps what else its status holds.
        let core = core_of_metadata::<K>(&object, outcome);
        (core.clone(), serde_json::to_value(&core), true)
    };
    let status: Value = status.unwrap_or_default();
    let patch = status_patch(&object, &status, keep);
    let news = news_of(before.as_ref(), &core, outcome);
    let wait = news.filter(|_| patch.is_some()).and_then(|news| engine.throttle.remaining(key, news));
    if wait.is_none()
        && let Some(patch) = &patch
    {
        match cx.write_status::<K>(&object, patch).await {
            Ok(false) => {}
            Ok(true) => {
                if let Some(news) = news.or(outcome.is_progress().then_some(News::Progress)) {
                    engine.throttle.written(key, news);
                }
                if let Some(draft) = event_for(before.as_ref(), &core) {
                    engine.events.record(key, object.meta(), &draft);
                }
            }
            Err(Interrupt::Requeue) => return End::again("requeued", engine.backoff.raced(key)),
            Err(interrupt) => {
                if let Interrupt::Problem(problem) = &interrupt {
                    engine.failures.failed(key, problem);
                }
                return End::again("retry", engine.backoff.failed(key));
            }
        }
    }
    if !outcome.is_progress() {
        engine.throttle.progress_ended(key);
    }
    tell_log(engine, key, outcome);
    if object.is_ready() && *outcome != Outcome::Ready {
        // Whoever wakes those that are not Ready did not find this one yet.
        cx.requeue_after(LOOK_ONCE_MORE);
    }
    let (word, delay) = again(engine, key, outcome, object.meta().deleting.is_some());
    End::again(word, wait.map_or(delay, |wait| wait.min(delay)))
}

/// What waits for something that is watched is woken by it. Only what a request has shown is asked again.
fn again(engine: &Engine, key: &Key, outcome: &Outcome, deleting: bool) -> (&'static str, Duration) {
    let problems = match outcome {
        Outcome::Ready => {
            engine.backoff.reset(key);
            return ("ready", engine.resync);
        }
        Outcome::NotReady(problems) => problems,
    };
    if problems.iter().any(|p| p.retry == Retry::Backoff) {
        return ("waiting", engine.backoff.failed(key));
    }
    engine.backoff.reset(key);
    let word = match outcome {
        _ if problems.iter().all(Problem::is_terminal) => "stalled",
        progress if progress.is_progress() => "progress",
        _ => "waiting",
    };
    (word, if deleting { WHILE_DELETING } else { engine.resync })
}

fn tell_log(engine: &Engine, key: &Key, outcome: &Outcome) {
    match outcome {
        Outcome::NotReady(problems) if !outcome.is_progress() => {
            if let Some(leading) = problems.iter().find(|p| !p.is_progress()) {
                engine.failures.failed(key, leading);
            }
        }
        Outcome::NotReady(_) => {}
        Outcome::Ready => engine.failures.forget(key),
    }
}

/// The object as it is now, which the pass may have written to itself. None where what was found about it no longer
/// holds: it is gone, was made anew, or an edit or a deletion came in, each of which has queued it already.
fn current<K: Controller>(cx: &Cx<'_>, was: &CachedNova) -> Option<CachedNova> {
    let object = cx.get(K::ID, &cx.key.namespace, &cx.key.name)?;
    let (now, was) = (object.meta(), was.meta());
    (now.uid == was.uid && now.generation == was.generation).then_some(object)
}

/// What a write would be about, where it can wait.
fn news_of(before: Option<&CoreStatus>, now: &CoreStatus, outcome: &Outcome) -> Option<News> {
    let before = before?;
    if before == now {
        return Some(News::Facts);
    }
    let goes_on = outcome.is_progress()
        && matches!(now.phase, Some(Phase::Applying | Phase::Deleting))
        && before.phase == now.phase
        && before.observed_generation == now.observed_generation;
    goes_on.then_some(News::Progress)
}

/// Takes down what an object stands for, and then lets it go.
async fn take_down<K: Controller>(
    cx: &Cx<'_>,
    object: &CachedNova,
    known: &Result<std::sync::Arc<K>, String>,
    observed: &mut K::Observed,
) -> Result<(), Interrupt> {
    if definition_goes::<K>(cx).await? {
        return Err(kept_for_definition(K::ID.crd_name(), K::finalizer().unwrap_or_default()).into());
    }
    let known = match known {
        Ok(readable) => Known::Readable(readable.clone()),
        Err(_) => Known::MetadataOnly,
    };
    K::cleanup(object, &known, cx, observed).await?;
    cx.remove_finalizer::<K>(object).await
}

/// The kind's own definition is on its way out: that is not a wish to delete what each object stands for. Asks the API
/// server, because the news of the definition may come after that of its objects.
async fn definition_goes<K: Controller>(cx: &Cx<'_>) -> Result<bool, Interrupt> {
    let name = K::ID.crd_name();
    let object = format!("CustomResourceDefinition {name}");
    let doing = RequestContext { stage: DELETING, object: &object };
    let api: Api<CustomResourceDefinition> = Api::all(cx.engine.client.clone());
    match cx.ask(doing, CALL_TIMEOUT, api.get_metadata_opt(name)).await? {
        Ok(found) => Ok(found.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some())),
        Err(error) => Err(cx.failed(&error, doing, None)),
    }
}

/// A race that does not pass is a fault, and is told.
fn lasting_race(object: String) -> Problem {
    let message = "another writer is faster time and again";
    Problem::new(ConditionType::Ready, Reason::BackendUnavailable, object, message)
        .code(Code::Kn503)
        .fix("see who else writes to it and to its children: kubectl get -o yaml --show-managed-fields")
        .backoff()
}

/// An object that its kind does not understand.
fn unreadable<K: Controller>(object: &CachedNova, why: &str) -> Problem {
    Problem::invalid(ConditionType::Ready, title(K::ID, object.meta()), format!("it cannot be read: {why}")).fix(
        "correct spec: values may lie in each other 50 levels deep at most, and the whole has to stay below 640 KiB; or \
         run the version of KubeNova that wrote it",
    )
}

/// A pass with its time limit, counted. One that panics or hangs concerns this object only, and its status says so.
pub async fn reconcile_guarded<K: Controller>(engine: &Engine, key: &Key, relations: &Relations) {
    let start = Instant::now();
    let cx = Cx::new(engine, key);
    let needs = relations.needs_listed();
    let whole = AssertUnwindSafe(reconcile::<K>(&cx, &needs)).catch_unwind();
    let broken = match tokio::time::timeout(LONGEST, whole).await {
        Ok(Ok(end)) => Ok(end),
        Ok(Err(_)) => Err(broken_off(key, "KubeNova has a fault: the pass over it panicked")),
        // A pass is mostly requests: it is the API server that was slow.
        Err(_) => Err(match cx.asking() {
            Some(object) => slow(key, &object),
            None => broken_off(key, "a pass over it did not end within a minute and was given up"),
        }),
    };
    let end = match broken {
        Ok(end) => end,
        Err(problem) => {
            tracing::error!(cause = problem.message, "pass did not end well; it is tried again");
            if let Err(interrupt) = write_problem_status::<K>(&cx, problem).await {
                tracing::warn!(?interrupt, "status could not be written");
            }
            End::again("broken", engine.backoff.failed(key))
        }
    };
    // The earliest wins: what the pass asked for, and what its end asks for.
    if let Some(delay) = [end.again, cx.requeue()].into_iter().flatten().min() {
        engine.queue.add_after(key.clone(), delay);
    }
    let undeclared: Vec<String> =
        cx.reads().difference(&relations.reads()).map(ToString::to_string).collect();
    if !undeclared.is_empty() {
        tracing::error!(?undeclared, "the pass has read what is not in the relations of its kind");
        engine.metrics.undeclared_read(K::CONTROLLER);
    }
    let took = start.elapsed();
    engine.metrics.reconciled(K::CONTROLLER, end.word, took);
    tracing::debug!(outcome = end.word, took_ms = took.as_millis(), "reconciled");
}

fn slow(key: &Key, asking: &str) -> Problem {
    let message =
        format!("the API server is slow: a pass did not end within a minute, last it waited for {asking}");
    Problem::new(ConditionType::Ready, Reason::BackendUnavailable, key_title(key), message)
        .code(Code::Kn503)
        .class(BlockerClass::Transient)
        .fix("none needed; it is tried again")
        .backoff()
}

/// A pass that did not come to its end.
fn broken_off(key: &Key, how: &str) -> Problem {
    let fix =
        "report it with the operator's log: kubectl -n kubenova-system logs deployment/kubenova-operator";
    Problem::new(ConditionType::Ready, Reason::InternalError, key_title(key), how)
        .code(Code::Kn500)
        .class(BlockerClass::Bug)
        .fix(fix)
        .backoff()
}

fn key_title(key: &Key) -> String {
    nova_plan::tenancy::title_of(key.kind.as_str(), Some(&key.namespace), &key.name)
}

/// The common part of a status by what is known of any object.
fn core_of_metadata<K: Controller>(object: &CachedNova, outcome: &Outcome) -> CoreStatus {
    let before: CoreStatus = serde_json::from_value(object.status()).unwrap_or_default();
    let meta = object.meta();
    let metadata = kube::core::ObjectMeta {
        name: Some(meta.name.clone()),
        uid: Some(meta.uid.clone()),
        generation: Some(meta.generation),
        deletion_timestamp: meta.deleting.map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time),
        ..kube::core::ObjectMeta::default()
    };
    core_of(K::KIND, &metadata, &before, K::STAGES, outcome, status_time())
}

/// Tells of a problem without having looked: what the kind's status shows besides stays as it was.
async fn write_problem_status<K: Controller>(cx: &Cx<'_>, problem: Problem) -> Result<(), Interrupt> {
    let Some(object) = cx.get(K::ID, &cx.key.namespace, &cx.key.name) else { return Ok(()) };
    let before: CoreStatus = serde_json::from_value(object.status()).unwrap_or_default();
    let core = core_of_metadata::<K>(&object, &problem.into());
    let Some(patch) = serde_json::to_value(&core).ok().and_then(|s| status_patch(&object, &s, true)) else {
        return Ok(());
    };
    if cx.write_status::<K>(&object, &patch).await?
        && let Some(draft) = event_for(Some(&before), &core)
    {
        cx.engine.events.record(cx.key, object.meta(), &draft);
    }
    Ok(())
}
