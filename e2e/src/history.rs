//! What the audit log must show whatever happened: orders that hold, deletes that are bound, creates counted. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use nova_testkit::{Entry, Identity};
use serde_json::Value;

use crate::film::Frame;
use crate::object;

/// What the operator has successfully asked for, in the order of the audit log.
#[must_use]
pub fn done_by_operator(entries: &[Entry]) -> Vec<&Entry> {
    let operator = Identity::operator().user_name();
    entries.iter().filter(|e| e.is_write() && e.user == operator && e.succeeded()).collect()
}

/// The namespace that a write goes to: its own for a namespace, empty for other cluster-scoped objects.
fn target(entry: &Entry) -> &str {
    if entry.object.resource == "namespaces" { &entry.object.name } else { &entry.object.namespace }
}

/// The tenant that a write of the operator concerns, by names alone; none for plans, clusters and events elsewhere.
#[must_use]
pub fn tenant_of(entry: &Entry) -> Option<&str> {
    let object = &entry.object;
    match object.resource.as_str() {
        "novatenants" | "tenants" => Some(&object.name),
        _ => target(entry).strip_prefix("tn-").map(|rest| {
            // No name has `app` or `sandbox` between hyphens.
            let end = rest.find("-app-").or_else(|| rest.find("-sandbox-"));
            &rest[..end.unwrap_or(rest.len())]
        }),
    }
}

/// From the first to the last of some requests, by the API server's clock.
pub fn span<'a>(entries: impl Iterator<Item = &'a Entry>) -> Duration {
    let times: Vec<Timestamp> = entries.filter_map(|entry| entry.received).collect();
    let (first, last) = (times.iter().min(), times.iter().max());
    first.zip(last).map_or(Duration::ZERO, |(first, last)| after(*first, *last))
}

/// How much later the second moment is; nothing if it is earlier.
#[must_use]
pub fn after(first: Timestamp, second: Timestamp) -> Duration {
    Duration::try_from(second.duration_since(first)).unwrap_or_default()
}

/// When a version of an object was written, as the audit log has it: the last write of it before a watch showed it.
#[must_use]
pub fn written(entries: &[Entry], frame: &Frame) -> Option<Timestamp> {
    let meta = &frame.object.metadata;
    let this = |entry: &&Entry| {
        let (of, object) = (object::kind(frame.kind), &entry.object);
        object.resource == of.plural
            && object.api_group == of.group
            && object.namespace == meta.namespace.as_deref().unwrap_or_default()
            && object.name == meta.name.as_deref().unwrap_or_default()
            && entry.is_write()
            && entry.succeeded()
    };
    let before = |at: &Timestamp| *at <= frame.clock;
    entries.iter().filter(this).filter_map(|entry| entry.received).filter(before).max()
}

fn is(entry: &Entry, resource: &str) -> bool {
    entry.object.resource == resource && entry.object.subresource.is_empty()
}

/// The Nova object with a finalizer that a namespace, or a Capsule tenant, is made for: its kind and name.
fn holder(entry: &Entry) -> Option<(&'static str, String)> {
    if is(entry, "tenants") {
        return Some(("novatenants", entry.object.name.clone()));
    }
    let rest = target(entry).strip_prefix("tn-")?;
    Some(match (rest.split_once("-app-"), rest.split_once("-sandbox-")) {
        (Some((_, project)), _) => ("novaprojects", project.to_owned()),
        (_, Some((_, sandbox))) => ("novasandboxes", sandbox.to_owned()),
        _ => ("novatenants", rest.to_owned()),
    })
}

/// Writes outside of a Nova object's own namespace that came before its finalizer was on.
#[must_use]
pub fn before_the_finalizer(writes: &[&Entry]) -> Vec<String> {
    let mut held: BTreeSet<(String, &str)> = BTreeSet::new();
    let mut early = Vec::new();
    for write in writes {
        let finalizers = write.body.as_ref().and_then(|body| body.pointer("/metadata/finalizers"));
        if write.object.api_group == "kubenova.io" {
            if write.object.subresource.is_empty() && finalizers.is_some() {
                held.insert((write.object.resource.clone(), &write.object.name));
            }
            continue;
        }
        let Some((kind, name)) = holder(write) else { continue };
        let on = |(k, n): &(String, &str)| k == kind && *n == name;
        if write.object.resource != "events" && !held.iter().any(on) {
            early.push(format!("{} before the finalizer of {kind}/{name}", write.summary()));
        }
    }
    early
}

/// Bindings that let somebody in before quota, limits and closed network were there.
///
/// Nothing can run in a home namespace, whose quota is zero pods, so it needs no limits of containers.
#[must_use]
pub fn let_in_too_early(writes: &[&Entry]) -> Vec<String> {
    let mut have: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut early = Vec::new();
    for write in writes.iter().filter(|w| w.verb == "patch" || w.verb == "create") {
        let namespace = write.object.namespace.as_str();
        if is(write, "rolebindings") {
            let here = have.get(namespace);
            let home = !namespace.contains("-app-") && !namespace.contains("-sandbox-");
            let needed = ["resourcequotas/kubenova-quota", "networkpolicies/kubenova-default-deny"]
                .into_iter()
                .chain((!home).then_some("limitranges/kubenova-limits"));
            let missing: Vec<&str> =
                needed.filter(|need| !here.is_some_and(|here| here.contains(*need))).collect();
            if !only_operator(write) && !missing.is_empty() {
                early.push(format!("{} before {}", write.summary(), missing.join(", ")));
            }
        } else {
            let entry = have.entry(namespace).or_default();
            entry.insert(format!("{}/{}", write.object.resource, write.object.name));
        }
    }
    early
}

/// All subjects of a written binding are the operator itself.
fn only_operator(entry: &Entry) -> bool {
    let subjects = entry.body.as_ref().and_then(|body| body["subjects"].as_array());
    subjects.is_some_and(|list| {
        list.iter().all(|s| s["namespace"] == "kubenova-system" && s["name"] == "kubenova-operator")
    })
}

/// Deletes without the UID and the resource version of what they are meant for.
#[must_use]
pub fn unbound_deletes(writes: &[&Entry]) -> Vec<String> {
    let bound = |entry: &Entry| {
        let only = entry.body.as_ref().map_or(&Value::Null, |body| &body["preconditions"]);
        only["uid"].is_string() && only["resourceVersion"].is_string()
    };
    let deletes = writes.iter().filter(|w| w.verb.starts_with("delete"));
    deletes.filter(|w| w.verb == "deletecollection" || !bound(w)).map(|w| w.summary()).collect()
}

/// How often each object was created, by `<resource> <namespace>/<name>`; events aside, tenant's name masked.
#[must_use]
pub fn creates(writes: &[&Entry], tenant: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for write in writes.iter().filter(|w| w.code == 201 && w.object.resource != "events") {
        let key = format!("{} {}/{}", write.object.resource, write.object.namespace, write.object.name);
        *counts.entry(key.replace(tenant, "TENANT")).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_testkit::audit::Object;
    use serde_json::json;

    /// A write of the operator to `<group>/<resource>/<namespace>/<name>`.
    fn write(verb: &str, path: &str, body: Value) -> Entry {
        let mut parts = path.split('/').map(str::to_owned);
        let mut part = || parts.next().unwrap_or_default();
        let (api_group, resource, namespace, name) = (part(), part(), part(), part());
        Entry {
            verb: verb.to_owned(),
            user: Identity::operator().user_name(),
            impersonated: None,
            user_agent: String::new(),
            uri: String::new(),
            object: Object { api_group, resource, subresource: String::new(), namespace, name },
            code: 200,
            received: None,
            body: Some(body),
        }
    }

    fn found(check: fn(&[&Entry]) -> Vec<String>, history: &[Entry]) -> usize {
        check(&done_by_operator(history)).len()
    }

    #[test]
    fn a_write_outside_before_the_finalizer_is_found() {
        let hold = write(
            "patch",
            "kubenova.io/novaprojects/tn-a/shop",
            json!({"metadata": {"finalizers": ["kubenova.io/novaproject"]}}),
        );
        let namespace = write("patch", "/namespaces//tn-a-app-shop", json!({}));
        assert_eq!(found(before_the_finalizer, &[hold.clone(), namespace.clone()]), 0);
        assert_eq!(found(before_the_finalizer, &[namespace, hold]), 1);
        let other =
            write("patch", "kubenova.io/novaprojects/tn-a/other", json!({"metadata": {"finalizers": ["x"]}}));
        let inside = write("patch", "/limitranges/tn-a-app-shop/kubenova-limits", json!({}));
        assert_eq!(found(before_the_finalizer, &[other, inside]), 1, "the finalizer of another object");
        let capsule = write("patch", "capsule.clastix.io/tenants//a", json!({}));
        assert_eq!(found(before_the_finalizer, &[capsule]), 1);
    }

    #[test]
    fn a_binding_of_people_before_a_limit_is_found() {
        let limits = [
            write("patch", "/resourcequotas/tn-a-app-shop/kubenova-quota", json!({})),
            write("patch", "/limitranges/tn-a-app-shop/kubenova-limits", json!({})),
            write(
                "patch",
                "networking.k8s.io/networkpolicies/tn-a-app-shop/kubenova-default-deny",
                json!({}),
            ),
        ];
        let binding = |name: &str, namespace: &str| {
            let path = "rbac.authorization.k8s.io/rolebindings/tn-a-app-shop/any";
            write("patch", path, json!({"subjects": [{"name": name, "namespace": namespace}]}))
        };
        let people = binding("devs", "");
        let own = binding("kubenova-operator", "kubenova-system");
        let with = |first: &[Entry]| [first, std::slice::from_ref(&people)].concat();
        assert_eq!(found(let_in_too_early, &with(&limits)), 0);
        assert_eq!(found(let_in_too_early, &[own]), 0, "the operator's own rights come first");
        for left_out in 0..3 {
            let mut some = limits.to_vec();
            some.remove(left_out);
            assert_eq!(found(let_in_too_early, &with(&some)), 1);
        }
    }

    #[test]
    fn a_write_is_of_the_tenant_that_its_namespace_names() {
        for (path, tenant) in [
            ("/namespaces//tn-a-b", Some("a-b")),
            ("/limitranges/tn-a-b-app-shop/x", Some("a-b")),
            ("/limitranges/tn-a-sandbox-dev/x", Some("a")),
            ("capsule.clastix.io/tenants//a-b", Some("a-b")),
            ("kubenova.io/novaplans//starter", None),
            ("/configmaps/kube-system/x", None),
        ] {
            assert_eq!(tenant_of(&write("patch", path, json!({}))), tenant, "{path}");
        }
    }

    #[test]
    fn a_delete_that_names_no_version_is_found() {
        let path = "/namespaces//tn-a";
        let bound = json!({"preconditions": {"uid": "u", "resourceVersion": "1"}});
        assert_eq!(found(unbound_deletes, &[write("delete", path, bound)]), 0);
        assert_eq!(
            found(unbound_deletes, &[write("delete", path, json!({"preconditions": {"uid": "u"}}))]),
            1
        );
        assert_eq!(found(unbound_deletes, &[write("delete", path, json!({}))]), 1);
    }

    #[test]
    fn an_object_created_twice_is_counted_twice() {
        let mut create = write("patch", "/namespaces//tn-a", json!({}));
        create.code = 201;
        let counts = creates(&[&create, &create], "tn-a");
        assert_eq!(counts.into_values().collect::<Vec<_>>(), [2]);
    }
}
