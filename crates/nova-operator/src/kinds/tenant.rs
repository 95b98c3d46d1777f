//! `NovaTenant`: Capsule tenant, home namespace, and the plan divided over the tenant's namespaces.

use kube::api::ListParams;
use nova_api::Kind;
use nova_api::conditions::Reason;
use nova_api::v1alpha1::{DeletionPolicy, NovaApp, NovaProject, NovaSandbox, NovaTenant};
use nova_plan::adapters::{capsule, vela};
use nova_plan::answers::RequestContext;
use nova_plan::child::{
    ChildRef, NAMESPACE, NETWORK_POLICY, Ownership, RESOURCE_QUOTA, ROLE_BINDING, SERVICE_ACCOUNT, ownership,
};
use nova_plan::deletion::{DELETING, kept_namespace, not_empty};
use nova_plan::kind::index;
use nova_plan::names::{TenantName, app_namespace_of, binding_name, home_of, label, parse_namespace, role};
use nova_plan::tenant::{self, Observed, ValidTenant};
use nova_plan::{Problem, tenancy};
use serde_json::{Value, json};

use super::wakes::{
    counts, dev_group, tenant as tenant_key, tenant_of, tenant_on_workspace, tenants_on_cluster,
    tenants_on_plan, tenants_on_tenant, waits_for_application,
};
use super::{quota, workspace};
use crate::engine::cached_object::{CachedNova, CachedObject, Known, title};
use crate::engine::cx::Cx;
use crate::engine::events::EventDraft;
use crate::engine::interrupt::Interrupt;
use crate::engine::reconcile::Controller;
use crate::engine::relations::{Change, Relations, Wake, When, wake};
use crate::engine::run::BY_AGE;
use crate::engine::store::Index;
use crate::engine::stores::Stores;

/// A namespace of the tenant came or went: it takes part in the division of the plan.
fn on_namespace(change: &Change<'_, CachedObject>, _: &Stores) -> Vec<Wake> {
    let concerns = change.facts() && parse_namespace(&change.at.name).is_some();
    if concerns { wake(tenant_of(&change.at.name), When::Now) } else { Vec::new() }
}

/// The operator's own binding in a namespace came or went: its quota can be written, or no longer.
fn on_binding(change: &Change<'_, CachedObject>, _: &Stores) -> Vec<Wake> {
    let concerns = change.created_or_deleted() && change.at.name == binding_name(role::NAMESPACE_MANAGER);
    if concerns { wake(tenant_of(&change.at.namespace), When::Now) } else { Vec::new() }
}

fn on_app(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    if !change.created_or_deleted() {
        return Vec::new();
    }
    counts(tenant_of(&change.at.namespace), change.deleted(), stores)
}

fn on_application(change: &Change<'_, CachedObject>, stores: &Stores) -> Vec<Wake> {
    if !change.deleted() {
        return Vec::new();
    }
    waits_for_application(tenant_of(&change.at.namespace), stores)
}

impl Controller for NovaTenant {
    fn relations(to: &mut Relations) {
        to.owns([
            &NAMESPACE,
            &SERVICE_ACCOUNT,
            &RESOURCE_QUOTA,
            &NETWORK_POLICY,
            &ROLE_BINDING,
            &capsule::TENANT,
        ])
        .needs(&capsule::BACKEND)
        .looks_at(&vela::BACKEND)
        .on(Kind::NovaCluster, tenants_on_cluster)
        .on(Kind::NovaPlan, tenants_on_plan)
        .on(Kind::NovaTenant, tenants_on_tenant)
        .on(Kind::NovaProject, tenant_on_workspace)
        .on(Kind::NovaSandbox, tenant_on_workspace)
        .on(Kind::NovaApp, on_app)
        .on_child(&NAMESPACE, on_namespace)
        .on_child(&ROLE_BINDING, on_binding)
        .on_child(&vela::APPLICATION, on_application)
        .on_health(|_, groups| {
            wake(groups.iter().filter(|g| !g.is_empty()).map(|g| tenant_key(g)), When::Now)
        });
    }

    fn indexes() -> &'static [Index<CachedNova>] {
        &[
            BY_AGE,
            Index { name: index::DEV_GROUP, value: dev_group },
            Index {
                name: index::PLAN,
                value: |_, row| Some(row.text_at(&["spec", "plan"]).unwrap_or_default()),
            },
        ]
    }

    async fn ensure(&self, cx: &Cx<'_>, observed: &mut Observed) -> Result<(), Interrupt> {
        count(cx, observed);
        let tenant = tenancy::valid(self, cx)?;
        warn_of_default_plan(cx, self, &tenant);
        observed.plan.clone_from(&tenant.plan);
        observed.total.clone_from(&tenant.quota);
        cx.need(&capsule::BACKEND)?;
        cx.add_finalizer::<Self>().await?;
        let children = tenant::build(&tenant);
        quota::recount(cx, &children.objects.at, &tenant.owner.uid).await?;
        cx.carry_out(children, &tenant.owner.uid).await?;
        let mut problems = quota::divide_plan(cx, &tenant, observed).await?;
        problems.extend(capsule_problem(cx, &tenant));
        Interrupt::unless_empty(problems)
    }

    async fn cleanup(
        object: &CachedNova,
        known: &Known<Self>,
        cx: &Cx<'_>,
        observed: &mut Observed,
    ) -> Result<(), Interrupt> {
        count(cx, observed);
        let Ok(name) = TenantName::parse(&cx.key.name) else { return Ok(()) };
        let policy = workspace::deletion_policy(known, |tenant| tenant.spec.deletion_policy);
        let (home, uid) = (name.home(), object.meta().uid.as_str());
        if policy == DeletionPolicy::Cascade {
            workspace::let_nothing_in(cx, &home, uid).await?;
        }
        empty(cx, policy, &name).await?;
        for cluster_role in [role::TENANT_OWNER, role::HOME_READER] {
            cx.remove(&workspace::binding_ref(&home, cluster_role), uid).await?;
        }
        workspace::remove(cx, &home, uid).await?;
        remove_capsule_tenant(cx, &name, uid).await
    }
}

/// A new tenant goes on without the cluster's default plan where that does not exist, which somebody should hear of.
fn warn_of_default_plan(cx: &Cx<'_>, tenant: &NovaTenant, valid: &ValidTenant) {
    let first = tenant.status.as_ref().is_none_or(|s| s.core.observed_generation.unwrap_or(-1) < 0);
    let row = cx.get(Kind::NovaTenant, "", &cx.key.name);
    let (Some(plan), true, Some(row)) = (&valid.missing_default_plan, first, row) else { return };
    let note =
        format!("the cluster's default plan {plan:?} does not exist: the tenant has no quota until it does");
    let reason = Reason::DependencyMissing.as_str().to_owned();
    cx.engine.events.record(cx.key, row.meta(), &EventDraft { kind: "Warning", reason, note });
}

fn count(cx: &Cx<'_>, observed: &mut Observed) {
    let (name, home) = (&cx.key.name, home_of(&cx.key.name));
    let projects = cx.list(Kind::NovaProject, &home);
    let apps = projects.iter().map(|(at, _)| cx.count(Kind::NovaApp, &app_namespace_of(name, &at.name)));
    observed.apps = apps.sum();
    observed.projects = projects.len();
    observed.sandboxes = cx.count(Kind::NovaSandbox, &home);
}

/// What Capsule says of the tenant and of its home namespace.
fn capsule_problem(cx: &Cx<'_>, tenant: &ValidTenant) -> Option<Problem> {
    let outage = cx.engine.health.outage_of(&capsule::BACKEND, tenant.name.as_str());
    let row = cx.cached(&tenant::capsule_ref(tenant.name.as_str()))?;
    let home = cx.cached(&ChildRef::cluster(&NAMESPACE, &tenant.name.home()))?;
    tenant::capsule_problem(tenant, row.view(), (home.uid(), home.created()), outage.as_deref())
}

/// Block refuses while anything is inside; Cascade deletes sandboxes, and apps first, then projects. One that does not go
/// does not keep the others.
async fn empty(cx: &Cx<'_>, policy: DeletionPolicy, name: &TenantName) -> Result<(), Interrupt> {
    let home = name.home();
    let projects = cx.list_nova_live(Kind::NovaProject, &home).await?;
    let sandboxes = cx.list_nova_live(Kind::NovaSandbox, &home).await?;
    if policy == DeletionPolicy::Block {
        let first = projects
            .first()
            .map(|p| title(Kind::NovaProject, p.meta()))
            .or_else(|| sandboxes.first().map(|s| title(Kind::NovaSandbox, s.meta())));
        let inside = [("projects", workspace::names(&projects)), ("sandboxes", workspace::names(&sandboxes))];
        let me = format!("NovaTenant {name}");
        if let Some(problem) = not_empty(&me, "tenant", first.as_deref(), &inside) {
            return Err(problem.into());
        }
        let left = left_behind(cx, name).await?;
        return left.map_or(Ok(()), |namespace| Err(kept_namespace(&namespace, name.as_str()).into()));
    }
    // No app is in a sandbox, so these go at the same time as what is in order below.
    let mut first_problem = cx.cascade::<NovaSandbox>(&sandboxes).await.err();
    let mut drained = Vec::new();
    for project in projects {
        match drain(cx, name, &project).await {
            Ok(()) => drained.push(project),
            Err(interrupt) => first_problem = first_problem.or(Some(interrupt)),
        }
    }
    let gone = cx.cascade::<NovaProject>(&drained).await;
    gone.and(first_problem.map_or(Ok(()), Err))
}

/// The apps of a project, and what they have made, are gone.
async fn drain(cx: &Cx<'_>, tenant: &TenantName, project: &CachedNova) -> Result<(), Interrupt> {
    let namespace = app_namespace_of(tenant.as_str(), &project.meta().name);
    workspace::let_nothing_in(cx, &namespace, &project.meta().uid).await?;
    // The project looks for itself before its namespace goes; this is about the order.
    let quiet = cx.count(Kind::NovaApp, &namespace) == 0
        && cx.children(&vela::APPLICATION, &namespace, "").is_empty();
    if quiet {
        return Ok(());
    }
    let apps = cx.list_nova_live(Kind::NovaApp, &namespace).await?;
    cx.cascade::<NovaApp>(&apps).await?;
    workspace::applications_gone(cx, &namespace).await
}

/// A namespace in the Capsule Tenant besides the home namespace: Capsule takes all of them along with its Tenant.
async fn left_behind(cx: &Cx<'_>, tenant: &TenantName) -> Result<Option<String>, Interrupt> {
    let params = ListParams::default().labels(&format!("{}={tenant}", label::CAPSULE_TENANT));
    let all = cx.list_pages(&cx.api_in(&NAMESPACE, ""), NAMESPACE.plural, params).await?;
    let home = tenant.home();
    Ok(all.into_iter().filter_map(|namespace| namespace.metadata.name).find(|name| *name != home))
}

/// Takes the protection off, then deletes the Capsule tenant: the last step, when nothing is in it any more.
async fn remove_capsule_tenant(cx: &Cx<'_>, name: &TenantName, uid: &str) -> Result<(), Interrupt> {
    if !cx.defined(&capsule::TENANT) {
        return Ok(());
    }
    let at = tenant::capsule_ref(name.as_str());
    let object = at.to_string();
    let doing = RequestContext { stage: DELETING, object: &object };
    let Some(live) = cx.get_live(doing, &at).await? else { return Ok(()) };
    let protected = live.body.pointer("/spec/preventDeletion") == Some(&Value::Bool(true));
    if ownership(&live, uid) == Ownership::Ours && protected {
        let patch = json!({
            "metadata": {"resourceVersion": live.text("/metadata/resourceVersion")},
            "spec": {"preventDeletion": false},
        });
        cx.merge(&at, &patch).await?;
    }
    cx.remove(&at, uid).await
}
