//! What the audit log must show whatever happened: orders that hold, deletes that are bound, creates counted. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use nova_testkit::{Entry, Identity};
use serde_json::Value;

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
        _ => target(entry).strip_prefix("tn-").map(|rest| rest.split('-').next().unwrap_or(rest)),
    }
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
