//! `NovaApp`: one Application, and what became of it.

use std::time::Duration;

use nova_api::Kind;
use nova_api::conditions::{ConditionType, Reason};
use nova_api::v1alpha1::NovaApp;
use nova_plan::adapters::vela::{self, Answer};
use nova_plan::adapters::workload::Health;
use nova_plan::app::{self, Leaf, Observed, Published, References, ValidApp, Watched, application_ref};
use nova_plan::child::{ChildRef, NAMESPACE, ROLE_BINDING, SERVICE_ACCOUNT};
use nova_plan::kind::index;
use nova_plan::names::{DEPLOYER, Managed, annotation, binding_name, parse_namespace, role};
use nova_plan::{Lookup, Problem, tenancy};

use super::wakes::{
    BY_TEMPLATE, BY_UNREADY, all_in, apps_of_tenant, apps_on_cluster, apps_on_definition, apps_on_plan,
    apps_on_project, apps_on_tenant, unready_in,
};
use super::workspace;
use crate::engine::cached_object::{CachedLeaf, CachedNova, CachedObject, Known};
use crate::engine::cx::Cx;
use crate::engine::interrupt::Interrupt;
use crate::engine::key::{Key, ObjectKey};
use crate::engine::reconcile::Controller;
use crate::engine::relations::{Change, Relations, Wake, When, wake};
use crate::engine::run::BY_AGE;
use crate::engine::store::Index;
use crate::engine::stores::{StoreId, Stores};

const KIND: Kind = Kind::NovaApp;

/// Vela has tried for a minute by itself when this begins.
const FIRST_RETRY: Duration = Duration::from_secs(15);
const LAST_RETRY: Duration = Duration::from_mins(10);

/// Apps of one tenant that wait for Vela at once while it works. It has four workers, and renders some apps for minutes:
/// one tenant never has them all.
const AT_VELA: usize = 3;

/// `<namespace>/<component>` of an app.
#[allow(clippy::unnecessary_wraps, reason = "the signature of an index, whose value an object may not have")]
fn component(at: &ObjectKey, row: &CachedNova) -> Option<String> {
    let component = row.text_at(&["spec", "component"]).unwrap_or_else(|| at.name.clone());
    Some(format!("{}/{component}", at.namespace))
}

/// Another app is gone, and with it what it held of the plan's number or as a component's name.
fn on_app(change: &Change<'_, CachedNova>, stores: &Stores) -> Vec<Wake> {
    if change.deleted() {
        wake(unready_in(KIND, &change.at.namespace, stores), When::Background)
    } else {
        Vec::new()
    }
}

fn on_namespace(change: &Change<'_, CachedObject>, stores: &Stores) -> Vec<Wake> {
    if !change.facts() {
        return Vec::new();
    }
    match parse_namespace(&change.at.name) {
        // Whether the tenant is there hangs on its home namespace too.
        Some((tenant, Managed::Home)) => wake(apps_of_tenant(tenant, stores), When::Background),
        Some((_, Managed::App(_))) => wake(all_in(KIND, &change.at.name, stores), When::Background),
        _ => Vec::new(),
    }
}

/// What Vela delivers with came or went.
fn on_deployer(change: &Change<'_, CachedObject>, stores: &Stores, name: &str) -> Vec<Wake> {
    let concerns = change.created_or_deleted() && change.at.name == name;
    if concerns { wake(unready_in(KIND, &change.at.namespace, stores), When::Background) } else { Vec::new() }
}

/// A namesake may be waiting for the name of an Application that is gone.
fn on_application(change: &Change<'_, CachedObject>, _: &Stores) -> Vec<Wake> {
    if change.deleted() { wake([Key::of(KIND, change.at)], When::Now) } else { Vec::new() }
}

/// The app whose name a leaf carries or carried, if its health or revision changed.
fn on_leaf(change: &Change<'_, CachedLeaf>, _: &Stores) -> Vec<Wake> {
    if let (Some(old), Some(new)) = (change.old, change.new)
        && old.leaf == new.leaf
        && old.of == new.of
    {
        return Vec::new();
    }
    let rows = [change.old, change.new].into_iter().flatten();
    wake(rows.map(|row| Key::new(KIND, &change.at.namespace, &row.of)), When::Now)
}

impl Controller for NovaApp {
    fn relations(to: &mut Relations) {
        to.owns([&vela::APPLICATION])
            .needs(&vela::BACKEND)
            // A tenant's Capsule Tenant is not looked at, but whether the tenant can be carried out.
            .on_leaves(&vela::BACKEND, on_leaf)
            .on(Kind::NovaCluster, apps_on_cluster)
            .on(Kind::NovaPlan, apps_on_plan)
            .on(Kind::NovaTenant, apps_on_tenant)
            .on(Kind::NovaProject, apps_on_project)
            .on(KIND, on_app)
            .on_child(&NAMESPACE, on_namespace)
            .on_child(&SERVICE_ACCOUNT, |change, stores| on_deployer(change, stores, DEPLOYER))
            .on_child(&ROLE_BINDING, |change, stores| {
                on_deployer(change, stores, &binding_name(role::APP_DEPLOYER))
            })
            .on_child(&vela::APPLICATION, on_application)
            .on_child(&vela::COMPONENT_DEFINITION, apps_on_definition);
    }

    fn indexes() -> &'static [Index<CachedNova>] {
        &[BY_AGE, BY_UNREADY, BY_TEMPLATE, Index { name: index::COMPONENT, value: component }]
    }

    async fn ensure(&self, cx: &Cx<'_>, observed: &mut Observed) -> Result<(), Interrupt> {
        let mut place = Place::NotNeeded;
        let delivered = deliver(self, cx, observed, &mut place).await;
        // A place is held only while Vela has to act on what was applied, and the line kept only by who waits in it.
        let unseen = observed.reading.as_ref().is_some_and(|reading| reading.answer == Answer::Unseen);
        if !(place == Place::InLine || place == Place::Applied && unseen) {
            cx.engine.give_back_slot(cx.key);
        }
        delivered
    }

    /// Garbage collection takes the Application by its ownerReference.
    async fn cleanup(_: &CachedNova, _: &Known<Self>, _: &Cx<'_>, _: &mut Observed) -> Result<(), Interrupt> {
        Ok(())
    }
}

/// Where an app is with its place at Vela.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It did not come that far, or Vela does not work.
    NotNeeded,
    /// It waits for one.
    InLine,
    /// What was asked for is applied.
    Applied,
}

async fn deliver(
    app: &NovaApp,
    cx: &Cx<'_>,
    observed: &mut Observed,
    place: &mut Place,
) -> Result<(), Interrupt> {
    let at = application_ref(&cx.key.namespace, &cx.key.name);
    if let Some(row) = cx.cached(&at) {
        observe(app, &row, observed);
    }
    let project = tenancy::project_of(app, cx)?;
    observed.suspended = project.suspended;
    cx.need(&vela::BACKEND)?;
    let valid = valid(app, &project, cx)?;
    deployer_ready(cx, &cx.key.namespace)?;
    let told = app.status.as_ref().and_then(|s| s.publish_version.as_deref());
    let again = retry_rollout(cx, observed, cx.cached(&at).as_ref());
    let published = Published { live: observed.publish_version.as_deref(), told, again };
    let app::Children { application } = app::build(&valid, published);
    observed.version = Some(valid.version.clone());
    let asked =
        application.body.pointer("/metadata/annotations").map(|a| &a[annotation::VELA_PUBLISH_VERSION]);
    let asked = asked.and_then(|v| v.as_str());
    let is_new = asked != observed.publish_version.as_deref();
    // What ran before is kept as it was, and made again where somebody took it away.
    if project.suspended && is_new && (observed.publish_version.is_some() || asked != told) {
        return Err(tenancy::held(project.owner.tenant.as_deref().unwrap_or_default()).into());
    }
    let works = cx.engine.health.at_work(&vela::BACKEND);
    if is_new && works && !cx.engine.slots.take(cx.key, AT_VELA) {
        *place = Place::InLine;
        let message =
            format!("it waits for its turn: KubeVela has {AT_VELA} other apps of the tenant to work on");
        return Err(app::in_turn(&at, &message).into());
    }
    if again {
        cx.engine.retries.failed(cx.key);
        tracing::info!(
            adapter = vela::BACKEND.id,
            "rolled out once more, since what failed passes by itself"
        );
    }
    let row = cx.apply(ConditionType::DeliveryReady, &application).await?;
    if works {
        *place = Place::Applied;
    }
    observe(app, &row, observed);
    let leaves = leaves(cx);
    let workloads = || leaves.iter().filter(|l| l.kind != "Pod");
    observed.workloads = (workloads().filter(|l| l.health == Health::Healthy).count(), workloads().count());
    let problems = assess_delivery(cx, app, &row, observed, &leaves);
    if problems.is_empty() {
        cx.engine.retries.reset(cx.key);
    }
    Interrupt::unless_empty(problems)
}

/// Leaves of the app of this pass.
fn leaves(cx: &Cx<'_>) -> Vec<Leaf> {
    let leaves = cx.leaves(&vela::BACKEND, &cx.key.namespace, &cx.key.name);
    leaves.iter().map(|row| row.leaf.as_ref().clone()).collect()
}

fn valid(app: &NovaApp, project: &tenancy::Project, cx: &Cx<'_>) -> Result<ValidApp, Problem> {
    let (namespace, name) = (&cx.key.namespace, &cx.key.name);
    let component = format!("{namespace}/{}", app.spec.component(name));
    let holder = cx.oldest::<NovaApp>(index::COMPONENT, &component).filter(|holder| holder != name);
    let exists = |name: &str| {
        cx.cached(&ChildRef::new(&vela::COMPONENT_DEFINITION, vela::DEFINITIONS_NAMESPACE, name)).is_some()
    };
    app::validate(
        app,
        &References {
            project: &project.owner,
            max_apps: project.max_apps,
            older: cx.older(workspace::enough(project.max_apps)),
            component_holder: holder.as_deref(),
            definition_exists: app::needed_definition(&app.spec.source).is_some_and(exists),
        },
    )
}

/// Vela impersonates the deployer, so its account and rights have to be there first.
fn deployer_ready(cx: &Cx<'_>, namespace: &str) -> Result<(), Problem> {
    let account = cx.cached(&ChildRef::new(&SERVICE_ACCOUNT, namespace, DEPLOYER));
    let binding = cx.cached(&ChildRef::new(&ROLE_BINDING, namespace, &binding_name(role::APP_DEPLOYER)));
    if account.is_some() && binding.is_some() {
        return Ok(());
    }
    let object = format!("ServiceAccount {namespace}/{DEPLOYER}");
    Err(Problem::progress(ConditionType::DependenciesMet, object, "the project is still being set up"))
}

/// True when Vela is to roll out once more what it has given up on; the pauses before that grow.
fn retry_rollout(cx: &Cx<'_>, observed: &Observed, row: Option<&CachedObject>) -> bool {
    let worth = observed.reading.as_ref().is_some_and(app::worth_another_try);
    let Some(row) = row.filter(|_| worth) else { return false };
    let pause = FIRST_RETRY * 2_u32.pow(cx.engine.retries.failures(cx.key).min(10));
    let wait = pause.min(LAST_RETRY).saturating_sub(row.seen_at().elapsed());
    if !wait.is_zero() {
        cx.requeue_after(wait);
        return false;
    }
    true
}

fn observe(app: &NovaApp, row: &CachedObject, observed: &mut Observed) {
    if row.owner_uid() != app.metadata.uid.as_deref() {
        return;
    }
    let live = row.live();
    observed.reading = Some(vela::read(&live.body));
    observed.publish_version =
        live.body["metadata"]["annotations"][annotation::VELA_PUBLISH_VERSION].as_str().map(str::to_owned);
}

/// What Vela and the leaves say. While Vela has not acted on the app, its silence is measured.
fn assess_delivery(
    cx: &Cx<'_>,
    app: &NovaApp,
    row: &CachedObject,
    observed: &Observed,
    leaves: &[Leaf],
) -> Vec<Problem> {
    let Some(reading) = &observed.reading else { return Vec::new() };
    let mut silent_for = None;
    if reading.answer == Answer::Unseen {
        let told = app.status.as_ref().and_then(|s| s.core.condition(ConditionType::DeliveryReady));
        let silent = told.is_some_and(|c| c.reason == Reason::BackendUnavailable.as_str());
        let health = &cx.engine.health;
        match health.time_until_silent(&vela::BACKEND, row.seen_at(), silent) {
            Some(left) if left.is_zero() => {
                if health.mark_silent(&vela::BACKEND, cx.key) {
                    cx.engine.wake(cx.engine.routes.of_health(&vela::BACKEND, &[].into()), false);
                    // It has no workers that anybody could take.
                    cx.engine.wake(wake(cx.engine.slots.waiting(), When::Background), false);
                }
                silent_for = vela::BACKEND.silence.map(|silence| silence.as_secs());
            }
            Some(left) => cx.requeue_after(left),
            None => {}
        }
    } else if cx.engine.health.waits_no_longer(&vela::BACKEND, cx.key) {
        cx.engine.wake(cx.engine.routes.of_health(&vela::BACKEND, &[].into()), false);
    }
    let watched = Watched {
        namespace: &cx.key.namespace,
        name: &cx.key.name,
        reading,
        leaves,
        vela_silent: silent_for,
    };
    let mut problems = app::delivery_problems(&watched);
    // What cannot be seen may be ill.
    problems.extend(vela::BACKEND.leaves.iter().find_map(|kind| cx.blind(&StoreId::Leaf(kind))));
    problems
}
