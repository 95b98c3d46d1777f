//! The YAML documents of a `kubeManifest`, checked one by one. Pure.

use std::collections::BTreeSet;

use nova_api::v1alpha1::{JsonText, RESERVED_KEY};
use serde_json::{Value, json};
use thiserror::Error;

use crate::names::label;

/// Why a manifest cannot be taken.
#[derive(Debug, Error)]
pub enum InvalidManifest {
    /// Not YAML.
    #[error("not valid YAML: {0}")]
    Parse(String),
    /// YAML with a key that no reader of JSON gives back as it was written.
    #[error("{0}")]
    Reserved(String),
    /// Nothing in it.
    #[error("it holds no object")]
    Empty,
    /// A document without one of the three fields that say what it is.
    #[error("document {index} has no {field}")]
    Incomplete {
        /// Counted from 1.
        index: usize,
        /// What is missing.
        field: &'static str,
    },
    /// An object for another namespace.
    #[error("{object} is for the namespace {namespace:?}; leave metadata.namespace out")]
    OtherNamespace {
        /// `<Kind> <name>`.
        object: String,
        /// What it says.
        namespace: String,
    },
    /// An object that would outlive its app.
    #[error("{object} has metadata.finalizers, which would hold up the deletion of the app; leave them out")]
    Finalizers {
        /// `<Kind> <name>`.
        object: String,
    },
    /// The same object twice.
    #[error("{object} is in it twice")]
    Twice {
        /// `<Kind> <name>`.
        object: String,
    },
    /// More documents than are taken.
    #[error("it has {count} documents, and at most {MAX_OBJECTS} are taken; divide it into several apps")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// Longer than any that the definition takes.
    #[error("it has {size} bytes, and at most {MAX_SIZE} are taken; divide it into several apps")]
    TooLong {
        /// Bytes as written.
        size: usize,
    },
    /// Its aliases make too much of it.
    #[error("with its aliases written out it has {size} bytes, and at most {MAX_SIZE} are taken")]
    TooLarge {
        /// Bytes as JSON.
        size: usize,
    },
    /// A list of objects, which Vela would apply as one.
    #[error("{object} is a list; write its items as documents of their own")]
    List {
        /// `<Kind> <name>`.
        object: String,
    },
}

/// Most objects in one manifest.
const MAX_OBJECTS: usize = 200;
/// Largest manifest with its aliases written out, in bytes of JSON: what the API server still takes as one object.
const MAX_SIZE: usize = 1024 * 1024;

/// Reads the documents of a manifest, without making trees of them.
pub fn read(manifest: &str) -> Result<Vec<JsonText>, InvalidManifest> {
    if manifest.len() > MAX_SIZE {
        return Err(InvalidManifest::TooLong { size: manifest.len() });
    }
    // An alias is a copy of what may be large: a text within the bounds of the definition can stand for gigabytes.
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! { max_total_scalar_bytes: MAX_SIZE, max_nodes: 50_000, max_aliases: 1_000 },
    };
    let documents: Vec<JsonText> =
        serde_yaml::from_multiple_with_options(manifest, options).map_err(|error| {
            let told = first_line(&error.to_string());
            let reserved = told.contains(RESERVED_KEY);
            if reserved { InvalidManifest::Reserved(told) } else { InvalidManifest::Parse(told) }
        })?;
    if documents.len() > MAX_OBJECTS {
        return Err(InvalidManifest::TooMany { count: documents.len() });
    }
    let size = documents.iter().map(|d| d.text().len()).sum();
    if size > MAX_SIZE {
        return Err(InvalidManifest::TooLarge { size });
    }
    Ok(documents)
}

/// The objects of documents that go to `namespace`.
pub fn objects(documents: &[JsonText], namespace: &str) -> Result<Vec<Value>, InvalidManifest> {
    let mut seen = BTreeSet::new();
    let mut objects = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let mut document = document.to_value();
        if document.is_null() {
            continue;
        }
        whole_numbers(&mut document);
        let field = |pointer: &str, field: &'static str| {
            let text = document.pointer(pointer).and_then(Value::as_str).filter(|t| !t.is_empty());
            text.map(str::to_owned).ok_or(InvalidManifest::Incomplete { index: index + 1, field })
        };
        let api_version = field("/apiVersion", "apiVersion")?;
        let kind = field("/kind", "kind")?;
        let name = field("/metadata/name", "metadata.name")?;
        let object = format!("{kind} {name}");
        if kind == "List" || document.get("items").is_some_and(Value::is_array) {
            return Err(InvalidManifest::List { object });
        }
        match document.pointer("/metadata/namespace") {
            Some(other) if !other.is_null() && other != namespace => {
                let namespace = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                return Err(InvalidManifest::OtherNamespace { object, namespace });
            }
            _ => {}
        }
        if document.pointer("/metadata/finalizers").is_some() {
            return Err(InvalidManifest::Finalizers { object });
        }
        let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
        if !seen.insert((group, kind, name)) {
            return Err(InvalidManifest::Twice { object });
        }
        objects.push(document);
    }
    if objects.is_empty() { Err(InvalidManifest::Empty) } else { Ok(objects) }
}

/// `2.0` and `1e3` are whole numbers to Kubernetes, which gives them back as such.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            // Beyond this a float stands for several whole numbers.
            let whole = |f: &f64| f.fract() == 0.0 && f.abs() < 9_007_199_254_740_992.0;
            if let Some(float) = number.as_f64().filter(|_| number.is_f64()).filter(whole) {
                #[allow(clippy::cast_possible_truncation, reason = "whole, and within the range of i64")]
                let integer = float as i64;
                *value = integer.into();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        Value::Object(fields) => fields.values_mut().for_each(whole_numbers),
        _ => {}
    }
}

/// Kinds that make pods, and where the pods' labels are.
const TEMPLATES: [(&str, &str, &str); 6] = [
    ("apps/v1", "Deployment", "/spec/template"),
    ("apps/v1", "StatefulSet", "/spec/template"),
    ("apps/v1", "DaemonSet", "/spec/template"),
    ("apps/v1", "ReplicaSet", "/spec/template"),
    ("batch/v1", "Job", "/spec/template"),
    ("batch/v1", "CronJob", "/spec/jobTemplate/spec/template"),
];

/// Puts the app's name on the pods, as Vela does for its own components but not for the objects of a manifest:
/// a pod that cannot start is found by it. A label that the author has set is left alone.
pub fn label_pods(objects: &mut [Value], app: &str) {
    for object in objects {
        let is = |field: &str, value: &str| object.get(field).and_then(Value::as_str) == Some(value);
        let known = TEMPLATES.iter().find(|(version, kind, _)| is("apiVersion", version) && is("kind", kind));
        let Some(template) =
            known.and_then(|(_, _, at)| object.pointer_mut(at)).and_then(Value::as_object_mut)
        else {
            continue;
        };
        let metadata = template.entry("metadata").or_insert_with(|| json!({}));
        let Some(metadata) = metadata.as_object_mut() else { continue };
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.entry(label::VELA_APP).or_insert_with(|| json!(app));
        }
    }
}

/// A parser's message may quote the whole text, which may hold what should not be in a status.
fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(manifest: &str) -> Result<Vec<Value>, InvalidManifest> {
        super::objects(&read(manifest)?, "tn-a-app-b")
    }

    fn refused(manifest: &str) -> String {
        objects(manifest).unwrap_err().to_string()
    }

    #[test]
    fn documents_are_taken_one_by_one() {
        let manifest = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n---\n\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, namespace: tn-a-app-b}\n";
        let objects = objects(manifest).unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[0]["data"]["x"], "1");
    }

    #[test]
    fn whole_numbers_are_written_as_the_api_server_gives_them_back() {
        let manifest =
            "apiVersion: v1\nkind: X\nmetadata: {name: a}\nspec: {replicas: 2.0, many: [1e3, 0.5]}";
        let objects = objects(manifest).unwrap();
        assert_eq!(objects[0]["spec"], json!({"replicas": 2, "many": [1000, 0.5]}));
    }

    #[test]
    fn what_is_too_much_is_refused_and_not_cut() {
        let one = |n: usize| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n}}}\n");
        let many: String = (0..=MAX_OBJECTS).map(one).collect();
        assert!(refused(&many).contains("201 documents"), "{}", refused(&many));
        // A text of 100 KiB, thirty times over.
        let aliases = "*t, ".repeat(30);
        let text = "x".repeat(100 * 1024);
        let bomb = format!("{}data: {{t: &t {text}}}\nmore: [{aliases}]\n", one(0));
        assert!(
            refused(&bomb).starts_with("not valid YAML") || refused(&bomb).contains("aliases"),
            "{}",
            refused(&bomb)
        );
    }

    #[test]
    fn a_long_text_is_refused_by_its_length() {
        let long = format!("# {}", "x".repeat(MAX_SIZE));
        assert!(
            refused(&long).starts_with("it has 1048578 bytes, and at most 1048576"),
            "{}",
            refused(&long)
        );
    }

    #[test]
    fn the_keys_of_serde_json_are_refused_wherever_they_stand() {
        let magic = "$serde_json::private::RawValue";
        let head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        for body in [
            format!("data: {{{magic}: '{{}}'}}"),
            format!("data: {{a: [{{b: {{'{magic}': '{{}}', c: 1}}}}]}}"),
            format!("{magic}: '[]'"),
            r#"data: {"\x24serde_json::private::RawValue": "{}"}"#.to_owned(),
        ] {
            for text in
                [format!("{head}{body}"), format!("{body}\n{head}"), format!("{head}---\n{head}{body}")]
            {
                let refused = refused(&text);
                assert!(refused.contains("a key begins with \"$serde_json::private\""), "{text}: {refused}");
                assert!(!refused.contains("not valid YAML"), "{refused}");
            }
        }
        assert!(objects(&format!("{head}data: {{a: '{magic}'}}")).is_ok(), "as a value it means nothing");
    }

    #[test]
    fn what_lies_deeper_than_anything_can_read_is_refused() {
        for depth in [100, 50_000] {
            let deep = format!("a: {}{}", "[".repeat(depth), "]".repeat(depth));
            assert!(refused(&deep).starts_with("not valid YAML"), "{}", refused(&deep));
        }
    }

    #[test]
    fn what_is_no_object_is_told_as_such() {
        for document in ["hello", "[1]", "7"] {
            assert_eq!(refused(document), "document 1 has no apiVersion", "{document}");
        }
    }

    #[test]
    fn pods_get_the_name_of_the_app_unless_they_have_one() {
        let mut objects = [
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {}}}),
            json!({"apiVersion": "batch/v1", "kind": "Job",
                "spec": {"template": {"metadata": {"labels": {"app.oam.dev/name": "mine"}}}}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap"}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"metadata": {"labels": 7}}}}),
        ];
        label_pods(&mut objects, "web");
        assert_eq!(objects[0]["spec"]["template"]["metadata"]["labels"], json!({"app.oam.dev/name": "web"}));
        assert_eq!(objects[1]["spec"]["template"]["metadata"]["labels"]["app.oam.dev/name"], "mine");
        assert_eq!(objects[2], json!({"apiVersion": "v1", "kind": "ConfigMap"}));
        assert_eq!(objects[3]["spec"]["template"]["metadata"]["labels"], 7);
    }

    #[test]
    fn what_cannot_be_taken_is_told_by_document_and_field() {
        assert_eq!(refused("kind: ConfigMap\nmetadata: {name: a}\n"), "document 1 has no apiVersion");
        assert_eq!(refused("apiVersion: v1\nkind: ConfigMap\n"), "document 1 has no metadata.name");
        assert!(
            refused("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: kube-system}")
                .contains("kube-system")
        );
        let odd = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: [kube-system]}";
        assert!(refused(odd).contains("kube-system"));
        let held = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, finalizers: [example.com/never]}";
        assert!(refused(held).contains("metadata.finalizers"));
        assert!(refused("a: b: c").starts_with("not valid YAML"));
        assert_eq!(refused("---\n"), "it holds no object");
        let twice = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
        assert_eq!(refused(&format!("{twice}---\n{twice}")), "ConfigMap a is in it twice");
    }
}
