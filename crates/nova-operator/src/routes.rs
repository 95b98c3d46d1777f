//! Which Nova objects a change concerns. Adds keys to the queue; reads and writes nothing else.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaSandbox, NovaTenant};
use nova_api::{NovaKind, NovaStatus};
use nova_plan::child::ChildKind;
use nova_plan::names::{DEPLOYER, Managed, binding_name, home_of, parse_namespace, role};

use crate::context::{Context, LeafRow, Tabled};
use crate::key::{Key, Kind};
use crate::observe::Change;
use crate::queue::Lane;
use crate::row::Row;

/// Changes of counts come in bursts; one pass for a burst is enough.
const COUNTS: Duration = Duration::from_millis(700);
/// So do changes of what is used of a quota.
const USAGE: Duration = Duration::from_millis(300);

fn lane(listed: bool) -> Lane {
    if listed { Lane::Background } else { Lane::Edit }
}

/// What a controller reads besides status has changed: spec, deletion, finalizers.
pub fn asked_anew<K: NovaKind>(old: Option<&Arc<K>>, new: Option<&Arc<K>>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return true };
    old.meta().generation != new.meta().generation
        || old.meta().deletion_timestamp.is_some() != new.meta().deletion_timestamp.is_some()
        || old.meta().uid != new.meta().uid
}

fn is_ready<K: NovaKind>(object: &K) -> bool {
    let ready = object.status().and_then(|s| s.core().condition(ConditionType::Ready));
    ready.is_some_and(|c| c.status == "True")
}

impl Context {
    /// Any Nova object: itself, and the index of live owners.
    fn route_self<K: Tabled>(&self, change: &Change<'_, Arc<K>>) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = change.old.and_then(|o| o.uid()) {
            owners.remove(&old);
        }
        if let Some(new) = change.new
            && let Some(uid) = new.uid()
        {
            owners.insert(uid, new.key());
        }
        drop(owners);
        let (namespace, name) = change.at;
        self.queue.add(Key::new(K::KEY, namespace, name), lane(change.listed));
    }

    /// A `NovaCluster`: its default plan concerns tenants.
    pub fn route_cluster(&self, change: &Change<'_, Arc<NovaCluster>>) {
        self.route_self(change);
        if asked_anew(change.old, change.new) {
            self.add_all(&self.tables.plans.all(), Lane::Background);
            for tenant in self.tables.tenants.all() {
                self.queue.add(tenant.key(), lane(change.listed));
                self.add_workspaces(&home_of(&tenant.name_any()), |_| true);
            }
        }
    }

    /// A `NovaPlan`: the tenants under it, and what is in them.
    pub fn route_plan(&self, change: &Change<'_, Arc<NovaPlan>>) {
        self.route_self(change);
        if asked_anew(change.old, change.new) {
            for tenant in self.tables.tenants.all() {
                self.queue.add(tenant.key(), lane(change.listed));
                self.add_workspaces(&home_of(&tenant.name_any()), |_| true);
            }
        }
    }

    /// A `NovaTenant`: its workspaces, and the plans it was and is under.
    pub fn route_tenant(&self, change: &Change<'_, Arc<NovaTenant>>) {
        self.route_self(change);
        if !asked_anew(change.old, change.new) {
            return;
        }
        self.add_workspaces(&home_of(&change.at.1), |_| true);
        for plan in self.tables.plans.all() {
            self.queue.add_after(plan.key(), COUNTS);
        }
        // An older holder of the developer group may be gone.
        if change.new.is_none() {
            let waiting = self.tables.tenants.all().into_iter().filter(|t| !is_ready(t.as_ref()));
            waiting.for_each(|t| self.queue.add(t.key(), Lane::Background));
        }
    }

    /// A `NovaProject`: its tenant divides the plan anew.
    pub fn route_project(&self, change: &Change<'_, Arc<NovaProject>>) {
        self.route_self(change);
        if asked_anew(change.old, change.new) {
            self.route_to_tenant(&change.at.0, change.new.is_none(), change.listed);
        }
    }

    /// A `NovaSandbox`: the same.
    pub fn route_sandbox(&self, change: &Change<'_, Arc<NovaSandbox>>) {
        self.route_self(change);
        if asked_anew(change.old, change.new) {
            self.route_to_tenant(&change.at.0, change.new.is_none(), change.listed);
        }
    }

    fn route_to_tenant(&self, home: &str, gone: bool, listed: bool) {
        if let Some(tenant @ Key { kind: Kind::Tenant, .. }) = Key::of_namespace(home) {
            self.queue.add(tenant, lane(listed));
        }
        if gone {
            // Room under the plan's numbers may have become free.
            self.add_workspaces(home, |ready| !ready);
        }
    }

    /// A `NovaApp`: counts of its project and tenant; a deletion may be waiting for it.
    pub fn route_app(&self, change: &Change<'_, Arc<NovaApp>>) {
        self.route_self(change);
        let came_or_went = change.old.is_none() || change.new.is_none();
        let Some(project) = Key::of_namespace(&change.at.0).filter(|_| came_or_went) else { return };
        let tenant = Key::tenant(project.tenant_name());
        if change.new.is_none() {
            self.add_if_deleting(&project, &tenant);
            let waiting =
                self.tables.apps.within(&change.at.0, "").into_iter().filter(|a| !is_ready(a.as_ref()));
            waiting.for_each(|a| self.queue.add(a.key(), Lane::Background));
        }
        self.queue.add_after(project, COUNTS);
        self.queue.add_after(tenant, COUNTS);
    }

    fn add_if_deleting(&self, project: &Key, tenant: &Key) {
        let project_goes = self.tables.projects.get(&project.namespace, &project.name);
        if project_goes.is_some_and(|p| p.metadata.deletion_timestamp.is_some()) {
            self.queue.add(project.clone(), Lane::Edit);
        }
        let tenant_goes = self.tables.tenants.get("", &tenant.name);
        if tenant_goes.is_some_and(|t| t.metadata.deletion_timestamp.is_some()) {
            self.queue.add(tenant.clone(), Lane::Edit);
        }
    }

    /// A child: the object it was made for, and those who wait for it.
    pub fn route_child(&self, kind: ChildKind, change: &Change<'_, Row>) {
        // An object whose label was taken off still has its owner in what was seen before.
        for row in [change.old, change.new].into_iter().flatten() {
            if let Some(owner) = row.owner_uid().and_then(|uid| self.owner(uid)) {
                self.queue.add(owner, lane(change.listed));
            }
        }
        self.route_waiting(kind, change);
    }

    /// Those who wait for a child without being its owner. Our own writes concern them too.
    pub fn route_waiting(&self, kind: ChildKind, change: &Change<'_, Row>) {
        let (namespace, name) = change.at;
        let came_or_went = change.old.is_none() || change.new.is_none();
        match kind {
            ChildKind::Namespace => self.route_namespace(name, came_or_went, change.listed),
            ChildKind::RoleBinding if came_or_went && *name == binding_name(role::NAMESPACE_MANAGER) => {
                self.route_to_divider(namespace, change.listed);
            }
            ChildKind::RoleBinding if *name == binding_name(role::APP_DEPLOYER) => {
                if came_or_went {
                    self.add_waiting_apps(namespace);
                } else if change.new.is_some_and(Row::deleting)
                    && let Some(workspace) = Key::of_namespace(namespace)
                {
                    self.queue.add(workspace, lane(change.listed));
                }
            }
            ChildKind::ServiceAccount if came_or_went && name == DEPLOYER => self.add_waiting_apps(namespace),
            ChildKind::ResourceQuota => {
                if let Some(workspace) = Key::of_namespace(namespace) {
                    if came_or_went {
                        self.queue.add(workspace, lane(change.listed));
                    } else {
                        self.queue.add_after(workspace, USAGE);
                    }
                }
            }
            ChildKind::CapsuleTenant => self.route_capsule(name, change),
            ChildKind::Application => self.route_application(change),
            _ => {}
        }
    }

    fn route_namespace(&self, name: &str, came_or_went: bool, listed: bool) {
        if !came_or_went {
            return;
        }
        if let Some(workspace) = Key::of_namespace(name) {
            self.queue.add(workspace, lane(listed));
        }
        match parse_namespace(name) {
            Some((_, Managed::Home)) => self.add_workspaces(name, |_| true),
            Some((tenant, _)) => self.queue.add(Key::tenant(tenant), lane(listed)),
            None => {}
        }
        self.add_waiting_apps(name);
    }

    fn route_to_divider(&self, namespace: &str, listed: bool) {
        if let Some(workspace) = Key::of_namespace(namespace) {
            self.queue.add(Key::tenant(workspace.tenant_name()), lane(listed));
        }
    }

    /// Capsule's list of namespaces concerns those that wait to be on it.
    fn route_capsule(&self, name: &str, change: &Change<'_, Row>) {
        let told_anew = match (change.old, change.new) {
            (Some(old), Some(new)) => old.status_hash() != new.status_hash(),
            _ => true,
        };
        if told_anew {
            let home = home_of(name);
            self.add_workspaces(&home, |ready| !ready);
            // The others too may have got bad news; while namespaces come and go that is rare, and can wait a moment.
            for project in self.tables.projects.within(&home, "") {
                self.queue.add_after(project.key(), COUNTS);
            }
            for sandbox in self.tables.sandboxes.within(&home, "") {
                self.queue.add_after(sandbox.key(), COUNTS);
            }
        }
    }

    fn route_application(&self, change: &Change<'_, Row>) {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && old.status_hash() != new.status_hash()
        {
            self.vela_acted();
        }
        if change.new.is_none() {
            if let Some(project) = Key::of_namespace(&change.at.0) {
                let tenant = Key::tenant(project.tenant_name());
                self.add_if_deleting(&project, &tenant);
                let namespace = self.children(ChildKind::Namespace).get("", &change.at.0);
                if namespace.is_some_and(|row| row.deleting()) {
                    self.queue.add(project, Lane::Edit);
                }
            }
            // A namesake may be waiting for the name.
            self.queue.add(Key::new(Kind::App, &change.at.0, &change.at.1), Lane::Edit);
        }
    }

    /// A pod, workload or claim: the app whose name it carries or carried, if its health or revision changed.
    pub fn route_leaf(&self, change: &Change<'_, LeafRow>) {
        if let (Some(old), Some(new)) = (change.old, change.new)
            && old.leaf == new.leaf
            && old.app == new.app
        {
            return;
        }
        for row in [change.old, change.new].into_iter().flatten() {
            self.queue.add(Key::new(Kind::App, &change.at.0, &row.app), lane(change.listed));
        }
    }

    /// A component definition of Vela: apps that wait for it.
    pub fn route_definition(&self, change: &Change<'_, Row>) {
        if change.old.is_none() || change.new.is_none() {
            let apps = self.tables.apps.all().into_iter().filter(|a| a.spec.source.vela_template.is_some());
            apps.for_each(|a| self.queue.add(a.key(), Lane::Background));
        }
    }

    /// A backend came or went: this cluster, and everything that may be waiting for it.
    pub fn route_backend(&self) {
        self.queue.add(Key::cluster(), Lane::Edit);
        self.add_all(&self.tables.tenants.all(), Lane::Background);
        self.add_all(&self.tables.apps.all(), Lane::Background);
    }

    fn add_all<K: Tabled>(&self, objects: &[Arc<K>], lane: Lane) {
        for object in objects {
            self.queue.add(object.key(), lane);
        }
    }

    /// Projects and sandboxes of a home namespace, those that `wanted` says by whether they are Ready.
    fn add_workspaces(&self, home: &str, wanted: impl Fn(bool) -> bool) {
        for project in self.tables.projects.within(home, "") {
            if wanted(is_ready(project.as_ref())) {
                self.queue.add(project.key(), Lane::Background);
            }
        }
        for sandbox in self.tables.sandboxes.within(home, "") {
            if wanted(is_ready(sandbox.as_ref())) {
                self.queue.add(sandbox.key(), Lane::Background);
            }
        }
    }

    fn add_waiting_apps(&self, namespace: &str) {
        for app in self.tables.apps.within(namespace, "") {
            if !is_ready(app.as_ref()) {
                self.queue.add(app.key(), Lane::Background);
            }
        }
    }
}
