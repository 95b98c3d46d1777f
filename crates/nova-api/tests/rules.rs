//! Every validation rule, shown by objects that it takes and objects that it refuses. Reads `rules/*.yaml`.
//!
//! A case is `{case, object, was, refused, server_only}`: `was` is the object before an update; `refused` are parts of
//! the messages, one for each rule that refuses, none if the object is taken; `server_only` marks what the schema
//! refuses without a rule, which only an API server can show. The same files serve for a test against one.
#![allow(clippy::unwrap_used, clippy::panic)] // The helpers of a test may fail it, too.

use std::{collections::BTreeSet, fs, path::Path};

use kube::core::cel::Validator;
use nova_api::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaSandbox, NovaTenant};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(rename = "case")]
    title: String,
    object: Value,
    was: Option<Value>,
    #[serde(default)]
    refused: Vec<String>,
    #[serde(default)]
    server_only: bool,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules");
    let mut cases = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let file: Vec<Case> =
            serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        cases.extend(file);
    }
    assert!(cases.len() > 80, "only {} cases found", cases.len());
    cases
}

/// Schema of the kind of `object`, as installed.
fn schema_of(object: &Value) -> Value {
    let crd = nova_api::crds::all()
        .into_iter()
        .find(|crd| object["kind"] == json!(crd.spec.names.kind))
        .unwrap_or_else(|| panic!("no kind {}", object["kind"]));
    serde_json::to_value(crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap())
        .unwrap()
}

/// Messages of the rules that refuse `object`.
fn refusals(object: &Value, was: Option<&Value>) -> Vec<String> {
    match Validator::new().validate(&schema_of(object), object, was) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.into_vec().into_iter().map(|error| error.message).collect(),
    }
}

/// Messages of all rules in a schema and below it.
fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == "x-kubernetes-validations" {
                    for rule in value.as_array().unwrap() {
                        found.insert(rule["message"].as_str().expect("every rule has a message").to_owned());
                    }
                }
                messages(value, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| messages(item, found)),
        _ => {}
    }
}

/// What the derived type makes of an object: the message of the first thing that it does not understand.
fn parse(object: &Value) -> Result<Value, serde_json::Error> {
    let mut object = object.clone();
    object["apiVersion"] = json!("kubenova.io/v1alpha1");
    match object["kind"].as_str().unwrap() {
        "NovaCluster" => serde_json::from_value::<NovaCluster>(object).and_then(serde_json::to_value),
        "NovaPlan" => serde_json::from_value::<NovaPlan>(object).and_then(serde_json::to_value),
        "NovaTenant" => serde_json::from_value::<NovaTenant>(object).and_then(serde_json::to_value),
        "NovaProject" => serde_json::from_value::<NovaProject>(object).and_then(serde_json::to_value),
        "NovaSandbox" => serde_json::from_value::<NovaSandbox>(object).and_then(serde_json::to_value),
        "NovaApp" => serde_json::from_value::<NovaApp>(object).and_then(serde_json::to_value),
        other => panic!("no kind {other}"),
    }
}

#[test]
fn every_case_is_taken_or_refused_as_it_says() {
    for case in cases().iter().filter(|case| !case.server_only) {
        let found = refusals(&case.object, case.was.as_ref());
        assert_eq!(found.len(), case.refused.len(), "{}: {found:?}", case.title);
        for part in &case.refused {
            assert!(found.iter().any(|message| message.contains(part)), "{}: {found:?}", case.title);
        }
        if let Some(was) = &case.was {
            assert_eq!(refusals(was, None), Vec::<String>::new(), "{}: before", case.title);
        }
    }
}

#[test]
fn every_rule_refuses_at_least_one_case() {
    let mut unseen = BTreeSet::new();
    for crd in nova_api::crds::all() {
        messages(&serde_json::to_value(crd).unwrap(), &mut unseen);
    }
    assert!(unseen.len() > 40, "only {} rules found", unseen.len());
    for case in cases().iter().filter(|case| !case.server_only && !case.refused.is_empty()) {
        for message in refusals(&case.object, case.was.as_ref()) {
            unseen.remove(&message);
        }
    }
    assert_eq!(unseen, BTreeSet::new(), "no case shows these rules");
}

#[test]
fn every_refusal_names_the_field() {
    for case in cases().iter().filter(|case| !case.server_only) {
        let Err(errors) =
            Validator::new().validate(&schema_of(&case.object), &case.object, case.was.as_ref())
        else {
            continue;
        };
        for error in errors.as_slice() {
            let path = error.field_path.trim_start_matches('.');
            assert!(path.starts_with("spec.") || path == "metadata.name", "{error:?}");
        }
    }
}

#[test]
fn what_is_taken_survives_the_types_unchanged() {
    for case in cases().iter().filter(|case| case.refused.is_empty()) {
        let parsed = parse(&case.object).unwrap_or_else(|error| panic!("{}: {error}", case.title));
        let again = parse(&parsed).unwrap();
        assert_eq!(parsed, again, "{}", case.title);
    }
}

#[test]
fn the_derived_types_refuse_by_the_same_rules() {
    let mut tenant = NovaTenant::new("a-app-b", nova_api::v1alpha1::NovaTenantSpec::default());
    assert!(tenant.validate_cel().is_err());
    tenant.metadata.name = Some("happy".to_owned());
    assert!(tenant.validate_cel().is_ok());

    let mut before = tenant.clone();
    before.spec.dev_group = Some("happy-people".to_owned());
    assert!(tenant.validate_cel_update(&before).is_err());
    assert!(before.validate_cel_update(&tenant).is_err(), "the default group is one as well");
    before.spec.dev_group = Some("happy-devs".to_owned());
    assert!(before.validate_cel_update(&tenant).is_ok(), "it may be written out");
}
