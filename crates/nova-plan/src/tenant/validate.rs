//! From a `NovaTenant` and what it refers to, to a tenant that can be built. Pure.

use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{Isolation, Limits, NovaCluster, NovaPlan, NovaTenant, Subject, SubjectKind};

use crate::child::Owner;
use crate::division::Hard;
use crate::names::{LOCAL_CLUSTER, TenantName, default_dev_group_of};
use crate::namespace::{ContainerLimits, InvalidAmount, hard};
use crate::problem::{Problem, Retry};
use crate::workspace::invalid_amount;

/// What a tenant refers to, as it is now.
#[derive(Debug, Clone, Copy, Default)]
pub struct References<'a> {
    /// The plan in force, if it exists.
    pub plan: Option<&'a NovaPlan>,
    /// This cluster, for the default plan.
    pub cluster: Option<&'a NovaCluster>,
    /// An older tenant with the same developer group.
    pub dev_group_holder: Option<&'a str>,
}

/// A tenant that can be built.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidTenant {
    /// Checked name.
    pub name: TenantName,
    /// Owner of its children.
    pub owner: Owner,
    /// Owners of the tenant.
    pub owners: Vec<Subject>,
    /// Developer group.
    pub dev_group: String,
    /// Name of the plan in force.
    pub plan: Option<String>,
    /// The default plan that the cluster names and that does not exist.
    pub missing_default_plan: Option<String>,
    /// The plan's quota with the tenant's own replacements.
    pub quota: Hard,
    /// Limits of plan and tenant, the more general first.
    pub limits: Vec<Limits>,
    /// How far the network is closed.
    pub isolation: Isolation,
    /// On hold.
    pub suspended: bool,
    /// Storage classes; empty for any.
    pub storage_classes: Vec<String>,
    /// Ingress classes; empty for any.
    pub ingress_classes: Vec<String>,
    /// Most projects.
    pub max_projects: Option<i32>,
    /// Most sandboxes.
    pub max_sandboxes: Option<i32>,
    /// Most apps in one project.
    pub max_apps_per_project: Option<i32>,
}

impl ValidTenant {
    /// Limits of a container in a namespace with limits of its own.
    pub fn container_limits(&self, own: Option<&Limits>) -> Result<ContainerLimits, InvalidAmount> {
        ContainerLimits::merge(self.limits.iter().map(Some).chain([own]))
    }
}

/// The developer group of a tenant: its own, or the default one.
#[must_use]
pub fn dev_group_of(tenant: &NovaTenant) -> String {
    let name = tenant.metadata.name.as_deref().unwrap_or_default();
    tenant.spec.dev_group.clone().unwrap_or_else(|| default_dev_group_of(name))
}

/// The plan a tenant is under, and whether its author named it.
#[must_use]
pub fn plan_in_force<'a>(
    tenant: &'a NovaTenant,
    cluster: Option<&'a NovaCluster>,
) -> Option<(&'a str, bool)> {
    match &tenant.spec.plan {
        Some(name) => Some((name, true)),
        None => Some((cluster?.spec.default_plan.as_deref()?, false)),
    }
}

/// Checks a tenant. An unknown plan that the tenant names fails closed; an unknown default plan does not.
pub fn validate(tenant: &NovaTenant, refs: &References<'_>) -> Result<ValidTenant, Problem> {
    let stage = ConditionType::DependenciesMet;
    let given = tenant.metadata.name.as_deref().unwrap_or_default();
    let me = format!("NovaTenant {given}");
    let name = TenantName::parse(given).map_err(|invalid| {
        Problem::invalid(stage, &me, invalid)
            .fix("delete it and create one with a name that follows the rule")
    })?;
    let plan_name = plan_in_force(tenant, refs.cluster);
    if let (Some((plan, true)), None) = (plan_name, refs.plan) {
        return Err(Problem::missing(
            stage,
            format!("NovaPlan {plan}"),
            "it does not exist; nothing was changed",
        )
        .class(BlockerClass::User)
        .fix(format!(
            "create the plan, or set spec.plan of {me} to one of those that `kubectl get novaplans` lists"
        )));
    }
    default_plan(tenant, refs, stage)?;
    for owner in &tenant.spec.owners {
        check_subject(owner).map_err(|why| refused(stage, &me, "spec.owners", &why))?;
    }
    let dev_group = dev_group_of(tenant);
    if dev_group.starts_with("system:") {
        return Err(refused(
            stage,
            &me,
            "spec.devGroup",
            "names that begin with system: are Kubernetes' own",
        ));
    }
    if let Some(holder) = refs.dev_group_holder {
        return Err(Problem::new(
            stage,
            Reason::Conflict,
            format!("NovaTenant {holder}"),
            format!("it already has the developer group {dev_group:?}"),
        )
        .code(Code::Kn409)
        .class(BlockerClass::User)
        .fix(format!("give {me} a devGroup of its own"))
        .terminal());
    }
    let plan = refs.plan.map(|p| &p.spec);
    // Who wrote what does not parse has to correct it: plan or tenant.
    let of_plan = |why: InvalidAmount| {
        let plan = format!("NovaPlan {}", plan_name.map_or("", |(name, _)| name));
        Problem { retry: Retry::OnChange, ..invalid_amount(stage, &plan, &why) }
    };
    let of_tenant = |why: InvalidAmount| invalid_amount(stage, &me, &why);
    let mut quota = hard(plan.and_then(|p| p.quotas.as_ref())).map_err(of_plan)?;
    quota.extend(hard(tenant.spec.quotas.as_ref()).map_err(of_tenant)?);
    ContainerLimits::merge([plan.and_then(|p| p.limits.as_ref())]).map_err(of_plan)?;
    let limits: Vec<Limits> =
        [plan.and_then(|p| p.limits.clone()), tenant.spec.limits.clone()].into_iter().flatten().collect();
    if let Some(contradiction) =
        ContainerLimits::merge(limits.iter().map(Some)).map_err(of_tenant)?.contradiction()
    {
        return Err(Problem::invalid(stage, &me, contradiction)
            .fix("change spec.limits of the tenant or of its plan"));
    }
    let id = tenant.metadata.uid.clone().unwrap_or_default();
    Ok(ValidTenant {
        owner: Owner {
            uid: id.clone(),
            tenant: Some(given.to_owned()),
            tenant_id: Some(id),
            ..Owner::default()
        },
        name,
        owners: tenant.spec.owners.clone(),
        dev_group,
        plan: refs.plan.and(plan_name).map(|(plan, _)| plan.to_owned()),
        missing_default_plan: plan_name.filter(|_| refs.plan.is_none()).map(|(plan, _)| plan.to_owned()),
        quota,
        limits,
        isolation: tenant.spec.isolation(),
        suspended: tenant.spec.suspended,
        storage_classes: plan.map(|p| p.storage_classes.clone()).unwrap_or_default(),
        ingress_classes: plan.map(|p| p.ingress_classes.clone()).unwrap_or_default(),
        max_projects: plan.and_then(|p| p.max_projects),
        max_sandboxes: plan.and_then(|p| p.max_sandboxes),
        max_apps_per_project: plan.and_then(|p| p.max_apps_per_project),
    })
}

/// A tenant that has been under a default plan keeps its quota while that plan, or the object that names it, is away:
/// no quota at all would be the wrong answer to a slip of the pen.
fn default_plan(tenant: &NovaTenant, refs: &References<'_>, stage: ConditionType) -> Result<(), Problem> {
    if tenant.spec.plan.is_some() || refs.plan.is_some() {
        return Ok(());
    }
    let object = format!("NovaCluster {LOCAL_CLUSTER}");
    let Some(cluster) = refs.cluster else {
        return Err(Problem::missing(stage, object, "it does not exist; nothing was changed")
            .fix("none needed; the operator creates it"));
    };
    let was = tenant.status.as_ref().and_then(|s| s.plan.as_deref());
    match (&cluster.spec.default_plan, was) {
        (Some(plan), Some(was)) => {
            let message =
                format!("its default plan {plan:?} does not exist; the tenant stays as it was under {was:?}");
            Err(Problem::missing(stage, object, message)
                .fix(format!("create NovaPlan {plan}, or correct spec.defaultPlan of {LOCAL_CLUSTER}")))
        }
        _ => Ok(()),
    }
}

/// A subject that must not get rights, in words. The definitions refuse it too; this is the second lock.
pub(crate) fn check_subject(subject: &Subject) -> Result<(), String> {
    if subject.name.starts_with("system:") {
        return Err(format!("{:?}: names that begin with system: are Kubernetes' own", subject.name));
    }
    let parts =
        subject.name.split_once(':').map(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    if subject.kind == SubjectKind::ServiceAccount && parts != Some(true) {
        return Err(format!("{:?}: a ServiceAccount is named <namespace>:<name>", subject.name));
    }
    Ok(())
}

/// A subject that must not get rights, as a problem.
pub(crate) fn refused(stage: ConditionType, me: &str, field: &str, why: &str) -> Problem {
    Problem::invalid(stage, me, format!("{field}: {why}"))
        .code(Code::Kn403)
        .fix(format!("correct {field} of {me}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nova_api::v1alpha1::{NovaClusterSpec, NovaTenantSpec, NovaTenantStatus};

    fn tenant() -> NovaTenant {
        NovaTenant::new("acme", NovaTenantSpec::default())
    }

    fn cluster(plan: Option<&str>) -> NovaCluster {
        let spec = NovaClusterSpec { default_plan: plan.map(str::to_owned), ..NovaClusterSpec::default() };
        NovaCluster::new("local", spec)
    }

    #[test]
    fn a_slip_in_the_default_plan_takes_no_quota_away() {
        let cluster = cluster(Some("typo"));
        let refs = References { cluster: Some(&cluster), ..References::default() };
        let fresh = validate(&tenant(), &refs).unwrap();
        assert_eq!(
            fresh.missing_default_plan.as_deref(),
            Some("typo"),
            "a new tenant goes on, with a warning"
        );
        let mut under_a_plan = tenant();
        under_a_plan.status =
            Some(NovaTenantStatus { plan: Some("gold".into()), ..NovaTenantStatus::default() });
        assert_eq!(validate(&under_a_plan, &refs).unwrap_err().reason, Reason::DependencyMissing);
        let without = References::default();
        assert_eq!(validate(&tenant(), &without).unwrap_err().object, "NovaCluster local");
    }

    #[test]
    fn nobody_of_kubernetes_own_becomes_an_owner_whatever_the_definition_let_through() {
        let cluster = cluster(None);
        let refs = References { cluster: Some(&cluster), ..References::default() };
        for (kind, name) in [
            (SubjectKind::Group, "system:authenticated"),
            (SubjectKind::ServiceAccount, "no-namespace"),
            (SubjectKind::ServiceAccount, ":x"),
        ] {
            let mut bad = tenant();
            bad.spec.owners = vec![Subject { kind, name: name.to_owned() }];
            assert_eq!(validate(&bad, &refs).unwrap_err().code, Some(Code::Kn403), "{name}");
        }
    }
}
