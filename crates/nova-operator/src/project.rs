//! `NovaProject`: a namespace for apps.

use jiff::Timestamp;
use kube::ResourceExt;
use nova_api::v1alpha1::{DeletionPolicy, NovaApp, NovaProject, NovaProjectStatus};
use nova_plan::Outcome;
use nova_plan::child::{ChildKind, ChildRef};
use nova_plan::names::{ProjectName, TenantName};
use nova_plan::project::{self, References, Seen};
use nova_plan::verdict::Stages;

use crate::cleanup::{begun, blocked, named, title};
use crate::context::Context;
use crate::guard::Guarded;
use crate::key::Key;
use crate::reconcile::Reconcile;
use crate::stop::Stop;
use crate::workspace;

/// The namespace of a project, by the names alone.
fn namespace_of(project: &NovaProject) -> Option<String> {
    let tenant = TenantName::from_home(&project.namespace()?)?;
    Some(tenant.app_namespace(&ProjectName::parse(&project.name_any()).ok()?))
}

fn look(ctx: &Context, project: &NovaProject, seen: &mut Seen) {
    let Some(namespace) = namespace_of(project) else { return };
    seen.apps = ctx.tables.apps.count(&namespace);
    seen.quota = workspace::quota(ctx, &namespace);
    seen.namespace = Some(namespace);
}

impl Reconcile for NovaProject {
    type Seen = Seen;

    const STAGES: Stages = project::STAGES;

    async fn attempt(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        look(ctx, self, seen);
        if let Some(namespace) = &seen.namespace {
            make_way(ctx, namespace).await?;
        }
        let place = workspace::surroundings(ctx, self)?;
        let older = ctx.older(self).len();
        let valid = project::validate(self, References { tenant: &place.tenant, older })?;
        ctx.hold(self).await?;
        let children = project::build(&valid, place.capsule.uid());
        place.make(ctx, self, self.spec.quotas.as_ref(), children).await
    }

    async fn cleanup(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        look(ctx, self, seen);
        let Some(namespace) = namespace_of(self) else { return Ok(()) };
        let uid = self.uid().unwrap_or_default();
        empty(ctx, self, &namespace).await?;
        workspace::close(ctx, &namespace, &uid).await?;
        // Somebody may have written an app between the look and the closing of the door.
        empty(ctx, self, &namespace).await?;
        workspace::dismiss_deployer(ctx, &namespace, &uid).await?;
        workspace::remove(ctx, &namespace, &uid).await
    }

    /// The namespace may outlast its project, for instance where somebody took the finalizer off.
    async fn absent(ctx: &Context, key: &Key) -> Result<(), Stop> {
        let Some(tenant) = TenantName::from_home(&key.namespace) else { return Ok(()) };
        let Ok(name) = ProjectName::parse(&key.name) else { return Ok(()) };
        make_way(ctx, &tenant.app_namespace(&name)).await
    }

    fn judge(&self, _: &Context, seen: &Seen, outcome: &Outcome, now: Timestamp) -> NovaProjectStatus {
        project::status(self, seen, outcome, now)
    }
}

/// Where somebody deletes the namespace itself, its apps go first, while Vela can still take them down, and then what
/// was kept for them.
async fn make_way(ctx: &Context, namespace: &str) -> Result<(), Stop> {
    if workspace::is_going(ctx, namespace).await? {
        let apps: Vec<Guarded<NovaApp>> = ctx.inside(namespace).await?;
        begun(ctx.cascade(&apps).await)?;
        // Garbage collection would do it, but later than Capsule, which soon tears off Vela's finalizers.
        for row in ctx.children(ChildKind::Application).within(namespace, "") {
            let name = row.body()["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let at = ChildRef { kind: ChildKind::Application, namespace: namespace.to_owned(), name };
            begun(ctx.remove(&at, row.owner_uid().unwrap_or_default()).await)?;
        }
    }
    workspace::release_deployer(ctx, namespace).await
}

/// Block refuses while there are apps; Cascade deletes them. `Ok` when they and their Applications are gone.
async fn empty(ctx: &Context, project: &NovaProject, namespace: &str) -> Result<(), Stop> {
    let apps: Vec<Guarded<NovaApp>> = ctx.inside(namespace).await?;
    if let (Some(first), DeletionPolicy::Block) = (apps.first(), project.spec.deletion_policy) {
        let message =
            format!("the project still has apps: {}, and its deletionPolicy is Block", named(&apps));
        let fix = format!(
            "delete them, or set spec.deletionPolicy of NovaProject {} to Cascade",
            project.name_any()
        );
        return Err(blocked(title(first), message, fix).into());
    }
    ctx.cascade(&apps).await?;
    ctx.applications_gone(namespace).await
}
