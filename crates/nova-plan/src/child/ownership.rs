//! Whose a live object is: by the owner's UID in its label, or by what our field manager applied. No I/O.

use serde_json::Value;

use super::Live;
use crate::names::label;

/// Whose a live object is, by the rule of ownership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ownership {
    /// Labelled with the owner's UID, or applied by us and its label lost.
    Ours,
    /// Made for an earlier Nova object of this name, by its owner UID.
    Earlier(String),
    /// Not ours: never touched.
    Foreign,
}

/// Decides whose `live` is.
#[must_use]
pub fn ownership(live: &Live, owner_uid: &str) -> Ownership {
    let labels = live.body.pointer("/metadata/labels");
    match labels.and_then(|l| l.get(label::OWNER_UID)).and_then(Value::as_str) {
        Some(uid) if uid == owner_uid => Ownership::Ours,
        Some(uid) if live.applied.is_some() => Ownership::Earlier(uid.to_owned()),
        None if live.applied.is_some() => Ownership::Ours,
        _ => Ownership::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ownership_is_by_uid_then_by_our_manager_and_never_by_name() {
        let ours = json!([{"manager": "kubenova/project", "operation": "Apply", "fieldsV1": {}}]);
        let theirs = json!([{"manager": "kubectl", "operation": "Update", "fieldsV1": {}}]);
        let with = |labels: Value, managed: &Value| {
            Live::new(json!({"metadata": {"name": "x", "labels": labels, "managedFields": managed}}))
        };
        let labelled = || json!({"kubenova.io/owner-uid": "u1"});
        assert_eq!(ownership(&with(labelled(), &ours), "u1"), Ownership::Ours);
        assert_eq!(ownership(&with(labelled(), &ours), "u2"), Ownership::Earlier("u1".into()));
        assert_eq!(ownership(&with(json!({}), &theirs), "u1"), Ownership::Foreign);
        assert_eq!(ownership(&with(json!({}), &ours), "u1"), Ownership::Ours);
        assert_eq!(ownership(&with(labelled(), &theirs), "u2"), Ownership::Foreign, "a forged label");
    }
}
