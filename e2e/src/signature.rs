//! Writes by which they can be told from others in every run. No I/O.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use nova_testkit::fault_proxy::{Rule, Write};

/// What stands for the tenant's name in a path.
const MASK: &str = "TENANT";

/// A write that can be told from others in every run: method, path with the tenant masked, and which of its kind.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Signature {
    /// HTTP method.
    pub method: String,
    /// Path without query.
    pub path: String,
    /// From one.
    pub occurrence: usize,
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.trim_start_matches("/apis/").trim_start_matches("/api/");
        write!(f, "{} {path} #{}", self.method, self.occurrence)
    }
}

impl Signature {
    /// The signatures of those writes that are about a tenant, in order.
    #[must_use]
    pub fn all(writes: &[Write], tenant: &str) -> Vec<Self> {
        let about = writes.iter().filter(|write| write.resource().contains(tenant));
        Self::numbered(about, tenant).into_iter().map(|(signature, _)| signature).collect()
    }

    /// The signature and the number of each write, in order.
    #[must_use]
    pub fn numbered<'a>(writes: impl IntoIterator<Item = &'a Write>, tenant: &str) -> Vec<(Self, usize)> {
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        writes
            .into_iter()
            .map(|write| {
                let path = write.resource().replace(tenant, MASK);
                let occurrence = seen.entry((write.method.clone(), path.clone())).or_default();
                *occurrence += 1;
                (Self { method: write.method.clone(), path, occurrence: *occurrence }, write.number)
            })
            .collect()
    }

    /// The path for a tenant.
    #[must_use]
    pub fn path_for(&self, tenant: &str) -> String {
        self.path.replace(MASK, tenant)
    }

    /// A rule that meets this write of a tenant, counted from when the rule is added.
    pub fn rule(&self, tenant: &str) -> Result<Rule> {
        Ok(Rule::of(&self.method, &self.path_for(tenant))?.nth(self.occurrence))
    }

    /// Whether it is a status, which is written or overtaken by the next one, as time has it.
    #[must_use]
    pub fn is_status(&self) -> bool {
        self.path.ends_with("/status")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_of_a_kind_are_told_apart_by_their_order() {
        let write = |number: usize, path: &str| Write {
            number,
            method: "PATCH".to_owned(),
            path: path.to_owned(),
            delivered: true,
        };
        let writes = [
            write(1, "/api/v1/namespaces/tn-acme?force=true"),
            write(2, "/api/v1/namespaces/tn-other"),
            write(3, "/api/v1/namespaces/tn-acme"),
        ];
        let found = Signature::all(&writes, "acme");
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["PATCH v1/namespaces/tn-TENANT #1", "PATCH v1/namespaces/tn-TENANT #2"]);
        assert_eq!(found[1].path_for("b"), "/api/v1/namespaces/tn-b");
    }
}
