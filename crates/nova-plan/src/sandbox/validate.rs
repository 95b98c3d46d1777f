//! From a `NovaSandbox` and its tenant to a sandbox that can be built. Pure.

use nova_api::conditions::ConditionType;
use nova_api::v1alpha1::NovaSandbox;

use crate::child::Owner;
use crate::names::SandboxName;
use crate::namespace::ContainerLimits;
use crate::problem::Problem;
use crate::project::too_many;
use crate::tenant::ValidTenant;
use crate::workspace;

/// What a sandbox refers to.
#[derive(Debug, Clone, Copy)]
pub struct References<'a> {
    /// The tenant in whose home namespace it is.
    pub tenant: &'a ValidTenant,
    /// How many older sandboxes the tenant has.
    pub older: usize,
}

/// A sandbox that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidSandbox<'a> {
    /// Checked name.
    pub name: SandboxName,
    /// Its tenant.
    pub tenant: &'a ValidTenant,
    /// Its namespace.
    pub namespace: String,
    /// Owner of its children.
    pub owner: Owner,
    /// Limits of a container.
    pub limits: ContainerLimits,
}

/// Checks a sandbox.
pub fn validate<'a>(sandbox: &NovaSandbox, refs: References<'a>) -> Result<ValidSandbox<'a>, Problem> {
    let stage = ConditionType::DependenciesMet;
    let given = sandbox.metadata.name.as_deref().unwrap_or_default();
    let me = format!("NovaSandbox {}/{given}", refs.tenant.name.home());
    let name = SandboxName::parse(given).map_err(|invalid| Problem::invalid(stage, &me, invalid))?;
    too_many(&me, "sandboxes", refs.tenant.max_sandboxes, refs.older)?;
    let limits =
        workspace::limits(&me, refs.tenant, sandbox.spec.limits.as_ref(), sandbox.spec.quotas.as_ref())?;
    Ok(ValidSandbox {
        namespace: refs.tenant.name.sandbox_namespace(&name),
        name,
        tenant: refs.tenant,
        owner: Owner { uid: sandbox.metadata.uid.clone().unwrap_or_default(), ..refs.tenant.owner.clone() },
        limits,
    })
}
