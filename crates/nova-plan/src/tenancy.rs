//! What others need to know of a tenant: whose a namespace is, and whether the tenant can be carried out. No I/O.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{NovaApp, NovaCluster, NovaPlan, NovaProject, NovaTenant};
use nova_api::{CoreStatus, NovaKind, NovaStatus};

use crate::adapters::capsule;
use crate::child::{ChildRef, NAMESPACE, Owner};
use crate::kind::{Lookup, index};
use crate::names::{LOCAL_CLUSTER, Managed, TenantName, home_of, parse_namespace};
use crate::problem::Problem;
use crate::tenant::{self, References, ValidTenant, dev_group_of, plan_in_force};
use crate::verdict::mark;

const STAGE: ConditionType = ConditionType::DependenciesMet;

/// What status calls an object, such as `NovaProject tn-acme/shop`.
#[must_use]
pub fn title<K: NovaKind>(object: &K) -> String {
    let meta = object.meta();
    title_of(K::KIND, meta.namespace.as_deref(), meta.name.as_deref().unwrap_or_default())
}

/// The same by kind, namespace and name.
#[must_use]
pub fn title_of(kind: &str, namespace: Option<&str>, name: &str) -> String {
    match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Checks a tenant.
pub fn valid(tenant: &NovaTenant, see: &impl Lookup) -> Result<ValidTenant, Problem> {
    let cluster = see.nova::<NovaCluster>("", LOCAL_CLUSTER);
    let named = plan_in_force(tenant, cluster.as_deref());
    // What cannot be read is never no plan.
    let unreadable = if see.unreadable::<NovaCluster>("", LOCAL_CLUSTER) && tenant.spec.plan.is_none() {
        Some(format!("NovaCluster {LOCAL_CLUSTER}"))
    } else {
        named
            .filter(|(name, _)| see.unreadable::<NovaPlan>("", name))
            .map(|(name, _)| format!("NovaPlan {name}"))
    };
    if let Some(object) = unreadable {
        let fix = format!("see its status, and correct {object}; this goes on by itself then");
        return Err(Problem::missing(STAGE, object, "it cannot be read; nothing was changed").fix(fix));
    }
    let plan = named.and_then(|(name, _)| see.nova::<NovaPlan>("", name));
    if let Some(problem) = plan.as_deref().and_then(|plan| leaving_plan(tenant, plan)) {
        return Err(problem);
    }
    let name = tenant.metadata.name.as_deref().unwrap_or_default();
    let holder =
        see.oldest::<NovaTenant>(index::DEV_GROUP, &dev_group_of(tenant)).filter(|holder| holder != name);
    let refs = References {
        plan: plan.as_deref(),
        cluster: cluster.as_deref(),
        dev_group_holder: holder.as_deref(),
    };
    tenant::validate(tenant, &refs)
}

/// A plan on its way out takes no further tenants; those that it has keep it.
fn leaving_plan(tenant: &NovaTenant, plan: &NovaPlan) -> Option<Problem> {
    let name = plan.metadata.name.as_deref();
    let has_it = tenant.status.as_ref().and_then(|status| status.plan.as_deref()) == name;
    if plan.metadata.deletion_timestamp.is_none() || has_it {
        return None;
    }
    let message = "it is being deleted, and takes no further tenants; nothing was changed";
    let fix =
        format!("set spec.plan of {} to one of those that `kubectl get novaplans` lists", title(tenant));
    Some(Problem::missing(STAGE, title(plan), message).class(BlockerClass::User).fix(fix))
}

/// The tenant in whose home namespace an object is, if the namespace is that tenant's.
pub fn of_home(namespace: &str, me: &str, see: &impl Lookup) -> Result<Arc<NovaTenant>, Problem> {
    let Some(name) = TenantName::from_home(namespace) else {
        return Err(Problem::invalid(STAGE, me, format!("{namespace} is no home namespace of a tenant"))
            .code(Code::Kn403)
            .fix("create it in tn-<tenant>"));
    };
    let tenant = see.nova::<NovaTenant>("", name.as_str());
    let home = see.child(&ChildRef::cluster(&NAMESPACE, namespace));
    match (tenant, home) {
        (Some(tenant), Some(home)) if home.owner_uid == tenant.metadata.uid => {
            if tenant.metadata.deletion_timestamp.is_some() {
                return Err(Problem::missing(STAGE, title(tenant.as_ref()), "it is being deleted")
                    .fix("delete this too, or create it anew in another tenant"));
            }
            Ok(tenant)
        }
        (Some(tenant), _) => {
            let message = format!("{namespace} is not its home namespace yet");
            let look = format!("kubectl describe novatenant {name}");
            Err(Problem::missing(STAGE, title(tenant.as_ref()), message).fix(format!(
                "none needed where the tenant is still being set up; see what it waits for: {look}"
            )))
        }
        (None, _) => Err(Problem::missing(STAGE, format!("NovaTenant {name}"), "it does not exist")
            .fix(format!("create NovaTenant {name}; this goes on by itself then"))),
    }
}

/// The tenant in whose home namespace a project or sandbox is, once namespaces can be made in it.
pub fn surroundings<K: NovaKind>(workspace: &K, see: &impl Lookup) -> Result<ValidTenant, Problem> {
    let namespace = workspace.meta().namespace.as_deref().unwrap_or_default();
    let nova = of_home(namespace, &title(workspace), see)?;
    let waits = |message: String| Problem::missing(STAGE, title(nova.as_ref()), message);
    let tenant = valid(&nova, see).map_err(|problem| {
        waits(format!("it is not ready: {}: {}", problem.object, problem.message))
            .fix(problem.fix.clone())
            .class(problem.class)
    })?;
    if !see.installed(capsule::CRD) {
        return Err(capsule::BACKEND.missing(capsule::CRD));
    }
    let capsule = see.child(&tenant::capsule_ref(tenant.name.as_str()));
    let ours = |c: &crate::kind::ChildFacts| {
        c.owner_uid.as_deref() == Some(tenant.owner.uid.as_str()) && !c.deleting
    };
    if capsule.as_ref().is_some_and(ours) {
        Ok(tenant)
    } else {
        Err(waits("its Capsule Tenant is not there yet".to_owned()))
    }
}

/// Tells a hold of the tenant on an object of it, beside how the object stands.
pub(crate) fn suspended<K: NovaKind>(
    object: &K,
    mut core: CoreStatus,
    suspended: bool,
    now: Timestamp,
) -> CoreStatus {
    if suspended && core.condition(ConditionType::Suspended).is_none() {
        let before = object.status().map(NovaStatus::core);
        let message = "the tenant is suspended: what runs goes on, and nothing new is made";
        mark(&mut core, before, ConditionType::Suspended, Reason::Suspended, message, now);
    }
    core
}

/// An object of a suspended tenant that would be new, or other than before.
#[must_use]
pub fn held(tenant: &str) -> Problem {
    let message = "it is suspended, and nothing new is made in it";
    Problem::new(STAGE, Reason::Suspended, format!("NovaTenant {tenant}"), message)
        .code(Code::Kn403)
        .fix("none needed: this goes on by itself when spec.suspended of the tenant is false again")
}

/// An object asks for what it has not yet been: it is new, was edited, or was held before and not edited back.
#[must_use]
pub fn asks_for_more<K: NovaKind>(object: &K) -> bool {
    let Some(core) = object.status().map(NovaStatus::core) else { return true };
    let held = |c: &Condition| c.reason == Reason::Suspended.as_str();
    core.observed_generation != object.meta().generation
        || core.condition(ConditionType::Ready).is_none_or(held)
}

/// What an app takes over from the project in whose namespace it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Owner labels.
    pub owner: Owner,
    /// Most apps in the project.
    pub max_apps: Option<i32>,
    /// The tenant is suspended.
    pub suspended: bool,
}

/// The project in whose namespace an app is.
pub fn project_of(app: &NovaApp, see: &impl Lookup) -> Result<Project, Problem> {
    let me = title(app);
    let namespace = app.metadata.namespace.as_deref().unwrap_or_default();
    let Some((tenant, Managed::App(name))) = parse_namespace(namespace) else {
        return Err(Problem::invalid(STAGE, me, format!("{namespace} is no namespace of a project"))
            .code(Code::Kn403)
            .fix("create the app in tn-<tenant>-app-<project>"));
    };
    let home = home_of(tenant);
    let what = format!("NovaProject {home}/{name}");
    let waits = |message: &str| {
        Problem::missing(STAGE, &what, message).fix(format!("create {what}, or wait until it is ready"))
    };
    let project = see.nova::<NovaProject>(&home, name).ok_or_else(|| waits("it does not exist"))?;
    if project.metadata.deletion_timestamp.is_some() {
        return Err(
            waits("it is being deleted").fix("delete the app too, or create it anew in another project")
        );
    }
    let place = see.child(&ChildRef::cluster(&NAMESPACE, namespace));
    if place.is_none_or(|place| place.owner_uid != project.metadata.uid) {
        return Err(waits("it has no namespace yet"));
    }
    let nova = of_home(&home, &me, see)?;
    let valid = valid(&nova, see).map_err(|p| {
        waits(&format!("its tenant is not ready: {}: {}", p.object, p.message)).fix(p.fix).class(p.class)
    })?;
    let owner = Owner {
        uid: String::new(),
        project: Some(name.to_owned()),
        project_id: project.metadata.uid.clone(),
        app_id: None,
        ..valid.owner
    };
    Ok(Project { owner, max_apps: valid.max_apps_per_project, suspended: valid.suspended })
}
