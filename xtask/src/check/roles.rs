//! Holds the chart's roles against the list of Nova kinds, so that none is forgotten. Does I/O: reads the chart.
//!
//! The templates are read as text: their actions stand in labels, names of the release and whole lines, never in rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::Value;

use super::steps::{Steps, Verdict};
use crate::r#gen;

const GROUP: &str = "kubenova.io";
const OPERATOR: &str = "kubenova-operator";
const ADMIN: &str = "kubenova-platform-admin";
/// What people of a tenant, and everybody, hold. A kind that none of them names is a secret from all tenants.
const PEOPLE: &[&str] = &[
    "kubenova-platform-reader",
    "kubenova-tenant-base",
    "kubenova-tenant-owner",
    "kubenova-home-reader",
    "kubenova-project-owner",
    "kubenova-project-dev",
    "kubenova-app-reader",
    "kubenova-sandbox-editor",
];
/// Kinds that no tenant sees, and why.
const PLATFORM_ONLY: &[(&str, &str)] = &[
    ("novaclusters", "it tells how the platform is built"),
    ("novatenants", "it names the owners and numbers of other teams"),
];
const ADMIN_VERBS: &[&str] =
    &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
const OPERATOR_VERBS: &[&str] = &["get", "list", "watch", "patch"];

/// A Nova kind, as far as roles know it.
struct Kind {
    plural: String,
    /// Whether it has a status of its own endpoint.
    status: bool,
}

/// Runs the check as one step.
pub fn run(steps: &mut Steps) {
    let what = "roles of the chart";
    let step = steps.begin(what);
    let verdict = match faults() {
        Ok(faults) if faults.is_empty() => Verdict::Passed,
        Ok(faults) => Verdict::Failed(faults.join("\n")),
        Err(error) => Verdict::Failed(format!("{error:#}")),
    };
    steps.end(step, what, "edit charts/kubenova/templates/roles", verdict);
}

fn faults() -> Result<Vec<String>> {
    let roles = roles(&r#gen::root().join("charts/kubenova/templates/roles"))?;
    Ok(judge(&kinds(), &roles))
}

/// Every kind that there is a definition of.
fn kinds() -> Vec<Kind> {
    nova_api::crds::all()
        .into_iter()
        .map(|crd| Kind {
            status: crd
                .spec
                .versions
                .iter()
                .any(|v| v.subresources.as_ref().is_some_and(|s| s.status.is_some())),
            plural: crd.spec.names.plural,
        })
        .collect()
}

/// Every `ClusterRole` of a folder of templates by its name.
fn roles(folder: &Path) -> Result<BTreeMap<String, ClusterRole>> {
    let mut roles = BTreeMap::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {folder:?}"))? {
        let path = entry.with_context(|| format!("read {folder:?}"))?.path();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {path:?}"))?;
        let documents: Vec<Value> =
            serde_yaml::from_multiple(&without_actions(&text)).with_context(|| format!("read {path:?}"))?;
        for document in documents.into_iter().filter(|document| document["kind"] == "ClusterRole") {
            let role: ClusterRole = serde_json::from_value(document)
                .with_context(|| format!("read a ClusterRole of {path:?}"))?;
            let name =
                role.metadata.name.clone().with_context(|| format!("{path:?}: a role without a name"))?;
            ensure!(roles.insert(name.clone(), role).is_none(), "{path:?}: a second role {name:?}");
        }
    }
    ensure!(!roles.is_empty(), "{folder:?} has no ClusterRole");
    Ok(roles)
}

/// Leaves out lines that are an action of the template, and gives those in a line a value.
fn without_actions(text: &str) -> String {
    let mut plain = String::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("{{")) {
        let mut rest = line;
        while let Some((before, (_, after))) =
            rest.split_once("{{").and_then(|(before, action)| Some((before, action.split_once("}}")?)))
        {
            plain.push_str(before);
            plain.push('x');
            rest = after;
        }
        plain.push_str(rest);
        plain.push('\n');
    }
    plain
}

/// What is wrong, as lines for people; none if all is well.
fn judge(kinds: &[Kind], roles: &BTreeMap<String, ClusterRole>) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, role) in roles {
        faults.extend(too_wide(name, role));
        faults.extend(unknown(name, role, kinds));
    }
    let lacks = |role: &str, resource: &str, verbs: &[&str]| {
        let missing: Vec<_> = verbs.iter().filter(|verb| !allows(roles, role, resource, verb)).collect();
        (!missing.is_empty()).then(|| format!("{role} lacks {missing:?} on {resource}"))
    };
    for Kind { plural, status } in kinds {
        faults.extend(lacks(OPERATOR, plural, OPERATOR_VERBS));
        if *status {
            let own = format!("{plural}/status");
            faults.extend(lacks(OPERATOR, &own, &["patch"]));
            let others = roles.keys().filter(|role| *role != OPERATOR);
            faults.extend(
                others.filter(|role| mentions(roles, role, &own)).map(|role| {
                    format!("{role} names {own}: what a status says is the operator's word alone")
                }),
            );
        }
        faults.extend(lacks(ADMIN, plural, ADMIN_VERBS));
        faults.extend(decided(plural, roles));
    }
    let stale = |plural: &str| !kinds.iter().any(|kind| kind.plural == plural);
    faults.extend(
        PLATFORM_ONLY
            .iter()
            .filter(|(plural, _)| stale(plural))
            .map(|(plural, _)| format!("PLATFORM_ONLY names {plural}, which is no kind")),
    );
    faults
}

/// Whether tenants see a kind has to have been thought of, one way or the other.
fn decided(plural: &str, roles: &BTreeMap<String, ClusterRole>) -> Option<String> {
    let seen: Vec<_> = PEOPLE.iter().filter(|role| mentions(roles, role, plural)).collect();
    let withheld = PLATFORM_ONLY.iter().find(|(only, _)| *only == plural);
    match (seen.as_slice(), withheld) {
        ([], None) => Some(format!(
            "no role of a tenant's people names {plural}: name it in one of {PEOPLE:?}, \
             or in PLATFORM_ONLY of xtask/src/check/roles.rs with the reason"
        )),
        ([_, ..], Some((_, why))) => {
            Some(format!("{seen:?} name {plural}, and PLATFORM_ONLY says no: {why}"))
        }
        _ => None,
    }
}

/// Wildcards and aggregation would let rights in that nobody has written here.
fn too_wide(name: &str, role: &ClusterRole) -> Vec<String> {
    let mut faults = Vec::new();
    if role.aggregation_rule.is_some() {
        faults.push(format!("{name} is aggregated: others can widen it"));
    }
    let labels = role.metadata.labels.iter().flatten();
    if labels.clone().any(|(key, _)| key.contains("aggregate-to-")) {
        faults.push(format!("{name} is aggregated into a role of others"));
    }
    for rule in rules(role) {
        let words = [Some(&rule.verbs), rule.api_groups.as_ref(), rule.resources.as_ref()];
        if words.into_iter().flatten().flatten().any(|word| word.contains('*')) {
            faults.push(format!("{name} has a * in the rule on {:?}", rule.resources));
        }
    }
    faults
}

/// Resources of our group that no kind has.
fn unknown(name: &str, role: &ClusterRole, kinds: &[Kind]) -> Vec<String> {
    let known: BTreeSet<&str> = kinds.iter().map(|kind| kind.plural.as_str()).collect();
    of_nova(role)
        .flat_map(|rule| rule.resources.iter().flatten())
        .filter(|resource| !known.contains(resource.split('/').next().unwrap_or_default()))
        .map(|resource| format!("{name} names {resource}, which is of no Nova kind"))
        .collect()
}

fn rules(role: &ClusterRole) -> impl Iterator<Item = &PolicyRule> {
    role.rules.iter().flatten()
}

fn of_nova(role: &ClusterRole) -> impl Iterator<Item = &PolicyRule> {
    rules(role).filter(|rule| rule.api_groups.iter().flatten().any(|group| group == GROUP))
}

fn names(rule: &PolicyRule, resource: &str) -> bool {
    rule.resources.iter().flatten().any(|named| named == resource)
}

fn mentions(roles: &BTreeMap<String, ClusterRole>, role: &str, resource: &str) -> bool {
    roles.get(role).is_some_and(|role| of_nova(role).any(|rule| names(rule, resource)))
}

/// Whether a role allows a verb on every object of a resource.
fn allows(roles: &BTreeMap<String, ClusterRole>, role: &str, resource: &str, verb: &str) -> bool {
    let fits = |rule: &PolicyRule| {
        names(rule, resource) && rule.resource_names.is_none() && rule.verbs.iter().any(|known| known == verb)
    };
    roles.get(role).is_some_and(|role| of_nova(role).any(fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(plural: &str) -> Kind {
        Kind { plural: plural.to_owned(), status: true }
    }

    fn shipped() -> BTreeMap<String, ClusterRole> {
        roles(&r#gen::root().join("charts/kubenova/templates/roles")).unwrap()
    }

    #[test]
    fn the_chart_as_it_is_has_no_fault() {
        assert_eq!(judge(&kinds(), &shipped()), Vec::<String>::new());
    }

    #[test]
    fn a_new_kind_that_is_in_no_role_is_missed_by_everyone() {
        let mut kinds = kinds();
        kinds.push(kind("novabudgets"));
        let faults = judge(&kinds, &shipped());
        for missing in [
            "kubenova-operator lacks [\"get\", \"list\", \"watch\", \"patch\"] on novabudgets",
            "kubenova-operator lacks [\"patch\"] on novabudgets/status",
            "kubenova-platform-admin lacks",
            "no role of a tenant's people names novabudgets",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(missing)), "{missing}: {faults:#?}");
        }
        assert_eq!(faults.len(), 4, "{faults:#?}");
    }

    #[test]
    fn a_kind_that_is_no_more_is_found_in_every_role_that_names_it() {
        let mut kinds = kinds();
        kinds.retain(|kind| kind.plural != "novasandboxes");
        let faults = judge(&kinds, &shipped());
        for role in [OPERATOR, ADMIN, "kubenova-tenant-owner", "kubenova-home-reader"] {
            assert!(
                faults.iter().any(|f| f == &format!("{role} names novasandboxes, which is of no Nova kind"))
            );
        }
    }

    /// The shipped roles with one rule more.
    fn with_rule(role: &str, resource: &str, verb: &str) -> BTreeMap<String, ClusterRole> {
        let mut roles = shipped();
        let more = PolicyRule {
            api_groups: Some(vec![GROUP.to_owned()]),
            resources: Some(vec![resource.to_owned()]),
            verbs: vec![verb.to_owned()],
            ..PolicyRule::default()
        };
        roles.get_mut(role).unwrap().rules.get_or_insert_default().push(more);
        roles
    }

    #[test]
    fn nobody_but_the_operator_writes_a_status() {
        let faults = judge(&kinds(), &with_rule("kubenova-project-dev", "novaapps/status", "patch"));
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert!(faults[0].starts_with("kubenova-project-dev names novaapps/status"), "{faults:#?}");
    }

    #[test]
    fn what_is_withheld_from_tenants_is_given_to_none_of_them() {
        let faults = judge(&kinds(), &with_rule("kubenova-platform-reader", "novatenants", "get"));
        assert_eq!(faults.len(), 1, "{faults:#?}");
        assert!(faults[0].contains("it names the owners and numbers of other teams"), "{faults:#?}");
    }

    #[test]
    fn a_star_is_refused() {
        let faults = judge(&kinds(), &with_rule("kubenova-project-dev", "novaapps", "*"));
        assert_eq!(faults, ["kubenova-project-dev has a * in the rule on Some([\"novaapps\"])"]);
    }

    #[test]
    fn a_right_on_one_object_is_not_a_right_on_the_kind() {
        let mut roles = shipped();
        let operator = roles.get_mut(OPERATOR).unwrap();
        for rule in operator.rules.iter_mut().flatten().filter(|rule| names(rule, "novaapps")) {
            rule.resource_names = Some(vec!["web".to_owned()]);
        }
        let faults = judge(&kinds(), &roles);
        assert!(faults.iter().any(|fault| fault.contains("on novaapps")), "{faults:#?}");
    }

    #[test]
    fn actions_of_a_template_leave_readable_yaml() {
        let text =
            "a: {{ .Release.Namespace }}-{{ .x }}\n{{- if .y }}\n  {{- toYaml . }}\nb: 1\n{{- end }}\n";
        assert_eq!(without_actions(text), "a: x-x\nb: 1\n");
    }
}
