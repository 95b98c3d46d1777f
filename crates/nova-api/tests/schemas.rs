//! What holds for every schema: bounds, formats, descriptions, the shape of the status. No I/O but the committed files.
#![allow(clippy::unwrap_used, clippy::panic)] // The helpers of a test may fail it, too.

use std::{fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// Objects of any shape: what stands in them is for another program to judge.
const FREE_FORM: &[&str] = &[
    "NovaApp.spec.source.helmHttp.values",
    "NovaApp.spec.source.helmOci.values",
    "NovaApp.spec.source.velaTemplate.parameters",
    "NovaApp.spec.traits[].properties",
];

/// Kind and schema of every definition.
fn schemas() -> Vec<(String, Value)> {
    nova_api::crds::all()
        .into_iter()
        .map(|crd| {
            let schema = crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
            (crd.spec.names.kind, serde_json::to_value(schema).unwrap())
        })
        .collect()
}

/// Calls `check` with the path and the schema of everything below a root, the declared part of the metadata left out.
fn visit(path: &str, schema: &Value, check: &mut impl FnMut(&str, &Value)) {
    check(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        if name != "metadata" {
            visit(&format!("{path}.{name}"), property, check);
        }
    }
    if schema["items"].is_object() {
        visit(&format!("{path}[]"), &schema["items"], check);
    }
    if schema["additionalProperties"].is_object() {
        visit(&format!("{path}{{}}"), &schema["additionalProperties"], check);
    }
}

fn visit_all(mut check: impl FnMut(&str, &Value)) {
    let mut seen = 0;
    for (kind, schema) in schemas() {
        visit(&kind, &schema, &mut |path, schema| {
            seen += 1;
            check(path, schema);
        });
    }
    assert!(seen > 250, "only {seen} schemas seen");
}

#[test]
fn every_string_list_and_map_is_bounded() {
    let mut free_form = Vec::new();
    visit_all(|path, schema| {
        let has = |key: &str| !schema[key].is_null();
        if schema["x-kubernetes-int-or-string"] == json!(true) {
            assert!(has("maxLength"), "{path} has no maxLength");
            return;
        }
        match schema["type"].as_str() {
            Some("string") => {
                assert!(
                    has("maxLength") || has("enum") || schema["format"] == json!("date-time"),
                    "{path} is a string without maxLength"
                );
            }
            Some("array") => {
                assert!(has("maxItems"), "{path} is a list without maxItems");
                assert!(has("x-kubernetes-list-type"), "{path} does not say how lists are merged");
            }
            Some("object") => {
                if has("additionalProperties") || has("x-kubernetes-preserve-unknown-fields") {
                    assert!(has("maxProperties"), "{path} is a map without maxProperties");
                }
                if has("x-kubernetes-preserve-unknown-fields") {
                    free_form.push(path.to_owned());
                } else {
                    assert!(
                        has("additionalProperties") || has("properties"),
                        "{path} is an object of nothing"
                    );
                }
            }
            Some("integer" | "boolean") => {}
            other => panic!("{path} has the type {other:?}"),
        }
    });
    free_form.sort();
    assert_eq!(free_form, FREE_FORM);
}

#[test]
fn every_integer_of_a_spec_has_both_bounds_and_no_format_is_unsigned() {
    visit_all(|path, schema| {
        if let Some(format) = schema["format"].as_str() {
            assert!(["int32", "int64", "date-time"].contains(&format), "{path} has the format {format}");
        }
        if schema["type"] == json!("integer") && path.contains(".spec.") {
            assert!(schema["minimum"].is_number() && schema["maximum"].is_number(), "{path} is not bounded");
        }
    });
}

#[test]
fn every_field_is_described_in_sentences() {
    visit_all(|path, schema| {
        if path.ends_with("[]") || path.ends_with("{}") {
            return;
        }
        let description =
            schema["description"].as_str().unwrap_or_else(|| panic!("{path} has no description"));
        assert!(description.ends_with('.'), "{path}: {description:?}");
        assert!(!description.contains("Auto-generated"), "{path}: {description:?}");
    });
}

#[test]
fn nothing_is_nullable_and_no_title_is_a_type_of_the_program() {
    visit_all(|path, schema| {
        assert!(schema["nullable"].is_null(), "{path} is nullable");
        assert!(schema["title"].is_null(), "{path} has a title");
        assert!(schema["anyOf"].is_null() && schema["oneOf"].is_null(), "{path} has alternatives");
    });
}

#[test]
fn every_status_is_flat_and_begins_untouched() {
    for (kind, schema) in schemas() {
        let status = &schema["properties"]["status"];
        assert_eq!(status["default"], json!({ "observedGeneration": -1 }), "{kind}");
        for field in ["observedGeneration", "id", "phase", "conditions", "blockers", "lastError"] {
            assert!(status["properties"][field].is_object(), "{kind}.status.{field}");
        }
        assert!(status["properties"]["core"].is_null(), "{kind}.status.core");
        let conditions = &status["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], json!("map"), "{kind}");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]), "{kind}");
        assert_eq!(schema["required"], json!(["spec"]), "{kind}");
    }
}

#[test]
fn every_kind_is_named_and_listed_as_the_documentation_says() {
    let expected = [
        ("NovaCluster", "ncluster", "Cluster", "Ready Status Capsule KubeVela Age"),
        ("NovaPlan", "nplan", "Cluster", "Ready CPU Memory Pods Tenants Age"),
        ("NovaTenant", "ntenant", "Cluster", "Ready Status Plan Projects Apps Age Owners Blocked-By"),
        ("NovaProject", "nproj", "Namespaced", "Ready Status Namespace Apps Age"),
        ("NovaSandbox", "nsandbox", "Namespaced", "Ready Status Namespace Age Expires"),
        ("NovaApp", "napp", "Namespaced", "Ready Status Source Version Healthy Age"),
    ];
    let all = nova_api::crds::all();
    assert_eq!(all.len(), expected.len());
    for (crd, (kind, short, scope, columns)) in all.iter().zip(expected) {
        assert_eq!(crd.spec.names.kind, kind);
        assert_eq!(crd.spec.group, nova_api::GROUP);
        assert_eq!(crd.spec.scope, scope);
        assert_eq!(crd.spec.names.short_names.as_deref(), Some([short.to_owned()].as_slice()));
        assert_eq!(crd.spec.names.categories.as_deref(), Some(["nova".to_owned()].as_slice()));
        let version = &crd.spec.versions[0];
        assert!(
            version.subresources.as_ref().is_some_and(|s| s.status.is_some()),
            "{kind} has no status subresource"
        );
        let names: Vec<&str> =
            version.additional_printer_columns.iter().flatten().map(|column| column.name.as_str()).collect();
        assert_eq!(names.join(" "), columns, "{kind}");
    }
}

#[test]
fn the_committed_definitions_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
    let mut files: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected = Vec::new();
    for crd in nova_api::crds::all() {
        let file = nova_api::crds::file_name(&crd);
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        let committed: CustomResourceDefinition = serde_yaml::from_str(&text).unwrap();
        assert!(committed == crd, "{file} is out of date: run `cargo xtask gen`");
        expected.push(file);
    }
    expected.sort();
    assert_eq!(files, expected);
}
