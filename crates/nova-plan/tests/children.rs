//! What the quickstart is turned into, child by child, and what holds for every child of any object.
#![allow(clippy::unwrap_used, reason = "only tests are in here, their steps among them")]

use std::path::Path;

use nova_api::v1alpha1::{NovaApp, NovaPlan, NovaProject, NovaSandbox, NovaTenant};
use nova_plan::child::{Child, ChildKind, Owner};
use nova_plan::division::Hard;
use nova_plan::names::label;
use nova_plan::namespace::{self, Place};
use nova_plan::{app, project, sandbox, tenant};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::Value;

const CAPSULE_UID: &str = "00000000-0000-4000-8000-00000000cafe";

fn example<K: DeserializeOwned + kube::Resource>(file: &str, uid: &str) -> K {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/quickstart").join(file);
    let mut object: K = serde_yaml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    object.meta_mut().uid = Some(format!("00000000-0000-4000-8000-0000000000{uid}"));
    object
}

fn valid_tenant(tenant: &NovaTenant) -> tenant::ValidTenant {
    let plan: NovaPlan = example("01-plan.yaml", "01");
    tenant::validate(tenant, &tenant::References { plan: Some(&plan), ..Default::default() }).unwrap()
}

fn quickstart_tenant() -> tenant::ValidTenant {
    valid_tenant(&example("02-tenant.yaml", "02"))
}

fn bodies(children: &[Child]) -> Vec<&Value> {
    children.iter().map(|child| &child.body).collect()
}

fn tenant_children(tenant: &tenant::ValidTenant) -> Vec<Child> {
    let tenant::Children { home, manager, quota, network_policies, gitops, bindings } =
        tenant::build(tenant, CAPSULE_UID);
    let mut all = vec![tenant::capsule(tenant), home, manager, quota];
    all.extend(network_policies);
    all.push(gitops);
    all.extend(bindings);
    all
}

fn workspace_children(children: namespace::Children) -> Vec<Child> {
    let namespace::Children { namespace, manager, limits, network_policies, accounts, bindings, .. } =
        children;
    let mut all = vec![namespace, manager];
    all.extend(limits);
    all.extend(network_policies);
    all.extend(accounts);
    all.extend(bindings);
    all
}

fn project_children(tenant: &tenant::ValidTenant, project: &NovaProject) -> Vec<Child> {
    let valid = project::validate(project, project::References { tenant, older: 0 }).unwrap();
    workspace_children(project::build(&valid, CAPSULE_UID))
}

fn sandbox_children(tenant: &tenant::ValidTenant, sandbox: &NovaSandbox) -> Vec<Child> {
    let valid = sandbox::validate(sandbox, sandbox::References { tenant, older: 0 }).unwrap();
    workspace_children(sandbox::build(&valid, CAPSULE_UID))
}

#[test]
fn the_tenant_of_the_quickstart() {
    insta::assert_yaml_snapshot!(bodies(&tenant_children(&quickstart_tenant())));
}

#[test]
fn the_project_of_the_quickstart() {
    let project = example("03-project.yaml", "03");
    insta::assert_yaml_snapshot!(bodies(&project_children(&quickstart_tenant(), &project)));
}

#[test]
fn the_sandbox_of_the_quickstart() {
    let sandbox = example("04-sandbox.yaml", "04");
    insta::assert_yaml_snapshot!(bodies(&sandbox_children(&quickstart_tenant(), &sandbox)));
}

#[test]
fn the_app_of_the_quickstart() {
    let app: NovaApp = example("05-app.yaml", "05");
    let owner = Owner { tenant: Some("acme".into()), project: Some("shop".into()), ..Owner::default() };
    let refs = app::References {
        project: &owner,
        max_apps: None,
        older: 0,
        component_holder: None,
        definition_exists: true,
    };
    let children = app::build(&app::validate(&app, &refs).unwrap(), app::Published::default());
    insta::assert_yaml_snapshot!(children.application.body);
}

#[test]
fn the_share_of_a_namespace() {
    let tenant = quickstart_tenant();
    let place = Place { namespace: "tn-acme-app-shop", owner: &tenant.owner };
    let shares: Hard = tenant.quota.clone();
    insta::assert_yaml_snapshot!(place.quota(&shares).body);
}

/// Every child says whose it is, and none is outside the namespaces of its tenant.
fn check(children: &[Child], tenant: &str, owner_uid: &str) -> Result<(), TestCaseError> {
    for child in children {
        let labels = &child.body["metadata"]["labels"];
        prop_assert_eq!(&labels[label::MANAGED_BY], "kubenova");
        prop_assert_eq!(&labels[label::TENANT], tenant);
        prop_assert_eq!(&labels[label::OWNER_UID], owner_uid);
        let home = format!("tn-{tenant}");
        let place = match child.at.kind {
            ChildKind::CapsuleTenant => home.clone(),
            ChildKind::Namespace => child.at.name.clone(),
            _ => child.at.namespace.clone(),
        };
        prop_assert!(place == home || place.starts_with(&format!("{home}-")), "{} leaves {home}", child.at);
        prop_assert!(child.matches(&child.body), "{} does not match itself", child.at);
    }
    Ok(())
}

/// What limits a namespace comes before the first person may enter it.
fn check_order(children: &[Child]) -> Result<(), TestCaseError> {
    let at = |kind: ChildKind| children.iter().position(|c| c.at.kind == kind);
    let manager = |c: &Child| c.at.name == "kubenova-namespace-manager-binding";
    let person = children.iter().position(|c| c.at.kind == ChildKind::RoleBinding && !manager(c));
    for limit in [ChildKind::Namespace, ChildKind::LimitRange, ChildKind::NetworkPolicy] {
        prop_assert!(at(limit) < person, "{limit:?} comes too late");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn children_are_labelled_stay_in_their_tenant_come_in_order_and_are_the_same_each_time(
        name in "[a-z][a-z0-9]{0,11}(-[xyz0-9]{1,5}){0,2}",
        other in "[a-z]([a-z0-9]{0,11})(-app|-sandbox|-[a-z0-9]{1,4}){0,2}",
        group in proptest::option::of("[a-zA-Z:@.-]{1,40}"),
        open in any::<bool>(),
    ) {
        let mut nova: NovaTenant = example("02-tenant.yaml", "02");
        nova.metadata.name = Some(name.clone());
        nova.spec.dev_group = group;
        if open {
            let isolation = nova_api::v1alpha1::Isolation::Open;
            nova.spec.network_policy = Some(nova_api::v1alpha1::TenantNetworkPolicy { isolation });
        }
        prop_assume!(nova_plan::names::TenantName::parse(&name).is_ok());
        prop_assume!(nova_plan::names::ProjectName::parse(&other).is_ok());
        let tenant = valid_tenant(&nova);
        let of_tenant = tenant_children(&tenant);
        check(&of_tenant, &name, &tenant.owner.uid)?;
        prop_assert_eq!(&of_tenant, &tenant_children(&tenant));

        let mut project: NovaProject = example("03-project.yaml", "03");
        project.metadata.name = Some(other.clone());
        let of_project = project_children(&tenant, &project);
        check(&of_project, &name, project.metadata.uid.as_deref().unwrap())?;
        if !open {
            check_order(&of_project)?;
        }
        prop_assert_eq!(&of_project, &project_children(&tenant, &project));

        let mut sandbox: NovaSandbox = example("04-sandbox.yaml", "04");
        sandbox.metadata.name = Some(other);
        let of_sandbox = sandbox_children(&tenant, &sandbox);
        check(&of_sandbox, &name, sandbox.metadata.uid.as_deref().unwrap())?;
        if !open {
            check_order(&of_sandbox)?;
        }
    }
}
