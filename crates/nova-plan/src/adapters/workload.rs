//! Pods and workloads: are they healthy, and if not, why. After kstatus
//! (`sigs.k8s.io/cli-utils/pkg/kstatus`), with the pod's own reasons kept. No I/O.
//!
//! Of an object, which people may make as large as the API server takes it, only the fields are read that tell this.

mod field;

use serde::Deserialize;

use self::field::{Conditions, Containers, Exists, Field, Number, Text};

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

/// Reason of a pod that has ended badly and that a workload replaces, so that it is history once the workload is well.
pub const REPLACED_POD_FAILED: &str = "PodFailed";

/// What of a live object tells how it is: a few numbers and texts, however large the object. A field that is missing,
/// or that holds something else than it should, counts as not set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Workload {
    metadata: Field<Metadata>,
    spec: Field<Spec>,
    status: Field<Status>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    generation: Field<Number>,
    deletion_timestamp: Field<Exists>,
    owner_references: Field<Exists>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Spec {
    replicas: Field<Number>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    observed_generation: Field<Number>,
    available_replicas: Field<Number>,
    ready_replicas: Field<Number>,
    updated_replicas: Field<Number>,
    number_available: Field<Number>,
    desired_number_scheduled: Field<Number>,
    active: Field<Number>,
    phase: Field<Text>,
    reason: Field<Text>,
    message: Field<Text>,
    conditions: Field<Conditions>,
    init_container_statuses: Field<Containers>,
    container_statuses: Field<Containers>,
}

/// Judges the text of a live object; what has no rule is healthy once it exists.
pub fn health_of(kind: &str, text: &str) -> Result<Health, serde_json::Error> {
    serde_json::from_str(text).map(|workload: Workload| workload.health(kind))
}

fn progressing(message: impl Into<String>) -> Health {
    Health::Progressing(message.into())
}

fn failed(reason: impl Into<String>, message: impl Into<String>) -> Health {
    Health::Failed { reason: reason.into(), message: message.into() }
}

impl Workload {
    /// Judges an object of this kind; what has no rule is healthy once it exists.
    #[must_use]
    pub fn health(&self, kind: &str) -> Health {
        match kind {
            "Pod" => self.pod(),
            "Deployment" => self.deployment(),
            "StatefulSet" => self.replicas(&self.status.ready_replicas),
            "DaemonSet" => self.daemon_set(),
            "Job" => self.job(),
            "PersistentVolumeClaim" => self.claim(),
            _ => Health::Healthy,
        }
    }

    fn pod(&self) -> Health {
        // On its way out it says nothing about the app any more; a missing replacement is its workload's to tell.
        if self.metadata.deletion_timestamp.exists() {
            return Health::Healthy;
        }
        let status = &self.status;
        let stuck =
            status.init_container_statuses.stuck.as_ref().or(status.container_statuses.stuck.as_ref());
        if let Some(stuck) = stuck {
            let message = match stuck.last_exit {
                Some(code) if stuck.reason == "CrashLoopBackOff" => {
                    format!("container {} exited with code {code}; {}", stuck.name, stuck.message)
                }
                _ => stuck.message.clone(),
            };
            return failed(&stuck.reason, message);
        }
        if let Some(unplaced) = status.conditions.get("PodScheduled").filter(|c| c.status.as_str() == "False")
        {
            return failed(unplaced.reason.as_str(), unplaced.message.as_str());
        }
        match status.phase.as_str() {
            "Succeeded" => Health::Healthy,
            "Failed" if self.metadata.owner_references.exists() => failed(REPLACED_POD_FAILED, self.ended()),
            "Failed" => failed("Failed", self.ended()),
            "Running" => match status.conditions.get("Ready") {
                Some(ready) if ready.status.as_str() == "True" => Health::Healthy,
                Some(ready) if !ready.message.is_empty() => {
                    progressing(format!("it runs but is not ready: {}", ready.message.as_str()))
                }
                _ => progressing("it runs but is not ready"),
            },
            _ => progressing("not running yet"),
        }
    }

    /// Why a pod ended: its own words, or the exit code of the first container that failed.
    fn ended(&self) -> String {
        let words = [self.status.reason.as_str(), self.status.message.as_str()];
        let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
        if !words.is_empty() {
            return words.join(": ");
        }
        let exit = self.status.container_statuses.ended_badly.as_ref();
        exit.map(|(name, code)| format!("container {name} exited with code {code}")).unwrap_or_default()
    }

    fn unseen(&self) -> Option<Health> {
        (self.status.observed_generation.or(0) < self.metadata.generation.or(0))
            .then(|| progressing("not yet seen by its controller"))
    }

    fn deployment(&self) -> Health {
        let condition = |of: &str| self.status.conditions.get(of);
        if let Some(refused) = condition("ReplicaFailure").filter(|c| c.status.as_str() == "True") {
            return failed(refused.reason.as_str(), refused.message.as_str());
        }
        if let Some(late) =
            condition("Progressing").filter(|c| c.reason.as_str() == "ProgressDeadlineExceeded")
        {
            return failed("ProgressDeadlineExceeded", late.message.as_str());
        }
        match self.replicas(&self.status.available_replicas) {
            Health::Healthy if self.status.updated_replicas.or(0) < self.wanted() => {
                progressing("old replicas are being replaced")
            }
            other => other,
        }
    }

    fn wanted(&self) -> i64 {
        self.spec.replicas.or(1)
    }

    fn replicas(&self, have: &Number) -> Health {
        if let Some(unseen) = self.unseen() {
            return unseen;
        }
        let (have, want) = (have.or(0), self.wanted());
        if have >= want {
            Health::Healthy
        } else {
            progressing(format!("{have} of {want} replicas are ready"))
        }
    }

    fn daemon_set(&self) -> Health {
        if let Some(unseen) = self.unseen() {
            return unseen;
        }
        let have = self.status.number_available.or(0);
        let want = self.status.desired_number_scheduled.or(0);
        if have >= want {
            Health::Healthy
        } else {
            progressing(format!("{have} of {want} pods are available"))
        }
    }

    fn job(&self) -> Health {
        let condition = |of: &str| self.status.conditions.get(of).filter(|c| c.status.as_str() == "True");
        if let Some(broken) = condition("Failed") {
            return failed(broken.reason.as_str(), broken.message.as_str());
        }
        if condition("Complete").is_some() {
            return Health::Healthy;
        }
        // A job that runs is doing what it was asked to do.
        if self.status.active.or(0) > 0 { Health::Healthy } else { progressing("not started yet") }
    }

    fn claim(&self) -> Health {
        match self.status.phase.as_str() {
            "Bound" => Health::Healthy,
            "Lost" => failed("ClaimLost", "its volume is gone"),
            _ => progressing("waits for a volume"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn health(live: &Value) -> Health {
        let kind = live["kind"].as_str().unwrap_or_default();
        health_of(kind, &live.to_string()).unwrap()
    }

    #[test]
    fn a_pod_tells_why_it_cannot_start() {
        let pod = json!({"kind": "Pod", "status": {"phase": "Pending", "containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}]}});
        assert_eq!(health(&pod), failed("ImagePullBackOff", "no such image"));
        let crash = json!({"kind": "Pod", "status": {"phase": "Running", "containerStatuses": [
            {"name": "side", "state": {"running": {}}},
            {"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
             "lastState": {"terminated": {"exitCode": 3}}}]}});
        assert_eq!(health(&crash), failed("CrashLoopBackOff", "container web exited with code 3; back-off"));
        let mut init = crash.clone();
        init["status"]["initContainerStatuses"] = json!([
            {"name": "first", "state": {"waiting": {"reason": "ErrImagePull", "message": "denied"}}}]);
        assert_eq!(health(&init), failed("ErrImagePull", "denied"), "it starts first");
        let unplaced = json!({"kind": "Pod", "status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}});
        assert_eq!(health(&unplaced), failed("Unschedulable", "0/3 nodes"));
    }

    #[test]
    fn a_pod_that_ended_is_history_if_something_replaces_it() {
        let mut pod = json!({"kind": "Pod", "status": {"phase": "Failed", "containerStatuses": [
            {"name": "a", "state": {"terminated": {"exitCode": 0}}},
            {"name": "b", "state": {"terminated": {"exitCode": 2}}}]}});
        assert_eq!(health(&pod), failed("Failed", "container b exited with code 2"));
        pod["metadata"] = json!({"ownerReferences": []});
        assert_eq!(health(&pod), failed("Failed", "container b exited with code 2"));
        pod["metadata"] = json!({"ownerReferences": [{"kind": "ReplicaSet"}]});
        pod["status"]["reason"] = json!("Evicted");
        pod["status"]["message"] = json!("the node was low on memory");
        assert_eq!(health(&pod), failed(REPLACED_POD_FAILED, "Evicted: the node was low on memory"));
        pod["metadata"]["deletionTimestamp"] = json!("2026-11-21T09:00:00Z");
        assert_eq!(health(&pod), Health::Healthy);
    }

    #[test]
    fn a_pod_is_healthy_once_it_is_ready() {
        let pod = |conditions: Value| {
            health(&json!({"kind": "Pod", "status": {"phase": "Running", "conditions": conditions}}))
        };
        assert_eq!(pod(json!([{"type": "Ready", "status": "True"}])), Health::Healthy);
        assert_eq!(
            pod(json!([{"type": "Ready", "status": "False"}])),
            progressing("it runs but is not ready")
        );
        let words = pod(json!([{"type": "Ready", "status": "False", "message": "containers: [a]"}]));
        assert_eq!(words, progressing("it runs but is not ready: containers: [a]"));
        let first = pod(json!([{"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}]));
        assert_eq!(first, Health::Healthy, "the first of a type counts");
        assert_eq!(pod(json!([])), progressing("it runs but is not ready"));
    }

    #[test]
    fn a_deployment_is_healthy_only_when_its_controller_has_seen_it() {
        let mut live = json!({"kind": "Deployment", "metadata": {"generation": 2}, "spec": {"replicas": 2},
            "status": {"observedGeneration": 1, "availableReplicas": 2, "updatedReplicas": 2}});
        assert!(matches!(health(&live), Health::Progressing(_)));
        live["status"]["observedGeneration"] = json!(2);
        assert_eq!(health(&live), Health::Healthy);
        live["status"]["updatedReplicas"] = json!(1);
        assert_eq!(health(&live), progressing("old replicas are being replaced"));
        live["status"]["availableReplicas"] = json!(1);
        assert_eq!(health(&live), progressing("1 of 2 replicas are ready"));
        live["status"]["conditions"] = json!([
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "late"}]);
        assert_eq!(health(&live), failed("ProgressDeadlineExceeded", "late"));
        live["status"]["conditions"] = json!([
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]);
        assert_eq!(health(&live), failed("FailedCreate", "quota"));
    }

    #[test]
    fn the_other_kinds_have_their_own_rules() {
        let set = json!({"kind": "StatefulSet", "status": {"readyReplicas": 1}});
        assert_eq!(health(&set), Health::Healthy, "one replica is wanted where none are named");
        let daemons =
            json!({"kind": "DaemonSet", "status": {"numberAvailable": 1, "desiredNumberScheduled": 3}});
        assert_eq!(health(&daemons), progressing("1 of 3 pods are available"));
        let job = |status: Value| health(&json!({"kind": "Job", "status": status}));
        assert_eq!(job(json!({})), progressing("not started yet"));
        assert_eq!(job(json!({"active": 1})), Health::Healthy);
        assert_eq!(job(json!({"conditions": [{"type": "Complete", "status": "True"}]})), Health::Healthy);
        let broken = json!([{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]);
        assert_eq!(job(json!({"conditions": broken})), failed("BackoffLimitExceeded", ""));
        let claim =
            |phase: &str| health(&json!({"kind": "PersistentVolumeClaim", "status": {"phase": phase}}));
        assert_eq!(claim("Bound"), Health::Healthy);
        assert_eq!(claim("Lost"), failed("ClaimLost", "its volume is gone"));
        assert_eq!(claim("Pending"), progressing("waits for a volume"));
        assert_eq!(health(&json!({"kind": "ConfigMap"})), Health::Healthy);
    }

    #[test]
    fn a_field_of_another_type_counts_as_not_set() {
        let odd = [
            json!(null),
            json!(7),
            json!(-7),
            json!(0.5),
            json!("a"),
            json!(true),
            json!([[7]]),
            json!({"a": {}}),
        ];
        for odd in odd {
            for field in ["conditions", "containerStatuses", "phase", "reason", "availableReplicas"] {
                let live = json!({"kind": "Pod", "metadata": odd, "spec": odd, "status": {field: odd}});
                assert_eq!(health(&live), progressing("not running yet"), "{field}: {odd}");
            }
            let live = json!({"kind": "Pod", "status": {"phase": "Pending", "conditions": [odd], "containerStatuses": [
                odd, {"name": odd, "state": odd}, {"state": {"waiting": odd}},
                {"state": {"waiting": {"reason": "ErrImagePull", "message": "denied"}}}]}});
            assert_eq!(health(&live), failed("ErrImagePull", "denied"), "{odd}");
            assert_eq!(health(&json!({"kind": "Job", "status": odd})), progressing("not started yet"));
        }
        assert!(health_of("Pod", "{").is_err());
    }

    /// Bytes that a workload holds: what its text for debugging is made of, or less.
    fn kept(text: &str) -> usize {
        let workload: Workload = serde_json::from_str(text).unwrap();
        size_of::<Workload>() + format!("{workload:?}").len()
    }

    #[test]
    fn a_vast_object_is_read_into_little() {
        let env = vec![r#"{"name":"a"}"#; 200_000].join(",");
        let spec = format!(
            r#"{{"replicas":0,"template":{{"spec":{{"containers":[{{"name":"a","env":[{env}]}}]}}}}}}"#
        );
        let deployment =
            format!(r#"{{"kind":"Deployment","metadata":{{"managedFields":[{env}]}},"spec":{spec}}}"#);
        assert!(deployment.len() > 2_000_000, "{}", deployment.len());
        assert!(kept(&deployment) < 4096, "{}", kept(&deployment));
        assert_eq!(health_of("Deployment", &deployment).unwrap(), Health::Healthy);

        let waits =
            r#"{"name":"a","state":{"waiting":{"reason":"ErrImagePull"},"terminated":{"exitCode":1}}}"#;
        let ready = r#"{"type":"Ready","status":"False"},{"type":"Foreign","message":"long"}"#;
        let (waits, ready) = (vec![waits; 20_000].join(","), vec![ready; 20_000].join(","));
        let status = format!(r#"{{"containerStatuses":[{waits}],"conditions":[{ready}]}}"#);
        let pod = format!(r#"{{"metadata":{{"ownerReferences":[{waits}]}},"status":{status}}}"#);
        assert!(kept(&pod) < 4096, "{}", kept(&pod));
        assert_eq!(health_of("Pod", &pod).unwrap(), failed("ErrImagePull", ""));
    }

    #[test]
    fn a_vast_text_is_cut_between_characters() {
        let text = |message: String| match health(&json!({"kind": "Pod", "status": {"conditions": [
            {"type": "PodScheduled", "status": "False", "message": message}]}}))
        {
            Health::Failed { message, .. } => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(text("a".repeat(4096)), "a".repeat(4096));
        assert_eq!(text("ä".repeat(100_000)), format!("{}…", "ä".repeat(2048)));
        assert_eq!(text(format!("a{}", "ä".repeat(100_000))).len(), 4095 + "…".len());
    }

    #[test]
    fn what_lies_deep_where_nothing_is_read_is_no_trouble() {
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
        let live =
            format!(r#"{{"spec":{{"template":{deep}}},"metadata":{deep},"status":{{"phase":{deep}}}}}"#);
        assert_eq!(health_of("Job", &live).unwrap(), progressing("not started yet"));
    }
}
