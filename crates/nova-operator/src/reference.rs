//! Reference pages, made from what the operator is: its kinds and what wakes them, its metrics. No I/O.

use std::fmt::Write as _;

use nova_api::crds;

use crate::engine::metrics::Metrics;
use crate::kinds::controllers;

const MADE: &str = "<!-- Made by `cargo xtask gen`; edits are lost. -->";

/// Every kind, and what wakes its objects.
#[must_use]
pub fn kinds() -> String {
    let mut page =
        format!("{MADE}\n# Kinds\n\n| kind | resource | short name | scope |\n|---|---|---|---|\n");
    for crd in crds::all() {
        let names = &crd.spec.names;
        let short = names.short_names.as_deref().unwrap_or_default().join(", ");
        let _ = writeln!(page, "| {} | `{}` | `{short}` | {} |", names.kind, names.plural, crd.spec.scope);
    }
    page.push_str(
        "\n# What wakes what\n\nAn object is looked at when it changes itself, when one of the following changes in a way \
         that concerns it, and at each resync. Nothing else is polled.\n\n| kind | writes, and is woken by changes of | is \
         woken by | needs |\n|---|---|---|---|\n",
    );
    for controller in controllers() {
        let relations = controller.relations();
        let (owned, others, needs) = relations.describe();
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} |",
            controller.kind(),
            owned.join(", "),
            others.join(", "),
            needs.join(", ")
        );
    }
    page
}

/// Every metric.
#[must_use]
pub fn metrics() -> String {
    let mut page = format!(
        "{MADE}\n# Metrics\n\nServed at `/metrics` in the Prometheus text format. No label holds the name of an object.\n\n\
         | metric | type | is |\n|---|---|---|\n"
    );
    let metrics = Metrics::default();
    metrics.sample();
    let text = metrics.text();
    let lines: Vec<&str> = text.lines().collect();
    let value = |prefix: &str, name: &str| {
        let found =
            lines.iter().find_map(|line| line.strip_prefix(prefix)?.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_default().trim_end_matches('.').to_owned()
    };
    let names = lines.iter().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next());
    for name in names {
        let type_ = value("# TYPE ", name);
        let shown = if type_ == "counter" { format!("{name}_total") } else { name.to_owned() };
        let _ = writeln!(page, "| `{shown}` | {type_} | {} |", value("# HELP ", name));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::Kind;

    #[test]
    fn every_kind_and_every_metric_has_a_line() {
        let kinds = kinds();
        for kind in Kind::ALL {
            let rows = kinds.lines().filter(|line| line.starts_with(&format!("| {kind} |")));
            assert_eq!(rows.count(), 2, "{kind} is in both tables: {kinds}");
        }
        let metrics = metrics();
        for name in ["kubenova_reconcile_seconds", "kubenova_requests_total", "kubenova_queue_age_seconds"] {
            assert!(metrics.contains(&format!("| `{name}` | ")), "{metrics}");
        }
    }
}
