//! Events: only when an object gets into trouble or out of it. They are published beside the passes, and never more than a
//! few for one object: one that goes back and forth tells so in its status.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};
use nova_api::conditions::ConditionType;
use nova_api::{CoreStatus, GROUP, VERSION};
use nova_plan::names::annotation;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cached_object::NovaMeta;
use super::key::Key;
use super::metrics::Metrics;
use super::request::CALL_TIMEOUT;

/// Longest note the API server takes, in bytes.
const NOTE_MAX: usize = 1024;

/// What a change of status is worth telling.
#[derive(Debug, PartialEq, Eq)]
pub struct EventDraft {
    /// `Normal` or `Warning`.
    pub kind: &'static str,
    /// Why.
    pub reason: String,
    /// In words.
    pub note: String,
}

/// Trouble is a Ready that is not ordinary progress: it has an error code, which stays until Ready is True again.
pub fn event_for(before: Option<&CoreStatus>, now: &CoreStatus) -> Option<EventDraft> {
    let trouble = |core: &CoreStatus| core.last_error.as_ref().map(|e| (e.code.clone(), e.reason.clone()));
    let (was, is) = (before.and_then(trouble), trouble(now));
    let ready = now.condition(ConditionType::Ready)?;
    let (kind, reason) = match (&was, &is) {
        (was, Some((_, reason))) if *was != is => ("Warning", reason.clone()),
        (Some(_), None) if ready.status == "True" => ("Normal", ready.reason.clone()),
        _ => return None,
    };
    Some(EventDraft { kind, reason, note: ready.message.clone() })
}

/// Cuts a message to the bytes that the API server takes, between two characters.
fn note(message: &str) -> String {
    if message.len() <= NOTE_MAX {
        return message.to_owned();
    }
    let end = (0..=NOTE_MAX - '…'.len_utf8()).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &message[..end])
}

/// Events that wait to be published; more are dropped and counted.
const WAITING: usize = 256;
/// Events of one object at once, and the time after which it may have one more.
const BURST: u32 = 6;
const REFILL: Duration = Duration::from_mins(2);

struct Spent {
    events: u32,
    since: Instant,
}

/// Publishes events, one after the other.
pub struct Events {
    queue: mpsc::Sender<Event>,
    spent: Mutex<HashMap<Key, Spent>>,
    metrics: Arc<Metrics>,
    request_id: fn() -> String,
}

impl Events {
    /// Events, and the task that publishes them for as long as it is awaited.
    pub fn new(
        client: Client,
        metrics: Arc<Metrics>,
        request_id: fn() -> String,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, waiting) = mpsc::channel(WAITING);
        let publishing = publish(client, metrics.clone(), waiting);
        (Self { queue, spent: Mutex::default(), metrics, request_id }, publishing)
    }

    /// Publishes an event about an object, unless it has had too many. A failure is counted and forgotten: the status has
    /// said it all.
    pub fn record(&self, key: &Key, meta: &NovaMeta, draft: &EventDraft) {
        if !self.may(key) {
            self.metrics.adapter_error("kubernetes", "EventThrottled");
            return;
        }
        if self.queue.try_send(self.event(key, meta, draft)).is_err() {
            self.metrics.adapter_error("kubernetes", "EventLost");
        }
    }

    fn may(&self, key: &Key) -> bool {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has not had an event for long is as good as new.
        if spent.len() > 4 * WAITING {
            spent.retain(|_, s| s.since.elapsed() < REFILL * BURST);
        }
        let now = Instant::now();
        let state = spent.entry(key.clone()).or_insert(Spent { events: 0, since: now });
        let refills =
            u32::try_from(state.since.elapsed().as_secs() / REFILL.as_secs()).unwrap_or(BURST).min(BURST);
        if refills > 0 {
            state.events = state.events.saturating_sub(refills);
            state.since = now;
        }
        let may = state.events < BURST;
        if may {
            state.events += 1;
        }
        may
    }

    fn event(&self, key: &Key, meta: &NovaMeta, draft: &EventDraft) -> Event {
        let namespace = Some(meta.namespace.clone()).filter(|n| !n.is_empty());
        Event {
            metadata: ObjectMeta {
                // Not `<name>.`: since 1.36 the API server takes only what is a name by itself, but for a hyphen at its
                // end.
                generate_name: Some(format!("{}-", meta.name)),
                // Events of cluster-scoped objects live in `default`, where `kubectl describe` looks for them.
                namespace: Some(namespace.clone().unwrap_or_else(|| "default".to_owned())),
                annotations: Some([(annotation::CORRELATION_ID.to_owned(), (self.request_id)())].into()),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".into()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(note(&draft.note)),
            reason: Some(draft.reason.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(format!("{GROUP}/{VERSION}")),
                kind: Some(key.kind.as_str().to_owned()),
                name: Some(meta.name.clone()),
                namespace,
                uid: Some(meta.uid.clone()),
                resource_version: Some(meta.resource_version.clone()),
                field_path: None,
            }),
            reporting_controller: Some("kubenova.io/operator".into()),
            reporting_instance: Some("kubenova-operator".into()),
            type_: Some(draft.kind.to_owned()),
            ..Event::default()
        }
    }
}

async fn publish(client: Client, metrics: Arc<Metrics>, mut waiting: mpsc::Receiver<Event>) {
    while let Some(event) = waiting.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
        match tokio::time::timeout(CALL_TIMEOUT, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(published)) => {
                let of = published.regarding.and_then(|r| r.kind).unwrap_or_default();
                let type_ = if published.type_.as_deref() == Some("Warning") { "Warning" } else { "Normal" };
                metrics.event(&of, type_);
            }
            lost => {
                tracing::warn!(?lost, "event could not be published; the status has it");
                metrics.adapter_error("kubernetes", "EventLost");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::NovaKind;
    use nova_api::conditions::Code;
    use nova_api::v1alpha1::{NovaProject, NovaProjectSpec};
    use nova_plan::{Outcome, Plan, Problem};

    fn core(outcome: &Outcome) -> CoreStatus {
        let project = NovaProject::new("shop", NovaProjectSpec::default());
        assert!(project.status().is_none());
        project.core(outcome, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_note_is_cut_by_bytes_between_characters() {
        assert_eq!(note("ä is short"), "ä is short");
        let long = note(&"ä".repeat(600));
        assert!(long.len() <= NOTE_MAX && long.len() > NOTE_MAX - 4 && long.ends_with('…'));
    }

    #[test]
    fn only_trouble_and_its_end_are_told() {
        let stage = ConditionType::DependenciesMet;
        let ready = core(&Outcome::Ready);
        let rolling = core(&Problem::progress(stage, "x", "y").into());
        let missing = core(&Problem::missing(stage, "NovaPlan gold", "it does not exist").into());
        let invalid = core(&Problem::invalid(stage, "x", "y").code(Code::Kn422).into());
        assert_eq!(event_for(None, &rolling), None, "ordinary progress");
        assert_eq!(event_for(Some(&rolling), &ready), None, "an ordinary end");
        assert_eq!(event_for(None, &missing).unwrap().reason, "DependencyMissing");
        assert_eq!(event_for(Some(&missing), &missing), None, "told already");
        assert_eq!(event_for(Some(&missing), &invalid).unwrap().reason, "Invalid");
        assert_eq!(event_for(Some(&missing), &ready).unwrap().kind, "Normal");
    }

    #[tokio::test(start_paused = true)]
    async fn one_object_has_few_events_however_often_it_goes_back_and_forth() {
        let (queue, mut published) = mpsc::channel(WAITING);
        let events =
            Events { queue, spent: Mutex::default(), metrics: Arc::default(), request_id: String::new };
        let key = |name: &str| Key::new(nova_api::Kind::NovaApp, "n", name);
        let draft = EventDraft { kind: "Warning", reason: "Unhealthy".into(), note: "no".into() };
        for _ in 0..100 {
            events.record(&key("a"), &NovaMeta::default(), &draft);
        }
        events.record(&key("b"), &NovaMeta::default(), &draft);
        let mut count = || std::iter::from_fn(|| published.try_recv().ok()).count();
        assert_eq!(count(), usize::try_from(BURST).unwrap() + 1);
        tokio::time::advance(REFILL).await;
        for _ in 0..100 {
            events.record(&key("a"), &NovaMeta::default(), &draft);
        }
        assert_eq!(count(), 1);
    }
}
