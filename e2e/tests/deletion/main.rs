//! Deletion of every kind: in order, in a hurry, against resistance, through crashes; nothing is left and nothing hangs.

mod again;
mod blocked;
mod crash;
mod flood;
mod hurry;
mod order;
mod without_vela;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::object::Place;
use e2e::{Everything, Stage, World, eventually, history, quickstart};
use nova_testkit::{Mark, Options};
use serde_json::json;

/// For everything that is not measured.
const PATIENCE: Duration = Duration::from_mins(5);

static STAGE: Stage = Stage::new(Options::default);

fn tenant(name: &str) -> Place {
    Place::new("NovaTenant", "", name)
}

/// The quickstart's project of a tenant.
fn project(tenant: &str) -> Place {
    Place::new("NovaProject", &format!("tn-{tenant}"), "shop")
}

/// The quickstart's sandbox of a tenant.
fn sandbox(tenant: &str) -> Place {
    Place::new("NovaSandbox", &format!("tn-{tenant}"), "dev")
}

/// The namespace of the quickstart's project.
fn shop(tenant: &str) -> String {
    format!("tn-{tenant}-app-shop")
}

/// The quickstart's app of a tenant.
fn app(tenant: &str) -> Place {
    Place::new("NovaApp", &shop(tenant), "web")
}

/// The Application of that app.
fn application(tenant: &str) -> Place {
    Place::new("Application", &shop(tenant), "web")
}

fn namespace(name: &str) -> Place {
    Place::new("Namespace", "", name)
}

/// The quickstart on a plan of the tenant's own, all Ready.
async fn set_up(world: &World, tenant: &str) -> Result<Vec<String>> {
    let documents: Vec<String> =
        quickstart(tenant)?.iter().map(|text| text.replace("starter", &plan(tenant).name)).collect();
    world.apply_until_accepted(&documents, PATIENCE).await?;
    world.ready(tenant, PATIENCE).await?;
    Ok(documents)
}

/// The plan that only this tenant has.
fn plan(tenant: &str) -> Place {
    Place::new("NovaPlan", "", &format!("plan-{tenant}"))
}

/// The quickstart where every deletion may cascade.
fn cascading(tenant: &str) -> Result<Vec<String>> {
    let mut documents = quickstart(tenant)?;
    let cascade = "deletionPolicy: Cascade";
    documents[1] = documents[1].replace("  plan: starter", &format!("  plan: starter\n  {cascade}"));
    documents[2] = documents[2].replace("spec:\n", &format!("spec:\n  {cascade}\n"));
    ensure!(documents[1..3].iter().all(|text| text.contains(cascade)), "the quickstart has changed");
    Ok(documents)
}

/// Nothing in the cluster speaks of a tenant any more, and each delete of the operator for it since a mark named the
/// UID and the resource version of what it was meant for.
async fn ended(world: &World, tenant: &str, since: Mark) -> Result<()> {
    eventually(&format!("nothing of {tenant} is left"), PATIENCE, async || {
        let all = Everything::list(&world.admin).await.map_err(|e| format!("{e:#}"))?;
        let left = all.speaks_of(tenant);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await?;
    world.plane.audit().settle().await;
    let entries = world.plane.audit().since(since)?;
    let mut done = history::done_by_operator(&entries);
    done.retain(|write| history::tenant_of(write) == Some(tenant));
    let deletes = done.iter().filter(|write| write.verb.starts_with("delete")).count();
    ensure!(deletes > 0, "the operator has deleted nothing of {tenant}");
    let unbound = history::unbound_deletes(&done);
    ensure!(unbound.is_empty(), "{unbound:#?}");
    println!("{tenant}: {deletes} deletes of the operator, each bound to what it was meant for");
    Ok(())
}

/// Lets Capsule take nobody's finalizers off in some namespaces: ten seconds after one was deleted it does so, and what
/// a test looks at would be gone, or not, as time has it.
async fn keep_finalizers(world: &World, name: &str, namespaces: &[String]) -> Result<()> {
    let policy = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "namespaceSelector": {"matchExpressions": [
                    {"key": "kubernetes.io/metadata.name", "operator": "In", "values": namespaces}]},
                "resourceRules": [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["*"],
                    // A selector of namespaces does not keep what is in none of them out.
                    "scope": "Namespaced"}],
            },
            "validations": [{
                "expression": "!request.userInfo.username.startsWith('system:serviceaccount:capsule-system:') \
                    || !has(oldObject.metadata.finalizers) \
                    || (has(object.metadata.finalizers) \
                        && size(object.metadata.finalizers) >= size(oldObject.metadata.finalizers))",
                "message": "finalizers stay on here",
            }],
        },
    });
    let binding = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    world.apply(&policy.to_string()).await?;
    world.apply(&binding.to_string()).await
}

/// A cascading tenant goes with everything in it.
async fn cascades(world: &World, name: &str) -> Result<Duration> {
    tenant(name).set_policy(world, "Cascade").await?;
    tenant(name).gone(world, PATIENCE).await.with_context(|| format!("{name} may cascade"))
}
