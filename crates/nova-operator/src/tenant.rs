//! `NovaTenant`: Capsule tenant, home namespace, and the plan divided over the tenant's namespaces.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use nova_api::conditions::{Code, ConditionType, Reason};
use nova_api::v1alpha1::{DeletionPolicy, NovaApp, NovaProject, NovaSandbox, NovaTenant, NovaTenantStatus};
use nova_plan::adapters::capsule::{self, Answer};
use nova_plan::child::{Child, ChildKind, Ownership, ownership};
use nova_plan::names::{TenantName, app_namespace_of, home_of, label, role};
use nova_plan::tenant::{self, Seen, ValidTenant};
use nova_plan::verdict::Stages;
use nova_plan::{Outcome, Problem, cluster};
use serde_json::{Value, json};

use crate::cleanup::{DELETING, blocked, named, title};
use crate::context::Context;
use crate::guard::Guarded;
use crate::key::Kind;
use crate::quota;
use crate::reconcile::Reconcile;
use crate::row::Row;
use crate::stop::{self, Doing, Stop};
use crate::tenancy;
use crate::workspace;

impl Reconcile for NovaTenant {
    type Seen = Seen;

    const STAGES: Stages = tenant::STAGES;

    async fn attempt(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        count(ctx, self, seen);
        let tenant = tenancy::valid(ctx, self)?;
        warn_of_default_plan(ctx, self, &tenant).await;
        seen.plan.clone_from(&tenant.plan);
        seen.total.clone_from(&tenant.quota);
        if !ctx.installed(capsule::CRD) {
            return Err(tenancy::capsule_missing().into());
        }
        if !ctx.children(ChildKind::CapsuleTenant).is_synced() {
            return Err(Stop::Again(stop::MOMENT));
        }
        ctx.hold(self).await?;
        let row = ctx.apply(Kind::Tenant, ConditionType::TenantSynced, &tenant::capsule(&tenant)).await?;
        apply_children(ctx, tenant::build(&tenant, row.uid())).await?;
        let mut problems = quota::divide_plan(ctx, &tenant, seen).await?;
        problems.extend(capsule_problem(ctx, &tenant, &row));
        if problems.is_empty() { Ok(()) } else { Err(Stop::Problems(problems)) }
    }

    async fn cleanup(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        count(ctx, self, seen);
        let Ok(name) = TenantName::parse(&self.name_any()) else { return Ok(()) };
        empty(ctx, self, &name).await?;
        let home = name.home();
        let uid = self.uid().unwrap_or_default();
        for cluster_role in [role::TENANT_OWNER, role::HOME_READER] {
            ctx.remove(&workspace::binding_ref(&home, cluster_role), &uid).await?;
        }
        workspace::remove(ctx, &home, &uid).await?;
        remove_capsule_tenant(ctx, name.as_str(), &uid).await
    }

    fn judge(&self, _: &Context, seen: &Seen, outcome: &Outcome, now: Timestamp) -> NovaTenantStatus {
        tenant::status(self, seen, outcome, now)
    }
}

/// A new tenant goes on without the cluster's default plan where that does not exist, which somebody should hear of.
async fn warn_of_default_plan(ctx: &Context, tenant: &NovaTenant, valid: &ValidTenant) {
    let first = tenant.status.as_ref().is_none_or(|s| s.core.observed_generation.unwrap_or(-1) < 0);
    if let (Some(plan), true) = (&valid.missing_default_plan, first) {
        let note = format!(
            "the cluster's default plan {plan:?} does not exist: the tenant has no quota until it does"
        );
        ctx.publish(tenant, "Warning", Reason::DependencyMissing.as_str(), &note).await;
    }
}

fn count(ctx: &Context, tenant: &NovaTenant, seen: &mut Seen) {
    let (name, home) = (tenant.name_any(), home_of(&tenant.name_any()));
    let projects = ctx.tables.projects.within(&home, "");
    seen.apps = projects.iter().map(|p| ctx.tables.apps.count(&app_namespace_of(&name, &p.name_any()))).sum();
    seen.projects = projects.len();
    seen.sandboxes = ctx.tables.sandboxes.count(&home);
}

/// Applied in this order: what limits the namespace comes before the first person may enter it.
async fn apply_children(ctx: &Context, children: tenant::Children) -> Result<(), Stop> {
    let tenant::Children { home, manager, quota, network_policies, gitops, bindings } = children;
    let apply = async |stage, child: &Child| ctx.apply(Kind::Tenant, stage, child).await;
    apply(ConditionType::NamespacesReady, &home).await?;
    apply(ConditionType::NamespacesReady, &manager).await?;
    apply(ConditionType::NamespacesReady, &quota).await?;
    for policy in &network_policies {
        apply(ConditionType::NamespacesReady, policy).await?;
    }
    apply(ConditionType::AccessReady, &gitops).await?;
    for binding in &bindings {
        apply(ConditionType::AccessReady, binding).await?;
    }
    Ok(())
}

/// What Capsule says of the tenant and of its home namespace.
fn capsule_problem(ctx: &Context, tenant: &ValidTenant, row: &Row) -> Option<Problem> {
    let at = tenant::capsule_ref(tenant.name.as_str());
    let problem = |reason, message: &str| {
        Problem::new(ConditionType::TenantSynced, reason, &at, message).fix(format!(
            "see what Capsule says: kubectl describe tenants.capsule.clastix.io {}",
            tenant.name
        ))
    };
    if let Some(words) = ctx.backends.capsule_words() {
        return Some(
            problem(Reason::BackendUnavailable, &format!("Capsule does not answer: {words}"))
                .code(Code::Kn503)
                .fix(cluster::START_CAPSULE),
        );
    }
    let live = row.body();
    let status = capsule::status(&live);
    let generation = live.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    let home = ctx.children(ChildKind::Namespace).get("", &tenant.name.home())?;
    let taken_in = status.namespace(&tenant.name.home(), home.uid(), home.created());
    match (status.tenant(generation), taken_in) {
        (Answer::Ready, Answer::Ready) => None,
        (Answer::Failed(words), _) | (_, Answer::Failed(words)) => {
            Some(problem(Reason::BackendUnavailable, &words).code(Code::Kn503))
        }
        _ => Some(Problem::progress(ConditionType::TenantSynced, &at, "Capsule has not taken it in yet")),
    }
}

/// Block refuses while anything is inside; Cascade deletes sandboxes, and apps first, then projects.
async fn empty(ctx: &Context, tenant: &NovaTenant, name: &TenantName) -> Result<(), Stop> {
    let home = name.home();
    let projects: Vec<Guarded<NovaProject>> = ctx.inside(&home).await?;
    let sandboxes: Vec<Guarded<NovaSandbox>> = ctx.inside(&home).await?;
    if tenant.spec.deletion_policy == DeletionPolicy::Block {
        let first = projects.first().map(title).or_else(|| sandboxes.first().map(title));
        let Some(first) = first else {
            let left = left_behind(ctx, name).await?;
            return left.map_or(Ok(()), |namespace| Err(kept(&namespace, name).into()));
        };
        let message = format!(
            "the tenant still has projects [{}] and sandboxes [{}], and its deletionPolicy is Block",
            named(&projects),
            named(&sandboxes)
        );
        let fix = format!("delete them, or set spec.deletionPolicy of NovaTenant {name} to Cascade");
        return Err(blocked(first, message, fix).into());
    }
    // No app is in a sandbox, so these go at the same time as what is in order below.
    let sandboxes_gone = ctx.cascade(&sandboxes).await;
    for project in &projects {
        let namespace = app_namespace_of(name.as_str(), &project.name_any());
        // The project looks for itself before its namespace goes; this is about the order.
        let quiet = ctx.tables.apps.count(&namespace) == 0
            && ctx.children(ChildKind::Application).count(&namespace) == 0;
        if quiet {
            continue;
        }
        let apps: Vec<Guarded<NovaApp>> = ctx.inside(&namespace).await?;
        ctx.cascade(&apps).await?;
        ctx.applications_gone(&namespace).await?;
    }
    ctx.cascade(&projects).await?;
    sandboxes_gone
}

/// A namespace in the Capsule Tenant besides the home namespace: Capsule takes all of them along with its Tenant.
async fn left_behind(ctx: &Context, tenant: &TenantName) -> Result<Option<String>, Stop> {
    let params = ListParams::default().labels(&format!("{}={tenant}", label::CAPSULE_TENANT));
    let api: Api<Namespace> = Api::all(ctx.client.clone());
    let doing = Doing { stage: DELETING, object: "namespaces" };
    let all = ctx.ask(doing, api.list_metadata(&params)).await?.map_err(|error| ctx.failed(&error, doing))?;
    let home = tenant.home();
    Ok(all.into_iter().map(|namespace| namespace.name_any()).find(|name| *name != home))
}

/// Block keeps namespaces whose project or sandbox is gone already.
fn kept(namespace: &str, tenant: &TenantName) -> Problem {
    let message =
        "it is in the tenant without a project or sandbox, and the tenant's deletionPolicy is Block";
    let fix = format!("delete it, or set spec.deletionPolicy of NovaTenant {tenant} to Cascade");
    blocked(format!("Namespace {namespace}"), message.to_owned(), fix)
}

/// Takes the protection off, then deletes the Capsule tenant: the last step, when nothing is in it any more.
async fn remove_capsule_tenant(ctx: &Context, name: &str, uid: &str) -> Result<(), Stop> {
    if !ctx.installed(capsule::CRD) {
        return Ok(());
    }
    let at = tenant::capsule_ref(name);
    let Some(live) = ctx.live(DELETING, &at).await? else { return Ok(()) };
    let protected = live.pointer("/spec/preventDeletion") == Some(&json!(true));
    if ownership(&live, uid) == Ownership::Ours && protected {
        let patch = json!({
            "metadata": {"resourceVersion": live.pointer("/metadata/resourceVersion")},
            "spec": {"preventDeletion": false},
        });
        let params =
            PatchParams { field_manager: Some(Kind::Tenant.manager().to_owned()), ..PatchParams::default() };
        let object = at.to_string();
        let doing = Doing { stage: DELETING, object: &object };
        let patch = Patch::Merge(&patch);
        let patched = ctx.ask(doing, ctx.api(&at).patch(name, &params, &patch)).await?;
        patched.map_err(|error| ctx.failed(&error, doing))?;
    }
    ctx.remove(&at, uid).await
}
