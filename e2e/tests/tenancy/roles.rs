//! Roles as a table of allowed and denied: every request of the list, by everybody, in every kind of namespace.
//! What a list below does not name has to be denied.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use e2e::access::{Asked, Person, table};
use e2e::{World, any, eventually, quickstart};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt as _};
use nova_testkit::Identity;
use serde_json::json;

use crate::{PATIENCE, within};

/// Every request of the table.
const ASKED: &str = "
get secrets, list secrets, watch secrets, create secrets, update secrets, patch secrets,
delete secrets, deletecollection secrets, get pods, list pods, create pods, delete pods, get pods/log,
get pods/exec, create pods/exec, create pods/attach, create pods/portforward, get pods/proxy,
create pods/proxy, patch pods/ephemeralcontainers, create pods/eviction, get services/proxy,
get deployments.apps, create deployments.apps, patch deployments.apps, delete deployments.apps,
patch deployments.apps/scale, create jobs.batch, create daemonsets.apps, get configmaps,
create configmaps, get services, create services, create persistentvolumeclaims,
create ingresses.networking.k8s.io, create endpoints, create endpointslices.discovery.k8s.io,
get events, create events, get novaapps.kubenova.io, list novaapps.kubenova.io,
create novaapps.kubenova.io, update novaapps.kubenova.io, patch novaapps.kubenova.io,
delete novaapps.kubenova.io, deletecollection novaapps.kubenova.io, patch novaapps.kubenova.io/status,
update novaapps.kubenova.io/finalizers, get novaprojects.kubenova.io, create novaprojects.kubenova.io,
update novaprojects.kubenova.io, delete novaprojects.kubenova.io,
patch novaprojects.kubenova.io/status, get novasandboxes.kubenova.io, create novasandboxes.kubenova.io,
patch novasandboxes.kubenova.io/status, get novatenants.kubenova.io, list novatenants.kubenova.io,
create novatenants.kubenova.io, patch novatenants.kubenova.io, patch novatenants.kubenova.io/status,
get novaplans.kubenova.io, create novaplans.kubenova.io, patch novaplans.kubenova.io,
get novaclusters.kubenova.io, patch novaclusters.kubenova.io,
get rolebindings.rbac.authorization.k8s.io, create rolebindings.rbac.authorization.k8s.io,
patch rolebindings.rbac.authorization.k8s.io, delete rolebindings.rbac.authorization.k8s.io,
create roles.rbac.authorization.k8s.io, create clusterrolebindings.rbac.authorization.k8s.io,
bind clusterroles.rbac.authorization.k8s.io, escalate clusterroles.rbac.authorization.k8s.io,
get resourcequotas, create resourcequotas, patch resourcequotas, delete resourcequotas,
get limitranges, patch limitranges, delete limitranges, get networkpolicies.networking.k8s.io,
create networkpolicies.networking.k8s.io, delete networkpolicies.networking.k8s.io, get namespaces,
list namespaces, create namespaces, patch namespaces, delete namespaces, update namespaces/finalize,
patch namespaces/status, get applications.core.oam.dev, create applications.core.oam.dev,
patch applications.core.oam.dev, delete applications.core.oam.dev,
create componentdefinitions.core.oam.dev, create traitdefinitions.core.oam.dev,
create workflowstepdefinitions.core.oam.dev, get serviceaccounts, create serviceaccounts,
patch serviceaccounts, create serviceaccounts/token, get tenants.capsule.clastix.io,
patch tenants.capsule.clastix.io, delete tenants.capsule.clastix.io,
create tenantresources.capsule.clastix.io, create globaltenantresources.capsule.clastix.io,
impersonate users, impersonate groups, impersonate serviceaccounts, get nodes, get nodes/proxy,
create persistentvolumes, create validatingadmissionpolicies.admissionregistration.k8s.io,
create certificatesigningrequests.certificates.k8s.io";

/// The requests of a list.
fn requests(list: &'static str) -> impl Iterator<Item = &'static str> {
    list.split(',').map(str::trim)
}

/// Everybody who is logged in.
const ANYBODY: &str = "
get novaplans.kubenova.io";
/// Capsule gives this to owners in every namespace of their tenant.
const BASE: &str = "
get resourcequotas, get limitranges, get networkpolicies.networking.k8s.io";
const HOME_READER: &str = "
get novaprojects.kubenova.io, get novasandboxes.kubenova.io, get events";
const TENANT_OWNER: &str = "
get novaprojects.kubenova.io, create novaprojects.kubenova.io, update novaprojects.kubenova.io,
delete novaprojects.kubenova.io, get novasandboxes.kubenova.io, create novasandboxes.kubenova.io,
get events";
const APP_READER: &str = "
get pods, list pods, get pods/log, get deployments.apps, get configmaps, get services, get events,
get novaapps.kubenova.io, list novaapps.kubenova.io, get resourcequotas, get limitranges,
get networkpolicies.networking.k8s.io, get applications.core.oam.dev";
const PROJECT_DEV: &str = "
get novaapps.kubenova.io, list novaapps.kubenova.io, create novaapps.kubenova.io,
update novaapps.kubenova.io, patch novaapps.kubenova.io, delete novaapps.kubenova.io";
const PROJECT_OWNER: &str = "
create secrets, delete secrets";
const SANDBOX_EDITOR: &str = "
get secrets, list secrets, watch secrets, create secrets, update secrets, patch secrets,
delete secrets, deletecollection secrets, get pods, list pods, create pods, delete pods, get pods/log,
get pods/exec, create pods/exec, create pods/attach, create pods/portforward, get deployments.apps,
create deployments.apps, patch deployments.apps, delete deployments.apps, patch deployments.apps/scale,
create jobs.batch, create daemonsets.apps, get configmaps, create configmaps, get services,
create services, create persistentvolumeclaims, create ingresses.networking.k8s.io, get events,
get resourcequotas, get limitranges, get networkpolicies.networking.k8s.io, get serviceaccounts";
const DEPLOYER: &str = "
get pods, list pods, get deployments.apps, create deployments.apps, patch deployments.apps,
delete deployments.apps, create jobs.batch, create daemonsets.apps, get configmaps, create configmaps,
get services, create services, create persistentvolumeclaims, create ingresses.networking.k8s.io";

/// Titles of people, in the order of the table's columns.
fn people() -> Vec<Person> {
    let user = |title, name: &str, groups: &[&str]| Person::user(title, name, groups);
    vec![
        user("red dev", "dave@red.example", &["red-devs"]),
        user("red owner", "alice@red.example", &[]),
        Person::service_account("red gitops", "tn-red", "kubenova-gitops"),
        user("projectDev", "pat@red.example", &[]),
        user("readOnly", "ron@red.example", &[]),
        user("tenantOwner", "olga@red.example", &[]),
        Person::service_account("app default SA", "tn-red-app-shop", "default"),
        Person::service_account("deployer SA", "tn-red-app-shop", "kubenova-deployer"),
        Person::service_account("sandbox default SA", "tn-red-sandbox-dev", "default"),
        user("blue dev", "dora@blue.example", &["blue-devs"]),
        user("blue owner", "alice@blue.example", &[]),
        user("stranger", "sam@nowhere.example", &["red", "devs", "red-dev"]),
    ]
}

/// Everything that somebody may do somewhere; what is not in it is denied.
#[allow(clippy::match_same_arms, reason = "it reads by person, like the table of roles")]
fn expected(person: &str, namespace: &str) -> Vec<&'static str> {
    let mut lists = vec![ANYBODY];
    let writers = [PROJECT_DEV, APP_READER];
    lists.extend(match (person, namespace) {
        ("red dev", "tn-red") => vec![HOME_READER],
        ("red dev" | "projectDev", "tn-red-app-shop") => writers.to_vec(),
        ("red dev", "tn-red-app-books") | ("readOnly", "tn-red-app-shop") => vec![APP_READER],
        ("red dev" | "red gitops", "tn-red-sandbox-dev") => vec![SANDBOX_EDITOR],
        ("red owner", "tn-red") => vec![TENANT_OWNER, BASE],
        ("red gitops", "tn-red") => vec![TENANT_OWNER],
        ("red owner" | "red gitops", "tn-red-app-shop" | "tn-red-app-books" | "tn-red-app-vault")
        | ("tenantOwner", "tn-red-app-shop") => vec![PROJECT_DEV, APP_READER, PROJECT_OWNER],
        ("red owner", "tn-red-sandbox-dev") => vec![SANDBOX_EDITOR, BASE],
        ("deployer SA", "tn-red-app-shop") => vec![DEPLOYER],
        ("blue dev", "tn-blue") => vec![HOME_READER],
        ("blue dev", "tn-blue-app-shop") => writers.to_vec(),
        ("blue dev", "tn-blue-sandbox-dev") => vec![SANDBOX_EDITOR],
        ("blue owner", "tn-blue") => vec![TENANT_OWNER, BASE],
        ("blue owner", "tn-blue-app-shop") => vec![PROJECT_DEV, APP_READER, PROJECT_OWNER],
        ("blue owner", "tn-blue-sandbox-dev") => vec![SANDBOX_EDITOR, BASE],
        _ => Vec::new(),
    });
    lists.into_iter().flat_map(requests).collect()
}

/// Namespaces of the table; the last is the whole cluster.
const PLACES: [&str; 12] = [
    "tn-red",
    "tn-red-app-shop",
    "tn-red-app-books",
    "tn-red-app-vault",
    "tn-red-sandbox-dev",
    "tn-blue",
    "tn-blue-app-shop",
    "tn-blue-sandbox-dev",
    "kube-system",
    "vela-system",
    "kubenova-system",
    "",
];

/// Two tenants out of the quickstart; the red one with people and with projects that its developers may only read, or not at all.
pub async fn set_up(world: &World) -> Result<()> {
    for tenant in ["red", "blue"] {
        world.apply_until_accepted(&quickstart(tenant)?, PATIENCE).await?;
    }
    world
        .apply(
            "
apiVersion: kubenova.io/v1alpha1
kind: NovaProject
metadata: {name: shop, namespace: tn-red}
spec:
  access:
    - {kind: User, name: pat@red.example, role: projectDev}
    - {kind: User, name: ron@red.example, role: readOnly}
    - {kind: User, name: olga@red.example, role: tenantOwner}
---
apiVersion: kubenova.io/v1alpha1
kind: NovaProject
metadata: {name: books, namespace: tn-red}
spec: {devGroupRole: readOnly}
---
apiVersion: kubenova.io/v1alpha1
kind: NovaProject
metadata: {name: vault, namespace: tn-red}
spec: {devGroupRole: none}
",
        )
        .await?;
    world.ready("red", PATIENCE).await?;
    world.ready("blue", PATIENCE).await
}

pub async fn everybody_may_do_what_the_table_says_and_nothing_else(world: &World) -> Result<()> {
    capsules_own_bindings_are_harmless(world).await?;
    let people = people();
    let asked: Vec<Asked> = requests(ASKED).filter_map(Asked::parse).collect();
    assert_eq!(asked.len(), requests(ASKED).count());
    let mut wrong = Vec::new();
    let mut reviews = 0;
    for place in PLACES {
        let shown = if place.is_empty() { "the whole cluster" } else { place };
        let titles: Vec<&str> = people.iter().map(|p| p.title).collect();
        // Printed as a whole: other sections print at the same time.
        let mut shown_rows =
            format!("\n| {shown} | {} |\n|---|{}\n", titles.join(" | "), "---|".repeat(titles.len()));
        let mut denied = Vec::new();
        for (request, answers) in table(&world.admin, &people, &asked, place).await? {
            reviews += answers.len();
            let text = request.to_string();
            for (person, allowed) in people.iter().zip(&answers) {
                let wanted = expected(person.title, place).contains(&text.as_str());
                if wanted != *allowed {
                    let is = if *allowed { "allowed" } else { "denied" };
                    wrong.push(format!("{} in {shown}: {text} is {is}", person.title));
                }
            }
            if answers.contains(&true) {
                let marks: Vec<&str> = answers.iter().map(|a| if *a { "yes" } else { "–" }).collect();
                writeln!(shown_rows, "| {text} | {} |", marks.join(" | "))?;
            } else {
                denied.push(text);
            }
        }
        println!("{shown_rows}\nDenied to all of them in {shown}: {}.", denied.join(", "));
    }
    println!("\n{reviews} access reviews, {} otherwise than expected", wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// Capsule binds roles of its own in every namespace of a tenant; none of them may reach a person.
async fn capsules_own_bindings_are_harmless(world: &World) -> Result<()> {
    let bindings = any(&world.admin, "rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings");
    let mut seen = 0;
    for binding in bindings.list(&ListParams::default()).await? {
        let namespace = binding.namespace().unwrap_or_default();
        if !namespace.starts_with("tn-red") || !binding.name_any().starts_with("capsule:") {
            continue;
        }
        seen += 1;
        let role = binding.data["roleRef"]["name"].as_str().unwrap_or_default();
        let subjects: Vec<&str> = binding.data["subjects"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| s["name"].as_str())
            .collect();
        println!("Capsule's own binding in {namespace}: {role} to {subjects:?}");
        match role {
            "kubenova-tenant-base" => assert_eq!(subjects, ["alice@red.example"], "{namespace}"),
            _ => assert_eq!(subjects, ["kubenova-operator"], "{role} in {namespace}"),
        }
    }
    assert!(seen >= 6, "only {seen} bindings of Capsule");
    let everywhere =
        any(&world.admin, "rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings");
    for binding in everywhere.list(&ListParams::default()).await? {
        let text = binding.data["subjects"].to_string();
        assert!(
            !text.contains("red") && !text.contains("tn-"),
            "{} names a tenant: {text}",
            binding.name_any()
        );
    }
    Ok(())
}

fn refused(what: &str, answer: Result<impl Sized, kube::Error>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => bail!("{what}: {error}"),
        Ok(_) => bail!("{what} was allowed"),
    }
}

pub async fn a_developer_really_edits_a_sandbox(world: &World) -> Result<()> {
    let dave = world.plane.client(&Identity::user("dave@red.example", &["red-devs"])).await?;
    let sandbox = "tn-red-sandbox-dev";
    let deployment = |namespace: &str| {
        serde_json::from_value(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "mine", "namespace": namespace},
            "spec": {"selector": {"matchLabels": {"app": "mine"}}, "template": {
                "metadata": {"labels": {"app": "mine"}},
                "spec": {"containers": [{"name": "mine", "image": "nginx:1.29"}]}}},
        }))
    };
    let secret = |namespace: &str| {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": namespace},
            "stringData": {"password": "hunter2"},
        }))
    };
    let deployments = |client: &Client, ns: &str| within(client, "apps/v1", "Deployment", "deployments", ns);
    let secrets = |client: &Client, ns: &str| within(client, "v1", "Secret", "secrets", ns);
    let post = PostParams::default();
    deployments(&dave, sandbox).create(&post, &deployment(sandbox)?).await?;
    secrets(&dave, sandbox).create(&post, &secret(sandbox)?).await?;
    assert!(secrets(&dave, sandbox).get("mine").await?.data["data"]["password"].is_string());
    eventually("the developer's pod runs in the sandbox", PATIENCE, async || {
        let live = deployments(&dave, sandbox).get("mine").await.map_err(|e| e.to_string())?;
        let available = live.data["status"]["availableReplicas"].as_i64();
        if available == Some(1) { Ok(()) } else { Err(live.data["status"].to_string()) }
    })
    .await?;
    deployments(&dave, sandbox).delete("mine", &DeleteParams::default()).await?;
    secrets(&dave, sandbox).delete("mine", &DeleteParams::default()).await?;
    for namespace in ["tn-red-app-shop", "tn-red", "tn-blue-sandbox-dev", "tn-blue-app-shop", "kube-system"] {
        refused(
            "a Deployment elsewhere",
            deployments(&dave, namespace).create(&post, &deployment(namespace)?).await,
        )?;
        refused("a Secret elsewhere", secrets(&dave, namespace).create(&post, &secret(namespace)?).await)?;
        refused("Secrets elsewhere", secrets(&dave, namespace).list(&ListParams::default()).await)?;
    }
    let blue = within(&dave, "v1", "Pod", "pods", "tn-blue-app-shop");
    refused("pods of another tenant", blue.list(&ListParams::default()).await)?;
    println!(
        "a developer made, read and deleted a Deployment and a Secret in the sandbox; 16 requests elsewhere got 403"
    );
    Ok(())
}

/// Takes the red project down; nothing of the blue one of the same name changes.
pub async fn two_tenants_with_a_project_of_one_name_stay_apart(world: &World) -> Result<()> {
    world.ready("blue", PATIENCE).await?;
    let before = world.snapshot("blue").await?;
    let blue: Vec<String> =
        before.0.values().map(ToString::to_string).filter(|text| text.contains("red")).collect();
    assert!(blue.is_empty(), "something of blue names red: {blue:#?}");
    let delete = DeleteParams::default();
    let apps = within(&world.admin, "kubenova.io/v1alpha1", "NovaApp", "novaapps", "tn-red-app-shop");
    for app in apps.list(&ListParams::default()).await? {
        apps.delete(&app.name_any(), &delete).await?;
    }
    let projects = within(&world.admin, "kubenova.io/v1alpha1", "NovaProject", "novaprojects", "tn-red");
    projects.delete("shop", &delete).await?;
    eventually("the red project is gone", PATIENCE, async || match projects.get_opt("shop").await {
        Ok(None) => Ok(()),
        Ok(Some(live)) => Err(e2e::message(&live).to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    world.ready("blue", PATIENCE).await?;
    let differences = before.differences(&world.snapshot("blue").await?);
    assert!(differences.is_empty(), "blue changed: {differences:#?}");
    println!("the red project shop is gone; {} objects of blue are as they were", before.0.len());
    Ok(())
}
