//! What every managed namespace gets: labels, quota, limits, network policies, bindings. Pure.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{Isolation, Limits, Quotas, ResourceAmounts, Subject, SubjectKind};
use serde_json::{Map, Value, json};

use crate::adapters::capsule;
use crate::child::{
    Child, ChildKind, ChildRef, LIMIT_RANGE, Live, NAMESPACE, NETWORK_POLICY, Owner, RESOURCE_QUOTA,
    ROLE_BINDING, SERVICE_ACCOUNT,
};
use crate::division::{self, Hard};
use crate::names::{
    CRITICAL_PODS, DEPLOYER, LIMITS, NamespaceType, OBJECTS, OPERATOR_SERVICE_ACCOUNT, QUOTA,
    SYSTEM_NAMESPACE, binding_name, finalizer, label, role,
};
use crate::problem::Problem;
use crate::quantity::{Amount, InvalidQuantity};
use crate::step::{self, Step, apply_all};
use crate::tenant::ValidTenant;

/// Names of the network policies of a closed namespace.
pub const NETWORK_POLICIES: [&str; 3] =
    ["kubenova-default-deny", "kubenova-allow-dns", "kubenova-allow-same-namespace"];

/// Builds the children of one owner in a namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct NamespaceBuilder<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// Whose children they are.
    pub owner: &'a Owner,
}

/// Children of a project or a sandbox. The `ResourceQuota` is written by the tenant, which divides the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Children {
    /// The namespace.
    pub namespace: Child,
    /// The operator's own rights there.
    pub manager: Child,
    /// Limits of a container.
    pub limits: Child,
    /// What no pod may be.
    pub critical_pods: Child,
    /// How many Nova objects there may be; none where people write none there.
    pub objects: Option<Child>,
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

impl step::Children for Children {
    /// What limits a namespace comes before the first person may enter it. What is no longer asked for goes before that
    /// has to count: nobody keeps an access because a quota is slow.
    fn steps(self) -> Vec<Step> {
        let Self {
            namespace,
            manager,
            limits,
            critical_pods,
            objects,
            network_policies,
            accounts,
            bindings,
            absent,
            quota,
        } = self;
        let (stage, critical) = (ConditionType::NamespacesReady, critical_pods.at.clone());
        let counted = objects.as_ref().map(|quota| quota.at.clone());
        let mut steps: Vec<Step> = apply_all(stage, [namespace, manager, limits, critical_pods]).collect();
        steps.extend(apply_all(stage, objects));
        steps.extend(apply_all(stage, network_policies));
        steps.extend(apply_all(stage, accounts));
        steps.extend(absent.into_iter().map(Step::Remove));
        steps.push(await_quota(quota));
        steps.push(await_quota(critical));
        steps.extend(counted.map(await_quota));
        steps.extend(apply_all(ConditionType::AccessReady, bindings));
        steps
    }
}

/// Waits until a quota counts: the API server enforces what its status holds, not its spec.
pub(crate) fn await_quota(quota: ChildRef) -> Step {
    let message = "it does not count yet";
    let problem = Problem::progress(ConditionType::NamespacesReady, &quota, message);
    Step::Await(quota, is_enforced, Box::new(problem))
}

/// The quota controller has taken a quota in and does not count everything in it. It does not know a kind yet whose
/// definition has just come, and looks at all quotas again minutes later only; one that is made anew it looks at once.
#[must_use]
pub fn is_uncounted(quota: &Live) -> bool {
    is_whole(quota, "/status/hard") && !is_whole(quota, "/status/used")
}

/// Every resource of a quota's spec is in its status, with what is used of it: without that the API server refuses
/// whatever the quota would count, because its status is unknown.
fn is_enforced(quota: &Live) -> bool {
    is_whole(quota, "/status/hard") && is_whole(quota, "/status/used")
}

/// Every resource of a quota's spec has an amount in the map at a JSON pointer.
fn is_whole(quota: &Live, pointer: &str) -> bool {
    let map = |pointer| quota.body.pointer(pointer).and_then(Value::as_object);
    let amounts = map(pointer);
    map("/spec/hard")
        .is_none_or(|hard| hard.keys().all(|key| amounts.is_some_and(|map| map.contains_key(key))))
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

impl NamespaceBuilder<'_> {
    fn at(&self, kind: &'static ChildKind, name: &str) -> ChildRef {
        ChildRef::new(kind, self.namespace, name)
    }

    fn child(&self, kind: &'static ChildKind, name: &str, body: &Value) -> Child {
        Child::new(self.at(kind, name), self.owner, body)
    }

    /// The namespace itself, owned by the Capsule tenant: label and reference are what its webhook would
    /// set, so the result is the same with and without the webhook.
    #[must_use]
    pub fn namespace(&self, kind: NamespaceType, tenant: &ValidTenant) -> Child {
        // Baseline, because most public images run as root; what would break under restricted is warned of.
        let enforce = if kind == NamespaceType::Home { "restricted" } else { "baseline" };
        let mut labels = Map::from_iter([
            (label::NAMESPACE_TYPE.to_owned(), json!(kind.as_str())),
            (label::CAPSULE_TENANT.to_owned(), json!(tenant.name.as_str())),
            ("pod-security.kubernetes.io/enforce".to_owned(), json!(enforce)),
            ("pod-security.kubernetes.io/audit".to_owned(), json!("restricted")),
            ("pod-security.kubernetes.io/warn".to_owned(), json!("restricted")),
        ]);
        if kind == NamespaceType::Sandbox {
            labels.insert(label::SANDBOX.to_owned(), json!("true"));
        }
        if tenant.suspended {
            labels.insert(label::SUSPENDED.to_owned(), json!("true"));
        }
        let at = ChildRef::cluster(&NAMESPACE, self.namespace);
        Child::new(at, self.owner, &json!({"metadata": {"labels": labels}}))
            .owned_by(capsule::tenant_ref(tenant.name.as_str()))
    }

    /// A binding of one of our roles.
    #[must_use]
    pub fn binding(&self, cluster_role: &str, mut subjects: Vec<Value>) -> Child {
        subjects.sort_by_key(Value::to_string);
        subjects.dedup();
        self.child(&ROLE_BINDING, &binding_name(cluster_role), &binding(cluster_role, &subjects))
    }

    /// Where a binding would be.
    #[must_use]
    pub fn binding_ref(&self, cluster_role: &str) -> ChildRef {
        self.at(&ROLE_BINDING, &binding_name(cluster_role))
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
        self.child(&RESOURCE_QUOTA, QUOTA, &json!({"spec": {"hard": hard}}))
    }

    /// No pod here may push out those of others: the classes of the cluster's own pods are not for tenants.
    #[must_use]
    pub fn no_critical_pods(&self) -> Child {
        let classes = ["system-cluster-critical", "system-node-critical"];
        let scope = json!({"scopeName": "PriorityClass", "operator": "In", "values": classes});
        let spec = json!({"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [scope]}});
        self.child(&RESOURCE_QUOTA, CRITICAL_PODS, &json!({"spec": spec}))
    }

    /// How many objects of Nova kinds there may be: what is stored costs everybody, also where it is refused later.
    #[must_use]
    pub fn objects(&self, most: &[(&str, i32)]) -> Child {
        let hard: Map<String, Value> = most
            .iter()
            .map(|(plural, most)| {
                let most = Amount::whole((*most).into()).to_string();
                (format!("count/{plural}.{}", nova_api::GROUP), json!(most))
            })
            .collect();
        self.child(&RESOURCE_QUOTA, OBJECTS, &json!({"spec": {"hard": hard}}))
    }

    /// Where the quota is.
    #[must_use]
    pub fn quota_ref(&self) -> ChildRef {
        self.at(&RESOURCE_QUOTA, QUOTA)
    }

    /// Limits of a container, written out as the API server would default them.
    #[must_use]
    pub fn limit_range(&self, limits: &ContainerLimits) -> Child {
        let body = json!({"spec": {"limits": [limits.item()]}});
        self.child(&LIMIT_RANGE, LIMITS, &body)
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
            .map(|(name, spec)| self.child(&NETWORK_POLICY, name, &json!({"spec": spec})))
            .collect()
    }

    /// Where the network policies would be.
    #[must_use]
    pub fn network_policy_refs(&self) -> Vec<ChildRef> {
        NETWORK_POLICIES.iter().map(|name| self.at(&NETWORK_POLICY, name)).collect()
    }

    /// A service account whose token is not mounted unless a pod asks for it.
    #[must_use]
    pub fn service_account(&self, name: &str) -> Child {
        self.child(&SERVICE_ACCOUNT, name, &json!({"automountServiceAccountToken": false}))
    }

    /// The deployer's rights, which stay until there is nothing left to take down with them.
    #[must_use]
    pub fn deployer_binding(&self) -> Child {
        let mut body = binding(role::APP_DEPLOYER, &[service_account(self.namespace, DEPLOYER)]);
        body["metadata"] = json!({"finalizers": [finalizer::APPLICATIONS]});
        self.child(&ROLE_BINDING, &binding_name(role::APP_DEPLOYER), &body)
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

/// Amounts that are given, by resource; `field` is the path of the whole, for the error.
fn amounts(field: &str, given: Option<&ResourceAmounts>) -> Result<Hard, InvalidAmount> {
    let Some(given) = given else { return Ok(Hard::new()) };
    parse_all(field, [("cpu", "cpu", given.cpu.as_ref()), ("memory", "memory", given.memory.as_ref())])
}

/// A quantity that does not parse, at its field. An amount that is not known is never no limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {source}")]
pub struct InvalidAmount {
    /// Path in the spec, such as `quotas.cpu`.
    pub field: String,
    /// Why.
    pub source: InvalidQuantity,
}

/// Parses the quantities that are given: field, key of the result, quantity.
fn parse_all<'a>(
    field: &str,
    given: impl IntoIterator<Item = (&'a str, &'a str, Option<&'a Quantity>)>,
) -> Result<Hard, InvalidAmount> {
    let mut hard = Hard::new();
    for (name, key, quantity) in given {
        let Some(quantity) = quantity else { continue };
        let amount = Amount::parse(&quantity.0)
            .map_err(|source| InvalidAmount { field: format!("{field}.{name}"), source })?;
        hard.insert(key.to_owned(), amount);
    }
    Ok(hard)
}

impl ContainerLimits {
    /// Merges limits, the most general first; each part named later replaces the earlier one.
    pub fn merge<'a>(layers: impl IntoIterator<Item = Option<&'a Limits>>) -> Result<Self, InvalidAmount> {
        let mut merged = Self::default();
        for layer in layers.into_iter().flatten() {
            merged.default.extend(amounts("limits.default", layer.default.as_ref())?);
            merged.default_request.extend(amounts("limits.defaultRequest", layer.default_request.as_ref())?);
            merged.max.extend(amounts("limits.max", layer.max.as_ref())?);
        }
        Ok(merged)
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
pub fn hard(quotas: Option<&Quotas>) -> Result<Hard, InvalidAmount> {
    let Some(quotas) = quotas else { return Ok(Hard::new()) };
    let mut hard = parse_all(
        "quotas",
        [
            ("cpu", "requests.cpu", quotas.cpu.as_ref()),
            ("memory", "requests.memory", quotas.memory.as_ref()),
            ("storage", "requests.storage", quotas.storage.as_ref()),
            ("pods", "pods", quotas.pods.as_ref()),
            ("services.loadbalancers", "services.loadbalancers", quotas.services_loadbalancers.as_ref()),
        ],
    )?;
    for (key, amount) in &mut hard {
        *amount = division::countable(key, *amount);
    }
    Ok(hard)
}

/// The quotas as they can be counted on: one that does not parse is left out here, because the object that holds it is
/// told as invalid and keeps what it has.
#[must_use]
pub fn hard_or_none(quotas: Option<&Quotas>) -> Hard {
    hard(quotas).unwrap_or_default()
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
