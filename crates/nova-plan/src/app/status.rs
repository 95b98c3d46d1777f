//! How an app stands: what Vela says, and what the workloads themselves say. Pure.

use jiff::Timestamp;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{NovaApp, NovaAppStatus};

use super::STAGES;
use crate::adapters::vela::{Answer, Reading};
use crate::adapters::workload::Health;
use crate::problem::Problem;
use crate::verdict::{Outcome, core};

/// A pod, workload or volume claim of the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// `Pod`, `Deployment`, …
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// How it is.
    pub health: Health,
}

/// What was seen around an app, whatever came of the pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What Vela says, once there is an Application.
    pub reading: Option<Reading>,
    /// Version for people.
    pub version: Option<String>,
    /// Publish version of the live Application.
    pub publish_version: Option<String>,
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
pub fn judge(app: &Watched<'_>) -> Vec<Problem> {
    let stage = ConditionType::DeliveryReady;
    let application = format!("Application {}/{}", app.namespace, app.name);
    match &app.reading.answer {
        Answer::Unseen => vec![match app.vela_silent {
            Some(seconds) => Problem::new(
                stage,
                Reason::BackendUnavailable,
                &application,
                format!("KubeVela has not acted on it, nor on any other, for {seconds} s"),
            )
            .code(Code::Kn503)
            .fix("check that vela-core runs: kubectl -n vela-system get pods"),
            None => progress(&application, "KubeVela has not seen it yet"),
        }],
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
                Answer::Running => Vec::new(),
                Answer::Unhealthy(message) => vec![progress(&application, message)],
                _ => vec![progress(&application, "KubeVela is rolling it out")],
            }
        }
    }
}

fn progress(application: &str, message: &str) -> Problem {
    Problem {
        reason: Reason::RolloutInProgress,
        ..Problem::progress(ConditionType::DeliveryReady, application, message)
    }
}

fn failed(app: &Watched<'_>, application: &str, message: &str) -> Problem {
    let stage = ConditionType::DeliveryReady;
    let me = format!("NovaApp {}/{}", app.namespace, app.name);
    let problem = if message.contains("forbidden") || message.contains("Forbidden") {
        Problem::new(stage, Reason::Forbidden, application, message).code(Code::Kn403).fix(format!(
            "take out of {me} what the service account kubenova-deployer may not do in {}",
            app.namespace
        ))
    } else {
        Problem::new(stage, Reason::RolloutFailed, application, message)
            .code(Code::Kn422)
            .fix(format!("correct the source of {me}"))
    };
    problem.class(BlockerClass::User).terminal()
}

/// Leaves that are not healthy, the most telling first: pods know more than what made them.
fn leaf_problems(app: &Watched<'_>) -> Vec<Problem> {
    let mut leaves: Vec<&Leaf> = app.leaves.iter().filter(|l| l.health != Health::Healthy).collect();
    let rank = |leaf: &Leaf| match (&leaf.health, leaf.kind) {
        (Health::Failed { .. }, "Pod") => 0,
        (Health::Failed { .. }, _) => 1,
        (_, "Pod") => 3,
        _ => 2,
    };
    leaves.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name)));
    leaves.into_iter().map(|leaf| leaf_problem(app, leaf)).collect()
}

fn leaf_problem(app: &Watched<'_>, leaf: &Leaf) -> Problem {
    let stage = ConditionType::DeliveryReady;
    let (namespace, name) = (app.namespace, app.name);
    let object = format!("{} {namespace}/{}", leaf.kind, leaf.name);
    let me = format!("NovaApp {namespace}/{name}");
    let (reason, message) = match &leaf.health {
        Health::Failed { reason, message } => (reason.as_str(), message.as_str()),
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
        "CrashLoopBackOff" | "RunContainerError" | "CreateContainerError" | "PodFailed" => {
            problem(Reason::Unhealthy, Code::Kn422)
                .class(BlockerClass::User)
                .fix(format!("read why: kubectl -n {namespace} logs {} --previous", leaf.name))
        }
        "Unschedulable" => problem(Reason::Unhealthy, Code::Kn503)
            .fix("make room in the cluster, or lower what the app requests"),
        _ if message.contains("exceeded quota") => problem(Reason::QuotaExceeded, Code::Kn429)
            .class(BlockerClass::User)
            .fix(format!("lower what {me} requests, or raise spec.quotas of its project")),
        _ if message.contains("violates PodSecurity") => problem(Reason::Forbidden, Code::Kn403)
            .class(BlockerClass::User)
            .fix(format!("take out of {me} what the namespace's Pod Security level refuses")),
        "ProgressDeadlineExceeded" => {
            problem(Reason::RolloutFailed, Code::Kn422).class(BlockerClass::User).fix(format!(
                "read why: kubectl -n {namespace} describe {} {}",
                leaf.kind.to_lowercase(),
                leaf.name
            ))
        }
        _ => problem(Reason::Unhealthy, Code::Kn422).class(BlockerClass::User).fix(format!(
            "kubectl -n {namespace} describe {} {}",
            leaf.kind.to_lowercase(),
            leaf.name
        )),
    }
}

/// The whole status.
#[must_use]
pub fn status(app: &NovaApp, seen: &Seen, outcome: &Outcome, now: Timestamp) -> NovaAppStatus {
    let healthy = seen.reading.as_ref().map(|r| r.healthy).filter(|(_, all)| *all > 0);
    NovaAppStatus {
        core: core(app, STAGES, outcome, now),
        source_kind: Some(app.spec.source.kind.to_string()),
        application: seen.reading.as_ref().and(app.metadata.name.clone()),
        version: seen.version.clone(),
        publish_version: seen.publish_version.clone(),
        healthy: healthy.map(|(healthy, all)| format!("{healthy}/{all}")),
        services: healthy.and_then(|(_, all)| i64::try_from(all).ok()),
    }
}
