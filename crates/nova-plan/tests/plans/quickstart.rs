//! What the quickstart is turned into, child by child, in the order of the writes.

use std::path::Path;

use kube::Resource;
use nova_plan::child::Child;
use nova_plan::step::Step;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::given::object;
use crate::passes::{Subject, World};

const CAPSULE_UID: &str = "00000000-0000-4000-8000-00000000cafe";

fn example<K: DeserializeOwned + Resource>(file: &str, uid: &str) -> K {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart").join(file);
    let mut object: K = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    object.meta_mut().uid = Some(format!("00000000-0000-4000-8000-0000000000{uid}"));
    object
}

fn quickstart() -> World {
    World {
        cluster: object("NovaCluster", "", "local", json!({})),
        plan: example("01-plan.yaml", "01"),
        tenant: example("02-tenant.yaml", "02"),
        project: example("03-project.yaml", "03"),
        sandbox: example("04-sandbox.yaml", "04"),
        app: example("05-app.yaml", "05"),
    }
}

/// The steps as people read them: what is applied with its owners, what is waited for, what is removed.
fn told(subject: Subject) -> Vec<Value> {
    let world = quickstart();
    let steps = world.steps(subject, &world.made(world.unmade())).unwrap();
    let body = |child: &Child| child.resolved(|_| Some(CAPSULE_UID.to_owned())).unwrap();
    steps
        .iter()
        .map(|step| match step {
            Step::Apply(_, child) => body(child),
            Step::Await(at, _, problem) => json!({"await": at.to_string(), "otherwise": problem.message}),
            Step::Remove(at) => json!({"remove": at.to_string()}),
        })
        .collect()
}

#[test]
fn the_tenant_of_the_quickstart() {
    insta::assert_yaml_snapshot!(told(Subject::Tenant));
}

#[test]
fn the_project_of_the_quickstart() {
    insta::assert_yaml_snapshot!(told(Subject::Project));
}

#[test]
fn the_sandbox_of_the_quickstart() {
    insta::assert_yaml_snapshot!(told(Subject::Sandbox));
}

#[test]
fn the_app_of_the_quickstart() {
    insta::assert_yaml_snapshot!(told(Subject::App));
}

#[test]
fn the_shares_of_the_quickstart() {
    let world = quickstart();
    let shares = world.shares(&world.made(world.unmade()));
    let bodies: Vec<&Value> = shares.iter().map(|quota| &quota.body).collect();
    insta::assert_yaml_snapshot!(bodies);
}
