//! Which backends answer. A failed write makes a backend away for those that wait for it; what failed is repeated as a
//! dry run until it passes twice, and then these go on at once. Reads and writes nothing but those dry runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use nova_api::conditions::clip;
use nova_plan::adapters::Backend;
use nova_plan::answers::silent_backend;
use tokio::time::Instant;

use super::key::Key;
use super::request::{CALL_TIMEOUT, refusal};

/// How often what failed is repeated. Twelve times a minute, as often as anything is tried.
const PROBE: Duration = Duration::from_secs(5);
/// After one good answer the next is asked for sooner.
const SECOND_PROBE: Duration = Duration::from_secs(1);
/// Good answers in a row that end an outage.
const GOOD: u32 = 2;
/// Webhooks of a backend that are probed at once.
const PROBES: usize = 8;

/// Repeats a write that failed, as a dry run.
pub type DryRun = Arc<dyn Fn() -> BoxFuture<'static, Result<(), kube::Error>> + Send + Sync>;

/// A write that failed for want of a backend's webhook.
struct Probe {
    dry_run: DryRun,
    good: u32,
    due: Instant,
}

/// A backend does not answer.
#[derive(Default)]
struct Outage {
    words: String,
    waiting: BTreeSet<Key>,
    groups: BTreeSet<String>,
    /// By the name of the webhook.
    probes: BTreeMap<String, Probe>,
}

#[derive(Default)]
struct State {
    outage: Option<Outage>,
    /// When it last acted on any of its objects; none as long as this process has not seen it act.
    acted: Option<Instant>,
    /// It has not acted for too long on what waits for it.
    silent: bool,
}

/// How every backend is, as far as our own requests and its objects have shown.
#[derive(Default)]
pub struct Health(Mutex<BTreeMap<&'static str, State>>);

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.lock().keys()).finish()
    }
}

/// What a piece of news changes for those that wait for a backend.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HealthChange {
    /// Groups for which it changed.
    pub groups: BTreeSet<String>,
    /// Keys that can go on.
    pub released: BTreeSet<Key>,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write for `key` failed because a webhook of the backend did not answer, in the API server's words. Returns the
    /// groups for which that is news.
    pub fn write_failed(
        &self,
        backend: &'static Backend,
        key: &Key,
        (webhook, words): (&str, &str),
        dry_run: Option<DryRun>,
    ) -> Option<HealthChange> {
        let mut states = self.lock();
        let state = states.entry(backend.id).or_default();
        if state.outage.is_none() && dry_run.is_none() {
            // Nothing could show its end: who failed is told, and tries again by itself.
            return None;
        }
        let outage = state.outage.get_or_insert_with(|| {
            tracing::warn!(adapter = backend.id, words, "the backend does not answer");
            // The first words stay: others for each webhook and try would make every status change all the time.
            Outage { words: clip(words, 500), ..Outage::default() }
        });
        outage.waiting.insert(key.clone());
        if let Some(dry_run) = dry_run
            && (outage.probes.len() < PROBES || outage.probes.contains_key(webhook))
        {
            let due = Instant::now() + PROBE;
            outage.probes.entry(webhook.to_owned()).and_modify(|probe| probe.good = 0).or_insert(Probe {
                dry_run,
                good: 0,
                due,
            });
        }
        let news = outage.groups.insert(key.group().to_owned());
        news.then(|| HealthChange { groups: [key.group().to_owned()].into(), released: BTreeSet::new() })
    }

    /// Why the backend does not answer to what a group needs.
    pub fn outage_of(&self, backend: &Backend, group: &str) -> Option<String> {
        let states = self.lock();
        let outage = states.get(backend.id)?.outage.as_ref()?;
        outage.groups.contains(group).then(|| outage.words.clone())
    }

    /// Why the backend does not answer, to whomever.
    pub fn outage(&self, backend: &Backend) -> Option<String> {
        let states = self.lock();
        let state = states.get(backend.id)?;
        let silent =
            || state.silent.then(|| "objects wait for it and it does not act: it is busy or away".to_owned());
        state.outage.as_ref().map(|outage| outage.words.clone()).or_else(silent)
    }

    /// Dry runs that are due now. Each has to be answered with [`Self::probed`].
    pub fn due(&self) -> Vec<(&'static str, String, DryRun)> {
        let now = Instant::now();
        let mut states = self.lock();
        let mut due = Vec::new();
        for (backend, state) in states.iter_mut() {
            for (webhook, probe) in state.outage.iter_mut().flat_map(|outage| &mut outage.probes) {
                if probe.due <= now {
                    probe.due = now + PROBE;
                    due.push((*backend, webhook.clone(), probe.dry_run.clone()));
                }
            }
        }
        due
    }

    /// What a dry run has shown. Returns what can go on, once everything that failed has passed.
    pub fn probed(&self, backend: &'static str, webhook: &str, answers: bool) -> Option<HealthChange> {
        let mut states = self.lock();
        let state = states.get_mut(backend)?;
        let outage = state.outage.as_mut()?;
        let probe = outage.probes.get_mut(webhook)?;
        probe.good = if answers { probe.good + 1 } else { 0 };
        if answers && probe.good < GOOD {
            probe.due = Instant::now() + SECOND_PROBE;
        }
        if outage.probes.values().any(|probe| probe.good < GOOD) {
            return None;
        }
        tracing::info!(adapter = backend, "the backend answers again");
        let Outage { waiting, groups, .. } = state.outage.take()?;
        Some(HealthChange { groups, released: waiting })
    }

    /// The backend has acted on one of its objects. True where it had been silent.
    pub fn acted(&self, backend: &'static Backend) -> bool {
        let mut states = self.lock();
        let state = states.entry(backend.id).or_default();
        state.acted = Some(Instant::now());
        let was_silent = std::mem::take(&mut state.silent);
        if was_silent {
            tracing::info!(adapter = backend.id, "the backend acts again");
        }
        was_silent
    }

    /// How long the backend may still be silent about work that waits since `since`, before that is a fault. It works
    /// through a long line one after the other, so any sign of life counts. Where it was silent already before this process
    /// began (`known_silent`), it stays so until there is such a sign.
    pub fn time_until_silent(
        &self,
        backend: &Backend,
        since: Instant,
        known_silent: bool,
    ) -> Option<Duration> {
        let silence = backend.silence?;
        let acted = self.lock().get(backend.id).and_then(|state| state.acted);
        Some(match acted {
            None if known_silent => Duration::ZERO,
            None => silence.saturating_sub(since.elapsed()),
            Some(acted) => silence.saturating_sub(acted.max(since).elapsed()),
        })
    }

    /// The backend has been silent for too long. True where that is news.
    pub fn mark_silent(&self, backend: &'static Backend) -> bool {
        let mut states = self.lock();
        let news = !std::mem::replace(&mut states.entry(backend.id).or_default().silent, true);
        if news {
            tracing::warn!(adapter = backend.id, "the backend does not act on what waits for it");
        }
        news
    }
}

/// Runs a dry run; true when the webhook answered, whatever it said.
pub async fn answers(dry_run: &DryRun) -> bool {
    match tokio::time::timeout(CALL_TIMEOUT, dry_run()).await {
        Ok(Ok(())) => true,
        Ok(Err(kube::Error::Api(status))) => silent_backend(&refusal(&status)).is_none(),
        Ok(Err(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::Kind;
    use nova_plan::adapters::BACKENDS;

    fn key(tenant: &str) -> Key {
        Key::new(Kind::NovaTenant, "", tenant)
    }

    fn never() -> DryRun {
        Arc::new(|| Box::pin(std::future::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn only_those_that_wait_are_told_and_only_what_failed_ends_an_outage() {
        let (health, backend) = (Health::default(), BACKENDS[0]);
        let failed = |tenant: &str, webhook: &str| {
            health.write_failed(backend, &key(tenant), (webhook, "refused"), Some(never()))
        };
        assert_eq!(failed("a", "one").unwrap().groups, ["a".to_owned()].into());
        assert_eq!(failed("a", "one"), None, "no news");
        assert!(failed("b", "two").is_some());
        assert!(health.outage_of(backend, "a").is_some());
        assert_eq!(health.outage_of(backend, "c"), None, "it waits for nothing");
        assert!(health.due().is_empty());
        tokio::time::advance(PROBE).await;
        assert_eq!(health.due().len(), 2);
        assert!(health.due().is_empty(), "asked already");
        for webhook in ["one", "one", "two"] {
            assert_eq!(health.probed(backend.id, webhook, true), None);
        }
        assert_eq!(health.probed(backend.id, "two", false), None, "it is not back yet");
        health.probed(backend.id, "two", true);
        let change = health.probed(backend.id, "two", true).unwrap();
        assert_eq!(change.released, [key("a"), key("b")].into());
        assert_eq!(health.outage(backend), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_backend_is_asked_again_as_often_as_anything_is_tried() {
        let (health, backend) = (Health::default(), BACKENDS[0]);
        health.write_failed(backend, &key("a"), ("one", "refused"), Some(never()));
        let mut asked = 0;
        for _ in 0..60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            for (backend, webhook, _) in health.due() {
                asked += 1;
                health.probed(backend, &webhook, false);
            }
        }
        assert_eq!(asked, 12);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_sign_of_life() {
        let health = Health::default();
        let backend = BACKENDS.iter().copied().find(|b| b.silence.is_some()).unwrap();
        let silence = backend.silence.unwrap();
        let since = Instant::now();
        assert_eq!(health.time_until_silent(backend, since, false), Some(silence));
        assert_eq!(health.time_until_silent(backend, since, true), Some(Duration::ZERO));
        tokio::time::advance(silence).await;
        assert!(health.mark_silent(backend) && !health.mark_silent(backend));
        assert!(health.acted(backend) && !health.acted(backend));
        assert_eq!(health.time_until_silent(backend, since, true), Some(silence));
    }
}
