//! `NovaProject`: a namespace for apps.

use nova_api::Kind;
use nova_api::v1alpha1::{DeletionPolicy, NovaApp, NovaProject};
use nova_plan::adapters::{capsule, vela};
use nova_plan::child::{
    ChildRef, LIMIT_RANGE, NAMESPACE, NETWORK_POLICY, RESOURCE_QUOTA, ROLE_BINDING, SERVICE_ACCOUNT,
};
use nova_plan::deletion::not_empty;
use nova_plan::names::{ProjectName, TenantName, binding_name, role};
use nova_plan::project::{self, Observed, References};
use nova_plan::tenancy;

use super::wakes::{
    BY_UNREADY, counts, projects_on_cluster, projects_on_plan, projects_on_tenant, unready_in,
    waits_for_application, workspace_of_kind, workspace_on_quota, workspaces_on_capsule,
    workspaces_on_namespace,
};
use super::workspace;
use crate::engine::cached_object::{CachedNova, CachedObject, Known, title};
use crate::engine::cx::Cx;
use crate::engine::interrupt::{Interrupt, ignore_in_progress};
use crate::engine::key::Key;
use crate::engine::reconcile::Controller;
use crate::engine::relations::{Change, Relations, Wake, When, wake};
use crate::engine::run::BY_AGE;
use crate::engine::store::Index;
use crate::engine::stores::Stores;

const KIND: Kind = Kind::NovaProject;

/// The namespace of a project, by the names alone.
fn namespace_of(key: &Key) -> Option<String> {
    let tenant = TenantName::from_home(&key.namespace)?;
    Some(tenant.app_namespace(&ProjectName::parse(&key.name).ok()?))
}

fn observe(cx: &Cx<'_>, observed: &mut Observed) {
    let Some(namespace) = namespace_of(cx.key) else { return };
    observed.apps = cx.count(Kind::NovaApp, &namespace);
    observed.quota = workspace::quota(cx, &namespace);
    observed.namespace = Some(namespace);
}

fn on_app(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    if !change.created_or_deleted() {
        return Vec::new();
    }
    counts(workspace_of_kind(&change.at.namespace, KIND), change.deleted(), stores)
}

/// Room under the plan's number has become free.
fn on_project(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    if change.deleted() {
        wake(unready_in(KIND, &change.at.namespace, stores), When::Background)
    } else {
        Vec::new()
    }
}

/// The deployer's binding is being deleted: it is held until nothing needs it any more.
fn on_binding(change: &Change<'_, CachedObject>, _: &Stores) -> Vec<Wake> {
    let goes = change.new.is_some_and(CachedObject::deleting);
    let concerns = goes && change.at.name == binding_name(role::APP_DEPLOYER);
    if concerns { wake(workspace_of_kind(&change.at.namespace, KIND), When::Now) } else { Vec::new() }
}

/// An Application is gone: the deletion of the project, or of its namespace, may have waited for it.
fn on_application(change: &Change<'_, CachedObject>, stores: &Stores) -> Vec<Wake> {
    if !change.deleted() {
        return Vec::new();
    }
    let project = workspace_of_kind(&change.at.namespace, KIND);
    let namespace = stores.children(&NAMESPACE).get("", &change.at.namespace);
    if namespace.is_some_and(|row| row.deleting()) {
        return wake(project, When::Now);
    }
    waits_for_application(project, stores)
}

impl Controller for NovaProject {
    fn relations(to: &mut Relations) {
        to.owns([
            &NAMESPACE,
            &ROLE_BINDING,
            &LIMIT_RANGE,
            &RESOURCE_QUOTA,
            &NETWORK_POLICY,
            &SERVICE_ACCOUNT,
        ])
        .needs(&capsule::BACKEND)
        .looks_at(&vela::BACKEND)
        .on(Kind::NovaCluster, projects_on_cluster)
        .on(Kind::NovaPlan, projects_on_plan)
        .on(Kind::NovaTenant, projects_on_tenant)
        .on(KIND, on_project)
        .on(Kind::NovaApp, on_app)
        .on_child(&NAMESPACE, |change, stores| workspaces_on_namespace(change, KIND, stores))
        .on_child(&RESOURCE_QUOTA, |change, _| workspace_on_quota(change, KIND))
        .on_child(&capsule::TENANT, |change, stores| workspaces_on_capsule(change, KIND, stores))
        .on_child(&ROLE_BINDING, on_binding)
        .on_child(&vela::APPLICATION, on_application);
    }

    fn indexes() -> &'static [Index<CachedNova>] {
        &[BY_AGE, BY_UNREADY]
    }

    async fn ensure(&self, cx: &Cx<'_>, observed: &mut Observed) -> Result<(), Interrupt> {
        observe(cx, observed);
        if let Some(namespace) = &observed.namespace {
            drain_deleted_namespace(cx, namespace).await?;
        }
        let tenant = tenancy::surroundings(self, cx)?;
        observed.suspended = tenant.suspended;
        let older = cx.older(workspace::enough(tenant.max_projects));
        let valid = project::validate(self, References { tenant: &tenant, older })?;
        cx.add_finalizer::<Self>().await?;
        workspace::ensure(self, cx, &tenant, self.spec.quotas.as_ref(), project::build(&valid)).await
    }

    async fn cleanup(
        object: &CachedNova,
        known: &Known<Self>,
        cx: &Cx<'_>,
        observed: &mut Observed,
    ) -> Result<(), Interrupt> {
        observe(cx, observed);
        let Some(namespace) = namespace_of(cx.key) else { return Ok(()) };
        let policy = workspace::deletion_policy(known, |project| project.spec.deletion_policy);
        let uid = object.meta().uid.as_str();
        if !workspace::is_ours(cx, &namespace, uid).await? {
            // What is in somebody else's namespace is not this project's.
            return Ok(());
        }
        if policy == DeletionPolicy::Cascade {
            workspace::let_nothing_in(cx, &namespace, uid).await?;
        }
        delete_apps(cx, policy, &namespace).await?;
        workspace::remove_people(cx, &namespace, uid).await?;
        // Somebody may have written an app between the look and the closing of the door.
        delete_apps(cx, policy, &namespace).await?;
        workspace::remove_deployer_binding(cx, &namespace, uid).await?;
        workspace::remove(cx, &namespace, uid).await
    }

    /// The namespace may outlast its project, for instance where somebody took the finalizer off.
    async fn absent(cx: &Cx<'_>) -> Result<(), Interrupt> {
        match namespace_of(cx.key) {
            Some(namespace) => drain_deleted_namespace(cx, &namespace).await,
            None => Ok(()),
        }
    }
}

/// Where somebody deletes the namespace itself, its apps go first, while Vela can still take them down, and then what
/// was kept for them.
async fn drain_deleted_namespace(cx: &Cx<'_>, namespace: &str) -> Result<(), Interrupt> {
    if workspace::is_going(cx, namespace).await? {
        let apps = cx.list_nova_live(Kind::NovaApp, namespace).await?;
        ignore_in_progress(cx.cascade::<NovaApp>(&apps).await)?;
        // Garbage collection would do it, but later than Capsule, which soon tears off Vela's finalizers.
        for (at, row) in cx.children(&vela::APPLICATION, namespace, "") {
            let at = ChildRef::new(&vela::APPLICATION, namespace, &at.name);
            ignore_in_progress(cx.remove(&at, row.owner_uid().unwrap_or_default()).await)?;
        }
    }
    workspace::release_deployer_binding(cx, namespace).await
}

/// Block refuses while there are apps; Cascade deletes them. `Ok` when they and their Applications are gone.
async fn delete_apps(cx: &Cx<'_>, policy: DeletionPolicy, namespace: &str) -> Result<(), Interrupt> {
    let apps = cx.list_nova_live(Kind::NovaApp, namespace).await?;
    if policy == DeletionPolicy::Block {
        let first = apps.first().map(|app| title(Kind::NovaApp, app.meta()));
        let me = format!("NovaProject {}", cx.key.name);
        let inside = [("apps", workspace::names(&apps))];
        if let Some(problem) = not_empty(&me, "project", first.as_deref(), &inside) {
            return Err(problem.into());
        }
    }
    cx.cascade::<NovaApp>(&apps).await?;
    workspace::applications_gone(cx, namespace).await
}
