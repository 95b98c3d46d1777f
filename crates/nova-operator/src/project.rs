//! `NovaProject`: a namespace for apps.

use jiff::Timestamp;
use kube::ResourceExt;
use nova_api::v1alpha1::{DeletionPolicy, NovaApp, NovaProject, NovaProjectStatus};
use nova_plan::Outcome;
use nova_plan::names::{ProjectName, TenantName};
use nova_plan::project::{self, References, Seen};

use crate::cleanup::{blocked, names};
use crate::context::Context;
use crate::key::Kind;
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

    async fn attempt(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        look(ctx, self, seen);
        let home = self.namespace().unwrap_or_default();
        let me = format!("NovaProject {home}/{}", self.name_any());
        let (tenant, capsule) = workspace::surroundings(ctx, &home, &me)?;
        let age = |p: &NovaProject| (p.creation_timestamp().map(|c| c.0), p.name_any());
        let older = ctx.tables.projects.within(&home, "").iter().filter(|p| age(p) < age(self)).count();
        let valid = project::validate(self, References { tenant: &tenant, older })?;
        ctx.hold(self).await?;
        let children = project::build(&valid, capsule.uid());
        let namespace = workspace::apply(ctx, Kind::Project, &valid.owner.uid, children).await?;
        let problems: Vec<_> = workspace::share_problem(ctx, &valid.namespace, self.spec.quotas.as_ref())
            .into_iter()
            .chain(workspace::capsule_problem(&tenant, &capsule, &namespace, &valid.namespace))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(Stop::Problems(problems)) }
    }

    async fn cleanup(&self, ctx: &Context, seen: &mut Seen) -> Result<(), Stop> {
        look(ctx, self, seen);
        let Some(namespace) = namespace_of(self) else { return Ok(()) };
        let uid = self.uid().unwrap_or_default();
        empty(ctx, self, &namespace).await?;
        workspace::close(ctx, &namespace, &uid).await?;
        // Somebody may have written an app between the look and the closing of the door.
        empty(ctx, self, &namespace).await?;
        workspace::remove(ctx, &namespace, &uid).await
    }

    fn judge(&self, _: &Context, seen: &Seen, outcome: &Outcome, now: Timestamp) -> NovaProjectStatus {
        project::status(self, seen, outcome, now)
    }
}

/// Block refuses while there are apps; Cascade deletes them. `Ok` when they and their Applications are gone.
async fn empty(ctx: &Context, project: &NovaProject, namespace: &str) -> Result<(), Stop> {
    let apps: Vec<NovaApp> = ctx.inside(namespace).await?;
    if let (Some(first), DeletionPolicy::Block) = (apps.first(), project.spec.deletion_policy) {
        let object = format!("NovaApp {namespace}/{}", first.name_any());
        let message =
            format!("the project still has apps: {}, and its deletionPolicy is Block", names(&apps));
        let fix = format!(
            "delete them, or set spec.deletionPolicy of NovaProject {} to Cascade",
            project.name_any()
        );
        return Err(blocked(object, message, fix).into());
    }
    ctx.cascade(&apps).await?;
    ctx.applications_gone(namespace).await
}
