//! `NovaApp`: one Application, and what became of it.

use std::time::Duration;

use jiff::Timestamp;
use kube::ResourceExt;
use nova_api::conditions::{Code, ConditionType, Reason};
use nova_api::v1alpha1::{NovaApp, NovaAppStatus, SourceKind};
use nova_plan::adapters::vela::{self, Answer};
use nova_plan::adapters::workload::Health;
use nova_plan::app::{self, Leaf, Published, References, Seen, ValidApp, Watched};
use nova_plan::child::{ChildKind, Owner};
use nova_plan::names::{DEPLOYER, Managed, annotation, binding_name, home_of, parse_namespace, role};
use nova_plan::verdict::Stages;
use nova_plan::{Outcome, Problem};

use crate::context::{Context, Tabled};
use crate::key::Kind;
use crate::reconcile::Reconcile;
use crate::row::Row;
use crate::stop::{self, Stop};
use crate::tenancy;

/// Vela has tried for a minute by itself when this begins.
const FIRST_RETRY: Duration = Duration::from_secs(15);
const LAST_RETRY: Duration = Duration::from_mins(10);

/// Leaves of an app, from every table of theirs.
fn leaves(ctx: &Context, namespace: &str, name: &str) -> Vec<Leaf> {
    let tables = ctx.tables.leaves.iter();
    let rows = tables.flat_map(|(_, table)| table.inside(namespace, |row| row.app == name));
    rows.map(|row| row.leaf.as_ref().clone()).collect()
}

/// The project in whose namespace an app is, and what the app takes over from it.
fn project(ctx: &Context, app: &NovaApp) -> Result<(Owner, Option<i32>), Problem> {
    let stage = ConditionType::DependenciesMet;
    let me = app.title();
    let namespace = app.namespace().unwrap_or_default();
    let Some((tenant, Managed::App(name))) = parse_namespace(&namespace) else {
        return Err(Problem::invalid(stage, me, format!("{namespace} is no namespace of a project"))
            .code(Code::Kn403)
            .fix("create the app in tn-<tenant>-app-<project>"));
    };
    let home = home_of(tenant);
    let what = format!("NovaProject {home}/{name}");
    let waits = |message: &str| {
        Problem::missing(stage, &what, message).fix(format!("create {what}, or wait until it is ready"))
    };
    let project = ctx.tables.projects.get(&home, name).ok_or_else(|| waits("it does not exist"))?;
    if project.metadata.deletion_timestamp.is_some() {
        return Err(waits("it is being deleted"));
    }
    let row = ctx.children(ChildKind::Namespace).get("", &namespace);
    if row.is_none_or(|row| row.owner_uid() != project.uid().as_deref()) {
        return Err(waits("it has no namespace yet"));
    }
    let nova = tenancy::of_home(ctx, &home, &me)?;
    let valid =
        tenancy::valid(ctx, &nova).map_err(|p| waits(&format!("its tenant is not ready: {}", p.message)))?;
    let owner = Owner {
        uid: String::new(),
        project: Some(name.to_owned()),
        project_id: project.uid(),
        app_id: None,
        ..valid.owner
    };
    Ok((owner, valid.max_apps_per_project))
}

fn valid(ctx: &Context, app: &NovaApp) -> Result<ValidApp, Problem> {
    let (owner, max_apps) = project(ctx, app)?;
    let name = app.name_any();
    let component = app.spec.component(&name);
    let older = ctx.older(app);
    let holder = older.iter().find(|a| a.spec.component(&a.name_any()) == component);
    let template =
        app.spec.source.vela_template.as_ref().filter(|_| app.spec.source.kind == SourceKind::VelaTemplate);
    let exists = |name: &str| ctx.tables.definitions.get(vela::DEFINITIONS_NAMESPACE, name).is_some();
    app::validate(
        app,
        &References {
            project: &owner,
            max_apps,
            older: older.len(),
            component_holder: holder.and_then(|a| a.metadata.name.as_deref()),
            definition_exists: template.is_some_and(|t| exists(&t.template)),
        },
    )
}

/// Vela impersonates the deployer, so its account and rights have to be there first.
fn deployer_ready(ctx: &Context, namespace: &str) -> Result<(), Problem> {
    let account = ctx.children(ChildKind::ServiceAccount).get(namespace, DEPLOYER);
    let binding = ctx.children(ChildKind::RoleBinding).get(namespace, &binding_name(role::APP_DEPLOYER));
    if account.is_some() && binding.is_some() {
        return Ok(());
    }
    let object = format!("ServiceAccount {namespace}/{DEPLOYER}");
    Err(Problem::progress(ConditionType::DependenciesMet, object, "the project is still being set up"))
}

impl Reconcile for NovaApp {
    type Seen = Seen;

    const STAGES: Stages = app::STAGES;

    async fn attempt(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        let (namespace, name) = (self.namespace().unwrap_or_default(), self.name_any());
        if let Some(row) = ctx.children(ChildKind::Application).get(&namespace, &name) {
            look(self, &row, seen);
        }
        let template = self.spec.source.kind == SourceKind::VelaTemplate;
        if template && ctx.installed(vela::CRD) && !ctx.tables.definitions.is_synced() {
            return Err(Stop::Again(stop::MOMENT));
        }
        let valid = valid(ctx, self)?;
        if !ctx.installed(vela::CRD) {
            let object = format!("CustomResourceDefinition {}", vela::CRD);
            let stage = ConditionType::DependenciesMet;
            let problem = Problem::new(stage, Reason::CapabilityMissing, object, "KubeVela is not installed");
            return Err(problem
                .code(Code::Kn422)
                .fix("install KubeVela; this goes on by itself then")
                .into());
        }
        if !ctx.children(ChildKind::Application).is_synced() {
            return Err(Stop::Again(stop::MOMENT));
        }
        deployer_ready(ctx, &namespace)?;
        let told = self.status.as_ref().and_then(|s| s.publish_version.as_deref());
        let again = try_again(ctx, self, seen);
        let published = Published { live: seen.publish_version.as_deref(), told, again };
        let children = app::build(&valid, published);
        let app::Children { application } = &children;
        let row = ctx.apply(Kind::App, ConditionType::DeliveryReady, application).await?;
        seen.version = Some(valid.version.clone());
        look(self, &row, seen);
        let leaves = leaves(ctx, &namespace, &name);
        let workloads = || leaves.iter().filter(|l| l.kind != "Pod");
        seen.workloads = (workloads().filter(|l| l.health == Health::Healthy).count(), workloads().count());
        let problems = judge(ctx, self, &row, seen, &leaves);
        if problems.is_empty() {
            ctx.retries.reset(&self.key());
        }
        if problems.is_empty() { Ok(()) } else { Err(Stop::Problems(problems)) }
    }

    /// Garbage collection takes the Application by its ownerReference.
    async fn cleanup(&self, _: &Context, _: &mut Seen) -> Result<(), Stop> {
        Ok(())
    }

    fn judge(&self, _: &Context, seen: &Seen, outcome: &Outcome, now: Timestamp) -> NovaAppStatus {
        app::status(self, seen, outcome, now)
    }
}

/// True when Vela is to roll out once more what it has given up on; the pauses before that grow.
fn try_again(ctx: &Context, app: &NovaApp, seen: &Seen) -> bool {
    let worth = seen.reading.as_ref().is_some_and(app::worth_another_try);
    let row = ctx.children(ChildKind::Application).get(&app.namespace().unwrap_or_default(), &app.name_any());
    let Some(row) = row.filter(|_| worth) else { return false };
    let key = app.key();
    let pause = FIRST_RETRY * 2_u32.pow(ctx.retries.failures(&key).min(10));
    let wait = pause.min(LAST_RETRY).saturating_sub(row.seen_at().elapsed());
    if !wait.is_zero() {
        ctx.queue.add_after(key, wait);
        return false;
    }
    ctx.retries.failed(&key);
    tracing::info!(adapter = vela::COMPONENT, "rolled out once more, since what failed passes by itself");
    true
}

fn look(app: &NovaApp, row: &Row, seen: &mut Seen) {
    if row.owner_uid() != app.uid().as_deref() {
        return;
    }
    let live = row.body();
    seen.reading = Some(vela::read(&live));
    seen.publish_version =
        live["metadata"]["annotations"][annotation::VELA_PUBLISH_VERSION].as_str().map(str::to_owned);
}

fn judge(ctx: &Context, app: &NovaApp, row: &Row, seen: &Seen, leaves: &[Leaf]) -> Vec<Problem> {
    let (namespace, name) = (app.namespace().unwrap_or_default(), app.name_any());
    let Some(reading) = &seen.reading else { return Vec::new() };
    let mut vela_silent = None;
    if reading.answer == Answer::Unseen {
        let told = app.status.as_ref().and_then(|s| s.core.condition(ConditionType::DeliveryReady));
        let silent = told.is_some_and(|c| c.reason == Reason::BackendUnavailable.as_str());
        let patience = ctx.vela_patience(row.seen_at(), silent);
        if patience.is_zero() {
            ctx.vela_is_silent();
            vela_silent = Some(crate::context::VELA_SILENCE.as_secs());
        } else {
            ctx.queue.add_after(app.key(), patience);
        }
    }
    app::judge(&Watched { namespace: &namespace, name: &name, reading, leaves, vela_silent })
}
