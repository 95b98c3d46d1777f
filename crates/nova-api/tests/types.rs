//! The types on their own: what is written of them, and that examples and statuses survive them. Reads `examples/`.
#![allow(clippy::unwrap_used, clippy::panic)] // The helpers of a test may fail it, too.

use std::{collections::BTreeSet, fs, path::Path};

use k8s_openapi::apimachinery::pkg::{
    api::resource::Quantity,
    apis::meta::v1::{Condition, Time},
};
use kube::Resource;
use nova_api::{
    conditions::{Blocker, BlockerClass, Code, ConditionType, LastError, Phase, Reason, clip},
    v1alpha1::*,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn written(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

#[test]
fn nothing_is_written_of_a_default_value() {
    assert_eq!(written(NovaClusterSpec::default()), json!({}));
    assert_eq!(written(NovaPlanSpec::default()), json!({}));
    assert_eq!(written(NovaTenantSpec::default()), json!({}));
    assert_eq!(written(NovaProjectSpec::default()), json!({}));
    assert_eq!(written(NovaSandboxSpec::default()), json!({}));
    assert_eq!(written(Quotas::default()), json!({}));
    assert_eq!(written(Limits::default()), json!({}));
    assert_eq!(written(ResourceAmounts::default()), json!({}));
    assert_eq!(written(Resources::default()), json!({}));
    assert_eq!(written(TenantNetworkPolicy::default()), json!({}));
    assert_eq!(written(NamespaceQuota::default()), json!({}));
    assert_eq!(written(TenantQuota::default()), json!({}));
    assert_eq!(written(NovaClusterStatus::default()), json!({}));
    assert_eq!(written(NovaPlanStatus::default()), json!({}));
    assert_eq!(written(NovaTenantStatus::default()), json!({}));
    assert_eq!(written(NovaProjectStatus::default()), json!({}));
    assert_eq!(written(NovaSandboxStatus::default()), json!({}));
    assert_eq!(written(NovaAppStatus::default()), json!({}));
}

#[test]
fn an_untouched_status_is_read() {
    let status: NovaTenantStatus = serde_json::from_value(json!({ "observedGeneration": -1 })).unwrap();
    assert_eq!(status.core().observed_generation, Some(-1));
    assert_eq!(status.core().phase, None);
}

#[test]
fn a_full_status_stands_flat_and_survives() {
    let at = Time("2026-11-21T09:00:00Z".parse().unwrap());
    let mut status =
        NovaAppStatus { version: Some("1.29".into()), healthy: Some("1/1".into()), ..Default::default() };
    *status.core_mut() = CoreStatus {
        observed_generation: Some(3),
        id: Some("0b0e5e4e-0000-4000-8000-000000000000".into()),
        phase: Some(Phase::Error),
        conditions: vec![Condition {
            type_: ConditionType::Ready.to_string(),
            status: "False".into(),
            reason: Reason::Unhealthy.to_string(),
            message: "web is not available".into(),
            observed_generation: Some(3),
            last_transition_time: at.clone(),
        }],
        blockers: vec![Blocker {
            object: "Pod tn-acme-app-shop/web-0".into(),
            condition: "Ready".into(),
            reason: Reason::Unhealthy.to_string(),
            since: at.clone(),
            class: BlockerClass::User,
            actor: "developer".into(),
            fix: "correct the tag".into(),
        }],
        last_error: Some(LastError {
            code: Code::Kn422.to_string(),
            reason: Reason::Unhealthy.to_string(),
            message: "no such image".into(),
            at,
        }),
    };
    let value = written(&status);
    assert_eq!(value["phase"], json!("Error"));
    assert_eq!(value["blockers"][0]["class"], json!("user"));
    assert_eq!(value["lastError"]["code"], json!("KN-422"));
    assert_eq!(value["version"], json!("1.29"));
    assert_eq!(status.core().condition(ConditionType::Ready).map(|c| c.reason.as_str()), Some("Unhealthy"));
    assert_eq!(serde_json::from_value::<NovaAppStatus>(value).unwrap(), status);
}

#[test]
fn amounts_are_read_from_integers_and_strings() {
    let quotas: Quotas = serde_json::from_value(
        json!({ "cpu": 4, "memory": "8Gi", "pods": "20", "services.loadbalancers": 2 }),
    )
    .unwrap();
    assert_eq!(quotas.cpu, Some(Quantity("4".into())));
    assert_eq!(quotas.memory, Some(Quantity("8Gi".into())));
    assert_eq!(quotas.pods, Some(Quantity("20".into())));
    assert_eq!(quotas.services_loadbalancers, Some(Quantity("2".into())));
}

#[test]
fn choices_have_the_defaults_of_the_documentation() {
    let tenant = NovaTenantSpec::default();
    assert_eq!(tenant.deletion_policy, DeletionPolicy::Block);
    assert_eq!(tenant.isolation(), Isolation::DefaultDeny);
    assert_eq!(NovaProjectSpec::default().dev_group_role, DevGroupRole::ProjectDev);
}

#[test]
fn words_are_written_as_the_documentation_has_them() {
    assert_eq!(ConditionType::ALL.len(), 14);
    assert_eq!(Reason::ALL.len(), 25);
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(
        codes,
        "KN-400 KN-401 KN-403 KN-404 KN-405 KN-409 KN-422 KN-429 KN-500 KN-503"
            .split(' ')
            .collect::<Vec<_>>()
    );
    // A word is the name of its variant: nobody has to look one up.
    assert!(Reason::ALL.iter().all(|reason| format!("{reason:?}") == reason.as_str()));
    assert!(ConditionType::ALL.iter().all(|type_| format!("{type_:?}") == type_.as_str()));
    assert_eq!(written(Isolation::DefaultDeny), json!("default-deny"));
    for kind in SourceKind::ALL {
        assert_eq!(written(kind), json!(kind.as_str()));
    }
}

#[test]
fn a_long_text_is_cut_by_characters() {
    assert_eq!(clip("short", 10), "short");
    assert_eq!(clip("exactly-10", 10), "exactly-10");
    assert_eq!(clip("äöüäöüäöüäöü", 10), "äöüäöüäöü…");
    assert_eq!(clip("äöü", 0).chars().count(), 1);
}

#[test]
fn kinds_know_their_name_and_finalizer() {
    fn names<K: NovaKind>() -> (&'static str, Option<&'static str>) {
        assert_eq!(K::KIND, K::kind(&()));
        (K::KIND, K::finalizer())
    }
    assert_eq!(names::<NovaCluster>(), ("NovaCluster", None));
    assert_eq!(names::<NovaPlan>(), ("NovaPlan", Some("kubenova.io/novaplan")));
    assert_eq!(names::<NovaTenant>(), ("NovaTenant", Some("kubenova.io/novatenant")));
    assert_eq!(names::<NovaProject>(), ("NovaProject", Some("kubenova.io/novaproject")));
    assert_eq!(names::<NovaSandbox>(), ("NovaSandbox", Some("kubenova.io/novasandbox")));
    assert_eq!(names::<NovaApp>(), ("NovaApp", None));
}

/// Reads an example as its type; every field of it must be one that the type knows, and its rules must take it.
fn check<K>(path: &Path, text: &str, valid: impl Fn(&K) -> bool)
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let read: K = serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let again: K = serde_json::from_value(written(&read)).unwrap();
    assert_eq!(written(&read), written(&again));
    assert!(valid(&read), "{} is refused", path.display());

    let raw: Value = serde_yaml::from_str(text).unwrap();
    let (mut there, mut kept) = (BTreeSet::new(), BTreeSet::new());
    paths("", &raw, &mut there);
    paths("", &written(&read), &mut kept);
    let lost: Vec<_> = there.difference(&kept).collect();
    assert!(lost.is_empty(), "{}: unknown fields {lost:?}", path.display());
}

fn paths(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    found.insert(path.to_owned());
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| paths(&format!("{path}.{key}"), value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| paths(&format!("{path}[]"), item, found)),
        _ => {}
    }
}

fn yaml_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn every_example_is_read_and_taken() {
    let mut files = Vec::new();
    yaml_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples"), &mut files);
    assert!(files.len() >= 7, "only {} examples found", files.len());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let head: Value = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(head["apiVersion"], json!("kubenova.io/v1alpha1"), "{}", path.display());
        match head["kind"].as_str() {
            Some("NovaPlan") => check::<NovaPlan>(&path, &text, |o| o.validate_cel().is_ok()),
            Some("NovaTenant") => check::<NovaTenant>(&path, &text, |o| o.validate_cel().is_ok()),
            Some("NovaProject") => check::<NovaProject>(&path, &text, |o| o.validate_cel().is_ok()),
            Some("NovaSandbox") => check::<NovaSandbox>(&path, &text, |o| o.validate_cel().is_ok()),
            Some("NovaApp") => check::<NovaApp>(&path, &text, |o| o.validate_cel().is_ok()),
            other => panic!("{}: kind {other:?}", path.display()),
        }
    }
}
