//! What the audit log must show of every tenant of the sweep, whatever went wrong in it.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use e2e::{World, history};
use nova_testkit::{Entry, Mark};

/// Most writes of a run, as a multiple of the reference's.
const AMPLIFICATION: usize = 3;

/// Creates and deletes are those of the reference, the first of `tenants`, and the orders hold. The first of `drifted`
/// is the reference of the others there.
pub async fn history(world: &World, tenants: &[String], drifted: &[String]) -> Result<()> {
    world.plane.audit().settle().await;
    let entries = world.plane.audit().since(Mark::default())?;
    let done = history::done_by_operator(&entries);
    let mut problems = Vec::new();
    for family in [tenants, drifted] {
        let Some(first) = family.first() else { continue };
        let reference = Account::of(&done, first);
        for tenant in family {
            let account = Account::of(&done, tenant);
            let found = account.against(&reference);
            problems.extend(found.into_iter().map(|problem| format!("{tenant}: {problem}")));
        }
        println!(
            "audit log of {} tenants: {} creates and {} deletes in each",
            family.len(),
            reference.creates.values().sum::<usize>(),
            reference.deletes.values().sum::<usize>()
        );
    }
    ensure!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

/// What the operator has done for one tenant.
struct Account<'a> {
    writes: Vec<&'a Entry>,
    creates: BTreeMap<String, usize>,
    deletes: BTreeMap<String, usize>,
}

impl<'a> Account<'a> {
    fn of(done: &[&'a Entry], tenant: &str) -> Self {
        let about = |w: &&Entry| history::tenant_of(w) == Some(tenant) && w.object.resource != "events";
        let writes: Vec<&Entry> = done.iter().copied().filter(about).collect();
        let mut deletes = BTreeMap::new();
        for delete in writes.iter().filter(|w| w.verb.starts_with("delete")) {
            *deletes.entry(delete.summary().replace(tenant, "TENANT")).or_default() += 1;
        }
        Self { creates: history::creates(&writes, tenant), deletes, writes }
    }

    fn against(&self, reference: &Self) -> Vec<String> {
        let mut found = history::before_the_finalizer(&self.writes);
        found.extend(history::let_in_too_early(&self.writes));
        found.extend(history::unbound_deletes(&self.writes));
        for (what, here, there) in
            [("creates", &self.creates, &reference.creates), ("deletes", &self.deletes, &reference.deletes)]
        {
            let keys = here.keys().chain(there.keys().filter(|key| !here.contains_key(*key)));
            let differ = keys.filter(|key| here.get(*key) != there.get(*key)).map(|key| {
                let times = |of: &BTreeMap<String, usize>| of.get(key).copied().unwrap_or(0);
                format!("{what}: {key}: {} times instead of {}", times(here), times(there))
            });
            found.extend(differ);
        }
        if self.writes.len() > AMPLIFICATION * reference.writes.len() {
            found.push(format!("{} writes instead of {}", self.writes.len(), reference.writes.len()));
        }
        found
    }
}
