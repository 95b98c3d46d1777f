//! Capsule's `Tenant` (`capsule.clastix.io/v1beta2`, source: Capsule 0.14.0 CRDs). No I/O.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Backend;
use crate::child::{ChildKind, ChildRef, Selection, child_kinds};

/// CRD that has to be there.
pub const CRD: &str = "tenants.capsule.clastix.io";

/// How to set Capsule up, for advice.
const VALUES: &str = "install Capsule with the values of charts/kubenova/recommended/capsule-values.yaml";

child_kinds! {
    /// Kinds of Capsule's that the operator writes.
    CHILDREN:
    /// Capsule's `Tenant`.
    TENANT = ChildKind {
        title: "Capsule Tenant",
        cluster_scoped: true,
        backend: Some(BACKEND.id),
        watch: Selection::All,
        stuck: |_| Some("see whether Capsule runs: kubectl -n capsule-system get pods".to_owned()),
        ..ChildKind::new("capsule.clastix.io", "v1beta2", "Tenant", "tenants")
    };
}

child_kinds! {
    /// Kinds of Kubernetes' own that tell how Capsule is set up.
    TELLS:
    /// Webhook configurations.
    WEBHOOKS = ChildKind {
        cluster_scoped: true,
        watch: Selection::All,
        ..ChildKind::new(
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
        )
    };
}

/// Where the Capsule Tenant of a tenant is.
#[must_use]
pub fn tenant_ref(tenant: &str) -> ChildRef {
    ChildRef::cluster(&TENANT, tenant)
}

/// Capsule.
pub static BACKEND: Backend = Backend {
    id: "capsule",
    capability: "capsule",
    title: "Capsule",
    crds: &[CRD],
    children: CHILDREN,
    reads: &[],
    tells: TELLS,
    leaves: &[],
    leaf: |_, _, _| None,
    owns_webhook: |name| name.contains("projectcapsule.dev") || name.contains("capsule.clastix.io"),
    silence: None,
    advice: webhook_advice,
    start: "start Capsule: kubectl -n capsule-system get pods; what waits for it goes on by itself",
};

/// What we set on a tenant.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TenantSpec {
    /// Owners, each with the one harmless role.
    pub owners: Vec<Owner>,
    /// Always false: our namespaces begin with `tn-`.
    pub force_tenant_prefix: bool,
    /// True as long as the `NovaTenant` is not being deleted.
    pub prevent_deletion: bool,
    /// Suspends the tenant.
    pub cordoned: bool,
    /// Who may become an owner.
    pub permissions: Permissions,
    /// Storage classes of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_classes: Option<Allowed>,
    /// Ingress classes of the plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_options: Option<IngressOptions>,
}

/// An owner as Capsule knows it. Defaults are written out, because the list is compared as a whole.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// `User`, `Group` or `ServiceAccount`.
    pub kind: String,
    /// Name; a service account in its long form.
    pub name: String,
    /// Roles that Capsule binds in every namespace of the tenant.
    pub cluster_roles: Vec<String>,
}

/// Owner promotion.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// Always false.
    pub allow_owner_promotion: bool,
}

/// A list of names.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Allowed {
    /// The names.
    pub allowed: Vec<String>,
}

/// Ingress limits.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IngressOptions {
    /// Classes that may be used.
    pub allowed_classes: Allowed,
}

/// How Capsule answers.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct TenantStatus {
    observed_generation: i64,
    conditions: Vec<Condition>,
    spaces: Vec<Space>,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: String,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Space {
    name: String,
    uid: String,
    conditions: Vec<Condition>,
}

/// What Capsule says of a tenant or of one of its namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Done.
    Ready,
    /// Not seen or not finished.
    Pending,
    /// Refused or failed, in Capsule's words.
    Failed(String),
    /// Its status is not what this program knows; why.
    Unreadable(String),
}

/// A live tenant, as far as it is read.
#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Tenant {
    metadata: Metadata,
    status: TenantStatus,
}

#[derive(Debug, Clone, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Metadata {
    generation: i64,
}

impl Tenant {
    /// The tenant as a whole. Transition times say nothing here: Capsule rewrites them.
    #[must_use]
    pub fn answer(&self) -> Answer {
        self.status.tenant(self.metadata.generation)
    }

    /// One namespace, by its UID; an entry that kept the UID of an earlier one may do.
    #[must_use]
    pub fn namespace(&self, name: &str, uid: &str, created: Option<Timestamp>) -> Answer {
        self.status.namespace(name, uid, created)
    }
}

impl TenantStatus {
    /// The tenant as a whole, at `generation`.
    fn tenant(&self, generation: i64) -> Answer {
        if self.observed_generation < generation {
            return Answer::Pending;
        }
        answer(&self.conditions)
    }

    /// One namespace, by its UID. Capsule finds its own entries by name: where a namespace was made anew before Capsule
    /// saw the end of the old one, the entry keeps the old UID for good. It counts then from the moment that Capsule
    /// turned it Ready after the new one was `created`.
    fn namespace(&self, name: &str, uid: &str, created: Option<Timestamp>) -> Answer {
        match self.spaces.iter().find(|s| s.name == name) {
            Some(space) if space.uid == uid => answer(&space.conditions),
            Some(space) if turned_ready_since(&space.conditions, created) => Answer::Ready,
            _ => Answer::Pending,
        }
    }
}

fn turned_ready_since(conditions: &[Condition], created: Option<Timestamp>) -> bool {
    let ready = conditions.iter().find(|c| c.r#type == "Ready" && c.status == "True");
    let since = ready.and_then(|c| c.last_transition_time.parse::<Timestamp>().ok());
    since.zip(created).is_some_and(|(since, created)| since >= created)
}

fn answer(conditions: &[Condition]) -> Answer {
    match conditions.iter().find(|c| c.r#type == "Ready") {
        Some(c) if c.status == "True" => Answer::Ready,
        Some(c) if c.status == "False" => Answer::Failed(format!("{}: {}", c.reason, c.message)),
        _ => Answer::Pending,
    }
}

/// What `NovaCluster` tells of Capsule's webhook configurations, given as live objects.
fn webhook_advice(configurations: &[Value]) -> Option<String> {
    let hooks = || configurations.iter().filter_map(|c| c["webhooks"].as_array()).flatten();
    let catches_nova = |hook: &&Value| {
        let all = hook["rules"].as_array().is_some_and(|rules| {
            rules.iter().any(|r| has(&r["apiGroups"], "*") && has(&r["resources"], "*"))
        });
        let left_out = hook["matchConditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|c| c["expression"].as_str().is_some_and(|e| e.contains("kubenova.io")))
        });
        all && !left_out && hook["failurePolicy"] != "Ignore"
    };
    let blocking: Vec<&str> = hooks().filter(catches_nova).filter_map(|h| h["name"].as_str()).collect();
    (!blocking.is_empty()).then(|| {
        format!(
            "Capsule's webhooks {} see every write in a tenant's namespaces, status of Nova objects included: \
             they slow it down, and while Capsule is away they stop it. Fix: {VALUES}",
            blocking.join(", ")
        )
    })
}

fn has(list: &Value, item: &str) -> bool {
    list.as_array().is_some_and(|l| {
        l.iter().any(|v| v.as_str().is_some_and(|s| s == item || s.starts_with(&format!("{item}/"))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tenant_counts_only_at_its_generation_and_a_namespace_only_by_uid() {
        let live = json!({"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "True"}],
            "spaces": [{"name": "tn-a", "uid": "1", "conditions": [{"type": "Ready", "status": "True"}]}]}});
        let status = serde_json::from_value::<Tenant>(live).unwrap().status;
        assert_eq!(status.tenant(2), Answer::Ready);
        assert_eq!(status.tenant(3), Answer::Pending);
        assert_eq!(status.namespace("tn-a", "1", None), Answer::Ready);
        assert_eq!(status.namespace("tn-a", "2", None), Answer::Pending);
    }

    #[test]
    fn an_entry_that_kept_the_old_uid_counts_once_it_turned_ready_again() {
        let made: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let told = |ready: &str, since: &str| {
            let condition = json!({"type": "Ready", "status": ready, "lastTransitionTime": since});
            let live =
                json!({"status": {"spaces": [{"name": "tn-a", "uid": "old", "conditions": [condition]}]}});
            serde_json::from_value::<Tenant>(live).unwrap().namespace("tn-a", "new", Some(made))
        };
        assert_eq!(told("True", "2026-11-21T09:59:59Z"), Answer::Pending, "that was the old one");
        assert_eq!(told("False", "2026-11-21T10:00:01Z"), Answer::Pending, "the old one is going");
        assert_eq!(told("True", "2026-11-21T10:00:01Z"), Answer::Ready);
    }

    #[test]
    fn webhooks_that_catch_nova_status_are_told() {
        let hook = |extra: Value| {
            let mut hook = json!({"name": "generic.rules.projectcapsule.dev", "failurePolicy": "Fail",
                "rules": [{"apiGroups": ["*"], "resources": ["*"]}]});
            hook.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            vec![json!({"webhooks": [hook]})]
        };
        assert!(webhook_advice(&hook(json!({}))).is_some());
        assert!(webhook_advice(&hook(json!({"failurePolicy": "Ignore"}))).is_none());
        let left_out = json!({"matchConditions": [{"name": "x", "expression": "request.resource.group != \"kubenova.io\""}]});
        assert!(webhook_advice(&hook(left_out)).is_none());
    }
}
