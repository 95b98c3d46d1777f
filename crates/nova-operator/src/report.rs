//! Events: only when an object gets into trouble or out of it, one for each such change.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use nova_api::CoreStatus;
use nova_api::conditions::ConditionType;
use nova_plan::names::annotation;

use crate::context::{Context, Tabled};
use crate::stop;

/// Longest note the API server takes, in bytes.
const NOTE_MAX: usize = 1024;

/// What a change of status is worth telling.
#[derive(Debug, PartialEq, Eq)]
struct Telling {
    kind: &'static str,
    reason: String,
    note: String,
}

/// Trouble is a Ready that is not ordinary progress: it has an error code, which stays until Ready is True again.
fn telling(before: Option<&CoreStatus>, now: &CoreStatus) -> Option<Telling> {
    let trouble = |core: &CoreStatus| core.last_error.as_ref().map(|e| (e.code.clone(), e.reason.clone()));
    let (was, is) = (before.and_then(trouble), trouble(now));
    let ready = now.condition(ConditionType::Ready)?;
    let (kind, reason) = match (&was, &is) {
        (was, Some((_, reason))) if *was != is => ("Warning", reason.clone()),
        (Some(_), None) if ready.status == "True" => ("Normal", ready.reason.clone()),
        _ => return None,
    };
    Some(Telling { kind, reason, note: note(&ready.message) })
}

/// Cuts a message to the bytes that the API server takes, between two characters.
fn note(message: &str) -> String {
    if message.len() <= NOTE_MAX {
        return message.to_owned();
    }
    let end = (0..=NOTE_MAX - '…'.len_utf8()).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &message[..end])
}

impl Context {
    /// Publishes an event for a change of status, if it is worth one. A failure is counted and forgotten:
    /// the status has said it all.
    pub async fn report<K: Tabled>(&self, object: &K, before: Option<&CoreStatus>, now: &CoreStatus) {
        let Some(telling) = telling(before, now) else { return };
        self.publish(object, telling.kind, &telling.reason, &telling.note).await;
    }

    /// Publishes an event about an object.
    pub async fn publish<K: Tabled>(&self, object: &K, kind: &'static str, reason: &str, note: &str) {
        let meta = object.meta();
        let name = meta.name.clone().unwrap_or_default();
        let request_id = (self.request_id)();
        let event = Event {
            metadata: ObjectMeta {
                // Not `<name>.`: since 1.36 the API server takes only what is a name by itself, but for a hyphen at its end.
                generate_name: Some(format!("{name}-")),
                annotations: Some([(annotation::CORRELATION_ID.to_owned(), request_id)].into()),
                ..ObjectMeta::default()
            },
            action: Some("Reconcile".into()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(note.to_owned()),
            reason: Some(reason.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(K::api_version(&()).into_owned()),
                kind: Some(K::KIND.to_owned()),
                name: meta.name.clone(),
                namespace: meta.namespace.clone(),
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone(),
                field_path: None,
            }),
            reporting_controller: Some("kubenova.io/operator".into()),
            reporting_instance: Some("kubenova-operator".into()),
            type_: Some(kind.to_owned()),
            ..Event::default()
        };
        // Events of cluster-scoped objects live in `default`, where `kubectl describe` looks for them.
        let namespace = meta.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        match tokio::time::timeout(stop::CALL_TIMEOUT, api.create(&PostParams::default(), &event)).await {
            Ok(Ok(_)) => self.metrics.event(K::KEY.as_str(), kind),
            lost => {
                tracing::warn!(?lost, "event could not be published; the status has it");
                self.metrics.adapter_error("kubernetes", "EventLost");
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
    use nova_plan::{Outcome, Problem, project, verdict};

    fn core(outcome: &Outcome) -> CoreStatus {
        let project = NovaProject::new("shop", NovaProjectSpec::default());
        assert!(project.status().is_none());
        verdict::core(&project, project::STAGES, outcome, Timestamp::UNIX_EPOCH)
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
        let ready = core(&Outcome::Applied);
        let rolling = core(&Problem::progress(stage, "x", "y").into());
        let missing = core(&Problem::missing(stage, "NovaPlan gold", "it does not exist").into());
        let invalid = core(&Problem::invalid(stage, "x", "y").code(Code::Kn422).into());
        assert_eq!(telling(None, &rolling), None, "ordinary progress");
        assert_eq!(telling(Some(&rolling), &ready), None, "an ordinary end");
        assert_eq!(telling(None, &missing).unwrap().reason, "DependencyMissing");
        assert_eq!(telling(Some(&missing), &missing), None, "told already");
        assert_eq!(telling(Some(&missing), &invalid).unwrap().reason, "Invalid");
        assert_eq!(telling(Some(&missing), &ready).unwrap().kind, "Normal");
    }
}
