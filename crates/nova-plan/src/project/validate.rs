//! From a `NovaProject` and its tenant to a project that can be built. Pure.

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{Access, DevGroupRole, NovaProject};

use crate::child::Owner;
use crate::names::ProjectName;
use crate::namespace::ContainerLimits;
use crate::problem::Problem;
use crate::tenant::{ValidTenant, check_subject, refused};
use crate::workspace;

/// What a project refers to.
#[derive(Debug, Clone, Copy)]
pub struct References<'a> {
    /// The tenant in whose home namespace it is.
    pub tenant: &'a ValidTenant,
    /// How many older projects the tenant has.
    pub older: usize,
}

/// A project that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidProject<'a> {
    /// Checked name.
    pub name: ProjectName,
    /// Its tenant.
    pub tenant: &'a ValidTenant,
    /// Its namespace.
    pub namespace: String,
    /// Owner of its children.
    pub owner: Owner,
    /// Who may do what.
    pub access: Vec<Access>,
    /// What the developer group may do.
    pub dev_group_role: DevGroupRole,
    /// Limits of a container.
    pub limits: ContainerLimits,
}

/// Checks a project.
pub fn validate<'a>(project: &NovaProject, refs: References<'a>) -> Result<ValidProject<'a>, Problem> {
    let stage = ConditionType::DependenciesMet;
    let given = project.metadata.name.as_deref().unwrap_or_default();
    let me = format!("NovaProject {}/{given}", refs.tenant.name.home());
    let name = ProjectName::parse(given).map_err(|invalid| Problem::invalid(stage, &me, invalid))?;
    too_many(&me, "projects", refs.tenant.max_projects, refs.older)?;
    for access in &project.spec.access {
        check_subject(&access.subject()).map_err(|why| refused(stage, &me, "spec.access", &why))?;
    }
    let limits =
        workspace::limits(&me, refs.tenant, project.spec.limits.as_ref(), project.spec.quotas.as_ref())?;
    let id = project.metadata.uid.clone().unwrap_or_default();
    Ok(ValidProject {
        namespace: refs.tenant.name.app_namespace(&name),
        tenant: refs.tenant,
        owner: Owner {
            uid: id.clone(),
            project: Some(given.to_owned()),
            project_id: Some(id),
            ..refs.tenant.owner.clone()
        },
        name,
        access: project.spec.access.clone(),
        dev_group_role: project.spec.dev_group_role,
        limits,
    })
}

/// Refuses what goes beyond a number of the plan; the oldest keep their place.
pub(crate) fn too_many(me: &str, what: &str, most: Option<i32>, older: usize) -> Result<(), Problem> {
    match most {
        Some(most) if older >= usize::try_from(most).unwrap_or(0) => Err(Problem::new(
            ConditionType::DependenciesMet,
            Reason::QuotaExceeded,
            me,
            format!("the plan allows {most} {what}, and there are {older} older ones"),
        )
        .code(Code::Kn429)
        .class(BlockerClass::User)
        .fix(format!("delete one of the {what}, or move the tenant to a larger plan"))),
        _ => Ok(()),
    }
}
