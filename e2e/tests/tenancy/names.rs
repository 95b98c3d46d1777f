//! Names that would collide, groups that two tenants want, and objects in a place that is not theirs.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use e2e::{World, any, eventually, is_ready, message, reason};
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use crate::PATIENCE;

/// Names and a part of the message that tells their rule.
const REFUSED: [(&str, &str); 13] = [
    ("a-app-b", "'a-app-b' is not"),
    ("app", "between hyphens is 'app', 'sandbox' or 'db'"),
    ("x-db", "between hyphens is 'app', 'sandbox' or 'db'"),
    ("sandbox-1", "between hyphens is 'app', 'sandbox' or 'db'"),
    ("a-sandbox", "between hyphens is 'app', 'sandbox' or 'db'"),
    ("kube", "are reserved; choose another name"),
    ("system", "are reserved; choose another name"),
    ("default", "are reserved; choose another name"),
    ("capsule", "are reserved; choose another name"),
    ("vela", "are reserved; choose another name"),
    ("kubenova", "are reserved; choose another name"),
    ("a--b", "has no '--'"),
    ("twenty-six-letters-in-all-x", "at most 25 characters"),
];

pub async fn names_that_would_collide_are_refused(world: &World) -> Result<()> {
    let tenants = any(&world.admin, "kubenova.io", "v1alpha1", "NovaTenant", "novatenants");
    for (name, rule) in REFUSED {
        let body = json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaTenant", "metadata": {"name": name}, "spec": {}});
        match tenants.create(&PostParams::default(), &serde_json::from_value(body)?).await {
            Err(kube::Error::Api(status)) if status.message.contains(rule) => {
                println!("| tenant `{name}` | {} |", status.message);
            }
            Err(error) => bail!("{name} is refused without its rule {rule:?}: {error}"),
            Ok(_) => bail!("{name} is taken"),
        }
    }
    Ok(())
}

/// What Ready says of an object, once it has said something of this generation.
pub async fn verdict(
    world: &World,
    kind: &str,
    plural: &str,
    namespace: &str,
    name: &str,
    code: &str,
) -> Result<String> {
    let all = any(&world.admin, "kubenova.io", "v1alpha1", kind, plural);
    eventually(&format!("{kind} {namespace}/{name} says {code}"), PATIENCE, async || {
        let list = all.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        let mut found = list.into_iter();
        let found = found.find(|o| o.name_any() == name && o.namespace().unwrap_or_default() == namespace);
        let live = found.ok_or("it is gone")?;
        let told = live.data["status"]["lastError"]["code"].as_str().unwrap_or_default();
        if !is_ready(&live) && told == code {
            Ok(format!("{} {told}: {}", reason(&live), message(&live)))
        } else {
            Err(format!("{} {told}: {}", reason(&live), message(&live)))
        }
    })
    .await
}

pub async fn a_developer_group_belongs_to_one_tenant(world: &World) -> Result<()> {
    let tenant = |name: &str, group: &str| {
        format!(
            "{{apiVersion: kubenova.io/v1alpha1, kind: NovaTenant, metadata: {{name: {name}}}, spec: {{devGroup: {group}}}}}"
        )
    };
    world.apply(&tenant("elder", "the-people")).await?;
    world.ready("elder", PATIENCE).await?;
    // Times of creation are whole seconds; equal ones are told apart by name.
    world.apply(&tenant("younger", "the-people")).await?;
    // The default of a name counts like a group that was written down.
    world.apply(&tenant("thief", "elder-devs")).await?;
    let told = verdict(world, "NovaTenant", "novatenants", "", "younger", "KN-409").await?;
    println!("| devGroup of another tenant | {told} |");
    assert!(told.starts_with("Conflict"), "{told}");
    let namespaces = any(&world.admin, "", "v1", "Namespace", "namespaces");
    assert!(namespaces.get_opt("tn-younger").await?.is_none(), "a refused tenant got a namespace");
    world.ready("elder", PATIENCE).await?;
    world.ready("thief", PATIENCE).await?;

    let tenants = any(&world.admin, "kubenova.io", "v1alpha1", "NovaTenant", "novatenants");
    tenants.delete("elder", &kube::api::DeleteParams::default()).await?;
    world.ready("younger", PATIENCE).await?;
    println!("| … the elder deleted | the younger is Ready |");
    Ok(())
}

pub async fn objects_in_a_wrong_place_are_told_so(world: &World) -> Result<()> {
    let app = |name: &str, namespace: &str, echo: &str| {
        format!(
            "{{apiVersion: kubenova.io/v1alpha1, kind: NovaApp, metadata: {{name: {name}, namespace: {namespace}}}, \
             spec: {{{echo} source: {{kind: velaTemplate, velaTemplate: {{template: worker, parameters: {{image: nginx}}}}}}}}}}"
        )
    };
    let other = |kind: &str, name: &str, namespace: &str| {
        format!(
            "{{apiVersion: kubenova.io/v1alpha1, kind: {kind}, metadata: {{name: {name}, namespace: {namespace}}}, spec: {{}}}}"
        )
    };
    let mut misplaced = Vec::new();
    for (at, namespace) in ["default", "tn-red", "tn-red-sandbox-dev"].into_iter().enumerate() {
        misplaced.push((
            app(&format!("lost{at}"), namespace, ""),
            "NovaApp",
            "novaapps",
            namespace,
            format!("lost{at}"),
        ));
    }
    for (at, namespace) in ["default", "tn-red-app-shop", "tn-red-sandbox-dev"].into_iter().enumerate() {
        for (kind, plural) in [("NovaProject", "novaprojects"), ("NovaSandbox", "novasandboxes")] {
            let name = format!("lost{at}");
            misplaced.push((other(kind, &name, namespace), kind, plural, namespace, name));
        }
    }
    for (name, echo) in [("echo1", "tenant: blue,"), ("echo2", "project: bank,")] {
        let namespace = "tn-red-app-shop";
        misplaced.push((app(name, namespace, echo), "NovaApp", "novaapps", namespace, name.to_owned()));
    }
    for (yaml, ..) in &misplaced {
        world.apply(yaml).await?;
    }
    let mut told = BTreeMap::new();
    for (_, kind, plural, namespace, name) in &misplaced {
        let words = verdict(world, kind, plural, namespace, name, "KN-403").await?;
        println!("| {kind} {namespace}/{name} | {words} |");
        told.insert(format!("{kind} {namespace}/{name}"), words);
    }
    // An echo that says the truth is taken.
    world.apply(&app("echo3", "tn-red-app-shop", "tenant: red, project: shop,")).await?;
    let all = any(&world.admin, "kubenova.io", "v1alpha1", "NovaApp", "novaapps");
    eventually("a true echo is taken", PATIENCE, async || {
        let list = all.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        match list.into_iter().find(|o| o.name_any() == "echo3") {
            Some(live) if is_ready(&live) => Ok(()),
            Some(live) => Err(message(&live).to_owned()),
            None => Err("it is gone".to_owned()),
        }
    })
    .await?;
    // Nothing was made for any of them.
    let namespaces =
        any(&world.admin, "", "v1", "Namespace", "namespaces").list(&ListParams::default()).await?;
    let made: Vec<_> = namespaces.iter().map(ResourceExt::name_any).filter(|n| n.contains("lost")).collect();
    assert!(made.is_empty(), "namespaces for misplaced objects: {made:?}");
    let applications = any(&world.admin, "core.oam.dev", "v1beta1", "Application", "applications");
    let made = applications.list(&ListParams::default()).await?;
    let made: Vec<_> = made
        .iter()
        .map(ResourceExt::name_any)
        .filter(|n| n.starts_with("lost") || ["echo1", "echo2"].contains(&n.as_str()))
        .collect();
    assert!(made.is_empty(), "Applications for misplaced apps: {made:?}");
    // What no finalizer holds is gone at once, so nothing of it is left for the next look.
    for (_, kind, plural, namespace, name) in &misplaced {
        crate::within(&world.admin, "kubenova.io/v1alpha1", kind, plural, namespace)
            .delete(name, &kube::api::DeleteParams::default())
            .await?;
    }
    Ok(())
}
