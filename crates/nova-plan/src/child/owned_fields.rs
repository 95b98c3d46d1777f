//! Drift detection: whether a live object already is what we would apply. No I/O.
//!
//! What is ours in a live object is what its `managedFields` say that our manager applied. Whoever changes one of these
//! fields takes it over, so a field that we no longer own has drifted, whatever it holds. That needs no knowledge of
//! the kind: which lists are maps, which are atomic, and which defaults the API server fills in is all in there. The
//! format is that of structured-merge-diff (`fieldpath` package): `f:` a field, `k:` an item of a list by its keys,
//! `v:` an item of a set, `.` the item itself.

use serde_json::{Map, Value};

use crate::names::MANAGER_PREFIX;

/// Fields that identify an object and are no field of a manager.
const IDENTITY: [&str; 4] = ["name", "namespace", "uid", "resourceVersion"];

/// Takes `managedFields` out of an object, and returns which of its fields we applied; none where we applied nothing.
pub(super) fn take_applied(object: &mut Value) -> Option<Value> {
    let managed = object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")?;
    applied(managed.as_array()?.iter())
}

/// The fields that we applied, by the entries of `managedFields`.
fn applied<'a>(entries: impl Iterator<Item = &'a Value>) -> Option<Value> {
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    entries
        .filter(|e| is_ours(text(&e["manager"]), text(&e["operation"]), text(&e["subresource"])))
        .map(|entry| entry["fieldsV1"].clone())
        .reduce(union)
}

/// True for an entry of `managedFields` that one of our controllers applied. Its status, if any, is a subresource.
#[must_use]
pub fn is_ours(manager: &str, operation: &str, subresource: &str) -> bool {
    operation == "Apply" && manager.starts_with(MANAGER_PREFIX) && subresource.is_empty()
}

/// Fields of either.
#[must_use]
pub fn union(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut one), Value::Object(other)) => {
            for (key, value) in other {
                let merged = match one.remove(&key) {
                    Some(known) => union(known, value),
                    None => value,
                };
                one.insert(key, merged);
            }
            Value::Object(one)
        }
        (one, _) => one,
    }
}

/// True when applying `desired` on `live`, of which we own the fields `owned`, would change nothing.
#[must_use]
pub(super) fn is_applied(desired: &Value, live: &Value, owned: &Value) -> bool {
    let (Value::Object(desired), Value::Object(owned)) = (desired, owned) else { return false };
    let mut desired = desired.clone();
    desired.remove("apiVersion");
    desired.remove("kind");
    if let Some(metadata) = desired.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !IDENTITY.contains(&key.as_str()));
    }
    fields_hold(&desired, live, owned)
}

fn holds(desired: &Value, live: &Value, owned: &Value) -> bool {
    let Some(owned) = owned.as_object() else { return false };
    let mut keys = owned.keys().filter(|key| *key != ".");
    match (keys.next().map(|key| key.get(..2)), desired) {
        // A leaf, or a value that is owned as a whole.
        (None, _) => covers(desired, live),
        (Some(Some("f:")), Value::Object(desired)) => fields_hold(desired, live, owned),
        (Some(Some("k:")), Value::Array(desired)) => items_hold(desired, live, owned),
        (Some(Some("v:")), Value::Array(desired)) => set_holds(desired, live, owned),
        _ => false,
    }
}

/// Every field that is asked for is ours and so, and none is ours that is no longer asked for.
fn fields_hold(desired: &Map<String, Value>, live: &Value, owned: &Map<String, Value>) -> bool {
    let asked = desired.iter().all(|(key, value)| {
        let found = live.get(key);
        match (owned.get(&format!("f:{key}")), found) {
            (Some(owned), Some(found)) => holds(value, found, owned),
            // The API server leaves out what is empty, and owns it for nobody.
            (_, found) => is_empty(value) && found.is_none_or(is_empty),
        }
    });
    let dropped = |field: &String| field.strip_prefix("f:").is_some_and(|key| !desired.contains_key(key));
    asked && !owned.keys().any(dropped)
}

/// Every item of a list that is a map by some keys. A key that the API server fills in may be left out of what is asked.
fn items_hold(desired: &[Value], live: &Value, owned: &Map<String, Value>) -> bool {
    let items = || owned.iter().filter_map(|(field, owned)| Some((field.strip_prefix("k:")?, owned)));
    let Some(live) = live.as_array() else { return false };
    items().count() == desired.len()
        && items().all(|(keys, owned)| {
            let Ok(keys) = serde_json::from_str::<Map<String, Value>>(keys) else { return false };
            let found = live.iter().find(|item| keys.iter().all(|(key, value)| item.get(key) == Some(value)));
            let mut asked = desired
                .iter()
                .filter(|item| keys.iter().all(|(key, value)| item.get(key).is_none_or(|v| v == value)));
            let (Some(found), Some(asked)) = (found, asked.next()) else { return false };
            owned.as_object().is_some_and(|o| o.keys().all(|key| key == ".")) && covers(asked, found)
                || holds(asked, found, owned)
        })
}

fn set_holds(desired: &[Value], live: &Value, owned: &Map<String, Value>) -> bool {
    let ours: Vec<Value> =
        owned.keys().filter_map(|field| serde_json::from_str(field.strip_prefix("v:")?).ok()).collect();
    let Some(live) = live.as_array() else { return false };
    ours.len() == desired.len() && desired.iter().all(|value| ours.contains(value) && live.contains(value))
}

/// A value that is owned as a whole: the API server may have filled in defaults, nobody else can have changed it.
fn covers(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(want), Value::Object(have)) => want.iter().all(|(key, value)| match have.get(key) {
            Some(found) => covers(value, found),
            None => is_empty(value),
        }),
        (Value::Array(want), Value::Array(have)) => {
            want.len() == have.len() && want.iter().zip(have).all(|(want, have)| covers(want, have))
        }
        _ => desired == live,
    }
}

/// Nothing is asked for or there, at any depth.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A Service as applied and as the API server keeps it, with defaults in the items of its list.
    fn service() -> (Value, Value, Value) {
        let desired = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "n", "labels": {"a": "b"}, "finalizers": ["example.com/x"]},
            "spec": {"ports": [{"port": 80}, {"port": 443, "protocol": "TCP"}], "selector": {"app": "web"}},
        });
        let live = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "web", "namespace": "n", "uid": "1", "labels": {"a": "b", "theirs": "kept"},
                "finalizers": ["example.com/x", "example.com/theirs"]},
            "spec": {"type": "ClusterIP", "selector": {"app": "web"}, "ports": [
                {"port": 80, "protocol": "TCP", "targetPort": 80},
                {"port": 443, "protocol": "TCP", "targetPort": 443}]},
        });
        let owned = json!({
            "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"example.com/x\"": {}}},
            "f:spec": {"f:selector": {}, "f:ports": {
                "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}},
                "k:{\"port\":443,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}}}},
        });
        (desired, live, owned)
    }

    #[test]
    fn defaults_and_foreign_fields_are_no_drift() {
        let (desired, live, owned) = service();
        assert!(is_applied(&desired, &live, &owned));
    }

    /// Takes a field out. The API server keeps no field of which nothing is left.
    fn disown(owned: &mut Value, pointer: &str) {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let fields = owned.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        assert!(fields.remove(&key.replace("~1", "/")).is_some(), "{pointer}");
        if fields.is_empty() {
            disown(owned, parent);
        }
    }

    #[test]
    fn what_somebody_took_over_is_drift_whatever_it_holds() {
        let (desired, live, owned) = service();
        for pointer in [
            "/f:metadata/f:labels/f:a",
            "/f:metadata/f:finalizers/v:\"example.com~1x\"",
            "/f:spec/f:selector",
            "/f:spec/f:ports/k:{\"port\":80,\"protocol\":\"TCP\"}",
            "/f:spec/f:ports/k:{\"port\":443,\"protocol\":\"TCP\"}/f:protocol",
            "/f:spec/f:ports",
        ] {
            let mut owned = owned.clone();
            disown(&mut owned, pointer);
            assert!(!is_applied(&desired, &live, &owned), "{pointer}");
        }
    }

    #[test]
    fn a_value_that_changed_under_us_is_drift() {
        let (desired, live, owned) = service();
        for (pointer, value) in [
            ("/metadata/labels/a", json!("c")),
            ("/spec/selector/app", json!("other")),
            ("/spec/ports/1/protocol", json!("UDP")),
            ("/spec/ports", json!([])),
            ("/metadata/finalizers", json!(["example.com/theirs"])),
        ] {
            let mut live = live.clone();
            *live.pointer_mut(pointer).unwrap() = value;
            assert!(!is_applied(&desired, &live, &owned), "{pointer}");
        }
    }

    #[test]
    fn a_field_that_is_asked_for_anew_or_no_longer_is_a_write() {
        let (mut desired, live, owned) = service();
        desired["metadata"]["labels"]["new"] = json!("x");
        assert!(!is_applied(&desired, &live, &owned));
        let (mut desired, live, owned) = service();
        desired["spec"].as_object_mut().unwrap().remove("selector");
        assert!(!is_applied(&desired, &live, &owned));
        let (mut desired, live, owned) = service();
        desired["spec"]["ports"].as_array_mut().unwrap().pop();
        assert!(!is_applied(&desired, &live, &owned));
    }

    #[test]
    fn a_list_written_out_empty_is_drift_once_somebody_fills_it() {
        let metadata = json!({"name": "x", "labels": {"a": "b"}});
        let desired = json!({"metadata": metadata, "spec": {"podSelector": {}, "ingress": []}});
        let owned = json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:podSelector": {}}});
        let mut live = json!({"metadata": metadata, "spec": {"podSelector": {}}});
        assert!(is_applied(&desired, &live, &owned), "the API server leaves out what is empty");
        live["spec"]["ingress"] = json!([{}]);
        assert!(!is_applied(&desired, &live, &owned));
    }

    #[test]
    fn an_object_of_nothing_is_applied_once() {
        let desired = json!({"metadata": {"name": "x"}, "spec": {"hard": {}}});
        for (live, owned) in [
            (json!({"spec": {}}), json!({"f:spec": {"f:hard": {}}})),
            (json!({"spec": {}}), json!({"f:spec": {}})),
            (json!({}), json!({})),
        ] {
            assert!(is_applied(&desired, &live, &owned), "{live} {owned}");
        }
    }

    #[test]
    fn what_we_applied_is_read_from_our_entries_alone() {
        let mut object = json!({"metadata": {"managedFields": [
            {"manager": "kubectl", "operation": "Apply", "fieldsV1": {"f:spec": {"f:theirs": {}}}},
            {"manager": "kubenova/app", "operation": "Update", "fieldsV1": {"f:spec": {"f:update": {}}}},
            {"manager": "kubenova/app", "operation": "Apply", "subresource": "status", "fieldsV1": {"f:status": {}}},
            {"manager": "kubenova/app", "operation": "Apply", "fieldsV1": {"f:spec": {"f:a": {}}}},
            {"manager": "kubenova/tenant", "operation": "Apply", "fieldsV1": {"f:spec": {"f:b": {}}}},
        ]}});
        assert_eq!(take_applied(&mut object), Some(json!({"f:spec": {"f:a": {}, "f:b": {}}})));
        assert_eq!(object, json!({"metadata": {}}));
        assert_eq!(take_applied(&mut object), None);
    }
}
