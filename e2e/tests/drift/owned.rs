//! What the operator owns of a live object, told by the API server's `managedFields`, and every way to take it away.
//! Not the product's own idea of it. No I/O.

use kube::ResourceExt as _;
use kube::api::DynamicObject;
use serde_json::{Map, Value, json};

/// Beginning of the operator's field managers.
const MANAGER: &str = "kubenova/";

/// One change of a live object, to be sent as a JSON patch.
#[derive(Clone, Debug, PartialEq)]
pub struct Drift {
    /// What is done: `change`, `remove` or `double`.
    pub how: &'static str,
    /// Where it is done, with `*` for the place in a list.
    pub shape: String,
    /// Patches that do it; the API server may refuse some.
    pub patches: Vec<Value>,
}

/// A place in an object.
#[derive(Clone, Debug, Default)]
struct Place {
    pointer: String,
    shape: String,
    /// An entry of a list, and not a field.
    entry: bool,
}

impl Place {
    fn field(&self, name: &str) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        Self {
            pointer: format!("{}/{name}", self.pointer),
            shape: format!("{}/{name}", self.shape),
            entry: false,
        }
    }

    fn entry(&self, at: usize) -> Self {
        Self { pointer: format!("{}/{at}", self.pointer), shape: format!("{}/*", self.shape), entry: true }
    }
}

/// The whole object as JSON.
pub fn whole(object: &DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

/// Entries of `managedFields` that are the operator's, without their times.
pub fn ours(object: &DynamicObject) -> Vec<Value> {
    let all = object.managed_fields().iter().filter_map(|entry| serde_json::to_value(entry).ok());
    let mut ours: Vec<Value> =
        all.filter(|entry| entry["manager"].as_str().is_some_and(|m| m.starts_with(MANAGER))).collect();
    for entry in &mut ours {
        entry["time"].take();
    }
    ours.sort_by_key(ToString::to_string);
    ours
}

/// Every drift of what the operator has applied: each field changed and removed, each entry of a list removed, and
/// each list that is ours as a whole with an entry more.
pub fn drifts(object: &DynamicObject) -> Vec<Drift> {
    let live = whole(object);
    let mut places = Vec::new();
    for entry in ours(object).iter().filter(|entry| entry["subresource"].is_null()) {
        if let Some(fields) = entry["fieldsV1"].as_object() {
            walk(fields, &live, &Place::default(), &mut places);
        }
    }
    let mut drifts = Vec::new();
    for place in &places {
        let Some(value) = live.pointer(&place.pointer) else { continue };
        // The garbage collector acts on an owner that does not exist, so an owner is removed, but never falsified.
        if !place.shape.starts_with("/metadata/ownerReferences/*/") {
            let change = |to: Value| json!([{"op": "replace", "path": place.pointer, "value": to}]);
            let patches: Vec<Value> = others(value).into_iter().map(change).collect();
            // With the label of another owner it is another's object, which foreign.rs is about.
            let given_away = place.shape == "/metadata/labels/kubenova.io~1owner-uid";
            // Another finalizer in the place of ours is somebody else's, and stays beside ours.
            let member = place.shape == "/metadata/finalizers/*";
            if !patches.is_empty() && !given_away && !member {
                drifts.push(Drift { how: "change", shape: place.shape.clone(), patches });
            }
            let remove = json!([{"op": "remove", "path": place.pointer}]);
            drifts.push(Drift { how: "remove", shape: place.shape.clone(), patches: vec![remove] });
        }
        if let Some(last) = value.as_array().and_then(|list| list.last()) {
            let more = json!([{"op": "add", "path": format!("{}/-", place.pointer), "value": last}]);
            drifts.push(Drift { how: "double", shape: place.shape.clone(), patches: vec![more] });
        }
    }
    drifts
}

fn walk(fields: &Map<String, Value>, live: &Value, at: &Place, found: &mut Vec<Place>) {
    for (key, inside) in fields {
        let inside = inside.as_object();
        let entry = |is: &dyn Fn(&Value) -> bool| {
            let list = live.as_array()?;
            let index = list.iter().position(is)?;
            Some((at.entry(index), &list[index]))
        };
        let below = match key.split_once(':') {
            Some(("f", name)) => live.get(name).map(|value| (at.field(name), value)),
            Some(("v", text)) => {
                entry(&|value| serde_json::from_str(text).is_ok_and(|wanted: Value| wanted == *value))
            }
            Some(("k", text)) => {
                let keys: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
                entry(&|value| keys.iter().all(|(key, wanted)| value[key] == *wanted))
            }
            _ => None,
        };
        let Some((place, value)) = below else { continue };
        if place.entry {
            found.push(place.clone());
        }
        match inside.filter(|fields| !fields.is_empty()) {
            Some(fields) => walk(fields, value, &place, found),
            None => expand(value, place, found),
        }
    }
}

/// A value that is ours as a whole, and everything in it.
fn expand(value: &Value, at: Place, found: &mut Vec<Place>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| expand(value, at.field(name), found)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| expand(value, at.entry(index), found));
        }
        _ => {}
    }
    if !at.entry || !found.iter().any(|place| place.pointer == at.pointer) {
        found.push(at);
    }
}

/// Values that a scalar, or what is empty, could be changed to, the likeliest to be taken first.
fn others(value: &Value) -> Vec<Value> {
    const PAIRS: [(&str, &str); 12] = [
        ("true", "false"),
        ("false", "true"),
        ("restricted", "privileged"),
        ("baseline", "privileged"),
        ("latest", "v1.30"),
        ("Ingress", "Egress"),
        ("Egress", "Ingress"),
        ("UDP", "TCP"),
        ("TCP", "UDP"),
        ("Group", "User"),
        ("User", "Group"),
        ("Container", "Pod"),
    ];
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => number.as_i64().map(|number| json!(number + 1)).into_iter().collect(),
        Value::String(text) => {
            let pair = PAIRS.iter().find(|(from, _)| from == text).map(|(_, to)| (*to).to_owned());
            let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let more = text[..digits].parse::<u64>().ok().map(|n| format!("{}{}", n + 1, &text[digits..]));
            pair.into_iter().chain(more).chain([format!("{text}x")]).map(Value::from).collect()
        }
        // A selector of everything, made one of almost nothing.
        Value::Object(map) if map.is_empty() => vec![json!({"matchLabels": {"drifted": "x"}})],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(fields: &Value) -> DynamicObject {
        let text = json!({
            "apiVersion": "v1", "kind": "Thing",
            "metadata": {"name": "thing", "finalizers": ["theirs", "ours"], "labels": {"a/b": "c", "theirs": "d"},
                "managedFields": [
                    {"manager": "kubenova/x", "operation": "Apply", "fieldsV1": fields, "time": "2026-01-01T00:00:00Z"},
                    {"manager": "somebody", "operation": "Update", "fieldsV1": {"f:spec": {"f:theirs": {}}}}]},
            "spec": {"list": [{"name": "x", "port": 1}, {"name": "y", "port": 2}], "atomic": ["p", "q"], "theirs": 1},
        });
        serde_json::from_value(text).expect("an object, because it is written above")
    }

    fn told(object: &DynamicObject) -> Vec<String> {
        drifts(object).iter().map(|drift| format!("{} {}", drift.how, drift.patches[0][0]["path"])).collect()
    }

    #[test]
    fn only_what_is_ours_drifts_and_entries_are_found_by_their_keys() {
        let fields = json!({
            "f:metadata": {"f:labels": {"f:a/b": {}}, "f:finalizers": {"v:\"ours\"": {}}},
            "f:spec": {"f:list": {"k:{\"name\":\"y\"}": {".": {}, "f:port": {}}}},
        });
        let told = told(&object(&fields));
        assert_eq!(
            told,
            [
                "remove \"/metadata/finalizers/1\"",
                "change \"/metadata/labels/a~1b\"",
                "remove \"/metadata/labels/a~1b\"",
                "remove \"/spec/list/1\"",
                "change \"/spec/list/1/port\"",
                "remove \"/spec/list/1/port\"",
            ]
        );
    }

    #[test]
    fn a_list_that_is_ours_as_a_whole_loses_and_gains_entries() {
        let told = told(&object(&json!({"f:spec": {"f:atomic": {}}})));
        for wanted in [
            "change \"/spec/atomic/0\"",
            "remove \"/spec/atomic/1\"",
            "remove \"/spec/atomic\"",
            "double \"/spec/atomic/-\"",
        ] {
            assert!(told.iter().any(|found| found == wanted), "{wanted} is not in {told:?}");
        }
    }

    #[test]
    fn amounts_grow_and_words_are_swapped() {
        assert_eq!(others(&json!("16Gi"))[0], "17Gi");
        assert_eq!(others(&json!("restricted"))[0], "privileged");
        assert_eq!(others(&json!(8))[0], 9);
        assert_eq!(others(&json!(true)), [json!(false)]);
    }
}
