//! What projects and sandboxes share: a namespace of a tenant, filled in the right order, emptied in the reverse.

use kube::ResourceExt as _;
use nova_api::conditions::{BlockerClass, Code, ConditionType, Reason};
use nova_api::v1alpha1::{NamespaceQuota, Quotas};
use nova_plan::Problem;
use nova_plan::adapters::capsule::{self, Answer};
use nova_plan::child::{Child, ChildKind, ChildRef};
use nova_plan::names::{QUOTA, binding_name, finalizer, role};
use nova_plan::namespace::{Children, amounts_at, hard, shown};
use nova_plan::quantity::Amount;
use nova_plan::tenant::{ValidTenant, capsule_ref};

use crate::context::{Context, Tabled};
use crate::key::{Key, Kind};
use crate::row::Row;
use crate::stop::Stop;
use crate::tenancy;

/// What a workspace is made in: its tenant, and the Capsule tenant that takes namespaces in.
pub struct Surroundings {
    /// The tenant, checked.
    pub tenant: ValidTenant,
    /// Its Capsule tenant.
    pub capsule: Row,
}

/// The tenant in whose home namespace `workspace` is, once namespaces can be made in it.
pub fn surroundings<K: Tabled>(ctx: &Context, workspace: &K) -> Result<Surroundings, Problem> {
    let nova = tenancy::of_home(ctx, &workspace.namespace().unwrap_or_default(), &workspace.title())?;
    let stage = ConditionType::DependenciesMet;
    let waits = |message: String| Problem::missing(stage, nova.title(), message);
    let tenant = tenancy::valid(ctx, &nova).map_err(|problem| {
        waits(format!("it is not ready: {}: {}", problem.object, problem.message))
            .fix(problem.fix.clone())
            .class(problem.class)
    })?;
    if !ctx.installed(capsule::CRD) {
        return Err(tenancy::capsule_missing());
    }
    let row = ctx.child(&capsule_ref(tenant.name.as_str()));
    let ours = row.filter(|row| row.owner_uid() == Some(tenant.owner.uid.as_str()) && !row.deleting());
    let capsule = ours.ok_or_else(|| waits("its Capsule Tenant is not there yet".to_owned()))?;
    Ok(Surroundings { tenant, capsule })
}

impl Surroundings {
    /// Makes a workspace so, and tells what it lacks; `quotas` are its own.
    pub async fn make<K: Tabled>(
        &self,
        ctx: &Context,
        workspace: &K,
        quotas: Option<&Quotas>,
        children: Children,
    ) -> Result<(), Stop> {
        let name = children.namespace.at.name.clone();
        let row = apply(ctx, K::KEY, children).await?;
        let share = share_problem(ctx, &workspace.key(), &name, quotas);
        let problems: Vec<_> = share.into_iter().chain(self.capsule_problem(&name, &row)).collect();
        if problems.is_empty() { Ok(()) } else { Err(Stop::Problems(problems)) }
    }

    /// What Capsule says of a namespace. While it is away its last word counts: what was made stays as it was asked
    /// for.
    fn capsule_problem(&self, name: &str, namespace: &Row) -> Option<Problem> {
        let at = capsule_ref(self.tenant.name.as_str());
        let stage = ConditionType::TenantSynced;
        match capsule::status(&self.capsule.body()).namespace(name, namespace.uid(), namespace.created()) {
            Answer::Ready => None,
            Answer::Pending => {
                Some(Problem::progress(stage, &at, format!("Capsule has not taken {name} in yet")))
            }
            Answer::Failed(words) => Some(
                Problem::new(stage, Reason::BackendUnavailable, &at, format!("of {name}: {words}"))
                    .code(Code::Kn503)
                    .fix(format!(
                        "see what Capsule says: kubectl describe tenants.capsule.clastix.io {}",
                        self.tenant.name
                    )),
            ),
        }
    }
}

/// Applies the children in their order: what limits the namespace comes before the first person may enter it.
async fn apply(ctx: &Context, kind: Kind, children: Children) -> Result<Row, Stop> {
    let Children { namespace, manager, limits, network_policies, accounts, bindings, absent, quota } =
        children;
    let apply = async |stage, child: &Child| ctx.apply(kind, stage, child).await;
    let row = apply(ConditionType::NamespacesReady, &namespace).await?;
    apply(ConditionType::NamespacesReady, &manager).await?;
    for limit in &limits {
        apply(ConditionType::NamespacesReady, limit).await?;
    }
    for policy in &network_policies {
        apply(ConditionType::NamespacesReady, policy).await?;
    }
    for account in &accounts {
        apply(ConditionType::NamespacesReady, account).await?;
    }
    if ctx.child(&quota).is_none() {
        let message = "the tenant has not given it a share of the plan yet";
        return Err(Problem::progress(ConditionType::NamespacesReady, quota, message).into());
    }
    for binding in &bindings {
        apply(ConditionType::AccessReady, binding).await?;
    }
    ctx.prune(&absent, &namespace.owner_uid).await?;
    Ok(row)
}

/// What every container needs: a namespace with none of it runs nothing.
const NEEDED: [&str; 3] = ["pods", "requests.cpu", "requests.memory"];
/// Shares move within moments when a workspace comes or goes; what lasts longer is a lack.
const MOVING: std::time::Duration = std::time::Duration::from_secs(3);

/// A share that is smaller than the workspace's own `quotas`, or nothing at all: told as a lack once it lasts.
fn share_problem(ctx: &Context, key: &Key, namespace: &str, own: Option<&Quotas>) -> Option<Problem> {
    let Some(message) = lack(ctx, namespace, own) else {
        ctx.lacking.over(key);
        return None;
    };
    let object = format!("ResourceQuota {namespace}/{QUOTA}");
    let stage = ConditionType::NamespacesReady;
    if ctx.lacking.holds(key) < MOVING {
        return Some(Problem::progress(stage, object, message));
    }
    let fix = "lower spec.quotas of this or of another project or sandbox of the tenant, or move the tenant to a larger plan";
    Some(
        Problem::new(stage, Reason::QuotaExceeded, object, message)
            .code(Code::Kn429)
            .class(BlockerClass::User)
            .fix(fix),
    )
}

/// What a namespace's quota lacks, in words.
fn lack(ctx: &Context, namespace: &str, own: Option<&Quotas>) -> Option<String> {
    let row = ctx.children(ChildKind::ResourceQuota).get(namespace, QUOTA)?;
    let asked = amounts_at(&row.body(), "/spec/hard");
    let own = hard(own);
    if let Some((key, _)) = own.iter().find(|(key, wanted)| asked.get(*key).is_some_and(|got| got < *wanted))
    {
        return Some(format!(
            "it has {} of {key}, not the {} that spec.quotas asks for",
            asked[key], own[key]
        ));
    }
    let none =
        NEEDED.iter().find(|key| !own.contains_key(**key) && asked.get(**key) == Some(&Amount::ZERO))?;
    Some(format!("nothing of {none} is left for it of the tenant's plan"))
}

/// Quota of a namespace as the cluster enforces it; none where nothing is limited, because the API server makes null
/// of an empty object in a status that is applied, and then refuses the whole.
pub fn quota(ctx: &Context, namespace: &str) -> Option<NamespaceQuota> {
    let body = ctx.children(ChildKind::ResourceQuota).get(namespace, QUOTA)?.body();
    let quota = NamespaceQuota {
        hard: shown(&amounts_at(&body, "/status/hard")),
        used: shown(&amounts_at(&body, "/status/used")),
    };
    (quota != NamespaceQuota::default()).then_some(quota)
}

/// Closes the door to people.
pub async fn close(ctx: &Context, namespace: &str, owner_uid: &str) -> Result<(), Stop> {
    let roles = [role::PROJECT_OWNER, role::PROJECT_DEV, role::APP_READER, role::SANDBOX_EDITOR];
    ctx.prune(&roles.map(|cluster_role| binding_ref(namespace, cluster_role)), owner_uid).await
}

/// Where the binding of a role is.
pub fn binding_ref(namespace: &str, cluster_role: &str) -> ChildRef {
    let name = binding_name(cluster_role);
    ChildRef { kind: ChildKind::RoleBinding, namespace: namespace.to_owned(), name }
}

/// True when the namespace itself is being deleted. Asks the API server before it says so.
pub async fn is_going(ctx: &Context, namespace: &str) -> Result<bool, Stop> {
    let at = namespace_ref(namespace);
    if !ctx.child(&at).is_some_and(|row| row.deleting()) {
        return Ok(false);
    }
    let live = ctx.live(ConditionType::NamespacesReady, &at).await?;
    Ok(live.is_some_and(|live| live.pointer("/metadata/deletionTimestamp").is_some()))
}

/// Lets the deployer's binding go once it is being deleted and Vela needs it no more. In a namespace that stays it is
/// made anew right after.
pub async fn release_deployer(ctx: &Context, namespace: &str) -> Result<(), Stop> {
    let at = binding_ref(namespace, role::APP_DEPLOYER);
    let Some(binding) = ctx.child(&at).filter(Row::deleting) else { return Ok(()) };
    // Not from the table: the news that the binding goes may come before that of its namespace.
    let place = ctx.live(ConditionType::AccessReady, &namespace_ref(namespace)).await?;
    let stays = place.is_some_and(|live| live.pointer("/metadata/deletionTimestamp").is_none());
    let needed = !stays && !ctx.applications(namespace).await?.is_empty();
    if needed { Ok(()) } else { ctx.drop_finalizer(&at, &binding, finalizer::APPLICATIONS).await }
}

/// Takes the deployer's rights away, where no app needs them any more; `Ok` when they are gone.
pub async fn dismiss_deployer(ctx: &Context, namespace: &str, owner_uid: &str) -> Result<(), Stop> {
    release_deployer(ctx, namespace).await?;
    ctx.remove(&binding_ref(namespace, role::APP_DEPLOYER), owner_uid).await
}

fn namespace_ref(namespace: &str) -> ChildRef {
    ChildRef { kind: ChildKind::Namespace, namespace: String::new(), name: namespace.to_owned() }
}

/// Takes the namespace away; `Ok` when it is gone.
pub async fn remove(ctx: &Context, namespace: &str, owner_uid: &str) -> Result<(), Stop> {
    ctx.remove(&namespace_ref(namespace), owner_uid).await
}
