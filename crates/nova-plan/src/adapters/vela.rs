//! Vela's `Application` (`core.oam.dev/v1beta1`, source: KubeVela 1.10.9). No I/O.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::workload::{self, Health};
use super::{Backend, LeafMeta};
use crate::app::Leaf;
use crate::child::{ChildKind, Selection, child_kinds};
use crate::names::{Managed, annotation, label, parse_namespace};

/// CRD that has to be there.
pub const CRD: &str = "applications.core.oam.dev";
/// Where the platform's component definitions live.
pub const DEFINITIONS_NAMESPACE: &str = "vela-system";
/// Silence after which Vela counts as busy or away. Its reaction to a new Application takes well below a second.
pub const SILENCE: Duration = Duration::from_secs(8);

child_kinds! {
    /// Kinds of Vela's that the operator writes.
    CHILDREN:
    /// Vela's `Application`.
    APPLICATION = ChildKind {
        backend: Some(BACKEND.id),
        watch: Selection::All,
        large: true,
        stuck: |_| Some("see whether vela-core runs: kubectl -n vela-system get pods".to_owned()),
        ..ChildKind::new("core.oam.dev", "v1beta1", "Application", "applications")
    };
}

child_kinds! {
    /// Kinds of Vela's that are read.
    READS:
    /// What an app may name as its template.
    COMPONENT_DEFINITION = ChildKind {
        backend: Some(BACKEND.id),
        watch: Selection::Namespace(DEFINITIONS_NAMESPACE),
        ..ChildKind::new("core.oam.dev", "v1beta1", "ComponentDefinition", "componentdefinitions")
    };
}

/// A kind whose objects Vela labels with the name of their Application.
const fn labelled(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> ChildKind {
    ChildKind {
        watch: Selection::Labels(label::VELA_APP),
        large: true,
        ..ChildKind::new(group, version, kind, plural)
    }
}

child_kinds! {
    /// Kinds whose objects tell how an app is.
    LEAVES:
    /// Core `Pod`.
    POD = labelled("", "v1", "Pod", "pods");
    /// Core `PersistentVolumeClaim`.
    CLAIM = labelled("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims");
    /// `Deployment`.
    DEPLOYMENT = labelled("apps", "v1", "Deployment", "deployments");
    /// `StatefulSet`.
    STATEFUL_SET = labelled("apps", "v1", "StatefulSet", "statefulsets");
    /// `DaemonSet`.
    DAEMON_SET = labelled("apps", "v1", "DaemonSet", "daemonsets");
    /// `Job`.
    JOB = labelled("batch", "v1", "Job", "jobs");
}

/// A leaf and the app whose name it carries. Anybody may write such a label in a sandbox, where no app is.
fn leaf(kind: &'static ChildKind, meta: &LeafMeta<'_>, text: &str) -> Option<(String, Leaf)> {
    if !matches!(parse_namespace(meta.namespace), Some((_, Managed::App(_)))) {
        return None;
    }
    let app = meta.labels.get(label::VELA_APP)?.clone();
    let health = workload::health_of(kind.kind, text)
        .unwrap_or_else(|why| Health::Progressing(format!("its status is not what KubeNova knows: {why}")));
    let revision = meta.labels.get(label::VELA_REVISION).cloned();
    Some((app, Leaf { kind: kind.kind, name: meta.name.to_owned(), revision, health }))
}

/// `KubeVela`.
pub static BACKEND: Backend = Backend {
    id: "kubevela",
    capability: "kubeVela",
    title: "KubeVela",
    crds: &[CRD],
    children: CHILDREN,
    reads: READS,
    tells: &[],
    leaves: LEAVES,
    leaf,
    owns_webhook: |name| name.ends_with("core.oam-dev.github.io") || name.contains("core.oam.dev"),
    silence: Some(SILENCE),
    advice: |_| None,
    start: "start vela-core: kubectl -n vela-system get pods; what waits for it goes on by itself",
};

/// What we set on an Application.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct ApplicationSpec {
    /// Exactly one component.
    pub components: Vec<Component>,
}

/// A component.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Component {
    /// Unique in its namespace: Vela selects pods by it.
    pub name: String,
    /// Name of a `ComponentDefinition`.
    pub r#type: String,
    /// Parameters of that definition.
    pub properties: Value,
    /// Traits, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub traits: Vec<Trait>,
}

/// A trait.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Trait {
    /// Name of a `TraitDefinition`.
    pub r#type: String,
    /// Parameters.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub properties: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: i64,
    #[serde(rename = "status")]
    phase: String,
    services: Vec<Service>,
    workflow: Workflow,
    conditions: Vec<Condition>,
    latest_revision: Revision,
    applied_resources: Vec<Applied>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Service {
    name: String,
    healthy: bool,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Workflow {
    status: String,
    message: String,
    app_revision: String,
    steps: Vec<Step>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Step {
    name: String,
    phase: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Condition {
    r#type: String,
    status: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Revision {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Applied {
    api_version: String,
    kind: String,
    name: String,
}

/// What Vela says of an Application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet for this generation.
    Unseen,
    /// At work; with what keeps it from going on, if anything does.
    Rolling(String),
    /// Everything it made is healthy in its eyes.
    Running,
    /// Made, but not healthy: the pods know why.
    Unhealthy(String),
    /// It cannot be rendered or applied.
    Failed(String),
    /// It waits for a person.
    Suspended(String),
    /// On its way out.
    Deleting,
    /// Its status is not what this program knows; why.
    Unreadable(String),
}

/// An object in the app's namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Group and version.
    pub api_version: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// What Vela says, with counts for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The verdict.
    pub answer: Answer,
    /// It has failed, and Vela tries no more.
    pub gave_up: bool,
    /// Healthy services and all services.
    pub healthy: (usize, usize),
    /// What it applied.
    pub applied: Vec<Object>,
    /// Name of the revision it was applied for.
    pub revision: String,
}

/// Reads a live Application. `Ready=True` alone would be wrong: Vela sets it once the workflow has
/// succeeded, healthy or not, so generation, phase, workflow, revision and services all have to agree.
#[must_use]
pub fn read(live: &Value) -> Reading {
    let generation = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let (status, unreadable) = match live.get("status").map(Status::deserialize) {
        None => (Status::default(), None),
        Some(Ok(status)) => (status, None),
        Some(Err(error)) => (Status::default(), Some(error.to_string())),
    };
    let healthy = (status.services.iter().filter(|s| s.healthy).count(), status.services.len());
    let object = |r: &Applied| Object {
        api_version: r.api_version.clone(),
        kind: r.kind.clone(),
        name: r.name.clone(),
    };
    let applied = status.applied_resources.iter().map(object).collect();
    let answer = if live.pointer("/metadata/deletionTimestamp").is_some() {
        Answer::Deleting
    } else if let Some(why) = unreadable {
        Answer::Unreadable(why)
    } else {
        let version = &live["metadata"]["annotations"][annotation::VELA_PUBLISH_VERSION];
        answer(&status, generation, version.as_str().unwrap_or_default())
    };
    let gave_up = matches!(answer, Answer::Failed(_)) && given_up(&status.phase);
    Reading { answer, gave_up, healthy, applied, revision: status.latest_revision.name }
}

fn answer(status: &Status, generation: i64, publish_version: &str) -> Answer {
    if status.observed_generation < generation || status.phase.is_empty() {
        return Answer::Unseen;
    }
    // A condition that turned False says why nothing could be rendered, in every phase before `running`.
    let broken = status.conditions.iter().find(|c| {
        c.status == "False"
            && !c.message.is_empty()
            && ["Parsed", "Revision", "Policy", "Render"].contains(&c.r#type.as_str())
    });
    let step = status
        .workflow
        .steps
        .iter()
        .find(|s| s.phase == "failed" || !s.message.is_empty())
        .map(|s| plain(&s.message));
    let why = || step.clone().unwrap_or_else(|| status.workflow.message.clone());
    match status.phase.as_str() {
        phase if given_up(phase) => Answer::Failed(why()),
        "workflowSuspending" => Answer::Suspended(why()),
        "deleting" => Answer::Deleting,
        "running" if settled(status, publish_version) && status.services.iter().all(|s| s.healthy) => {
            Answer::Running
        }
        "running" | "unhealthy" if status.workflow.status == "succeeded" => {
            Answer::Unhealthy(unhealthy(status))
        }
        _ => match broken {
            Some(condition) => Answer::Failed(condition.message.clone()),
            None if status.services.iter().any(|s| !s.healthy) => Answer::Unhealthy(unhealthy(status)),
            None => match step
                .filter(|s| !s.is_empty() && status.workflow.steps.iter().any(|s| s.phase == "failed"))
            {
                Some(failed) => Answer::Failed(failed),
                None => Answer::Rolling(not_synced(status)),
            },
        },
    }
}

fn given_up(phase: &str) -> bool {
    ["workflowFailed", "workflowTerminated"].contains(&phase)
}

/// The workflow that succeeded is that of the version asked for; Vela names it by the publish version, if there
/// is one, and by the revision otherwise.
fn settled(status: &Status, publish_version: &str) -> bool {
    let Workflow { status: phase, app_revision, .. } = &status.workflow;
    let revision = &status.latest_revision.name;
    let current = if publish_version.is_empty() {
        app_revision.starts_with(revision.as_str())
    } else {
        app_revision == publish_version
    };
    phase == "succeeded" && current
}

/// Why Vela cannot go on for now; empty while it can.
fn not_synced(status: &Status) -> String {
    let condition = status.conditions.iter().find(|c| c.r#type == "Synced" && c.status == "False");
    condition.map(|c| c.message.clone()).unwrap_or_default()
}

/// Vela's message without the wrapping of its template engine, which says nothing to people.
fn plain(message: &str) -> String {
    let end = message.find(" (value: cue/").unwrap_or(message.len());
    let mut words = &message[..end];
    for prefix in
        ["function call error for : ", "Dispatch: ", "pre-dispatch dryrun failed: ", "Found 1 errors. "]
    {
        words = words.strip_prefix(prefix).unwrap_or(words);
    }
    let bare = words.strip_prefix("[(").and_then(|w| w.strip_suffix(")]")).filter(|w| !w.contains(")], [("));
    bare.unwrap_or(words).to_owned()
}

fn unhealthy(status: &Status) -> String {
    status
        .services
        .iter()
        .find(|s| !s.healthy)
        .map_or_else(|| "not healthy".to_owned(), |s| format!("service {}: {}", s.name, s.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn app(status: &Value) -> Value {
        json!({"metadata": {"generation": 2, "annotations": {"app.oam.dev/publishVersion": "abc"}}, "status": status})
    }

    #[test]
    fn running_counts_only_when_every_part_agrees() {
        let good = json!({"observedGeneration": 2, "status": "running", "latestRevision": {"name": "web-v1"},
            "workflow": {"status": "succeeded", "appRevision": "abc"}, "services": [{"name": "web", "healthy": true}]});
        assert_eq!(read(&app(&good)).answer, Answer::Running);
        for (pointer, value) in [
            ("/observedGeneration", json!(1)),
            ("/status", json!("runningWorkflow")),
            ("/workflow/status", json!("executing")),
            ("/workflow/appRevision", json!("older")),
            ("/services/0/healthy", json!(false)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = value;
            assert_ne!(read(&app(&bad)).answer, Answer::Running, "{pointer}");
        }
    }

    #[test]
    fn a_failed_step_is_told_without_its_wrapping() {
        let wrapped = "function call error for : Dispatch: pre-dispatch dryrun failed: Found 1 errors. [(cannot get object: roles \"grab\" is forbidden: no)] (value: cue/format: unsupported node type <nil>)";
        assert_eq!(plain(wrapped), "cannot get object: roles \"grab\" is forbidden: no");
        assert_eq!(plain("as it is"), "as it is");
        assert_eq!(plain("function call error for : Found 2 errors. [(a) (b)]"), "Found 2 errors. [(a) (b)]");
    }

    #[test]
    fn a_rendering_error_is_told_in_velas_words() {
        let status = json!({"observedGeneration": 2, "status": "rendering",
            "conditions": [{"type": "Parsed", "status": "False", "message": "no such definition"}]});
        assert_eq!(read(&app(&status)).answer, Answer::Failed("no such definition".into()));
    }

    #[test]
    fn a_status_of_another_shape_is_no_progress() {
        let status = json!({"observedGeneration": "two", "status": "running"});
        assert!(matches!(read(&app(&status)).answer, Answer::Unreadable(_)));
    }

    #[test]
    fn nothing_said_yet_is_not_a_failure() {
        assert_eq!(read(&json!({"metadata": {"generation": 1}})).answer, Answer::Unseen);
    }
}
