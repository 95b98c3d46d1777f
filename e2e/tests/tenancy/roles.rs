//! Roles as a table of allowed and denied: every request of the list, by everybody, in every kind of namespace; and two
//! tenants side by side.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use e2e::access::{Asked, table};
use e2e::object::{self, Place, kind};
use e2e::{World, eventually, quickstart};
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, PostParams};
use nova_testkit::Identity;
use serde_json::json;
use tokio::sync::OnceCell;

use crate::expected::{ASKED, GET_ALL, PLACES, expected, people, requests};
use crate::{PATIENCE, STAGE};

/// Red and blue are set up once for all tests that look at them; none of these changes them.
async fn red_and_blue(world: &World) -> Result<()> {
    static SET_UP: OnceCell<()> = OnceCell::const_new();
    SET_UP.get_or_try_init(|| set_up(world)).await.copied()
}

/// Two tenants out of the quickstart; the red one with people and with projects that its developers may only read, or not
/// at all.
async fn set_up(world: &World) -> Result<()> {
    let access = |name: &str, role: &str| json!({"kind": "User", "name": name, "role": role});
    let people = [
        access("pat@red.example", "projectDev"),
        access("ron@red.example", "readOnly"),
        access("olga@red.example", "tenantOwner"),
    ];
    let mut documents = quickstart("red")?;
    documents.extend(quickstart("blue")?);
    world.apply_until_accepted(&documents, PATIENCE).await?;
    // Shop once more: not in one go with the above, where a document that is refused at first comes after the others.
    let documents = [
        object::project("red", "shop", &json!({"access": people})),
        object::project("red", "books", &json!({"devGroupRole": "readOnly"})),
        object::project("red", "vault", &json!({"devGroupRole": "none"})),
    ];
    world.apply_until_accepted(&documents, PATIENCE).await?;
    world.ready("red", PATIENCE).await?;
    world.ready("blue", PATIENCE).await
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_may_do_what_the_table_says_and_nothing_else() -> Result<()> {
    let world = STAGE.together().await?;
    red_and_blue(&world).await?;
    let people = people();
    let all: Vec<&str> = requests(ASKED).chain(requests(GET_ALL)).collect();
    let asked: Vec<Asked> = all.iter().filter_map(|text| Asked::parse(text)).collect();
    assert_eq!(asked.len(), all.len());
    let mut wrong = Vec::new();
    let mut reviews = 0;
    for place in PLACES {
        let shown = if place.is_empty() { "the whole cluster" } else { place };
        let titles: Vec<&str> = people.iter().map(|p| p.title).collect();
        // Printed as a whole: other tests print at the same time.
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

/// The table asks for what `kubectl get all` asks for: every kind of the category, those that a new version brings too.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_holds_everything_that_kubectl_get_all_asks_for() -> Result<()> {
    let world = STAGE.together().await?;
    let mut found = BTreeSet::new();
    let groups = world.admin.list_api_groups().await?.groups;
    let versions = groups.iter().filter_map(|group| group.preferred_version.as_ref());
    let mut lists = vec![world.admin.list_core_api_resources("v1").await?];
    for version in versions {
        lists.push(world.admin.list_api_group_resources(&version.group_version).await?);
    }
    for list in lists {
        let group =
            list.group_version.split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
        let all = list
            .resources
            .iter()
            .filter(|r| r.categories.as_ref().is_some_and(|c| c.iter().any(|category| category == "all")));
        found.extend(all.map(|resource| format!("list {}{group}", resource.name)));
    }
    let known: BTreeSet<String> = requests(GET_ALL).map(ToOwned::to_owned).collect();
    ensure!(found == known, "the API server has {found:?}");
    Ok(())
}

/// Capsule binds roles of its own in every namespace of a tenant; none of them may reach a person.
#[tokio::test(flavor = "multi_thread")]
async fn no_binding_of_capsules_own_reaches_a_person() -> Result<()> {
    let world = STAGE.together().await?;
    red_and_blue(&world).await?;
    let bindings = kind("RoleBinding").every(&world.admin);
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
    let everywhere = kind("ClusterRoleBinding").every(&world.admin);
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
    object::refused(what, &[403], answer).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_developer_really_edits_a_sandbox_and_nothing_elsewhere() -> Result<()> {
    const SANDBOX: &str = "tn-red-sandbox-dev";
    let world = STAGE.together().await?;
    red_and_blue(&world).await?;
    let dave = world.plane.client(&Identity::user("dave@red.example", &["red-devs"])).await?;
    let deployment: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "mine"},
        "spec": {"selector": {"matchLabels": {"app": "mine"}}, "template": {
            "metadata": {"labels": {"app": "mine"}},
            "spec": {"containers": [{"name": "mine", "image": "nginx:1.29"}]}}},
    }))?;
    let secret: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine"},
        "stringData": {"password": "hunter2"},
    }))?;
    let dave_s = |of: &str, namespace: &str| -> Api<DynamicObject> { kind(of).within(&dave, namespace) };
    let post = PostParams::default();
    dave_s("Deployment", SANDBOX).create(&post, &deployment).await?;
    dave_s("Secret", SANDBOX).create(&post, &secret).await?;
    assert!(dave_s("Secret", SANDBOX).get("mine").await?.data["data"]["password"].is_string());
    eventually("the developer's pod runs in the sandbox", PATIENCE, async || {
        let live = dave_s("Deployment", SANDBOX).get("mine").await.map_err(|e| e.to_string())?;
        let available = live.data["status"]["availableReplicas"].as_i64();
        if available == Some(1) { Ok(()) } else { Err(live.data["status"].to_string()) }
    })
    .await?;
    dave_s("Deployment", SANDBOX).delete("mine", &DeleteParams::default()).await?;
    dave_s("Secret", SANDBOX).delete("mine", &DeleteParams::default()).await?;
    for namespace in ["tn-red-app-shop", "tn-red", "tn-blue-sandbox-dev", "tn-blue-app-shop", "kube-system"] {
        let made = dave_s("Deployment", namespace).create(&post, &deployment).await;
        refused("a Deployment elsewhere", made)?;
        refused("a Secret elsewhere", dave_s("Secret", namespace).create(&post, &secret).await)?;
        refused("Secrets elsewhere", dave_s("Secret", namespace).list(&ListParams::default()).await)?;
    }
    let blue = dave_s("Pod", "tn-blue-app-shop");
    refused("pods of another tenant", blue.list(&ListParams::default()).await)?;
    println!(
        "a developer made, read and deleted a Deployment and a Secret in the sandbox; 16 requests elsewhere got 403"
    );
    Ok(())
}

/// Takes one project down; nothing of the other tenant's of the same name changes.
#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_a_project_of_one_name_stay_apart() -> Result<()> {
    let world = STAGE.together().await?;
    for tenant in ["ruby", "azure"] {
        world.apply_until_accepted(&quickstart(tenant)?, PATIENCE).await?;
    }
    for tenant in ["ruby", "azure"] {
        world.ready(tenant, PATIENCE).await?;
        world.silent(Some(tenant), PATIENCE).await?;
    }
    let before = world.snapshot("azure").await?;
    let named: Vec<_> =
        before.0.values().map(ToString::to_string).filter(|text| text.contains("ruby")).collect();
    ensure!(named.is_empty(), "something of azure names ruby: {named:#?}");
    for place in
        [Place::new("NovaApp", "tn-ruby-app-shop", "web"), Place::new("NovaProject", "tn-ruby", "shop")]
    {
        place.delete(&world).await?;
        place.gone(&world, PATIENCE).await?;
    }
    world.ready("azure", PATIENCE).await?;
    let differences = before.differences(&world.snapshot("azure").await?);
    ensure!(differences.is_empty(), "azure changed: {differences:#?}");
    println!("the project shop of ruby is gone; {} objects of azure are as they were", before.0.len());
    Ok(())
}
