//! Every child is in a namespace of its tenant, says whose it is, and belongs to nothing across namespaces.

use nova_api::{Kind, Place};
use nova_plan::adapters::{BACKENDS, capsule};
use nova_plan::child::{Child, ChildKind, ChildRef, KUBERNETES, NAMESPACE};
use nova_plan::names::{Managed, home_of, label, parse_namespace};
use nova_plan::quantity::Amount;
use nova_plan::step::Step;
use proptest::prelude::*;
use serde_json::Value;

use crate::cluster::uid_of;
use crate::given::{any_world, names, world};
use crate::passes::{Subject, World};

/// Where the steps of a pass reach: children that are made, waited for or removed.
fn places(steps: &[Step]) -> Vec<ChildRef> {
    let place = |step: &Step| match step {
        Step::Apply(_, child) => child.at.clone(),
        Step::Await(at, ..) | Step::Remove(at) => at.clone(),
    };
    steps.iter().map(place).collect()
}

fn children(steps: &[Step]) -> impl Iterator<Item = &Child> {
    steps.iter().filter_map(|step| if let Step::Apply(_, child) = step { Some(&**child) } else { None })
}

/// Refuses a place that is not of the tenant, or not of the object itself.
fn check_place(at: &ChildRef, tenant: &str, managed: &Managed<'_>) -> Result<(), String> {
    let namespace = match at.kind {
        kind if kind == &capsule::TENANT => {
            let own = at.name == tenant && *managed == Managed::Home;
            return if own { Ok(()) } else { Err(format!("{at} is not of {tenant}")) };
        }
        kind if kind == &NAMESPACE => &at.name,
        _ => &at.namespace,
    };
    match parse_namespace(namespace) {
        Some((of, part)) if of == tenant && part == *managed => Ok(()),
        other => Err(format!("{at} is of {other:?}, not of {tenant}, {managed:?}")),
    }
}

/// The labels that say whose a child is.
fn check_labels(child: &Child, world: &World, subject: Subject) -> Result<(), String> {
    let uid = |meta: &kube::core::ObjectMeta| meta.uid.clone().unwrap();
    let (tenant, project) = (uid(&world.tenant.metadata), uid(&world.project.metadata));
    let owner = match subject {
        Subject::Tenant => tenant.clone(),
        Subject::Project => project.clone(),
        Subject::Sandbox => uid(&world.sandbox.metadata),
        Subject::App => uid(&world.app.metadata),
    };
    let in_project = matches!(subject, Subject::Project | Subject::App);
    let wanted = [
        (label::MANAGED_BY, Some("kubenova".to_owned())),
        (label::OWNER_UID, Some(owner.clone())),
        (label::TENANT, Some(world.name().to_owned())),
        (label::TENANT_ID, Some(tenant)),
        (label::PROJECT, world.project.metadata.name.clone().filter(|_| in_project)),
        (label::PROJECT_ID, Some(project).filter(|_| in_project)),
        (label::APP_ID, Some(owner.clone()).filter(|_| subject == Subject::App)),
    ];
    if child.owner_uid != owner {
        return Err(format!("{} is owned by {:?}", child.at, child.owner_uid));
    }
    for (key, value) in wanted {
        let found = child.body["metadata"]["labels"].get(key).and_then(Value::as_str);
        if found != value.as_deref() {
            return Err(format!("{key} of {} is {found:?}, not {value:?}", child.at));
        }
    }
    Ok(())
}

fn child_kinds() -> impl Iterator<Item = &'static ChildKind> {
    let of_backends = BACKENDS.iter().flat_map(|backend| backend.children.iter().chain(backend.reads));
    KUBERNETES.iter().chain(of_backends).copied()
}

/// True for a reference to an object without a namespace.
fn is_to_cluster_scoped(reference: &Value) -> bool {
    let (version, kind) = (reference["apiVersion"].as_str().unwrap(), reference["kind"].as_str().unwrap());
    if let Some(known) = child_kinds().find(|known| known.api_version() == version && known.kind == kind) {
        return known.cluster_scoped;
    }
    let nova = Kind::ALL.iter().find(|nova| version == "kubenova.io/v1alpha1" && nova.as_str() == kind);
    matches!(nova.expect("a kind that is known").place(), Place::Platform | Place::Tenant)
}

/// References of a child as it is applied. One from a namespace can only mean an object of that namespace.
fn check_references(child: &Child, world: &World) -> Result<usize, String> {
    for owner in &child.owners {
        if !owner.kind.cluster_scoped && owner.namespace != child.at.namespace {
            return Err(format!("{} belongs to {owner}, which is elsewhere", child.at));
        }
    }
    let body = child.resolved(|at| Some(uid_of(at))).unwrap();
    let references = body["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    for reference in &references {
        let outside = !is_to_cluster_scoped(reference);
        if outside && child.at.kind.cluster_scoped {
            return Err(format!("{} has no namespace, and belongs to {reference}, which has one", child.at));
        }
        let app = &world.app.metadata;
        let own = reference["uid"] == app.uid.as_deref().unwrap()
            && child.at.namespace == app.namespace.as_deref().unwrap();
        if outside && child.owners.is_empty() && !own {
            return Err(format!("{} belongs to {reference}, which is elsewhere", child.at));
        }
    }
    Ok(references.len())
}

/// What the namespace is for that a pass writes to.
fn managed(world: &World, subject: Subject) -> Managed<'_> {
    let (project, sandbox) = (&world.project.metadata.name, &world.sandbox.metadata.name);
    match subject {
        Subject::Tenant => Managed::Home,
        Subject::Project | Subject::App => Managed::App(project.as_deref().unwrap()),
        Subject::Sandbox => Managed::Sandbox(sandbox.as_deref().unwrap()),
    }
}

/// Every amount in the spec of a `ResourceQuota` or `LimitRange`.
fn amounts(spec: &Value) -> Vec<&str> {
    let items = spec["limits"].as_array().into_iter().flatten();
    let limits = items.flat_map(|item| ["default", "defaultRequest", "max"].map(|part| &item[part]));
    let maps = limits.chain([&spec["hard"]]);
    maps.filter_map(Value::as_object).flatten().filter_map(|(_, amount)| amount.as_str()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_child_is_in_a_namespace_of_its_tenant_and_says_whose_it_is(world in any_world()) {
        let made = world.made(world.unmade());
        let mut references = 0;
        for subject in Subject::ALL {
            let steps = world.steps(subject, &made).unwrap();
            for at in places(&steps) {
                check_place(&at, world.name(), &managed(&world, subject)).map_err(TestCaseError::fail)?;
            }
            for child in children(&steps) {
                check_labels(child, &world, subject).map_err(TestCaseError::fail)?;
                references += check_references(child, &world).map_err(TestCaseError::fail)?;
            }
        }
        prop_assert_eq!(references, 4, "of three namespaces to the Capsule Tenant, and of one Application");
    }

    /// What the API server writes in another way, 1000 as 1k, would look like drift for ever.
    #[test]
    fn every_amount_is_written_as_the_api_server_writes_it(world in any_world()) {
        let made = world.made(world.unmade());
        let mut seen = 0;
        for subject in Subject::ALL {
            for child in children(&world.steps(subject, &made).unwrap()) {
                for text in amounts(&child.body["spec"]) {
                    seen += 1;
                    prop_assert_eq!(Amount::parse(text).unwrap().to_string(), text, "{}", child.at);
                }
            }
        }
        prop_assert!(seen > 10, "{} amounts", seen);
    }

    #[test]
    fn two_tenants_never_reach_for_the_same_object(one in names(), other in names()) {
        prop_assume!(one[0] != other[0]);
        let reach = |names: [String; 4]| -> Vec<ChildRef> {
            let world = world([&names[0], &names[1], &names[2], &names[3]]);
            let made = world.made(world.unmade());
            Subject::ALL.into_iter().flat_map(|subject| places(&world.steps(subject, &made).unwrap())).collect()
        };
        let (one, other) = (reach(one), reach(other));
        let shared: Vec<_> = one.iter().filter(|at| other.contains(at)).collect();
        prop_assert!(shared.is_empty(), "{:?}", shared);
    }

    #[test]
    fn the_same_is_planned_each_time(world in any_world()) {
        let made = world.made(world.unmade());
        for subject in Subject::ALL {
            let steps = || format!("{:?}", world.steps(subject, &made).unwrap());
            prop_assert_eq!(steps(), steps());
        }
        prop_assert_eq!(world.made(world.unmade()).children, made.children);
    }
}

#[test]
fn a_namespace_of_a_tenant_whose_name_goes_on_is_not_its_own() {
    for (namespace, tenant, part) in [
        ("tn-a-b", "a", Managed::Home),
        ("tn-a-b-app-x", "a", Managed::App("x")),
        ("tn-a-b-sandbox-x", "a", Managed::Sandbox("x")),
        ("tn-a-app-x", "a-b", Managed::App("x")),
        ("tn-a-app-x-sandbox-y", "a", Managed::Sandbox("y")),
        ("kube-system", "a", Managed::Home),
    ] {
        let at = ChildRef::cluster(&NAMESPACE, namespace);
        assert!(check_place(&at, tenant, &part).is_err(), "{namespace}");
    }
    assert!(check_place(&capsule::tenant_ref("a-b"), "a", &Managed::Home).is_err());
    let at = ChildRef::cluster(&NAMESPACE, "tn-a-b-app-x-sandbox-y");
    assert_eq!(check_place(&at, "a-b", &Managed::App("x-sandbox-y")), Ok(()));
}

#[test]
fn the_checks_refuse_what_says_another_owner_or_belongs_to_something_elsewhere() {
    let world = world(["a", "b", "c", "d"]);
    let steps = world.steps(Subject::App, &world.made(world.unmade())).unwrap();
    let app = children(&steps).next().unwrap();
    assert_eq!((check_labels(app, &world, Subject::App), check_references(app, &world)), (Ok(()), Ok(1)));
    for key in
        [label::MANAGED_BY, label::OWNER_UID, label::TENANT, label::TENANT_ID, label::PROJECT, label::APP_ID]
    {
        let mut other = app.clone();
        other.body["metadata"]["labels"][key] = "other".into();
        assert!(check_labels(&other, &world, Subject::App).is_err(), "{key}");
    }
    let mut moved = app.clone();
    moved.at.namespace = home_of("a");
    assert!(check_references(&moved, &world).is_err(), "its NovaApp is in another namespace");
    let elsewhere = app.clone().owned_by(ChildRef::new(&capsule::TENANT, "", "a"));
    assert_eq!(
        check_references(&elsewhere, &world),
        Ok(2),
        "a namespaced object may belong to a cluster-scoped one"
    );
    let elsewhere = app.clone().owned_by(ChildRef::new(app.at.kind, "tn-a", "x"));
    assert!(check_references(&elsewhere, &world).is_err(), "an owner in another namespace");
    let steps = world.steps(Subject::Tenant, &world.made(world.unmade())).unwrap();
    let namespace = children(&steps).find(|child| child.at.kind == &NAMESPACE).unwrap().clone();
    let owned = namespace.owned_by(ChildRef::new(app.at.kind, "", "x"));
    assert!(check_references(&owned, &world).is_err(), "a cluster-scoped object of a namespaced one");
}
