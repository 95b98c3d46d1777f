//! What keeps objects waiting for their tenant or project, each once: what it says, its code, and when it is worth
//! looking again.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use nova_api::conditions::{BlockerClass, Code, Reason};
use nova_api::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaTenant};
use nova_plan::adapters::capsule;
use nova_plan::child::{ChildRef, NAMESPACE};
use nova_plan::{Lookup, Problem, Retry, tenancy};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::given::{object, tenancy as given, world};
use crate::passes::{Subject, World};

/// A problem as people and the queue see it.
#[track_caller]
fn assert_told<T: std::fmt::Debug>(
    result: Result<T, Problem>,
    (object, message): (&str, &str),
    (reason, code, retry): (Reason, Code, Retry),
) -> Problem {
    let told = result.unwrap_err();
    assert_eq!((told.object.as_str(), told.message.as_str()), (object, message));
    assert_eq!((told.reason, told.code, told.retry), (reason, Some(code), retry), "{told:?}");
    assert!(!told.fix.is_empty() || told.retry == Retry::Never, "who waits is told the way out: {told:?}");
    told
}

const MISSING: (Reason, Code, Retry) = (Reason::DependencyMissing, Code::Kn404, Retry::OnChange);
const INVALID: (Reason, Code, Retry) = (Reason::Invalid, Code::Kn422, Retry::Never);
const REFUSED: (Reason, Code, Retry) = (Reason::Invalid, Code::Kn403, Retry::Never);

/// A tenant of a spec beside a plan.
fn cluster_with(tenant: Value) -> (Cluster, NovaTenant) {
    let (local, plan, tenant) = given(json!({"quotas": {"cpu": "8"}}), tenant);
    let mut cluster = Cluster::default();
    cluster.put(&local);
    cluster.put(&plan);
    cluster.put(&tenant);
    (cluster, tenant)
}

fn deleted<K: nova_api::NovaKind>(mut object: K) -> K {
    object.meta_mut().deletion_timestamp =
        Some(serde_json::from_value(json!("2026-11-21T11:00:00Z")).unwrap());
    object
}

#[test]
fn a_tenant_is_valid_with_the_plan_that_it_names_or_without_any() {
    let (cluster, tenant) = cluster_with(json!({"plan": "starter"}));
    let valid = tenancy::valid(&tenant, &cluster).unwrap();
    assert_eq!((valid.plan.as_deref(), valid.dev_group.as_str()), (Some("starter"), "acme-devs"));
    let (cluster, tenant) = cluster_with(json!({}));
    assert_eq!(tenancy::valid(&tenant, &cluster).unwrap().plan, None);
}

#[test]
fn a_plan_that_a_tenant_names_has_to_exist() {
    let (cluster, tenant) = cluster_with(json!({"plan": "gold"}));
    let told = ("NovaPlan gold", "it does not exist; nothing was changed");
    assert_eq!(assert_told(tenancy::valid(&tenant, &cluster), told, MISSING).class, BlockerClass::User);
}

#[test]
fn a_tenant_without_a_plan_waits_for_the_object_that_may_name_one() {
    let (mut cluster, tenant) = cluster_with(json!({}));
    cluster.forget::<NovaCluster>("", "local");
    let told = ("NovaCluster local", "it does not exist; nothing was changed");
    assert_told(tenancy::valid(&tenant, &cluster), told, MISSING);
}

#[test]
fn a_default_plan_that_goes_takes_no_quota_with_it() {
    let (mut cluster, mut tenant) = cluster_with(json!({}));
    cluster.put(&object::<NovaCluster>("NovaCluster", "", "local", json!({"defaultPlan": "typo"})));
    assert_eq!(tenancy::valid(&tenant, &cluster).unwrap().missing_default_plan.as_deref(), Some("typo"));
    tenant.status = Some(serde_json::from_value(json!({"plan": "starter"})).unwrap());
    let message = "its default plan \"typo\" does not exist; the tenant stays as it was under \"starter\"";
    assert_told(tenancy::valid(&tenant, &cluster), ("NovaCluster local", message), MISSING);
}

#[test]
fn a_tenant_named_like_a_part_of_a_namespace_is_refused() {
    for (name, message) in [
        ("a-app-b", "tenant name \"a-app-b\" must not contain the word \"app\" between hyphens"),
        ("kube", "tenant name \"kube\" is reserved"),
    ] {
        let tenant: NovaTenant = object("NovaTenant", "", name, json!({"plan": "starter"}));
        let (cluster, _) = cluster_with(json!({}));
        let told = (format!("NovaTenant {name}"), message);
        assert_told(tenancy::valid(&tenant, &cluster), (&told.0, told.1), INVALID);
    }
}

#[test]
fn nobody_of_kubernetes_own_is_let_in_by_a_tenant() {
    let owner = json!({"plan": "starter", "owners": [{"kind": "Group", "name": "system:authenticated"}]});
    let (cluster, tenant) = cluster_with(owner);
    let why = "spec.owners: \"system:authenticated\": names that begin with system: are Kubernetes' own";
    assert_told(tenancy::valid(&tenant, &cluster), ("NovaTenant acme", why), REFUSED);
    let account = json!({"plan": "starter", "owners": [{"kind": "ServiceAccount", "name": "robot"}]});
    let (cluster, tenant) = cluster_with(account);
    let why = "spec.owners: \"robot\": a ServiceAccount is named <namespace>:<name>";
    assert_told(tenancy::valid(&tenant, &cluster), ("NovaTenant acme", why), REFUSED);
    let (cluster, tenant) = cluster_with(json!({"plan": "starter", "devGroup": "system:masters"}));
    let why = "spec.devGroup: names that begin with system: are Kubernetes' own";
    assert_told(tenancy::valid(&tenant, &cluster), ("NovaTenant acme", why), REFUSED);
}

#[test]
fn the_oldest_tenant_keeps_a_developer_group() {
    let (mut cluster, oldest) = cluster_with(json!({"plan": "starter", "devGroup": "devs"}));
    let mut newer: NovaTenant =
        object("NovaTenant", "", "aaa", json!({"plan": "starter", "devGroup": "devs"}));
    newer.metadata.creation_timestamp = Some(serde_json::from_value(json!("2026-11-22T10:00:00Z")).unwrap());
    cluster.put(&newer);
    assert!(tenancy::valid(&oldest, &cluster).is_ok());
    let told = ("NovaTenant acme", "it already has the developer group \"devs\"");
    let conflict = (Reason::Conflict, Code::Kn409, Retry::Never);
    assert_told(tenancy::valid(&newer, &cluster), told, conflict);
}

#[test]
fn limits_of_a_tenant_that_contradict_each_other_are_refused() {
    let limits = json!({"plan": "starter", "limits": {"max": {"cpu": "1"}, "default": {"cpu": "2"}}});
    let (cluster, tenant) = cluster_with(limits);
    let why = "limits.default.cpu is 2, more than limits.max.cpu, which is 1 (project, tenant and plan taken together)";
    assert_told(tenancy::valid(&tenant, &cluster), ("NovaTenant acme", why), INVALID);
}

#[test]
fn a_plan_on_its_way_out_takes_no_further_tenants_and_keeps_those_that_it_has() {
    let (mut cluster, mut tenant) = cluster_with(json!({"plan": "starter"}));
    let mut plan = (*cluster.nova::<NovaPlan>("", "starter").unwrap()).clone();
    plan.metadata.deletion_timestamp = Some(Time("2026-01-02T00:00:00Z".parse().unwrap()));
    cluster.put(&plan);
    let told = ("NovaPlan starter", "it is being deleted, and takes no further tenants; nothing was changed");
    assert_told(tenancy::valid(&tenant, &cluster), told, MISSING);
    tenant.status.get_or_insert_default().plan = Some("starter".to_owned());
    assert!(tenancy::valid(&tenant, &cluster).is_ok());
}

fn acme() -> World {
    world(["acme", "shop", "dev", "web"])
}

#[test]
fn an_object_elsewhere_than_in_a_home_namespace_is_refused() {
    let cluster = acme().unmade();
    for namespace in ["default", "tn-", "tn-acme-app-shop", "tn-kube"] {
        let told = format!("{namespace} is no home namespace of a tenant");
        assert_told(tenancy::of_home(namespace, "me", &cluster), ("me", &told), REFUSED);
    }
}

#[test]
fn a_home_namespace_is_its_tenants_by_the_uid_of_its_owner() {
    let world = acme();
    let told = ("NovaTenant acme", "tn-acme is not its home namespace yet");
    let mut cluster = world.unmade();
    let home = ChildRef::cluster(&NAMESPACE, "tn-acme");
    assert_told(tenancy::of_home("tn-acme", "me", &cluster), told, MISSING);
    cluster.place(home.clone(), "an earlier tenant of the name");
    assert_told(tenancy::of_home("tn-acme", "me", &cluster), told, MISSING);
    cluster.place(home, world.tenant.metadata.uid.as_deref().unwrap());
    assert_eq!(*tenancy::of_home("tn-acme", "me", &cluster).unwrap(), world.tenant);
    cluster.forget::<NovaTenant>("", "acme");
    let told = ("NovaTenant acme", "it does not exist");
    assert_told(tenancy::of_home("tn-acme", "me", &cluster), told, MISSING);
}

#[test]
fn a_tenant_that_is_being_deleted_takes_nothing_in() {
    let world = acme();
    let mut cluster = world.made_before(Subject::Project, world.unmade());
    cluster.put(&deleted(world.tenant.clone()));
    let told = tenancy::of_home("tn-acme", "me", &cluster).unwrap_err();
    assert_eq!((told.object.as_str(), told.message.as_str()), ("NovaTenant acme", "it is being deleted"));
    assert_eq!((told.reason, told.code, told.retry), MISSING_PARTS);
}

const MISSING_PARTS: (Reason, Option<Code>, Retry) = (MISSING.0, Some(MISSING.1), MISSING.2);

#[test]
fn a_workspace_waits_for_a_tenant_that_is_not_valid_and_is_told_its_way_out() {
    let world = acme();
    let mut cluster = world.made_before(Subject::Project, world.unmade());
    let mut broken = world.tenant.clone();
    broken.spec.plan = Some("gold".to_owned());
    cluster.put(&broken);
    let own = tenancy::valid(&broken, &cluster).unwrap_err();
    let told = ("NovaTenant acme", "it is not ready: NovaPlan gold: it does not exist; nothing was changed");
    let problem = assert_told(tenancy::surroundings(&world.project, &cluster), told, MISSING);
    assert_eq!((problem.fix, problem.class), (own.fix, own.class));
}

#[test]
fn a_workspace_waits_for_capsule_and_for_its_word_on_the_tenant() {
    let world = acme();
    let made = world.made_before(Subject::Project, world.unmade());
    assert!(tenancy::surroundings(&world.project, &made).is_ok());
    assert!(tenancy::surroundings(&world.sandbox, &made).is_ok());

    let mut cluster = made.clone();
    cluster.definitions.remove(capsule::CRD);
    let told = ("CustomResourceDefinition tenants.capsule.clastix.io", "Capsule is not installed");
    let missing = (Reason::CapabilityMissing, Code::Kn422, Retry::OnChange);
    assert_told(tenancy::surroundings(&world.project, &cluster), told, missing);

    let told = ("NovaTenant acme", "its Capsule Tenant is not there yet");
    let tenant = capsule::tenant_ref("acme");
    let waits = |cluster: &Cluster| {
        let problem = tenancy::surroundings(&world.project, cluster).unwrap_err();
        assert_eq!((problem.object.as_str(), problem.message.as_str()), told);
        assert_eq!((problem.reason, problem.code, problem.retry), MISSING_PARTS);
    };
    let mut cluster = made.clone();
    cluster.children.remove(&tenant);
    waits(&cluster);
    let mut cluster = made.clone();
    cluster.place(tenant.clone(), "somebody else");
    waits(&cluster);
    let mut cluster = made;
    cluster.children.get_mut(&tenant).unwrap().body["metadata"]["deletionTimestamp"] =
        json!("2026-11-21T11:00:00Z");
    waits(&cluster);
}

#[test]
fn an_app_elsewhere_than_in_a_namespace_of_a_project_is_refused() {
    for namespace in ["default", "tn-acme", "tn-acme-sandbox-dev"] {
        let app: NovaApp = object("NovaApp", namespace, "web", json!({"source": {"kind": "gitRepo"}}));
        let (me, message) =
            (format!("NovaApp {namespace}/web"), format!("{namespace} is no namespace of a project"));
        assert_told(tenancy::project_of(&app, &acme().unmade()), (&me, &message), REFUSED);
    }
}

#[test]
fn an_app_waits_for_its_project_and_for_its_namespace() {
    let world = acme();
    let made = world.made_before(Subject::App, world.unmade());
    let project = tenancy::project_of(&world.app, &made).unwrap();
    assert_eq!(project.owner.project.as_deref(), Some("shop"));
    assert_eq!(project.owner.tenant_id, world.tenant.metadata.uid);
    let told = |cluster: &Cluster, message| {
        assert_told(tenancy::project_of(&world.app, cluster), ("NovaProject tn-acme/shop", message), MISSING)
    };

    let mut cluster = made.clone();
    cluster.forget::<NovaProject>("tn-acme", "shop");
    told(&cluster, "it does not exist");
    let mut cluster = made.clone();
    cluster.put(&deleted(world.project.clone()));
    told(&cluster, "it is being deleted");
    let mut cluster = made.clone();
    let namespace = ChildRef::cluster(&NAMESPACE, "tn-acme-app-shop");
    cluster.children.remove(&namespace);
    told(&cluster, "it has no namespace yet");
    cluster.place(namespace, "an earlier project of the name");
    told(&cluster, "it has no namespace yet");
}

#[test]
fn an_app_waits_for_the_tenant_of_its_project_and_is_told_its_way_out() {
    let world = acme();
    let mut cluster = world.made_before(Subject::App, world.unmade());
    let mut broken = world.tenant.clone();
    broken.spec.plan = Some("gold".to_owned());
    cluster.put(&broken);
    let own = tenancy::valid(&broken, &cluster).unwrap_err();
    let told = (
        "NovaProject tn-acme/shop",
        "its tenant is not ready: NovaPlan gold: it does not exist; nothing was changed",
    );
    let problem = assert_told(tenancy::project_of(&world.app, &cluster), told, MISSING);
    assert_eq!((problem.fix, problem.class), (own.fix, own.class));
    cluster.forget::<NovaTenant>("", "acme");
    let told = ("NovaTenant acme", "it does not exist");
    assert_told(tenancy::project_of(&world.app, &cluster), told, MISSING);
}

#[test]
fn an_index_is_asked_by_the_name_that_tenants_answer_to() {
    let (cluster, _) = cluster_with(json!({"devGroup": "devs"}));
    let oldest = |group| cluster.oldest::<NovaTenant>(nova_plan::kind::index::DEV_GROUP, group);
    assert_eq!((oldest("devs").as_deref(), oldest("acme-devs")), (Some("acme"), None));
}
