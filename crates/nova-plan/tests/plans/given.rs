//! Worlds to try the properties on: people, quotas, limits and names that collide.

use nova_api::v1alpha1::{NovaCluster, NovaPlan, NovaTenant};
use nova_plan::names::{TenantName, app_namespace_of, home_of};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::passes::World;

/// A world by the names of tenant, project, sandbox and app.
pub fn world([tenant, project, sandbox, app]: [&str; 4]) -> World {
    let home = home_of(tenant);
    World {
        cluster: object("NovaCluster", "", "local", json!({})),
        plan: object("NovaPlan", "", "starter", json!({"quotas": {"cpu": "8", "pods": 60}})),
        tenant: object("NovaTenant", "", tenant, json!({"plan": "starter"})),
        project: object("NovaProject", &home, project, json!({})),
        sandbox: object("NovaSandbox", &home, sandbox, json!({})),
        app: object("NovaApp", &app_namespace_of(tenant, project), app, image("1")),
    }
}

fn image(tag: &str) -> Value {
    let image = json!({"image": "nginx", "tag": tag, "ports": [{"port": 8080}], "env": [{"name": "A", "value": tag}]});
    json!({"source": {"kind": "containerImage", "containerImage": image}})
}

/// A Nova object as it would come from the API server.
pub fn object<K: DeserializeOwned>(kind: &str, namespace: &str, name: &str, spec: Value) -> K {
    let mut metadata = json!({"name": name, "uid": format!("{kind} {namespace}/{name}"), "generation": 1,
        "creationTimestamp": "2026-11-21T10:00:00Z"});
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    let object =
        json!({"apiVersion": "kubenova.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec});
    serde_json::from_value(object).unwrap()
}

/// A plan, a cluster that names it as its default, and a tenant of it, by their specs.
pub fn tenancy(plan: Value, tenant: Value) -> (NovaCluster, NovaPlan, NovaTenant) {
    (
        object("NovaCluster", "", "local", json!({})),
        object("NovaPlan", "", "starter", plan),
        object("NovaTenant", "", "acme", tenant),
    )
}

fn words(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(words), 1..4)
        .prop_map(|words| words.join("-"))
        .prop_filter("a name has at most 25 characters", |name| name.len() <= 25)
}

/// Names of tenants, of which many begin with another.
pub fn tenant_name() -> impl Strategy<Value = String> {
    words(&["a", "b", "apps", "sandboxes", "dbs", "tn"])
        .prop_filter("a tenant may be named so", |name| TenantName::parse(name).is_ok())
}

/// Names of projects, sandboxes and apps, made of the words that the names of namespaces are made of.
pub fn inner_name() -> impl Strategy<Value = String> {
    words(&["app", "sandbox", "db", "a", "tn"])
}

fn maybe(values: &'static [&'static str]) -> impl Strategy<Value = Option<&'static str>> {
    prop::option::of(prop::sample::select(values))
}

fn quotas() -> impl Strategy<Value = Value> {
    let amounts = (maybe(&["500m", "4", "16"]), maybe(&["1Gi", "0", "2048Mi"]), maybe(&["10Gi"]));
    (amounts, prop::option::of(0..20_i64), prop::option::of(0..2_i64)).prop_map(
        |((cpu, memory, storage), pods, balancers)| {
            without_nulls(json!({"cpu": cpu, "memory": memory, "storage": storage, "pods": pods,
                "services.loadbalancers": balancers}))
        },
    )
}

/// Limits whose most is at most `max`, and that never contradict each other.
fn limits(max: &'static [&'static str]) -> impl Strategy<Value = Value> {
    (maybe(max), maybe(&["200m", "250m"]), maybe(&["10m", "50m"]), maybe(&["4Gi"])).prop_map(
        |(max, default, request, memory)| {
            without_nulls(json!({"max": without_nulls(json!({"cpu": max, "memory": memory})),
                "default": without_nulls(json!({ "cpu": default })),
                "defaultRequest": without_nulls(json!({ "cpu": request }))}))
        },
    )
}

fn without_nulls(mut value: Value) -> Value {
    value.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    value
}

fn person() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop::sample::select(vec![
        ("User", "alice"),
        ("User", "acme-devs"),
        ("Group", "acme-devs"),
        ("Group", "ops"),
        ("ServiceAccount", "tn-a:kubenova-gitops"),
        ("ServiceAccount", "ci:robot"),
    ])
}

fn owners() -> impl Strategy<Value = Value> {
    prop::collection::vec(person(), 0..4)
        .prop_map(|all| all.into_iter().map(|(kind, name)| json!({"kind": kind, "name": name})).collect())
}

fn access() -> impl Strategy<Value = Value> {
    let role = prop::sample::select(vec!["tenantOwner", "projectDev", "readOnly"]);
    prop::collection::vec((person(), role), 0..4).prop_map(|all| {
        all.into_iter()
            .map(|((kind, name), role)| json!({"kind": kind, "name": name, "role": role}))
            .collect()
    })
}

fn plan() -> impl Strategy<Value = Value> {
    (quotas(), limits(&["2", "4"]), any::<bool>(), prop::option::of(1..9)).prop_map(
        |(quotas, limits, classes, most)| {
            let classes = if classes { json!(["fast"]) } else { json!([]) };
            without_nulls(json!({"quotas": quotas, "limits": limits, "storageClasses": classes,
            "ingressClasses": classes, "maxProjects": most, "maxSandboxes": most, "maxAppsPerProject": most}))
        },
    )
}

fn tenant() -> impl Strategy<Value = Value> {
    let group = maybe(&["acme-devs", "Devs:all@x", "ops"]);
    let isolation = maybe(&["open", "default-deny"]);
    let named = prop::option::weighted(0.8, Just("starter"));
    (owners(), group, isolation, quotas(), limits(&["2", "3"]), any::<bool>(), named).prop_map(
        |(owners, group, isolation, quotas, limits, suspended, plan)| {
            let network = isolation.map(|isolation| json!({ "isolation": isolation }));
            without_nulls(json!({"owners": owners, "devGroup": group, "networkPolicy": network,
                "quotas": quotas, "limits": limits, "suspended": suspended, "plan": plan}))
        },
    )
}

fn project() -> impl Strategy<Value = Value> {
    let role = prop::sample::select(vec!["projectDev", "readOnly", "none"]);
    (access(), role, quotas(), limits(&["500m", "1"])).prop_map(|(access, role, quotas, limits)| {
        json!({"access": access, "devGroupRole": role, "quotas": quotas, "limits": limits})
    })
}

fn sandbox() -> impl Strategy<Value = Value> {
    (quotas(), limits(&["500m", "1"]))
        .prop_map(|(quotas, limits)| json!({"quotas": quotas, "limits": limits}))
}

/// Names of tenant, project, sandbox and app.
pub fn names() -> impl Strategy<Value = [String; 4]> {
    (tenant_name(), inner_name(), inner_name(), inner_name()).prop_map(|(a, b, c, d)| [a, b, c, d])
}

/// Worlds of given names. They are boxed, because strategies keep many of them on the stack.
fn worlds(names: [String; 4]) -> BoxedStrategy<Box<World>> {
    let app = prop::sample::select(vec!["1", "2"]).prop_map(image);
    let specs = (plan().boxed(), tenant().boxed(), project().boxed(), sandbox().boxed(), app);
    let world = specs.prop_map(move |(plan, tenant, project, sandbox, app)| {
        let [a, b, c, d] = &names;
        let home = home_of(a);
        Box::new(World {
            cluster: object("NovaCluster", "", "local", json!({})),
            plan: object("NovaPlan", "", "starter", plan),
            tenant: object("NovaTenant", "", a, tenant),
            project: object("NovaProject", &home, b, project),
            sandbox: object("NovaSandbox", &home, c, sandbox),
            app: object("NovaApp", &app_namespace_of(a, b), d, app),
        })
    });
    world.boxed()
}

/// Worlds of any name.
pub fn any_world() -> BoxedStrategy<Box<World>> {
    names().prop_flat_map(worlds).boxed()
}

/// What a world was before it was edited, and what it is now.
pub fn edited_world() -> BoxedStrategy<(Box<World>, Box<World>)> {
    names().prop_flat_map(|names| (worlds(names.clone()), worlds(names))).boxed()
}
