//! How an app stands: what Vela says, and what the workloads themselves say. Pure.

use jiff::Timestamp;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{NovaApp, NovaAppStatus, SourceKind};

use crate::adapters::backend_of_webhook;
use crate::adapters::vela::{self, Answer, Reading};
use crate::adapters::workload::{Health, REPLACED_POD_FAILED};
use crate::child::ChildRef;
use crate::kind::Plan as _;
use crate::problem::Problem;
use crate::tenancy::suspended;
use crate::verdict::Outcome;

/// A pod, workload or volume claim of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// `Pod`, `Deployment`, …
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// Name of Vela's revision that it was last applied for; none for what Vela did not apply itself.
    pub revision: Option<String>,
    /// How it is.
    pub health: Health,
}

/// What was seen around an app, whatever came of the pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// What Vela says, once there is an Application.
    pub reading: Option<Reading>,
    /// Version for people.
    pub version: Option<String>,
    /// Publish version of the live Application.
    pub publish_version: Option<String>,
    /// Healthy workloads and claims and all of them, as the objects themselves say.
    pub workloads: (usize, usize),
    /// Its tenant is suspended.
    pub suspended: bool,
}

/// What an Application and its leaves were seen to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched<'a> {
    /// Namespace and name.
    pub namespace: &'a str,
    /// Name of app and Application.
    pub name: &'a str,
    /// What Vela says.
    pub reading: &'a Reading,
    /// Pods, workloads and claims that carry the app's name.
    pub leaves: &'a [Leaf],
    /// How long Vela has been silent about work that waits for it, in seconds, once that is too long.
    pub vela_silent: Option<u64>,
}

/// Judges an app that is applied: empty means healthy.
#[must_use]
pub fn delivery_problems(app: &Watched<'_>) -> Vec<Problem> {
    let stage = ConditionType::DeliveryReady;
    let application = format!("Application {}/{}", app.namespace, app.name);
    match &app.reading.answer {
        Answer::Unseen => vec![match app.vela_silent {
            Some(seconds) => Problem::new(
                stage,
                Reason::BackendUnavailable,
                &application,
                format!(
                    "KubeVela has not acted on it, nor on any other, for {seconds} s: it is busy or away"
                ),
            )
            .code(Code::Kn503)
            .fix(vela::BACKEND.start),
            None => progress(&application, "KubeVela has not seen it yet"),
        }],
        Answer::Unreadable(why) => vec![
            Problem::new(
                stage,
                Reason::BackendUnavailable,
                &application,
                format!("its status is not what KubeNova knows of KubeVela: {why}"),
            )
            .code(Code::Kn503)
            .fix("run a version of KubeVela that this version of KubeNova is tested with"),
        ],
        Answer::Deleting => vec![Problem::progress(stage, &application, "an earlier one is being deleted")],
        Answer::Suspended(message) => vec![
            Problem::new(stage, Reason::AwaitingApproval, &application, message)
                .class(BlockerClass::User)
                .fix("approve the waiting workflow step"),
        ],
        Answer::Failed(message) => {
            let mut problems = leaf_problems(app);
            problems.push(failed(app, &application, message));
            problems
        }
        Answer::Rolling(_) | Answer::Unhealthy(_) | Answer::Running => {
            let problems = leaf_problems(app);
            match &app.reading.answer {
                _ if !problems.is_empty() => problems,
                Answer::Running => behind(app).into_iter().collect(),
                Answer::Unhealthy(message) => vec![progress(&application, message)],
                Answer::Rolling(why) if !why.is_empty() => {
                    vec![progress(&application, &format!("KubeVela cannot roll it out yet: {why}"))]
                }
                _ => vec![progress(&application, "KubeVela is rolling it out")],
            }
        }
    }
}

/// Kinds of leaf that Vela applies and that stay for as long as the app does.
const LASTING: [(&str, &str); 4] = [
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("v1", "PersistentVolumeClaim"),
];

/// A workload that was not yet seen as Vela says that it has applied it. Vela takes the objects of a manifest for
/// healthy at once, and its word may arrive before the news of the workload itself.
fn behind(app: &Watched<'_>) -> Option<Problem> {
    let Reading { applied, revision, .. } = app.reading;
    let lasting = |kind: &str, version: &str| LASTING.contains(&(version, kind));
    let late = applied.iter().filter(|o| lasting(&o.kind, &o.api_version)).find(|object| {
        let leaf = app.leaves.iter().find(|l| l.kind == object.kind && l.name == object.name);
        leaf.is_none_or(|leaf| leaf.revision.as_ref().is_some_and(|r| r != revision))
    })?;
    let object = format!("{} {}/{}", late.kind, app.namespace, late.name);
    Some(progress(&object, &format!("it is not there yet as {revision} has it")))
}

/// An app whose Application waits for its turn.
#[must_use]
pub fn in_turn(application: &ChildRef, message: &str) -> Problem {
    progress(&application.to_string(), message)
}

fn progress(application: &str, message: &str) -> Problem {
    Problem {
        reason: Reason::RolloutInProgress,
        ..Problem::progress(ConditionType::DeliveryReady, application, message)
    }
}

/// Words of a failure that passes by itself. Vela tries again for about a minute.
const PASSING: [&str; 6] = [
    "failed calling webhook",
    "connection refused",
    "context deadline exceeded",
    "the object has been modified",
    "etcdserver:",
    "too many requests",
];

/// True where Vela has given up on a failure that passes by itself: what it needed may be back by now.
#[must_use]
pub fn worth_another_try(reading: &Reading) -> bool {
    match &reading.answer {
        Answer::Failed(message) => reading.gave_up && passes(message),
        _ => false,
    }
}

fn passes(message: &str) -> bool {
    PASSING.iter().any(|words| message.contains(words))
}

fn failed(app: &Watched<'_>, application: &str, message: &str) -> Problem {
    let stage = ConditionType::DeliveryReady;
    let me = format!("NovaApp {}/{}", app.namespace, app.name);
    let problem = |reason, code| Problem::new(stage, reason, application, message).code(code);
    if passes(message) {
        let fix = "none needed here once what does not answer is back; it is tried again, at longest every 10 minutes";
        return problem(Reason::BackendUnavailable, Code::Kn503).fix(fix);
    }
    if message.contains("forbidden") || message.contains("Forbidden") {
        return problem(Reason::Forbidden, Code::Kn403)
            .class(BlockerClass::User)
            .fix(format!(
                "take that object out of spec.source of {me}; an app may bring workloads, services, config maps, volume claims, ingresses, autoscalers and disruption budgets"
            ))
            .terminal();
    }
    if message.contains("no matches for kind") {
        return problem(Reason::DependencyMissing, Code::Kn404)
            .class(BlockerClass::User)
            .fix(format!(
                "correct apiVersion and kind in spec.source of {me}, or have the platform team install that kind and then change {me}"
            ))
            .terminal();
    }
    let field = if message.contains("trait definition") { "spec.traits" } else { "spec.source" };
    problem(Reason::RolloutFailed, Code::Kn422)
        .class(BlockerClass::User)
        .fix(format!("correct {field} of {me}"))
        .terminal()
}

/// Leaves that are not healthy, the most telling first: pods know more than what made them.
fn leaf_problems(app: &Watched<'_>) -> Vec<Problem> {
    let well = |leaf: &&Leaf| leaf.health == Health::Healthy;
    let workloads_are_well = app.leaves.iter().filter(|l| l.kind != "Pod").all(|l| well(&l));
    let history = |leaf: &Leaf| match &leaf.health {
        Health::Failed { reason, .. } => reason == REPLACED_POD_FAILED && workloads_are_well,
        _ => false,
    };
    let mut leaves: Vec<&Leaf> = app.leaves.iter().filter(|l| !well(l) && !history(l)).collect();
    let rank = |leaf: &Leaf| match (&leaf.health, leaf.kind) {
        (Health::Failed { .. }, "Pod") => 0,
        (Health::Failed { .. }, _) => 1,
        (_, "Pod") => 2,
        _ => 3,
    };
    leaves.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name)));
    let unready = leaves.iter().find_map(|leaf| match &leaf.health {
        Health::Progressing(message) if leaf.kind == "Pod" => Some((leaf.name.as_str(), message.as_str())),
        _ => None,
    });
    leaves.iter().map(|leaf| leaf_problem(app, leaf, unready)).collect()
}

/// The webhook that a message says could not be called.
fn webhook_named(message: &str) -> Option<&str> {
    message.split_once("failed calling webhook \"")?.1.split_once('"').map(|(name, _)| name)
}

/// Where to read why a pod is as it is.
fn logs(namespace: &str, pod: &str) -> String {
    format!("kubectl -n {namespace} describe pod {pod}; kubectl -n {namespace} logs {pod}")
}

/// The problem of one leaf. A workload that ran out of time is told as the pod that is not ready, `unready`: it knows more.
fn leaf_problem(app: &Watched<'_>, leaf: &Leaf, unready: Option<(&str, &str)>) -> Problem {
    let stage = ConditionType::DeliveryReady;
    let (namespace, name) = (app.namespace, app.name);
    let object = format!("{} {namespace}/{}", leaf.kind, leaf.name);
    let me = format!("NovaApp {namespace}/{name}");
    let (reason, message) = match &leaf.health {
        Health::Failed { reason, message } => (reason.as_str(), message.as_str()),
        Health::Progressing(message) if leaf.kind == "Pod" => {
            return progress(&object, message).fix(format!(
                "none needed while it starts; if it stays so, read why: {}",
                logs(namespace, &leaf.name)
            ));
        }
        Health::Progressing(message) => return progress(&object, message),
        Health::Healthy => return progress(&object, "healthy"),
    };
    let told = if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
    let problem = |why: Reason, code: Code| Problem::new(stage, why, &object, &told).code(code);
    match reason {
        "ImagePullBackOff" | "ErrImagePull" | "ErrImageNeverPull" | "InvalidImageName" => {
            problem(Reason::SourceUnavailable, Code::Kn422)
                .class(BlockerClass::User)
                .fix(format!("correct image, tag or credentialsSecretRef in the source of {me}"))
        }
        "CreateContainerConfigError" => problem(Reason::SecretMissing, Code::Kn404)
            .class(BlockerClass::User)
            .fix(format!("create the Secret or ConfigMap that {me} names, in {namespace}")),
        "CrashLoopBackOff" => problem(Reason::Unhealthy, Code::Kn422)
            .class(BlockerClass::User)
            .fix(format!("read why: kubectl -n {namespace} logs {} --previous", leaf.name)),
        "RunContainerError" | "CreateContainerError" | "Failed" | REPLACED_POD_FAILED
            if leaf.kind == "Pod" =>
        {
            problem(Reason::Unhealthy, Code::Kn422)
                .class(BlockerClass::User)
                .fix(format!("read why: {}", logs(namespace, &leaf.name)))
        }
        "Unschedulable" => problem(Reason::Unhealthy, Code::Kn503)
            .fix(format!("lower what {me} requests, or add room to the cluster (platform team)")),
        _ if message.contains("failed calling webhook") => problem(Reason::BackendUnavailable, Code::Kn503)
            .fix(webhook_named(message).and_then(backend_of_webhook).map_or_else(
                || "see why that webhook does not answer".to_owned(),
                |backend| backend.start.to_owned(),
            )),
        _ if message.contains("exceeded quota") => problem(Reason::QuotaExceeded, Code::Kn429)
            .class(BlockerClass::User)
            .fix(format!("lower what {me} requests, or raise spec.quotas of its project")),
        _ if message.contains("violates PodSecurity") => problem(Reason::Forbidden, Code::Kn403)
            .class(BlockerClass::User)
            .fix(format!("take out of {me} what the namespace's Pod Security level refuses")),
        _ if message.contains(" per Container is ") || message.contains(" per Pod is ") => {
            problem(Reason::Invalid, Code::Kn422).class(BlockerClass::User).fix(format!(
                "keep what {me} requests within the limits: kubectl -n {namespace} describe limitrange, or raise spec.limits of its project"
            ))
        }
        _ if message.contains("denied the request") || message.contains("denied request") => {
            problem(Reason::Forbidden, Code::Kn403)
                .class(BlockerClass::User)
                .fix(format!("take out of {me} what that policy refuses"))
        }
        "ProgressDeadlineExceeded" if unready.is_some() => {
            let (pod, words) = unready.unwrap_or_default();
            Problem {
                object: format!("Pod {namespace}/{pod}"),
                message: format!("{words}; {object} gave up waiting: {told}"),
                ..problem(Reason::RolloutFailed, Code::Kn422)
            }
            .class(BlockerClass::User)
            .fix(format!("read why: {}", logs(namespace, pod)))
        }
        "ProgressDeadlineExceeded" => {
            problem(Reason::RolloutFailed, Code::Kn422).class(BlockerClass::User).fix(format!(
                "read why: kubectl -n {namespace} describe {} {}",
                leaf.kind.to_lowercase(),
                leaf.name
            ))
        }
        _ => problem(Reason::Unhealthy, Code::Kn422).class(BlockerClass::User).fix(format!(
            "read why: kubectl -n {namespace} describe {} {}",
            leaf.kind.to_lowercase(),
            leaf.name
        )),
    }
}

/// The whole status.
pub(super) fn status(app: &NovaApp, observed: &Observed, outcome: &Outcome, now: Timestamp) -> NovaAppStatus {
    // To Vela every object of a manifest is healthy as soon as it exists.
    let vela = observed.reading.as_ref().map(|r| r.healthy);
    let counted = match app.spec.source.kind {
        SourceKind::KubeManifest if observed.workloads.1 > 0 => vela.and(Some(observed.workloads)),
        _ => vela,
    };
    let healthy = counted.filter(|(_, all)| *all > 0);
    NovaAppStatus {
        core: suspended(app, app.core(outcome, now), observed.suspended, now),
        source_kind: Some(app.spec.source.kind.to_string()),
        application: observed.reading.as_ref().and(app.metadata.name.clone()),
        version: observed.version.clone(),
        publish_version: observed.publish_version.clone(),
        healthy: healthy.map(|(healthy, all)| format!("{healthy}/{all}")),
        services: healthy.and_then(|(_, all)| i64::try_from(all).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::vela::Object;

    fn leaf(kind: &'static str, name: &str, health: Health) -> Leaf {
        Leaf { kind, name: name.into(), revision: Some("web-v2".into()), health }
    }

    fn failed(reason: &str, message: &str) -> Health {
        Health::Failed { reason: reason.into(), message: message.into() }
    }

    fn judged(answer: Answer, leaves: &[Leaf]) -> Vec<Problem> {
        let deployment =
            Object { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "web".into() };
        let reading = Reading {
            answer,
            gave_up: false,
            healthy: (1, 1),
            applied: vec![deployment],
            revision: "web-v2".into(),
        };
        delivery_problems(&Watched {
            namespace: "n",
            name: "web",
            reading: &reading,
            leaves,
            vela_silent: None,
        })
    }

    #[test]
    fn velas_word_counts_only_when_the_workload_was_seen_as_it_was_applied() {
        let mut seen = leaf("Deployment", "web", Health::Healthy);
        assert!(judged(Answer::Running, std::slice::from_ref(&seen)).is_empty());
        assert_eq!(judged(Answer::Running, &[])[0].object, "Deployment n/web");
        seen.revision = Some("web-v1".into());
        assert_eq!(judged(Answer::Running, &[seen])[0].reason, Reason::RolloutInProgress);
    }

    #[test]
    fn a_pod_is_told_before_what_made_it() {
        let waiting = leaf("Deployment", "web", Health::Progressing("0 of 1 replicas are ready".into()));
        let pod = leaf("Pod", "web-1", failed("ImagePullBackOff", "no such image"));
        let told = judged(Answer::Rolling(String::new()), &[waiting, pod]);
        assert_eq!((told[0].object.as_str(), told[0].reason), ("Pod n/web-1", Reason::SourceUnavailable));
        let late = leaf("Deployment", "web", failed("ProgressDeadlineExceeded", "timed out"));
        let unready = leaf("Pod", "web-1", Health::Progressing("it runs but is not ready".into()));
        let told = judged(Answer::Running, &[late, unready]);
        assert_eq!((told[0].object.as_str(), told[0].code), ("Pod n/web-1", Some(Code::Kn422)));
    }

    #[test]
    fn a_pod_that_was_replaced_is_history() {
        let pod = leaf("Pod", "web-1", failed(REPLACED_POD_FAILED, "Evicted"));
        let well = leaf("Deployment", "web", Health::Healthy);
        assert!(judged(Answer::Running, &[pod.clone(), well]).is_empty());
        let ill = leaf("Deployment", "web", Health::Progressing("0 of 1 replicas are ready".into()));
        assert_eq!(judged(Answer::Running, &[pod, ill])[0].object, "Pod n/web-1");
    }

    #[test]
    fn only_what_trying_again_cannot_mend_is_terminal() {
        let told = |message: &str| judged(Answer::Failed(message.into()), &[]).remove(0);
        assert!(told("roles \"x\" is forbidden: no").is_terminal());
        let passing = told("failed calling webhook \"x\": connection refused");
        assert_eq!((passing.is_terminal(), passing.code), (false, Some(Code::Kn503)));
        assert_eq!(told("incomplete value string").reason, Reason::RolloutFailed);
    }
}
