//! What a tenant, its project, its sandbox and an app need around them, and what the others write about them.

use nova_api::Kind;
use nova_plan::adapters::{capsule, vela};
use nova_plan::child::{ChildKind, RESOURCE_QUOTA};
use serde_json::{Value, json};

use crate::engine::key::Key;
use crate::engine::stores::StoreId;
use crate::engine::testing::World;

/// Home namespace of the tenant of these tests.
pub const HOME: &str = "tn-acme";
/// Namespace of its project.
pub const APPS: &str = "tn-acme-app-shop";
/// Namespace of its sandbox.
pub const SANDBOX: &str = "tn-acme-sandbox-try";

/// A world with every controller.
pub fn world() -> World {
    World::new(crate::controllers)
}

/// A key of an object, by its namespace and name.
pub fn key(kind: Kind, namespace: &str, name: &str) -> Key {
    Key::new(kind, namespace, name)
}

pub fn tenant() -> Key {
    key(Kind::NovaTenant, "", "acme")
}

pub fn project() -> Key {
    key(Kind::NovaProject, HOME, "shop")
}

pub fn sandbox() -> Key {
    key(Kind::NovaSandbox, HOME, "try")
}

pub fn app() -> Key {
    key(Kind::NovaApp, APPS, "web")
}

pub fn plan() -> Key {
    key(Kind::NovaPlan, "", "gold")
}

pub fn cluster() -> Key {
    key(Kind::NovaCluster, "", "local")
}

/// A manifest of an object.
pub fn manifest(key: &Key, spec: &Value) -> Value {
    let mut metadata = json!({"name": key.name});
    if !key.namespace.is_empty() {
        metadata["namespace"] = json!(key.namespace);
    }
    json!({"apiVersion": "kubenova.io/v1alpha1", "kind": key.kind.as_str(), "metadata": metadata, "spec": spec})
}

/// What an object stands on.
pub enum Ground {
    /// The API server, a plan and the cluster's object.
    Cluster,
    /// A tenant.
    Tenant,
    /// The project of a tenant.
    Project,
}

/// The object of a kind that these tests have.
pub struct Sample {
    pub key: Key,
    pub ground: Ground,
    /// As its author writes it.
    pub spec: Value,
    /// A field of the spec as a newer version may write it: this one cannot read it.
    pub newer: (&'static str, Value),
}

/// One of each kind.
pub fn sample(kind: Kind) -> Sample {
    let of = |key, ground, spec, newer| Sample { key, ground, spec, newer };
    let policy = ("deletionPolicy", json!("Sometimes"));
    let quotas = ("quotas", json!({"pods": {"most": 5}}));
    match kind {
        Kind::NovaCluster => of(cluster(), Ground::Cluster, json!({}), ("defaultPlan", json!(["gold"]))),
        Kind::NovaPlan => {
            let spec = json!({"quotas": {"cpu": "10", "memory": "10Gi", "pods": 50}});
            of(plan(), Ground::Cluster, spec, quotas)
        }
        Kind::NovaTenant => {
            let spec = json!({"plan": "gold", "owners": [{"kind": "User", "name": "alice"}]});
            of(tenant(), Ground::Cluster, spec, policy)
        }
        Kind::NovaProject => of(project(), Ground::Tenant, json!({}), policy),
        Kind::NovaSandbox => of(sandbox(), Ground::Tenant, json!({}), quotas),
        Kind::NovaApp => {
            let image = json!({"image": "nginx", "tag": "1"});
            let spec = json!({"source": {"kind": "containerImage", "containerImage": image}});
            of(app(), Ground::Project, spec, ("source", json!({"kind": "floppyDisk"})))
        }
    }
}

/// Path of a Nova object.
pub fn path(key: &Key) -> String {
    World::path(&StoreId::Nova(key.kind), &key.namespace, &key.name)
}

/// Path of a child.
pub fn child(kind: &'static ChildKind, namespace: &str, name: &str) -> String {
    World::path(&StoreId::Child(kind), namespace, name)
}

/// Writes a Nova object as its author does.
pub fn create(world: &World, key: &Key) {
    world.server.put(&path(key), manifest(key, &sample(key.kind).spec));
    world.watch();
}

/// Kubernetes and Capsule do their part: quotas count, and Capsule takes namespaces in.
pub fn others_act(world: &World) {
    for (at, mut object) in world.server.objects() {
        if at.contains(&format!("/{}/", RESOURCE_QUOTA.plural))
            && object["status"]["hard"] != object["spec"]["hard"]
        {
            let hard = object["spec"]["hard"].clone();
            let keys = hard.as_object().into_iter().flatten();
            let used: serde_json::Map<String, Value> =
                keys.map(|(key, _)| (key.clone(), json!("0"))).collect();
            object["status"] = json!({"hard": hard, "used": used});
            world.server.put(&at, object);
        }
    }
    let objects = world.server.objects();
    for (at, mut object) in objects.clone() {
        if !at.contains(&format!("/{}/{}/", capsule::TENANT.version, capsule::TENANT.plural)) {
            continue;
        }
        let ready = json!([{"type": "Ready", "status": "True"}]);
        let of = &object["metadata"]["name"];
        let inside = objects.iter().filter(|(at, namespace)| {
            at.starts_with("/api/v1/namespaces/")
                && at.matches('/').count() == 4
                && &namespace["metadata"]["labels"]["capsule.clastix.io/tenant"] == of
        });
        let spaces: Value = inside
            .map(|(_, namespace)| {
                let metadata = &namespace["metadata"];
                json!({"name": metadata["name"], "uid": metadata["uid"], "conditions": ready})
            })
            .collect();
        let status = json!({"observedGeneration": 1, "conditions": ready, "spaces": spaces});
        if object["status"] != status {
            object["status"] = status;
            world.server.put(&at, object);
        }
    }
    world.watch();
}

/// Vela has delivered the app.
pub fn vela_delivers(world: &World) {
    let at = child(&vela::APPLICATION, APPS, "web");
    world.server.edit(&at, |application| {
        let version = application["metadata"]["annotations"]["app.oam.dev/publishVersion"].clone();
        application["status"] = json!({
            "observedGeneration": 1, "status": "running", "services": [{"name": "web", "healthy": true}],
            "workflow": {"status": "succeeded", "appRevision": version},
            "latestRevision": {"name": "web-v1"},
        });
    });
    world.watch();
}

/// Passes over an object, the others doing their part in between, until it asks for nothing more.
pub async fn settle(world: &World, key: &Key) {
    for _ in 0..12 {
        let asked = world.lines(key).await;
        others_act(world);
        if asked.is_empty() {
            return;
        }
    }
    panic!("{key} does not come to rest: {:#}", world.status(key));
}

/// A tenant under a plan, settled.
pub async fn with_tenant() -> World {
    let world = world();
    create(&world, &plan());
    create(&world, &cluster());
    create(&world, &tenant());
    settle(&world, &tenant()).await;
    settle(&world, &plan()).await;
    settle(&world, &cluster()).await;
    world
}

/// The same with a project or a sandbox, settled.
pub async fn with_workspace(key: &Key) -> World {
    let world = with_tenant().await;
    create(&world, key);
    for _ in 0..3 {
        world.pass(key).await;
        others_act(&world);
        world.pass(&tenant()).await;
        others_act(&world);
    }
    settle(&world, key).await;
    settle(&world, &tenant()).await;
    world
}

/// The same with an app that is delivered.
pub async fn with_app() -> World {
    let world = with_workspace(&project()).await;
    create(&world, &app());
    world.pass(&app()).await;
    vela_delivers(&world);
    settle(&world, &app()).await;
    settle(&world, &project()).await;
    settle(&world, &tenant()).await;
    world
}

/// A world in which the object is there and settled.
pub async fn with(key: &Key) -> World {
    match sample(key.kind).ground {
        Ground::Project => with_app().await,
        Ground::Tenant => with_workspace(key).await,
        Ground::Cluster => {
            let world = with_tenant().await;
            if world.server.get(&path(key)).is_none() {
                create(&world, key);
                settle(&world, key).await;
            }
            world
        }
    }
}

/// The object of each kind that these tests have.
pub fn one_of_each() -> Vec<Key> {
    Kind::ALL.iter().map(|kind| sample(*kind).key).collect()
}

/// Status and reason of a condition.
pub fn condition(world: &World, key: &Key, kind: &str) -> (String, String) {
    let status = world.status(key);
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.into_iter().find(|c| c["type"] == kind).unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    (text("status"), text("reason"))
}

/// True for an object whose Ready is True.
pub fn is_ready(world: &World, key: &Key) -> bool {
    condition(world, key, "Ready").0 == "True"
}
