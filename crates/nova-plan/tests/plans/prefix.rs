//! A pass may be cut after any of its writes: the next one comes to the same end, and the one after it writes nothing.

use nova_plan::child::{ChildRef, Live, is_applied};
use nova_plan::names::annotation;
use nova_plan::step::Step;
use proptest::prelude::*;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::given::{any_world, edited_world, world};
use crate::order::check_state;
use crate::passes::{Subject, World};

/// Takes the first steps, as far as they can be taken; what others have to do first is done.
fn cut_after(world: &World, steps: &[Step], cluster: &mut Cluster) {
    for step in steps {
        if cluster.take(step).is_err() {
            world.settle(cluster);
            cluster.take(step).unwrap_or_else(|why| panic!("{step:?}: {why}"));
        }
    }
}

/// A pass over an object that is made already has nothing to write, and waits for nothing.
fn check_quiet(world: &World, subject: Subject, cluster: &Cluster) {
    for step in world.steps(subject, cluster).unwrap() {
        match step {
            Step::Apply(_, child) => {
                let live = &cluster.children[&child.at];
                assert!(
                    is_applied(&cluster.resolved(&child).unwrap(), live),
                    "{} would be written",
                    child.at
                );
            }
            Step::Await(at, is_so, _) => assert!(is_so(&cluster.children[&at]), "{at} is waited for"),
            Step::Remove(at) => assert!(!cluster.children.contains_key(&at), "{at} would be removed"),
        }
    }
    let mut after = cluster.clone();
    world.converge(subject, &mut after);
    world.settle(&mut after);
    assert_eq!(after.writes, cluster.writes, "a pass over what is made already writes");
}

/// Every prefix of the pass over an object, from what there is, and how often one was checked.
fn check_prefixes(world: &World, subject: Subject, start: &Cluster) {
    let steps = world.steps(subject, start).unwrap();
    let mut whole = start.clone();
    world.converge(subject, &mut whole);
    world.settle(&mut whole);
    for n in 0..=steps.len() {
        let mut cluster = start.clone();
        cut_after(world, &steps[..n], &mut cluster);
        world.converge(subject, &mut cluster);
        world.settle(&mut cluster);
        assert_eq!(cluster.children, whole.children, "{subject:?} cut after {n} of {} steps", steps.len());
        check_quiet(world, subject, &cluster);
    }
}

/// What is there, without what counts how often an Application was rolled out.
fn picture(cluster: &Cluster) -> Vec<(ChildRef, Value)> {
    let without_count = |(at, live): (&ChildRef, &Live)| {
        let mut body = live.body.clone();
        if let Some(annotations) = body["metadata"]["annotations"].as_object_mut()
            && annotations.remove(annotation::VELA_PUBLISH_VERSION).is_some()
        {
            annotations.remove(annotation::APPLIED_HASH);
        }
        (at.clone(), body)
    };
    cluster.children.iter().map(without_count).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pass_that_was_cut_anywhere_is_made_good_by_the_next_and_then_there_is_nothing_to_write(
        world in any_world(),
    ) {
        for subject in Subject::ALL {
            check_prefixes(&world, subject, &world.made_before(subject, world.unmade()));
        }
    }

    #[test]
    fn an_edit_that_was_cut_anywhere_is_made_good_by_the_next_pass((before, now) in edited_world()) {
        let mut start = before.made(before.unmade());
        now.put_into(&mut start);
        for subject in Subject::ALL {
            check_prefixes(&now, subject, &now.made_before(subject, start.clone()));
        }
    }

    #[test]
    fn what_was_edited_is_as_if_it_had_been_made_so_from_the_beginning((before, now) in edited_world()) {
        let mut edited = before.made(before.unmade());
        now.put_into(&mut edited);
        prop_assert_eq!(picture(&now.made(edited)), picture(&now.made(now.unmade())));
    }

    #[test]
    fn whoever_is_bound_in_a_namespace_is_bound_after_what_limits_it_after_each_write(world in any_world()) {
        let isolation = world.tenant.spec.isolation();
        let mut cluster = world.unmade();
        for subject in Subject::ALL {
            cluster = world.made_before(subject, cluster);
            for step in world.steps(subject, &cluster).unwrap() {
                cut_after(&world, &[step], &mut cluster);
                check_state(&cluster, isolation).map_err(TestCaseError::fail)?;
            }
        }
        let bound = world.namespaces().iter().filter(|n| crate::order::is_entered(&cluster, n)).count();
        prop_assert_eq!(bound, 3, "everybody has come in by now");
    }
}

#[test]
fn nothing_of_a_tenant_is_made_before_its_capsule_tenant() {
    let world = world(["a", "b", "c", "d"]);
    let made = world.made(world.unmade());
    let mut cluster = world.unmade();
    for subject in [Subject::Tenant, Subject::Project, Subject::Sandbox] {
        // The steps of one who saw it, taken where it is not.
        for step in world.steps(subject, &made).unwrap() {
            if let Step::Apply(_, child) = &step
                && child.at.kind == &nova_plan::child::NAMESPACE
            {
                let why = cluster.take(&step).unwrap_err();
                assert!(why.starts_with("Capsule Tenant a is not there yet"), "{why}");
            }
        }
    }
    for subject in [Subject::Project, Subject::Sandbox, Subject::App] {
        assert!(world.steps(subject, &cluster).is_err(), "{subject:?}");
    }
    assert!(cluster.writes.is_empty());
    world.converge(Subject::Tenant, &mut cluster);
    assert_eq!(cluster.writes[..2], ["apply Capsule Tenant a", "apply Namespace tn-a"]);
}

#[test]
fn nobody_is_bound_while_the_quota_does_not_count() {
    let world = world(["a", "b", "c", "d"]);
    let start = world.made_before(Subject::Project, world.unmade());
    let mut cluster = start.clone();
    let steps = world.steps(Subject::Project, &cluster).unwrap();
    let cut = |cluster: &mut Cluster| steps.iter().try_for_each(|step| cluster.take(step)).unwrap_err();
    assert_eq!(cut(&mut cluster), "it does not count yet", "it is not there");
    let [_, namespace, _] = world.namespaces();
    world.settle(&mut cluster);
    let quota =
        cluster.children.iter_mut().find(|(at, _)| at.namespace == namespace && at.name == "kubenova-quota");
    quota.unwrap().1.body.as_object_mut().unwrap().remove("status");
    assert_eq!(cut(&mut cluster), "it does not count yet", "nobody has counted it");
    assert!(!crate::order::is_entered(&cluster, &namespace));
    cluster.run_quota_controller();
    assert!(steps.iter().all(|step| cluster.take(step).is_ok()));
    assert!(crate::order::is_entered(&cluster, &namespace));
}
