//! What limits a namespace comes before the first who may enter it. What has to be there is named, so that it cannot be
//! missing unseen; and each check is shown to refuse.

use nova_api::v1alpha1::Isolation;
use nova_plan::adapters::capsule;
use nova_plan::child::{
    Child, ChildKind, ChildRef, LIMIT_RANGE, Live, NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, ROLE_BINDING,
    SERVICE_ACCOUNT,
};
use nova_plan::names::{CRITICAL_PODS, LIMITS, Managed, OBJECTS, QUOTA, binding_name, parse_namespace, role};
use nova_plan::step::Step;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::given::{any_world, world};
use crate::passes::{Subject, World};

/// A step that has to be there before anybody comes in.
struct Required {
    name: String,
    is: Box<dyn Fn(&Step) -> bool>,
}

impl Required {
    fn new(name: &str, is: impl Fn(&Step) -> bool + 'static) -> Self {
        Self { name: name.to_owned(), is: Box::new(is) }
    }

    /// A child of a kind and name in a namespace, that holds what it has to.
    fn child(at: ChildRef, holds: impl Fn(&Value) -> bool + 'static) -> Self {
        Self::new(&at.to_string(), move |step| applied(step).is_some_and(|c| c.at == at && holds(&c.body)))
    }
}

fn applied(step: &Step) -> Option<&Child> {
    if let Step::Apply(_, child) = step { Some(child) } else { None }
}

/// The operator itself, as a subject.
fn operator() -> Value {
    json!({"kind": "ServiceAccount", "namespace": "kubenova-system", "name": "kubenova-operator"})
}

/// True for a binding that lets anybody in but the operator.
fn lets_in(body: &Value) -> bool {
    body["subjects"].as_array().is_some_and(|subjects| subjects.iter().any(|subject| *subject != operator()))
}

fn admits(step: &Step) -> bool {
    applied(step).is_some_and(|child| child.at.kind == &ROLE_BINDING && lets_in(&child.body))
}

fn is_labelled(namespace: &Value, enforce: &str) -> bool {
    let label = |mode: &str| &namespace["metadata"]["labels"][format!("pod-security.kubernetes.io/{mode}")];
    label("enforce") == enforce && label("audit") == "restricted" && label("warn") == "restricted"
}

fn denies_by_default(policy: &Value) -> bool {
    let spec = &policy["spec"];
    let nothing = |rules: &Value| rules.as_array().is_none_or(Vec::is_empty);
    spec["podSelector"] == json!({})
        && spec["policyTypes"] == json!(["Ingress", "Egress"])
        && nothing(&spec["ingress"])
        && nothing(&spec["egress"])
}

fn limits_containers(range: &Value) -> bool {
    let item = &range["spec"]["limits"][0];
    item["type"] == "Container" && item["defaultRequest"]["cpu"].is_string()
}

fn bars_critical_pods(quota: &Value) -> bool {
    let scope = &quota["spec"]["scopeSelector"]["matchExpressions"][0];
    quota["spec"]["hard"]["pods"] == "0"
        && scope["scopeName"] == "PriorityClass"
        && scope["values"] == json!(["system-cluster-critical", "system-node-critical"])
}

fn bounds(quota: &Value, plurals: &[&str]) -> bool {
    plurals.iter().all(|plural| quota["spec"]["hard"][format!("count/{plural}.kubenova.io")].is_string())
}

/// The step waits for what the quota controller has counted, and for nothing less.
fn awaits_count(step: &Step, quota: &ChildRef) -> bool {
    let Step::Await(at, is_so, _) = step else { return false };
    let with = |status: Value| Live {
        body: json!({"spec": {"hard": {"a": "1", "b": "1"}}, "status": status}),
        applied: None,
    };
    at == quota
        && !is_so(&with(json!({})))
        && !is_so(&with(json!({"hard": {"a": "1"}, "used": {"a": "0"}})))
        && !is_so(&with(json!({"hard": {"a": "1", "b": "1"}, "used": {"a": "0"}})))
        && is_so(&with(json!({"hard": {"a": "1", "b": "1"}, "used": {"a": "0", "b": "0"}})))
}

/// What has to be there before the first comes into a namespace, as its name says what it is for.
fn required(namespace: &str, isolation: Isolation) -> Vec<Required> {
    let at = |kind: &'static ChildKind, name: &str| ChildRef::new(kind, namespace, name);
    let (tenant, managed) = parse_namespace(namespace).unwrap();
    let home = managed == Managed::Home;
    let enforce = if home { "restricted" } else { "baseline" };
    let quota = at(&RESOURCE_QUOTA, QUOTA);
    let counted = || {
        let objects = at(&RESOURCE_QUOTA, OBJECTS);
        Required::new("the wait for the quota of Nova objects", move |step| awaits_count(step, &objects))
    };
    let mut all = vec![
        Required::child(ChildRef::cluster(&NAMESPACE, namespace), move |body| is_labelled(body, enforce)),
        Required::child(at(&ROLE_BINDING, &binding_name(role::NAMESPACE_MANAGER)), |body| !lets_in(body)),
        Required::new("the wait for the quota", {
            let quota = quota.clone();
            move |step| awaits_count(step, &quota)
        }),
    ];
    if home || isolation == Isolation::DefaultDeny {
        all.push(Required::child(at(&NETWORK_POLICY, "kubenova-default-deny"), denies_by_default));
        for name in ["kubenova-allow-dns", "kubenova-allow-same-namespace"] {
            all.push(Required::child(at(&NETWORK_POLICY, name), |_| true));
        }
    }
    if home {
        // Nothing runs here, so that there is nothing to limit.
        all.push(Required::child(quota, |body| body["spec"]["hard"]["pods"] == "0"));
        all.push(Required::child(capsule::tenant_ref(tenant), |body| {
            body["spec"]["preventDeletion"] == true
        }));
        let kinds = ["novaprojects", "novasandboxes"];
        all.push(Required::child(at(&RESOURCE_QUOTA, OBJECTS), move |body| bounds(body, &kinds)));
        all.push(counted());
    } else {
        all.push(Required::child(at(&LIMIT_RANGE, LIMITS), limits_containers));
        let critical = at(&RESOURCE_QUOTA, CRITICAL_PODS);
        all.push(Required::child(critical.clone(), bars_critical_pods));
        all.push(Required::new("the wait for the quota of critical pods", move |step| {
            awaits_count(step, &critical)
        }));
    }
    if let Managed::App(_) = managed {
        all.push(Required::child(at(&RESOURCE_QUOTA, OBJECTS), |body| bounds(body, &["novaapps"])));
        all.push(counted());
    }
    all
}

/// Refuses steps in which anybody comes into the namespace before all that is required.
fn check(steps: &[Step], required: &[Required]) -> Result<(), String> {
    if !steps.iter().any(admits) {
        return Err("nobody comes in at all".to_owned());
    }
    for n in 1..=steps.len() {
        let prefix = &steps[..n];
        if !prefix.iter().any(admits) {
            continue;
        }
        if let Some(missing) = required.iter().find(|r| !prefix.iter().any(&r.is)) {
            return Err(format!("{} is missing when the first comes in", missing.name));
        }
    }
    for (n, step) in steps.iter().enumerate() {
        let Some(child) = applied(step) else { continue };
        let again = |other: &Step| match other {
            Step::Apply(_, other) => other.at == child.at,
            Step::Remove(at) => *at == child.at,
            Step::Await(..) => false,
        };
        if steps[n + 1..].iter().any(again) {
            return Err(format!("{} is written and then written or removed again", child.at));
        }
        let inside = |other: &Step| applied(other).is_some_and(|c| c.at.namespace == child.at.name);
        if child.at.kind == &NAMESPACE && steps[..n].iter().any(inside) {
            return Err(format!("something is made before {} is", child.at));
        }
        let inside = |other: &Step| applied(other).is_some_and(|c| c.owners.contains(&child.at));
        if child.at.kind == &capsule::TENANT && steps[..n].iter().any(inside) {
            return Err(format!("a namespace is made before {} is", child.at));
        }
    }
    Ok(())
}

/// True when anybody but the operator is bound in a namespace.
pub fn is_entered(cluster: &Cluster, namespace: &str) -> bool {
    let bindings =
        cluster.children.iter().filter(|(at, _)| at.kind == &ROLE_BINDING && at.namespace == namespace);
    bindings.into_iter().any(|(_, live)| lets_in(&live.body))
}

/// Refuses a cluster in which anybody is bound in a namespace that lacks one of its limits.
pub fn check_state(cluster: &Cluster, isolation: Isolation) -> Result<(), String> {
    for at in cluster.children.keys().filter(|at| at.kind == &NAMESPACE) {
        let namespace = at.name.as_str();
        if !is_entered(cluster, namespace) {
            continue;
        }
        let (_, managed) = parse_namespace(namespace).unwrap();
        let home = managed == Managed::Home;
        let holds = |kind: &'static ChildKind, name: &str, holds: fn(&Value) -> bool| {
            let live = cluster.children.get(&ChildRef::new(kind, namespace, name));
            if live.is_some_and(|live| holds(&live.body)) {
                Ok(())
            } else {
                Err(format!("{namespace}: no {name}"))
            }
        };
        if !is_labelled(&cluster.children[at].body, if home { "restricted" } else { "baseline" }) {
            return Err(format!("{namespace} has no Pod Security labels"));
        }
        holds(&RESOURCE_QUOTA, QUOTA, |quota| {
            let hard = quota.pointer("/spec/hard").and_then(Value::as_object);
            hard.is_none_or(|hard| {
                hard.iter().all(|(key, value)| quota["status"]["hard"].get(key) == Some(value))
            })
        })?;
        if home || isolation == Isolation::DefaultDeny {
            holds(&NETWORK_POLICY, "kubenova-default-deny", denies_by_default)?;
        }
        if !home {
            holds(&LIMIT_RANGE, LIMITS, limits_containers)?;
            holds(&RESOURCE_QUOTA, CRITICAL_PODS, bars_critical_pods)?;
        }
    }
    Ok(())
}

/// The steps that let somebody into a namespace, with what they have to keep.
fn plans(world: &World) -> [(Vec<Step>, Vec<Required>); 3] {
    let made = world.made(world.unmade());
    let [home, project, sandbox] = world.namespaces();
    let isolation = world.tenant.spec.isolation();
    let plan =
        |subject, namespace: &str| (world.steps(subject, &made).unwrap(), required(namespace, isolation));
    [plan(Subject::Tenant, &home), plan(Subject::Project, &project), plan(Subject::Sandbox, &sandbox)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_limits_a_namespace_comes_before_the_first_who_may_enter_it(world in any_world()) {
        for (steps, required) in plans(&world) {
            check(&steps, &required).map_err(TestCaseError::fail)?;
        }
        let app = world.steps(Subject::App, &world.made(world.unmade())).unwrap();
        prop_assert!(!app.is_empty() && !app.iter().any(admits), "an app lets nobody in");
    }
}

#[test]
fn the_check_refuses_a_plan_that_lacks_any_step_before_the_first_binding() {
    for (steps, required) in plans(&world(["a", "b", "c", "d"])) {
        assert_eq!(check(&steps, &required), Ok(()));
        let first = steps.iter().position(admits).unwrap();
        let mut refused = 0;
        for n in 0..first {
            // Who is bound to nothing yet may have an account.
            if applied(&steps[n]).is_some_and(|child| child.at.kind == &SERVICE_ACCOUNT) {
                continue;
            }
            let mut without = steps.clone();
            let step = without.remove(n);
            let why = check(&without, &required).expect_err(&format!("it lacks {step:?}"));
            assert!(why.ends_with("is missing when the first comes in"), "{why}");
            without.insert(first, step);
            check(&without, &required).expect_err("the step comes after the first binding");
            refused += 1;
        }
        assert_eq!(refused, required.len(), "each of what is required is a step of its own");
    }
}

#[test]
fn the_check_names_what_is_missing() {
    let [_, (steps, required), _] = plans(&world(["a", "b", "c", "d"]));
    for (kind, named) in [
        (&NAMESPACE, "Namespace tn-a-app-b"),
        (&LIMIT_RANGE, "LimitRange tn-a-app-b/kubenova-limits"),
        (&NETWORK_POLICY, "NetworkPolicy tn-a-app-b/kubenova-default-deny"),
    ] {
        let mut without = steps.clone();
        without.retain(|step| applied(step).is_none_or(|child| child.at.kind != kind));
        assert_eq!(check(&without, &required), Err(format!("{named} is missing when the first comes in")));
    }
    let mut without = steps;
    without.retain(|step| !matches!(step, Step::Await(..)));
    let why = "the wait for the quota is missing when the first comes in";
    assert_eq!(check(&without, &required), Err(why.to_owned()));
}

#[test]
fn the_check_refuses_a_step_that_is_there_in_name_only() {
    for (steps, required) in plans(&world(["a", "b", "c", "d"])) {
        let first = steps.iter().position(admits).unwrap();
        for n in 0..first {
            let mut weak = steps.clone();
            match &mut weak[n] {
                Step::Apply(_, child) if child.at.kind == &NAMESPACE => {
                    child.body["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] =
                        json!("privileged");
                }
                Step::Apply(_, child) if child.at.kind == &ROLE_BINDING => {
                    child.body["subjects"] = json!([operator(), {"kind": "User", "name": "mallory"}]);
                }
                Step::Apply(_, child) if child.at.kind == &SERVICE_ACCOUNT => continue,
                Step::Apply(_, child) if child.at.name.starts_with("kubenova-allow") => continue,
                Step::Apply(_, child) => child.body["spec"] = json!({}),
                Step::Await(_, is_so, _) => *is_so = |_| true,
                Step::Remove(at) => panic!("{at} is removed before the first comes in"),
            }
            let weakened = &steps[n];
            check(&weak, &required).expect_err(&format!("it is weaker: {weakened:?}"));
        }
    }
}

#[test]
fn the_check_refuses_what_is_taken_back_or_made_out_of_order() {
    for (steps, required) in plans(&world(["a", "b", "c", "d"])) {
        for child in steps.iter().filter_map(applied) {
            let mut taken_back = steps.clone();
            taken_back.push(Step::Remove(child.at.clone()));
            check(&taken_back, &required).expect_err("it is removed at the end");
        }
        let namespace =
            steps.iter().position(|s| applied(s).is_some_and(|c| c.at.kind == &NAMESPACE)).unwrap();
        let mut late = steps.clone();
        late.swap(namespace, namespace + 1);
        check(&late, &required).expect_err("something is in the namespace before it is there");
    }
    let [(mut steps, required), ..] = plans(&world(["a", "b", "c", "d"]));
    assert_eq!(applied(&steps[0]).unwrap().at.kind, &capsule::TENANT);
    steps.swap(0, 1);
    assert_eq!(check(&steps, &required), Err("a namespace is made before Capsule Tenant a is".to_owned()));
}

#[test]
fn the_check_of_a_cluster_refuses_one_that_lacks_a_limit() {
    let world = world(["a", "b", "c", "d"]);
    let made = world.made(world.unmade());
    assert_eq!(check_state(&made, Isolation::DefaultDeny), Ok(()));
    let mut lacking = 0;
    for at in made.children.keys() {
        let limits = [LIMITS, CRITICAL_PODS, QUOTA, "kubenova-default-deny"].contains(&at.name.as_str());
        if !limits {
            continue;
        }
        let mut without = made.clone();
        without.children.remove(at);
        assert_eq!(
            check_state(&without, Isolation::DefaultDeny),
            Err(format!("{}: no {}", at.namespace, at.name))
        );
        lacking += 1;
    }
    assert_eq!(lacking, 10, "quota and policy of three namespaces, limits and critical pods of two");
    let mut uncounted = made.clone();
    for live in uncounted.children.values_mut() {
        live.body.as_object_mut().unwrap().remove("status");
    }
    check_state(&uncounted, Isolation::DefaultDeny).expect_err("no quota counts");
}
