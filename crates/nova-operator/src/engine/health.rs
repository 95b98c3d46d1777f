//! Which backends answer. A failed write makes a backend away for those that wait for it; what failed is repeated as a
//! dry run until it passes twice, and then these go on at once. Reads and writes nothing but those dry runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use nova_api::conditions::clip;
use nova_plan::adapters::Backend;
use nova_plan::answers::{refused_by, silent_webhook};
use tokio::time::Instant;

use super::key::Key;
use super::request::{CALL_TIMEOUT, refusal};

/// How often what failed is repeated. Twelve times a minute, as often as anything is tried.
const PROBE: Duration = Duration::from_secs(5);
/// After one good answer the next is asked for sooner.
const SECOND_PROBE: Duration = Duration::from_secs(1);
/// An outage that no dry run can show any more is over, if no write has failed for so long: whoever waits tries again.
const UNSHOWN: Duration = Duration::from_secs(10);
/// Good answers in a row that end an outage.
const GOOD: u32 = 2;
/// Webhooks of a backend that are looked after at once.
const WEBHOOKS: usize = 8;

/// Repeats a write that failed, as a dry run.
pub type DryRun = Arc<dyn Fn() -> BoxFuture<'static, Result<(), kube::Error>> + Send + Sync>;

/// A webhook of a backend that does not answer, and who waits for it.
struct Outage {
    words: String,
    waiting: BTreeSet<Key>,
    groups: BTreeSet<String>,
    /// The write that failed; none where it can show nothing any more, until the next one fails.
    dry_run: Option<DryRun>,
    good: u32,
    /// When to ask; without a dry run, when it is over.
    due: Instant,
}

impl Outage {
    fn ended(self) -> HealthChange {
        HealthChange { groups: self.groups, released: self.waiting }
    }
}

#[derive(Default)]
struct State {
    /// By the name of the webhook.
    outages: BTreeMap<String, Outage>,
    /// When it last acted on any of its objects; none as long as this process has not seen it act.
    acted: Option<Instant>,
    /// It has acted on some object, maybe before this process began.
    known: bool,
    /// Objects that wait for it and on which it has not acted for too long.
    unacted: BTreeSet<Key>,
}

/// What is told of a backend that is silent.
pub const SILENT: &str = "objects wait for it and it does not act: it is busy or away";

/// How every backend is, as far as our own requests and its objects have shown.
pub struct Health {
    states: Mutex<BTreeMap<&'static str, State>>,
    began: Instant,
}

impl Default for Health {
    fn default() -> Self {
        Self { states: Mutex::default(), began: Instant::now() }
    }
}

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
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
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
        // Without a dry run nothing could show its end: who failed is told, and tries again by itself.
        if !state.outages.contains_key(webhook) && (dry_run.is_none() || state.outages.len() >= WEBHOOKS) {
            return None;
        }
        let now = Instant::now();
        let outage = state.outages.entry(webhook.to_owned()).or_insert_with(|| {
            tracing::warn!(adapter = backend.id, webhook, words, "the backend does not answer");
            Outage {
                // The first words stay: others for each try would make every status change all the time.
                words: clip(words, 500),
                waiting: BTreeSet::new(),
                groups: BTreeSet::new(),
                dry_run: dry_run.clone(),
                good: 0,
                due: now + PROBE,
            }
        });
        outage.good = 0;
        if outage.dry_run.is_none() {
            outage.due = if dry_run.is_some() { now } else { now + UNSHOWN };
            outage.dry_run = dry_run;
        }
        outage.waiting.insert(key.clone());
        let news = outage.groups.insert(key.group().to_owned());
        news.then(|| HealthChange { groups: [key.group().to_owned()].into(), released: BTreeSet::new() })
    }

    /// Why the backend does not answer to what a group needs.
    pub fn outage_of(&self, backend: &Backend, group: &str) -> Option<String> {
        let states = self.lock();
        let mut outages = states.get(backend.id)?.outages.values();
        outages.find(|outage| outage.groups.contains(group)).map(|outage| outage.words.clone())
    }

    /// Why the backend does not answer, to whomever.
    pub fn outage(&self, backend: &Backend) -> Option<String> {
        let states = self.lock();
        let state = states.get(backend.id)?;
        let silent = || (!state.unacted.is_empty()).then(|| SILENT.to_owned());
        state.outages.values().next().map(|outage| outage.words.clone()).or_else(silent)
    }

    /// Dry runs that are due now. Each has to be answered with [`Self::probed`].
    pub fn due(&self) -> Vec<(&'static str, String, DryRun)> {
        let now = Instant::now();
        let mut states = self.lock();
        let mut due = Vec::new();
        for (backend, state) in states.iter_mut() {
            for (webhook, outage) in &mut state.outages {
                if outage.due <= now
                    && let Some(dry_run) = &outage.dry_run
                {
                    outage.due = now + PROBE;
                    due.push((*backend, webhook.clone(), dry_run.clone()));
                }
            }
        }
        due
    }

    /// What a dry run has shown. Returns what can go on, once it has passed.
    pub fn probed(&self, backend: &'static str, webhook: &str, shown: Shown) -> Option<HealthChange> {
        let mut states = self.lock();
        let state = states.get_mut(backend)?;
        let outage = state.outages.get_mut(webhook)?;
        match shown {
            Shown::Silent => outage.good = 0,
            Shown::Nothing => {
                outage.dry_run = None;
                outage.due = Instant::now() + UNSHOWN;
            }
            Shown::Answers => outage.good += 1,
        }
        if outage.good < GOOD {
            if shown == Shown::Answers {
                outage.due = Instant::now() + SECOND_PROBE;
            }
            return None;
        }
        tracing::info!(adapter = backend, webhook, "the backend answers again");
        state.outages.remove(webhook).map(Outage::ended)
    }

    /// Ends the outages that nothing shows any more: the write that failed has gone through since, or cannot be repeated.
    pub fn unshown(&self) -> Vec<(&'static str, HealthChange)> {
        let now = Instant::now();
        let mut states = self.lock();
        let mut over = Vec::new();
        for (backend, state) in states.iter_mut() {
            let ended =
                state.outages.extract_if(.., |_, outage| outage.dry_run.is_none() && outage.due <= now);
            over.extend(ended.map(|(_, outage)| (*backend, outage.ended())));
        }
        over
    }

    /// An object shows that the backend has acted on it some day.
    pub fn has_worked(&self, backend: &'static Backend) {
        self.lock().entry(backend.id).or_default().known = true;
    }

    /// Whether the backend works on what it is given. One that was never seen to act, or is silent about what waits for it,
    /// has no workers that anybody could take.
    pub fn at_work(&self, backend: &Backend) -> bool {
        self.lock().get(backend.id).is_some_and(|state| state.known && state.unacted.is_empty())
    }

    /// The backend has acted on one of its objects. True where it had been silent.
    pub fn acted(&self, backend: &'static Backend) -> bool {
        let mut states = self.lock();
        let state = states.entry(backend.id).or_default();
        state.acted = Some(Instant::now());
        state.known = true;
        let was_silent = !std::mem::take(&mut state.unacted).is_empty();
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

    /// How long it may still take before this process can say whether the backend is silent; none once it can.
    pub fn time_until_known(&self, backend: &Backend) -> Option<Duration> {
        let left = backend.silence?.saturating_sub(self.began.elapsed());
        let known = self.lock().get(backend.id).is_some_and(|s| s.acted.is_some() || !s.unacted.is_empty());
        (!known && !left.is_zero()).then_some(left)
    }

    /// The backend has been silent for too long about an object. True where that is news.
    pub fn mark_silent(&self, backend: &'static Backend, key: &Key) -> bool {
        let mut states = self.lock();
        let unacted = &mut states.entry(backend.id).or_default().unacted;
        let news = unacted.is_empty();
        unacted.insert(key.clone());
        if news {
            tracing::warn!(adapter = backend.id, "the backend does not act on what waits for it");
        }
        news
    }

    /// An object waits for the backend no longer. True where it was the last one.
    pub fn waits_no_longer(&self, backend: &'static Backend, key: &Key) -> bool {
        let mut states = self.lock();
        let Some(state) = states.get_mut(backend.id) else { return false };
        state.unacted.remove(key) && state.unacted.is_empty()
    }
}

/// What a dry run has shown of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It answers, whatever it says.
    Answers,
    /// It does not.
    Silent,
    /// Nothing: the request did not come so far.
    Nothing,
}

/// Runs a dry run.
pub async fn show(dry_run: &DryRun, webhook: &str) -> Shown {
    match tokio::time::timeout(CALL_TIMEOUT, dry_run()).await {
        Ok(Ok(())) => Shown::Answers,
        Ok(Err(kube::Error::Api(status))) => {
            let refusal = refusal(&status);
            match silent_webhook(&refusal) {
                Some(silent) if silent == webhook => Shown::Silent,
                // Its own word, or that of one that is asked after it.
                Some(_) => Shown::Answers,
                None if refused_by(&refusal).is_some_and(|by| by == webhook) => Shown::Answers,
                None => Shown::Nothing,
            }
        }
        Ok(Err(_)) | Err(_) => Shown::Silent,
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
        assert_eq!(health.probed(backend.id, "two", Shown::Answers), None, "once is luck");
        assert_eq!(health.probed(backend.id, "two", Shown::Silent), None);
        assert_eq!(health.probed(backend.id, "one", Shown::Answers), None);
        let change = health.probed(backend.id, "one", Shown::Answers).unwrap();
        assert_eq!(change.released, [key("a")].into(), "what waits for another webhook goes on waiting");
        assert_eq!(health.outage_of(backend, "a"), None);
        assert!(health.outage_of(backend, "b").is_some());
        assert_eq!(health.probed(backend.id, "two", Shown::Nothing), None);
        tokio::time::advance(PROBE).await;
        assert!(health.due().is_empty(), "that dry run shows nothing; the next failure brings another");
        failed("b", "two");
        assert_eq!(health.due().len(), 1);
        health.probed(backend.id, "two", Shown::Answers);
        health.probed(backend.id, "two", Shown::Answers).unwrap();
        assert_eq!(health.outage(backend), None);
    }

    /// A write that went through meanwhile, by its own retry, cannot be repeated: its dry run is a conflict for ever.
    #[tokio::test(start_paused = true)]
    async fn an_outage_that_nothing_shows_is_over_unless_a_write_fails_again() {
        let (health, backend) = (Health::default(), BACKENDS[0]);
        let failed = |dry_run| health.write_failed(backend, &key("a"), ("one", "refused"), dry_run);
        failed(Some(never()));
        tokio::time::advance(UNSHOWN).await;
        assert!(health.unshown().is_empty(), "a dry run will show its end");
        for again in [None, Some(never())] {
            health.probed(backend.id, "one", Shown::Answers);
            health.probed(backend.id, "one", Shown::Nothing);
            tokio::time::advance(UNSHOWN / 2).await;
            failed(again);
            tokio::time::advance(UNSHOWN / 2).await;
            assert!(health.unshown().is_empty() && health.outage(backend).is_some(), "it is silent still");
        }
        health.probed(backend.id, "one", Shown::Nothing);
        tokio::time::advance(UNSHOWN).await;
        let groups = ["a".to_owned()].into();
        assert_eq!(health.unshown(), [(backend.id, HealthChange { groups, released: [key("a")].into() })]);
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
                health.probed(backend, &webhook, Shown::Silent);
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
        assert_eq!(health.time_until_known(backend), Some(silence));
        assert!(!health.at_work(backend));
        health.has_worked(backend);
        assert!(health.at_work(backend));
        assert_eq!(health.time_until_silent(backend, since, false), Some(silence));
        assert_eq!(health.time_until_silent(backend, since, true), Some(Duration::ZERO));
        tokio::time::advance(silence).await;
        assert_eq!(health.time_until_known(backend), None);
        assert!(health.mark_silent(backend, &key("a")) && !health.mark_silent(backend, &key("b")));
        assert!(!health.waits_no_longer(backend, &key("a")), "b still waits");
        assert!(!health.at_work(backend));
        assert!(health.acted(backend) && !health.acted(backend));
        assert!(health.at_work(backend));
        assert_eq!(health.time_until_silent(backend, since, true), Some(silence));
    }
}
