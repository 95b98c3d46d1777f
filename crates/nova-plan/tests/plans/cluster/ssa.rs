//! Server-side apply of one manager, as far as the children need it: which fields it owns, and what it takes away.

use nova_plan::child::Live;
use serde_json::{Map, Value, json};

/// Applies `desired` on what is there; the fields that were applied before, and are no longer, go.
pub fn apply(live: Option<&Live>, desired: &Value) -> Live {
    let mut wanted = desired.clone();
    drop_empty(&mut wanted);
    let fields = fields_of(&wanted);
    let mut body = live.map_or_else(|| json!({}), |live| live.body.clone());
    if let Some(before) = live.and_then(|live| live.applied.as_ref()) {
        take_away(&mut body, before, &fields);
    }
    merge(&mut body, &wanted);
    Live { body, applied: Some(fields) }
}

/// The API server leaves out lists that are empty, and maps but for selectors.
fn drop_empty(value: &mut Value) {
    let Value::Object(map) = value else { return };
    map.values_mut().for_each(drop_empty);
    map.retain(|key, value| match value {
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty() || key == "podSelector",
        _ => true,
    });
}

/// `fieldsV1` of an apply, without what identifies the object.
fn fields_of(wanted: &Value) -> Value {
    let mut wanted = wanted.clone();
    let object = wanted.as_object_mut().unwrap();
    object.retain(|key, _| key != "apiVersion" && key != "kind");
    object["metadata"].as_object_mut().unwrap().retain(|key, _| key != "name" && key != "namespace");
    fields("", &wanted)
}

fn fields(key: &str, value: &Value) -> Value {
    let owned: Map<String, Value> = match (key, value) {
        ("ownerReferences", Value::Array(list)) => {
            list.iter().map(|item| (format!("k:{}", json!({"uid": item["uid"]})), json!({}))).collect()
        }
        ("finalizers", Value::Array(list)) => {
            list.iter().map(|item| (format!("v:{item}"), json!({}))).collect()
        }
        (_, Value::Object(map)) => map.iter().map(|(k, v)| (format!("f:{k}"), fields(k, v))).collect(),
        _ => Map::new(),
    };
    Value::Object(owned)
}

/// Removes what was owned before and is not now.
fn take_away(body: &mut Value, before: &Value, now: &Value) {
    for (field, inner) in before.as_object().unwrap() {
        let kept = now.get(field);
        match (field.split_at(2), &mut *body) {
            (("f:", key), Value::Object(map)) => {
                let Some(value) = map.get_mut(key) else { continue };
                take_away(value, inner, kept.unwrap_or(&json!({})));
                let nothing_left = value.as_object().is_some_and(Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty);
                let leaf = inner.as_object().unwrap().is_empty();
                if kept.is_none() && (leaf || nothing_left) {
                    map.remove(key);
                }
            }
            (("k:", keys), Value::Array(list)) if kept.is_none() => {
                let keys: Value = serde_json::from_str(keys).unwrap();
                list.retain(|item| item["uid"] != keys["uid"]);
            }
            (("v:", item), Value::Array(list)) if kept.is_none() => {
                let item: Value = serde_json::from_str(item).unwrap();
                list.retain(|other| *other != item);
            }
            _ => {}
        }
    }
}

/// Sets what is asked for. Lists are taken as a whole, but for those that are maps or sets.
fn merge(body: &mut Value, wanted: &Value) {
    let Value::Object(wanted) = wanted else { return };
    for (key, value) in wanted {
        match (key.as_str(), value, &mut body[key]) {
            ("ownerReferences" | "finalizers", Value::Array(items), Value::Array(list)) => {
                let same = |a: &Value, b: &Value| a == b || a["uid"].is_string() && a["uid"] == b["uid"];
                list.retain(|old| !items.iter().any(|new| same(old, new)));
                list.extend(items.iter().cloned());
            }
            (_, Value::Object(_), inner @ Value::Object(_)) => merge(inner, value),
            (_, _, place) => *place = value.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_plan::child::is_applied;

    #[test]
    fn what_is_applied_is_so_and_what_is_left_out_next_time_goes() {
        let first = json!({"apiVersion": "v1", "kind": "X",
            "metadata": {"name": "x", "labels": {"a": "1", "b": "2"}, "finalizers": ["ours/x"],
                "ownerReferences": [{"uid": "u", "name": "o"}]},
            "spec": {"podSelector": {}, "ingress": [], "hard": {"cpu": "1", "pods": "2"}, "list": [1, 2]}});
        let mut live = apply(None, &first);
        assert!(is_applied(&first, &live));
        live.body["metadata"]["labels"]["theirs"] = json!("kept");
        live.body["metadata"]["finalizers"] = json!(["theirs/x", "ours/x"]);
        assert!(is_applied(&first, &live), "what others add is theirs");
        let second = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "labels": {"a": "1"}},
            "spec": {"hard": {"cpu": "3"}, "list": [1]}});
        assert!(!is_applied(&second, &live));
        let live = apply(Some(&live), &second);
        assert!(is_applied(&second, &live) && !is_applied(&first, &live));
        let left = json!({"apiVersion": "v1", "kind": "X",
            "metadata": {"name": "x", "labels": {"a": "1", "theirs": "kept"}, "finalizers": ["theirs/x"]},
            "spec": {"hard": {"cpu": "3"}, "list": [1]}});
        assert_eq!(live.body, left);
    }
}
