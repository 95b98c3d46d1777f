//! Every child of a tenant is deleted or changed in turn, and the write that repairs it goes wrong.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{Picture, World, any, eventually};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, ResourceExt as _};
use nova_testkit::FaultProxy;
use nova_testkit::fault_proxy::{Injected, Rule, Verb};
use serde_json::{Value, json};

use crate::{CONVERGES, Kind, SETTLES, documents};

/// A repair, an attempt that goes wrong among it.
const REPAIRED: Duration = Duration::from_secs(20);

/// Kinds of children: group, version, kind, plural, and a change of a field that is ours; none where it is deleted.
fn kinds() -> [(&'static str, &'static str, &'static str, &'static str, Option<Value>); 8] {
    let privileged = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}});
    let cordoned = json!({"spec": {"preventDeletion": false, "cordoned": true}});
    let evil = json!({"spec": {"components": [
        {"name": "web", "type": "webservice", "properties": {"image": "evil:1"}}]}});
    [
        ("", "v1", "Namespace", "namespaces", Some(privileged)),
        ("capsule.clastix.io", "v1beta2", "Tenant", "tenants", Some(cordoned)),
        ("core.oam.dev", "v1beta1", "Application", "applications", Some(evil)),
        ("", "v1", "ServiceAccount", "serviceaccounts", None),
        ("", "v1", "ResourceQuota", "resourcequotas", None),
        ("", "v1", "LimitRange", "limitranges", None),
        ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", None),
        ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", None),
    ]
}

/// A child and what is done to it.
pub struct Child {
    api: Api<DynamicObject>,
    name: String,
    pub title: String,
    change: Option<Value>,
    /// Meets the first write that repairs it.
    pub rule: Rule,
}

pub async fn children(world: &World, tenant: &str) -> Result<Vec<Child>> {
    let mut found = Vec::new();
    for (group, version, kind, plural, change) in kinds() {
        let managed = ListParams::default().labels("app.kubernetes.io/managed-by=kubenova");
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        for object in any(&world.admin, group, version, kind, plural).list(&managed).await? {
            let (name, namespace) = (object.name_any(), object.namespace());
            let place = namespace.as_deref().unwrap_or(&name);
            // The Capsule Tenant has the tenant's name itself.
            if place != tenant && !place.contains(&format!("tn-{tenant}")) {
                continue;
            }
            let what = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
            let rule = Rule::on(Verb::WRITES, &what).named(&name).nth(1);
            let (api, rule) = match &namespace {
                Some(namespace) => (
                    Api::namespaced_with(world.admin.clone(), namespace, &resource),
                    rule.in_namespace(namespace),
                ),
                None => (Api::all_with(world.admin.clone(), &resource), rule),
            };
            found.push(Child {
                api,
                title: format!("{kind} {place}/{name}"),
                name,
                change: change.clone(),
                rule,
            });
        }
    }
    Ok(found)
}

/// Makes three tenants, one for reference and one for each way to go wrong, and lets each of their children drift.
pub async fn each_repair_goes_wrong_once(world: &World, proxy: &FaultProxy) -> Result<Vec<String>> {
    let start = Instant::now();
    let ways = [("swpdrift", None), ("swplost", Some(Kind::Lost)), ("swprefused", Some(Kind::Refused))];
    let each = ways.map(|(tenant, kind)| async move {
        world.apply_until_accepted(&documents(tenant)?, CONVERGES).await?;
        world.ready(tenant, CONVERGES).await?;
        // Counts of parents follow a moment later.
        tokio::time::sleep(super::AFTERMATH).await;
        let expected = Picture::settled(world, tenant, None, SETTLES).await?;
        let children = children(world, tenant).await?;
        for (n, child) in children.iter().enumerate() {
            let rule = match kind {
                Some(kind) => proxy.inject(child.rule.clone(), kind.fault(n)),
                None => proxy.count(child.rule.clone()),
            };
            let repaired = repair(child, &rule).await;
            rule.lift();
            repaired.with_context(|| format!("{tenant}: {}", child.title))?;
        }
        world.ready(tenant, CONVERGES).await?;
        Picture::settled(world, tenant, Some(&expected), SETTLES).await.context("after all drift")?;
        println!("{tenant}: {} children drifted, repaired after {:.0?}", children.len(), start.elapsed());
        ensure!(children.len() > 20, "there should be more than {} children", children.len());
        anyhow::Ok(tenant.to_owned())
    });
    futures::future::try_join_all(each).await
}

/// What of a child is compared: no identity, version or status.
fn picture(object: &DynamicObject) -> Value {
    let mut value = object.data.clone();
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    json!({"labels": object.metadata.labels, "rest": value})
}

/// What a child was, and the UID that it has no more if it was deleted.
pub struct Drifted {
    before: Value,
    gone: Option<String>,
}

/// Changes or deletes a child.
pub async fn drift(child: &Child) -> Result<Drifted> {
    let before = child.api.get(&child.name).await?;
    let gone = if let Some(change) = &child.change {
        let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
        child.api.patch(&child.name, &params, &Patch::Merge(change)).await?;
        None
    } else {
        child.api.delete(&child.name, &DeleteParams::default()).await?;
        before.uid()
    };
    Ok(Drifted { before: picture(&before), gone })
}

/// Whether a child is again what it was; else what it is.
pub async fn is_as(child: &Child, drifted: &Drifted) -> Result<(), String> {
    let live = child.api.get_opt(&child.name).await.map_err(|e| e.to_string())?.ok_or("it is gone")?;
    let made_anew = drifted.gone.is_none() || live.uid() != drifted.gone;
    let now = picture(&live);
    if made_anew && now == drifted.before {
        Ok(())
    } else {
        Err(format!("it is {now} instead of {}", drifted.before))
    }
}

/// Lets a child drift, and waits until it is as before and the fault was met.
async fn repair(child: &Child, rule: &Injected) -> Result<()> {
    let drifted = drift(child).await?;
    eventually("it is as before", REPAIRED, async || {
        let told = format!("{} writes, {} of them met; ", rule.seen(), rule.hits());
        is_as(child, &drifted).await.map_err(|why| told.clone() + &why)?;
        if rule.hits() > 0 { Ok(()) } else { Err(told) }
    })
    .await
}
