//! Objects of any shape are kept as text: the same from every format, counted, and never deeper than their bound.
#![allow(clippy::unwrap_used, clippy::panic)] // The helpers of a test may fail it, too.

use std::thread;

use nova_api::v1alpha1::{DEEPEST, FreeForm, JsonText, NovaApp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Values, depth and the longest list, counted without haste.
fn counted(value: &Value) -> (u32, u16, u32) {
    let parts: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => Vec::new(),
    };
    let own = value.as_array().map_or(0, |items| u32::try_from(items.len()).unwrap());
    parts.into_iter().map(counted).fold((1, 1, own), |(values, depth, list), part| {
        (values + part.0, depth.max(part.1 + 1), list + part.2)
    })
}

fn any_value() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-z]{0,8}", any::<String>()];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no such number", |float| float.is_finite()).prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            any_map(inner).prop_map(Value::Object),
        ]
    })
}

fn any_map(value: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof!["[a-zA-Z_.$]{0,8}", any::<String>()];
    proptest::collection::btree_map(key, value, 0..8).prop_map(|map| map.into_iter().collect())
}

fn read_all_ways(value: &Value) -> [FreeForm; 4] {
    [
        serde_json::from_str(&value.to_string()).unwrap(),
        serde_json::from_reader(value.to_string().as_bytes()).unwrap(),
        serde_json::from_value(value.clone()).unwrap(),
        FreeForm::try_from(value.as_object().unwrap().clone()).unwrap(),
    ]
}

proptest! {
    #[test]
    fn every_way_to_read_it_gives_the_same(map in any_map(any_value())) {
        let value = Value::Object(map);
        for form in read_all_ways(&value) {
            prop_assert_eq!(form.to_value(), value.clone());
            prop_assert_eq!(form.text(), value.to_string());
            prop_assert_eq!((form.values(), form.depth(), form.items()), counted(&value));
            prop_assert_eq!(form.is_empty(), value == json!({}));
            prop_assert_eq!(serde_json::to_value(&form).unwrap(), value.clone());
            prop_assert_eq!(serde_json::to_string(&form).unwrap(), value.to_string());
        }
    }

    #[test]
    fn yaml_gives_what_a_tree_of_the_same_yaml_gives(map in any_map(any_value())) {
        // What YAML makes of a text is its own affair; that both make the same of it is ours.
        for yaml in [serde_yaml::to_string(&map).unwrap(), Value::Object(map).to_string()] {
            if let Ok(tree) = serde_yaml::from_str::<Map<String, Value>>(&yaml) {
                let form: FreeForm = serde_yaml::from_str(&yaml).unwrap();
                prop_assert_eq!(form.to_value(), Value::Object(tree));
            }
        }
    }

    #[test]
    fn a_text_is_any_value(value in any_value()) {
        let text: JsonText = serde_json::from_str(&value.to_string()).unwrap();
        prop_assert_eq!(text.to_value(), value.clone());
        prop_assert_eq!((text.values(), text.depth(), text.items()), counted(&value));
    }
}

#[test]
fn floats_come_back_to_the_last_digit() {
    // Without `float_roundtrip` serde_json gives another number for these.
    let text = r#"{"a":[51.24817837550540,-93.3113703768803,5.764607523034235e39,1.0,-0.0,1e-7]}"#;
    let form: FreeForm = serde_json::from_str(text).unwrap();
    let again: FreeForm = serde_json::from_str(form.text()).unwrap();
    assert_eq!(form, again);
    let numbers: Vec<f64> = serde_json::from_value(form.to_value()["a"].clone()).unwrap();
    let exact = ["51.24817837550540", "-93.3113703768803", "5.764607523034235e39", "1.0", "-0.0", "1e-7"];
    let exact = exact.map(|digits| digits.parse::<f64>().unwrap());
    assert_eq!(numbers.iter().map(|n| n.to_bits()).collect::<Vec<_>>(), exact.map(f64::to_bits));
}

#[test]
fn only_an_object_is_taken() {
    for other in ["[]", "7", "\"a\"", "true", "null"] {
        let error = serde_json::from_str::<FreeForm>(other).unwrap_err().to_string();
        assert!(error.contains("expected an object"), "{other}: {error}");
    }
    assert_eq!(FreeForm::default(), serde_json::from_str("{ }").unwrap());
    assert_eq!(FreeForm::default().to_value(), json!({}));
}

#[test]
fn of_a_key_that_stands_twice_the_last_counts() {
    let form: FreeForm = serde_json::from_str(r#"{"a": 1, "a": 2}"#).unwrap();
    assert_eq!(form.to_value(), json!({"a": 2}));
    assert_eq!(form.values(), 3);
}

#[test]
fn the_keys_of_serde_json_are_refused_wherever_they_stand() {
    for key in ["$serde_json::private::RawValue", "$serde_json::private::Number", "$serde_json::private"] {
        let map = json!({key: "{\"a\":1}"});
        for value in
            [map.clone(), json!({"a": map}), json!({"a": [1, {"b": map}]}), json!({" ": 0, key: "1"})]
        {
            let text = value.to_string();
            let escaped = text.replace('$', "\\u0024");
            for error in [
                serde_json::from_str::<FreeForm>(&text).unwrap_err().to_string(),
                serde_json::from_str::<FreeForm>(&escaped).unwrap_err().to_string(),
                serde_json::from_value::<FreeForm>(value.clone()).unwrap_err().to_string(),
                serde_yaml::from_str::<FreeForm>(&text).unwrap_err().to_string(),
                FreeForm::try_from(value.as_object().unwrap().clone()).unwrap_err().to_string(),
            ] {
                assert!(error.contains("a key begins with \"$serde_json::private\""), "{text}: {error}");
            }
        }
    }
    // As a value it means nothing to anybody.
    let form: FreeForm = serde_json::from_str(r#"{"a": "$serde_json::private::RawValue"}"#).unwrap();
    assert_eq!(form.to_value(), json!({"a": "$serde_json::private::RawValue"}));
}

/// An object of this depth.
fn deep(depth: usize) -> String {
    format!("{}{{}}{}", r#"{"a":"#.repeat(depth - 1), "}".repeat(depth - 1))
}

#[test]
fn what_lies_too_deep_is_refused_on_a_small_stack() {
    let check = || {
        let deepest = usize::from(DEEPEST);
        let form: FreeForm = serde_json::from_str(&deep(deepest)).unwrap();
        assert_eq!(form.depth(), DEEPEST);
        assert_eq!(form.to_value().to_string(), deep(deepest));
        for depth in [deepest + 1, 100_000] {
            let text = deep(depth);
            let json = serde_json::from_str::<FreeForm>(&text).unwrap_err().to_string();
            assert!(json.contains("it is nested deeper than 100 levels"), "{json}");
            let lists = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            let json = serde_json::from_str::<FreeForm>(&lists).unwrap_err().to_string();
            assert!(json.contains("it is nested deeper than 100 levels"), "{json}");
        }
    };
    // A thread of tokio's has four times as much.
    thread::Builder::new().stack_size(512 * 1024).spawn(check).unwrap().join().unwrap();
}

#[test]
fn many_small_objects_cost_no_more_than_their_text() {
    let count = 200_000;
    let text = format!(r#"{{"a":[{}]}}"#, vec![r#"{"":0}"#; count].join(","));
    assert!(text.len() > 1_390_000, "{}", text.len());
    let form: FreeForm = serde_json::from_str(&text).unwrap();
    assert_eq!(form.text().len(), text.len());
    assert_eq!(form.values(), 2 + 2 * u32::try_from(count).unwrap());
    assert_eq!(form.items(), u32::try_from(count).unwrap());
    assert_eq!(form.depth(), 4);
    // Beside the text there are three counters.
    assert!(size_of::<FreeForm>() <= 32, "{}", size_of::<FreeForm>());
}

#[test]
fn space_is_not_kept() {
    let text = format!("{{\"a\":{}1 }}", " \n\t".repeat(100_000));
    assert_eq!(serde_json::from_str::<FreeForm>(&text).unwrap().text(), r#"{"a":1}"#);
}

#[test]
fn an_app_keeps_what_its_component_is_told() {
    let app = json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp", "metadata": {"name": "web"},
        "spec": {"source": {"kind": "velaTemplate", "velaTemplate": {"template": "worker",
            "parameters": {"image": "nginx:1", "env": [{"name": "A", "value": "1"}]}}},
            "traits": [{"type": "scaler", "properties": {"replicas": 2}}, {"type": "pause"}]}});
    let read: NovaApp = serde_json::from_value(app.clone()).unwrap();
    let parameters = &read.spec.source.vela_template.as_ref().unwrap().parameters;
    assert_eq!((parameters.values(), parameters.depth(), parameters.items()), (6, 4, 1));
    assert_eq!(serde_json::to_value(&read).unwrap(), app);
}
