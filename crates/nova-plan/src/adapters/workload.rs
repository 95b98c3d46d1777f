//! Pods and workloads: are they healthy, and if not, why. After kstatus
//! (`sigs.k8s.io/cli-utils/pkg/kstatus`), with the pod's own reasons kept. No I/O.

use serde_json::Value;

/// How one object is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// As wanted.
    Healthy,
    /// Still at it.
    Progressing(String),
    /// Will not get there by itself: reason as Kubernetes names it, and its message.
    Failed {
        /// `ImagePullBackOff`, `CrashLoopBackOff`, …
        reason: String,
        /// The message beside it.
        message: String,
    },
}

/// Waiting reasons that do not mend themselves.
const STUCK: [&str; 8] = [
    "ImagePullBackOff",
    "ErrImagePull",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// Judges a live object of any kind; what has no rule is healthy once it exists.
#[must_use]
pub fn health(live: &Value) -> Health {
    match live["kind"].as_str().unwrap_or_default() {
        "Pod" => pod(live),
        "Deployment" => deployment(live),
        "StatefulSet" => replicas(live, "readyReplicas"),
        "DaemonSet" => daemon_set(live),
        "Job" => job(live),
        "PersistentVolumeClaim" => claim(live),
        _ => Health::Healthy,
    }
}

fn progressing(message: impl Into<String>) -> Health {
    Health::Progressing(message.into())
}

fn failed(reason: impl Into<String>, message: impl Into<String>) -> Health {
    Health::Failed { reason: reason.into(), message: message.into() }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(value: &Value, pointer: &str) -> i64 {
    value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn condition<'a>(live: &'a Value, kind: &str) -> Option<&'a Value> {
    live.pointer("/status/conditions")?.as_array()?.iter().find(|c| c["type"] == kind)
}

/// Reason of a pod that has ended badly and that a workload replaces, so that it is history once the workload is well.
pub const REPLACED_POD_FAILED: &str = "PodFailed";

fn pod(live: &Value) -> Health {
    // On its way out it says nothing about the app any more; a missing replacement is its workload's to tell.
    if live.pointer("/metadata/deletionTimestamp").is_some() {
        return Health::Healthy;
    }
    let statuses = |key: &str| live.pointer(&format!("/status/{key}")).and_then(Value::as_array);
    let containers =
        ["initContainerStatuses", "containerStatuses"].into_iter().filter_map(statuses).flatten();
    for container in containers {
        let reason = text(container, "/state/waiting/reason");
        if STUCK.contains(&reason) {
            let mut message = text(container, "/state/waiting/message").to_owned();
            let exit = container.pointer("/lastState/terminated/exitCode").and_then(Value::as_i64);
            if let (true, Some(code)) = (reason == "CrashLoopBackOff", exit) {
                message =
                    format!("container {} exited with code {code}; {message}", text(container, "/name"));
            }
            return failed(reason, message);
        }
    }
    if let Some(unplaced) = condition(live, "PodScheduled").filter(|c| c["status"] == "False") {
        return failed(text(unplaced, "/reason"), text(unplaced, "/message"));
    }
    match text(live, "/status/phase") {
        "Succeeded" => Health::Healthy,
        "Failed" if live.pointer("/metadata/ownerReferences/0").is_some() => {
            failed(REPLACED_POD_FAILED, ended(live))
        }
        "Failed" => failed("Failed", ended(live)),
        "Running" if condition(live, "Ready").is_some_and(|c| c["status"] == "True") => Health::Healthy,
        "Running" => progressing(match condition(live, "Ready").map(|c| text(c, "/message")) {
            Some(words) if !words.is_empty() => format!("it runs but is not ready: {words}"),
            _ => "it runs but is not ready".to_owned(),
        }),
        _ => progressing("not running yet"),
    }
}

/// Why a pod ended: its own words, or the exit code of the first container that failed.
fn ended(live: &Value) -> String {
    let words = [text(live, "/status/reason"), text(live, "/status/message")];
    let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
    if !words.is_empty() {
        return words.join(": ");
    }
    let containers = live.pointer("/status/containerStatuses").and_then(Value::as_array);
    let exit = containers.into_iter().flatten().find_map(|container| {
        let code = container.pointer("/state/terminated/exitCode")?.as_i64().filter(|code| *code != 0)?;
        Some(format!("container {} exited with code {code}", text(container, "/name")))
    });
    exit.unwrap_or_default()
}

fn unseen(live: &Value) -> Option<Health> {
    let generation = number(live, "/metadata/generation");
    (number(live, "/status/observedGeneration") < generation)
        .then(|| progressing("not yet seen by its controller"))
}

fn deployment(live: &Value) -> Health {
    if let Some(refused) = condition(live, "ReplicaFailure").filter(|c| c["status"] == "True") {
        return failed(text(refused, "/reason"), text(refused, "/message"));
    }
    if let Some(late) = condition(live, "Progressing").filter(|c| c["reason"] == "ProgressDeadlineExceeded") {
        return failed("ProgressDeadlineExceeded", text(late, "/message"));
    }
    match replicas(live, "availableReplicas") {
        Health::Healthy if number(live, "/status/updatedReplicas") < wanted(live) => {
            progressing("old replicas are being replaced")
        }
        other => other,
    }
}

fn wanted(live: &Value) -> i64 {
    live.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1)
}

fn replicas(live: &Value, field: &str) -> Health {
    if let Some(unseen) = unseen(live) {
        return unseen;
    }
    let (have, want) = (number(live, &format!("/status/{field}")), wanted(live));
    if have >= want { Health::Healthy } else { progressing(format!("{have} of {want} replicas are ready")) }
}

fn daemon_set(live: &Value) -> Health {
    if let Some(unseen) = unseen(live) {
        return unseen;
    }
    let have = number(live, "/status/numberAvailable");
    let want = number(live, "/status/desiredNumberScheduled");
    if have >= want { Health::Healthy } else { progressing(format!("{have} of {want} pods are available")) }
}

fn job(live: &Value) -> Health {
    if let Some(broken) = condition(live, "Failed").filter(|c| c["status"] == "True") {
        return failed(text(broken, "/reason"), text(broken, "/message"));
    }
    if condition(live, "Complete").is_some_and(|c| c["status"] == "True") {
        return Health::Healthy;
    }
    // A job that runs is doing what it was asked to do.
    if number(live, "/status/active") > 0 { Health::Healthy } else { progressing("not started yet") }
}

fn claim(live: &Value) -> Health {
    match text(live, "/status/phase") {
        "Bound" => Health::Healthy,
        "Lost" => failed("ClaimLost", "its volume is gone"),
        _ => progressing("waits for a volume"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_tells_why_it_cannot_start() {
        let pod = json!({"kind": "Pod", "status": {"phase": "Pending", "containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}});
        assert_eq!(health(&pod), failed("ImagePullBackOff", "no such image"));
        let crash = json!({"kind": "Pod", "status": {"phase": "Running", "containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
             "lastState": {"terminated": {"exitCode": 3}}}]}});
        assert_eq!(health(&crash), failed("CrashLoopBackOff", "container web exited with code 3; back-off"));
    }

    #[test]
    fn a_deployment_is_healthy_only_when_its_controller_has_seen_it() {
        let mut live = json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 1, "availableReplicas": 2, "updatedReplicas": 2}});
        assert!(matches!(health(&live), Health::Progressing(_)));
        live["status"]["observedGeneration"] = json!(2);
        assert_eq!(health(&live), Health::Healthy);
        live["status"]["availableReplicas"] = json!(1);
        assert_eq!(health(&live), progressing("1 of 2 replicas are ready"));
    }
}
