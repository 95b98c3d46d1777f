//! What the relations of several kinds share: whose a namespace is, and who is in it. Pure.

use std::time::Duration;

use nova_api::Kind;
use nova_plan::adapters::vela;
use nova_plan::child::RESOURCE_QUOTA;
use nova_plan::kind::index;
use nova_plan::names::{
    LOCAL_CLUSTER, Managed, app_namespace_of, default_dev_group_of, home_of, parse_namespace,
};

use crate::engine::cached_object::{CachedNova, CachedObject};
use crate::engine::key::{Key, ObjectKey};
use crate::engine::relations::{Change, Wake, When, wake};
use crate::engine::store::Index;
use crate::engine::stores::Stores;

/// Changes of counts come in bursts; one pass for a burst is enough.
pub const COUNTS: Duration = Duration::from_millis(700);

/// Index of objects that are not Ready, by namespace.
pub const UNREADY: &str = "unready";

/// Keeps the objects that are not Ready.
pub const BY_UNREADY: Index<CachedNova> =
    Index { name: UNREADY, value: |at, row| (!row.is_ready()).then(|| at.namespace.clone()) };

/// A tenant.
pub fn tenant(name: &str) -> Key {
    Key::new(Kind::NovaTenant, "", name)
}

/// This cluster.
pub fn cluster() -> Key {
    Key::new(Kind::NovaCluster, "", LOCAL_CLUSTER)
}

/// The tenant that a namespace belongs to, by its name.
pub fn tenant_of(namespace: &str) -> Option<Key> {
    parse_namespace(namespace).map(|(name, _)| tenant(name))
}

/// The project or sandbox that a namespace is made for, by its name.
pub fn workspace_of(namespace: &str) -> Option<Key> {
    let (tenant, managed) = parse_namespace(namespace)?;
    let home = home_of(tenant);
    match managed {
        Managed::Home => None,
        Managed::App(project) => Some(Key::new(Kind::NovaProject, &home, project)),
        Managed::Sandbox(sandbox) => Some(Key::new(Kind::NovaSandbox, &home, sandbox)),
    }
}

/// The same, where it is of a kind.
pub fn workspace_of_kind(namespace: &str, kind: Kind) -> Option<Key> {
    workspace_of(namespace).filter(|key| key.kind == kind)
}

fn keys(kind: Kind, rows: Vec<(ObjectKey, CachedNova)>) -> Vec<Key> {
    rows.into_iter().map(|(at, _)| Key::of(kind, &at)).collect()
}

/// Objects of a kind in a namespace.
pub fn all_in(kind: Kind, namespace: &str, stores: &Stores) -> Vec<Key> {
    keys(kind, stores.nova(kind).list(namespace))
}

/// Those of them that are not Ready.
pub fn unready_in(kind: Kind, namespace: &str, stores: &Stores) -> Vec<Key> {
    keys(kind, stores.nova(kind).indexed(UNREADY, namespace))
}

/// The plan that the cluster names for tenants that name none.
pub fn default_plan(stores: &Stores) -> Option<String> {
    stores.nova(Kind::NovaCluster).get("", LOCAL_CLUSTER)?.text_at(&["spec", "defaultPlan"])
}

/// Names of the tenants under a plan.
pub fn tenants_under(plan: &str, stores: &Stores) -> Vec<String> {
    let tenants = stores.nova(Kind::NovaTenant);
    let mut under = tenants.indexed(index::PLAN, plan);
    if default_plan(stores).as_deref() == Some(plan) {
        under.extend(tenants.indexed(index::PLAN, ""));
    }
    let mut names: Vec<String> = under.into_iter().map(|(at, _)| at.name).collect();
    names.sort();
    names
}

/// Names of the tenants for whom a change of the cluster counts: those that name no plan.
fn tenants_of_cluster(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<String> {
    if !change.spec_or_lifecycle() {
        return Vec::new();
    }
    stores.nova(Kind::NovaTenant).indexed(index::PLAN, "").into_iter().map(|(at, _)| at.name).collect()
}

/// Names of the tenants for whom a change of a plan counts.
fn tenants_of_plan(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<String> {
    if change.spec_or_lifecycle() { tenants_under(&change.at.name, stores) } else { Vec::new() }
}

/// The developer group of a tenant, readable or not.
#[allow(clippy::unnecessary_wraps, reason = "the signature of an index, whose value an object may not have")]
pub fn dev_group(at: &ObjectKey, row: &CachedNova) -> Option<String> {
    Some(row.text_at(&["spec", "devGroup"]).unwrap_or_else(|| default_dev_group_of(&at.name)))
}

/// Names of the other tenants for whom a change of one counts: those that claim the developer group it takes or gives up.
fn tenants_of_tenant(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<String> {
    let group = |row: Option<&CachedNova>| row.and_then(|row| dev_group(change.at, row));
    let (old, new) = (group(change.old), group(change.new));
    if old == new {
        return Vec::new();
    }
    let tenants = stores.nova(Kind::NovaTenant);
    let claims = [old, new].into_iter().flatten().flat_map(|group| tenants.indexed(index::DEV_GROUP, &group));
    claims.map(|(at, _)| at.name).filter(|name| *name != change.at.name).collect()
}

/// Tenants that a change of another one concerns.
pub fn tenants_on_tenant(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    wake(tenants_of_tenant(change, stores).iter().map(|name| tenant(name)), When::Background)
}

/// Names of the tenants in which a change of a tenant concerns everything: the tenant itself, and whoever claims its
/// developer group.
fn tenants_changed(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<String> {
    let own = change.spec_or_lifecycle().then(|| change.at.name.clone());
    own.into_iter().chain(tenants_of_tenant(change, stores)).collect()
}

/// Tenants that a change of the cluster concerns.
pub fn tenants_on_cluster(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    wake(tenants_of_cluster(change, stores).iter().map(|name| tenant(name)), When::Now)
}

/// Tenants that a change of a plan concerns.
pub fn tenants_on_plan(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    wake(tenants_of_plan(change, stores).iter().map(|name| tenant(name)), When::Now)
}

/// Workspaces of a kind that a change of cluster, plan or tenant concerns: all of the tenants'.
macro_rules! workspaces_on {
    ($cluster:ident, $plan:ident, $tenant:ident, $kind:expr) => {
        /// Those of the tenants that a change of the cluster concerns.
        pub fn $cluster(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
            let tenants = tenants_of_cluster(change, stores);
            wake(tenants.iter().flat_map(|name| all_in($kind, &home_of(name), stores)), When::Background)
        }

        /// Those of the tenants that a change of a plan concerns.
        pub fn $plan(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
            let tenants = tenants_of_plan(change, stores);
            wake(tenants.iter().flat_map(|name| all_in($kind, &home_of(name), stores)), When::Background)
        }

        /// Those of the tenants that a change of a tenant concerns.
        pub fn $tenant(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
            let tenants = tenants_changed(change, stores);
            wake(tenants.iter().flat_map(|name| all_in($kind, &home_of(name), stores)), When::Background)
        }
    };
}

workspaces_on!(projects_on_cluster, projects_on_plan, projects_on_tenant, Kind::NovaProject);
workspaces_on!(sandboxes_on_cluster, sandboxes_on_plan, sandboxes_on_tenant, Kind::NovaSandbox);

/// Apps of a tenant.
pub fn apps_of_tenant(name: &str, stores: &Stores) -> Vec<Key> {
    let projects = stores.nova(Kind::NovaProject).list(&home_of(name));
    let namespaces = projects.into_iter().map(|(at, _)| app_namespace_of(name, &at.name));
    namespaces.flat_map(|namespace| all_in(Kind::NovaApp, &namespace, stores)).collect()
}

/// Apps that a change of the cluster concerns.
pub fn apps_on_cluster(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    let tenants = tenants_of_cluster(change, stores);
    wake(tenants.iter().flat_map(|name| apps_of_tenant(name, stores)), When::Background)
}

/// Apps that a change of a plan concerns.
pub fn apps_on_plan(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    let tenants = tenants_of_plan(change, stores);
    wake(tenants.iter().flat_map(|name| apps_of_tenant(name, stores)), When::Background)
}

/// Apps that a change of a tenant concerns.
pub fn apps_on_tenant(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    let tenants = tenants_changed(change, stores);
    wake(tenants.iter().flat_map(|name| apps_of_tenant(name, stores)), When::Background)
}

/// Apps that a change of their project concerns.
pub fn apps_on_project(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    let Some((tenant, Managed::Home)) = parse_namespace(&change.at.namespace) else { return Vec::new() };
    if !change.spec_or_lifecycle() {
        return Vec::new();
    }
    let namespace = app_namespace_of(tenant, &change.at.name);
    wake(all_in(Kind::NovaApp, &namespace, stores), When::Background)
}

/// The tenant in whose home namespace a project or sandbox is.
pub fn tenant_on_workspace(change: &Change<'_, CachedNova>, _: &Stores) -> Vec<Wake> {
    if change.spec_or_lifecycle() { wake(tenant_of(&change.at.namespace), When::Now) } else { Vec::new() }
}

/// An object is being deleted.
fn deleting(key: &Key, stores: &Stores) -> bool {
    let row = stores.nova(key.kind).get(&key.namespace, &key.name);
    row.is_some_and(|row| row.meta().deleting.is_some())
}

/// An object that counts what is in a namespace, and whose deletion may wait for it.
pub fn counts(key: Option<Key>, gone: bool, stores: &Stores) -> Vec<Wake> {
    let Some(key) = key else { return Vec::new() };
    let when = if gone && deleting(&key, stores) { When::Now } else { When::After(COUNTS) };
    wake([key], when)
}

/// An object whose deletion may wait for an Application.
pub fn waits_for_application(key: Option<Key>, stores: &Stores) -> Vec<Wake> {
    wake(key.filter(|key| deleting(key, stores)), When::Now)
}

/// Workspaces of a kind that wait for Capsule's word: of its list of namespaces those at once that are not Ready. The
/// others may have got bad news; while namespaces come and go that is rare, and can wait a moment.
pub fn workspaces_on_capsule(change: &Change<'_, CachedObject>, kind: Kind, stores: &Stores) -> Vec<Wake> {
    if !change.status() && !change.facts() {
        return Vec::new();
    }
    let home = home_of(&change.at.name);
    let mut wakes = wake(unready_in(kind, &home, stores), When::Background);
    wakes.extend(wake(all_in(kind, &home, stores), When::After(COUNTS)));
    wakes
}

/// A workspace whose namespace came, went or changed hands; and all of a home namespace that did.
pub fn workspaces_on_namespace(change: &Change<'_, CachedObject>, kind: Kind, stores: &Stores) -> Vec<Wake> {
    if !change.facts() {
        return Vec::new();
    }
    match parse_namespace(&change.at.name) {
        Some((_, Managed::Home)) => wake(all_in(kind, &change.at.name, stores), When::Background),
        _ => wake(workspace_of_kind(&change.at.name, kind), When::Now),
    }
}

/// The workspace in whose namespace a quota is.
pub fn workspace_on_quota(change: &Change<'_, CachedObject>, kind: Kind) -> Vec<Wake> {
    wake(workspace_of_kind(&change.at.namespace, kind), change.when(&RESOURCE_QUOTA))
}

/// Index of apps by the template that they name, without its version.
pub const TEMPLATE: &str = "template";

/// Keeps the apps that name a template.
pub const BY_TEMPLATE: Index<CachedNova> = Index {
    name: TEMPLATE,
    value: |_, row| {
        let template = row.text_at(&["spec", "source", "velaTemplate", "template"])?;
        Some(template.split('@').next().unwrap_or_default().to_owned())
    },
};

/// A template came or went: the apps that name it.
pub fn apps_on_definition(change: &Change<'_, CachedObject>, stores: &Stores) -> Vec<Wake> {
    if !change.created_or_deleted() || change.at.namespace != vela::DEFINITIONS_NAMESPACE {
        return Vec::new();
    }
    let named = stores.nova(Kind::NovaApp).indexed(TEMPLATE, &change.at.name);
    wake(keys(Kind::NovaApp, named), When::Background)
}
