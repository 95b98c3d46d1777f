//! What every managed namespace gets: labels, quota, limits, network policies, bindings. Pure.

use nova_api::v1alpha1::{Isolation, Limits, ResourceAmounts, Subject, SubjectKind};
use serde_json::{Map, Value, json};

use crate::child::{Child, ChildKind, ChildRef, Owner};
use crate::division::Hard;
use crate::names::{
    CRITICAL_PODS, DEPLOYER, LIMITS, NamespaceType, OPERATOR_SERVICE_ACCOUNT, QUOTA, SYSTEM_NAMESPACE,
    binding_name, finalizer, label, role,
};
use crate::quantity::Amount;

/// Names of the network policies of a closed namespace.
pub const NETWORK_POLICIES: [&str; 3] =
    ["kubenova-default-deny", "kubenova-allow-dns", "kubenova-allow-same-namespace"];

/// A place for children of one owner.
#[derive(Debug, Clone, PartialEq)]
pub struct Place<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Whose children they are.
    pub owner: &'a Owner,
}

/// Children of a project or a sandbox, in the order in which they are applied: what limits a namespace comes
/// before the first person may enter it. The `ResourceQuota` is written by the tenant, which divides the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// The namespace.
    pub namespace: Child,
    /// The operator's own rights there.
    pub manager: Child,
    /// Limits of a container, and what no pod may be.
    pub limits: [Child; 2],
    /// Closed network.
    pub network_policies: Vec<Child>,
    /// Service accounts.
    pub accounts: Vec<Child>,
    /// People and service accounts.
    pub bindings: Vec<Child>,
    /// What there is not (any more).
    pub absent: Vec<ChildRef>,
    /// Where the tenant puts the quota.
    pub quota: ChildRef,
}

/// A subject of a `RoleBinding`, in the field's own form.
#[must_use]
pub fn rbac_subject(subject: &Subject) -> Value {
    match (subject.kind, subject.name.split_once(':')) {
        (SubjectKind::ServiceAccount, Some((namespace, name))) => service_account(namespace, name),
        (kind, _) => json!({
            "kind": if kind == SubjectKind::Group { "Group" } else { "User" },
            "apiGroup": "rbac.authorization.k8s.io",
            "name": subject.name,
        }),
    }
}

/// A group as a subject.
#[must_use]
pub fn group(name: &str) -> Value {
    json!({"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": name})
}

/// A service account as a subject.
#[must_use]
pub fn service_account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})
}

fn binding(cluster_role: &str, subjects: &[Value]) -> Value {
    json!({
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": cluster_role},
        "subjects": subjects,
    })
}

impl Place<'_> {
    fn at(&self, kind: ChildKind, name: &str) -> ChildRef {
        ChildRef { kind, namespace: self.namespace.to_owned(), name: name.to_owned() }
    }

    fn child(&self, kind: ChildKind, name: &str, body: &Value) -> Child {
        Child::new(self.at(kind, name), self.owner, body)
    }

    /// The namespace itself, owned by the Capsule tenant: label and reference are what its webhook would
    /// set, so the result is the same with and without the webhook.
    #[must_use]
    pub fn namespace(&self, kind: NamespaceType, tenant: &str, capsule_uid: &str) -> Child {
        // Baseline, because most public images run as root; what would break under restricted is warned of.
        let enforce = if kind == NamespaceType::Home { "restricted" } else { "baseline" };
        let mut labels = Map::from_iter([
            (label::NAMESPACE_TYPE.to_owned(), json!(kind.as_str())),
            (label::CAPSULE_TENANT.to_owned(), json!(tenant)),
            ("pod-security.kubernetes.io/enforce".to_owned(), json!(enforce)),
            ("pod-security.kubernetes.io/audit".to_owned(), json!("restricted")),
            ("pod-security.kubernetes.io/warn".to_owned(), json!("restricted")),
        ]);
        if kind == NamespaceType::Sandbox {
            labels.insert(label::SANDBOX.to_owned(), json!("true"));
        }
        let owner = json!({"apiVersion": "capsule.clastix.io/v1beta2", "kind": "Tenant", "name": tenant, "uid": capsule_uid});
        let body = json!({"metadata": {"labels": labels, "ownerReferences": [owner]}});
        let at = ChildRef {
            kind: ChildKind::Namespace,
            namespace: String::new(),
            name: self.namespace.to_owned(),
        };
        Child::new(at, self.owner, &body)
    }

    /// A binding of one of our roles.
    #[must_use]
    pub fn binding(&self, cluster_role: &str, mut subjects: Vec<Value>) -> Child {
        subjects.sort_by_key(Value::to_string);
        subjects.dedup();
        self.child(ChildKind::RoleBinding, &binding_name(cluster_role), &binding(cluster_role, &subjects))
    }

    /// Where a binding would be.
    #[must_use]
    pub fn binding_ref(&self, cluster_role: &str) -> ChildRef {
        self.at(ChildKind::RoleBinding, &binding_name(cluster_role))
    }

    /// What the operator grants itself before anything else here.
    #[must_use]
    pub fn manager_binding(&self) -> Child {
        self.binding(
            role::NAMESPACE_MANAGER,
            vec![service_account(SYSTEM_NAMESPACE, OPERATOR_SERVICE_ACCOUNT)],
        )
    }

    /// The share of the plan.
    #[must_use]
    pub fn quota(&self, hard: &Hard) -> Child {
        let hard: Map<String, Value> =
            hard.iter().map(|(key, amount)| (key.clone(), json!(amount.to_string()))).collect();
        self.child(ChildKind::ResourceQuota, QUOTA, &json!({"spec": {"hard": hard}}))
    }

    /// No pod here may push out those of others: the classes of the cluster's own pods are not for tenants.
    #[must_use]
    pub fn no_critical_pods(&self) -> Child {
        let classes = ["system-cluster-critical", "system-node-critical"];
        let scope = json!({"scopeName": "PriorityClass", "operator": "In", "values": classes});
        let spec = json!({"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [scope]}});
        self.child(ChildKind::ResourceQuota, CRITICAL_PODS, &json!({"spec": spec}))
    }

    /// Where the quota is.
    #[must_use]
    pub fn quota_ref(&self) -> ChildRef {
        self.at(ChildKind::ResourceQuota, QUOTA)
    }

    /// Limits of a container, written out as the API server would default them.
    #[must_use]
    pub fn limit_range(&self, limits: &ContainerLimits) -> Child {
        let body = json!({"spec": {"limits": [limits.item()]}});
        self.child(ChildKind::LimitRange, LIMITS, &body)
    }

    /// Nothing in or out but DNS and the namespace itself.
    #[must_use]
    pub fn network_policies(&self, isolation: Isolation) -> Vec<Child> {
        if isolation == Isolation::Open {
            return Vec::new();
        }
        let dns =
            json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}});
        let specs = [
            // Empty lists are written out: rules that somebody adds to this policy would open it.
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": []}),
            json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [
                {"to": [dns], "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}]}),
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"to": [{"podSelector": {}}]}]}),
        ];
        NETWORK_POLICIES
            .iter()
            .zip(specs)
            .map(|(name, spec)| self.child(ChildKind::NetworkPolicy, name, &json!({"spec": spec})))
            .collect()
    }

    /// Where the network policies would be.
    #[must_use]
    pub fn network_policy_refs(&self) -> Vec<ChildRef> {
        NETWORK_POLICIES.iter().map(|name| self.at(ChildKind::NetworkPolicy, name)).collect()
    }

    /// A service account whose token is not mounted unless a pod asks for it.
    #[must_use]
    pub fn service_account(&self, name: &str) -> Child {
        self.child(ChildKind::ServiceAccount, name, &json!({"automountServiceAccountToken": false}))
    }

    /// The deployer's rights, which stay until there is nothing left to take down with them.
    #[must_use]
    pub fn deployer_binding(&self) -> Child {
        let mut body = binding(role::APP_DEPLOYER, &[service_account(self.namespace, DEPLOYER)]);
        body["metadata"] = json!({"finalizers": [finalizer::APPLICATIONS]});
        self.child(ChildKind::RoleBinding, &binding_name(role::APP_DEPLOYER), &body)
    }
}

/// What a container gets and may have at most, by `cpu` and `memory`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerLimits {
    default: Hard,
    default_request: Hard,
    max: Hard,
}

/// Request of a container when nobody says anything, so that a quota on requests does not refuse it.
const REQUEST: [(&str, &str); 2] = [("cpu", "100m"), ("memory", "128Mi")];

fn amounts(given: Option<&ResourceAmounts>) -> Hard {
    let Some(given) = given else { return Hard::new() };
    let parse = |q: &Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        q.as_ref().and_then(|q| Amount::parse(&q.0).ok())
    };
    [("cpu", parse(&given.cpu)), ("memory", parse(&given.memory))]
        .into_iter()
        .filter_map(|(key, amount)| Some((key.to_owned(), amount?)))
        .collect()
}

impl ContainerLimits {
    /// Merges limits, the most general first; each part named later replaces the earlier one.
    #[must_use]
    pub fn merge<'a>(layers: impl IntoIterator<Item = Option<&'a Limits>>) -> Self {
        let mut merged = Self::default();
        for layer in layers.into_iter().flatten() {
            merged.default.extend(amounts(layer.default.as_ref()));
            merged.default_request.extend(amounts(layer.default_request.as_ref()));
            merged.max.extend(amounts(layer.max.as_ref()));
        }
        merged
    }

    /// Where `max` goes beyond that of `outer`, in words: who is bound by a plan does not widen it.
    #[must_use]
    pub fn beyond(&self, outer: &Self) -> Option<String> {
        outer.max.iter().find_map(|(key, most)| {
            let asked = self.max.get(key).filter(|asked| *asked > most)?;
            Some(format!("limits.max.{key} is {asked}, and the tenant's is {most}"))
        })
    }

    /// A part that contradicts another, in words.
    #[must_use]
    pub fn contradiction(&self) -> Option<String> {
        let pairs = [
            ("defaultRequest", &self.default_request, "default", &self.default),
            ("default", &self.default, "max", &self.max),
            ("defaultRequest", &self.default_request, "max", &self.max),
        ];
        pairs.into_iter().find_map(|(low_name, low, high_name, high)| {
            low.iter().find_map(|(key, value)| {
                let limit = high.get(key).filter(|limit| value > limit)?;
                Some(format!(
                    "limits.{low_name}.{key} is {value}, more than limits.{high_name}.{key}, which is {limit} \
                     (project, tenant and plan taken together)"
                ))
            })
        })
    }

    fn item(&self) -> Value {
        let mut default = self.max.clone();
        default.extend(self.default.clone());
        let mut request: Hard = REQUEST
            .iter()
            .filter_map(|(key, amount)| Some(((*key).to_owned(), Amount::parse(amount).ok()?)))
            .map(|(key, amount)| {
                let limit = default.get(&key).copied().unwrap_or(amount);
                (key, amount.min(limit))
            })
            .collect();
        request.extend(self.default_request.clone());
        let mut item = Map::from_iter([("type".to_owned(), json!("Container"))]);
        for (key, hard) in [("default", &default), ("defaultRequest", &request), ("max", &self.max)] {
            if !hard.is_empty() {
                let text: Map<String, Value> =
                    hard.iter().map(|(k, v)| (k.clone(), json!(v.to_string()))).collect();
                item.insert(key.to_owned(), Value::Object(text));
            }
        }
        Value::Object(item)
    }
}

/// Quotas of the spec by `ResourceQuota` key.
#[must_use]
pub fn hard(quotas: Option<&nova_api::v1alpha1::Quotas>) -> Hard {
    let Some(quotas) = quotas else { return Hard::new() };
    let quantity = |q: &Option<k8s_openapi::apimachinery::pkg::api::resource::Quantity>| {
        q.as_ref().and_then(|q| Amount::parse(&q.0).ok())
    };
    let entries = [
        ("requests.cpu", quantity(&quotas.cpu)),
        ("requests.memory", quantity(&quotas.memory)),
        ("requests.storage", quantity(&quotas.storage)),
        ("pods", quotas.pods.map(Amount::whole)),
        ("services.loadbalancers", quotas.services_loadbalancers.map(Amount::whole)),
    ];
    entries.into_iter().filter_map(|(key, amount)| Some((key.to_owned(), amount?))).collect()
}

/// Amounts as a status shows them.
#[must_use]
pub fn shown(hard: &Hard) -> std::collections::BTreeMap<String, String> {
    hard.iter().map(|(key, amount)| (key.clone(), amount.to_string())).collect()
}

/// `ResourceQuota` amounts at a JSON pointer of a live object. What cannot be read counts as more than there is: left
/// out it would count as nothing, and its room would be given away.
#[must_use]
pub fn amounts_at(live: &Value, pointer: &str) -> Hard {
    let entries = live.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
    let amount = |value: &Value| value.as_str().and_then(|text| Amount::parse(text).ok());
    entries.map(|(key, value)| (key.clone(), amount(value).unwrap_or(Amount::MOST))).collect()
}
