//! Drift of each child, one at a time, measured from the answer to the drifting request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use e2e::{World, quickstart};
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use nova_plan::child::{ChildKind, covers};
use serde_json::{Map, Value, json};

use crate::{PATIENCE, QUIET, REPAIR, child_writes};

const TENANT: &str = "drift";
/// Vela takes down what an Application made before the Application itself goes.
const APPLICATION: Duration = Duration::from_secs(20);

/// A child and how to reach it.
pub struct Target {
    kind: ChildKind,
    api: Api<DynamicObject>,
    name: String,
    /// `<kind> <namespace>/<name>`.
    pub title: String,
}

impl Target {
    /// The child as it is now.
    pub async fn get(&self) -> Result<DynamicObject> {
        Ok(self.api.get(&self.name).await?)
    }
}

/// Every child that carries the tenant's label.
pub async fn targets(world: &World, tenant: &str) -> Result<Vec<Target>> {
    let mut found = Vec::new();
    for kind in ChildKind::ALL {
        let (group, version, name, plural) = kind.gvk();
        let resource =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, name), plural);
        let all: Api<DynamicObject> = Api::all_with(world.admin.clone(), &resource);
        let ours = ListParams::default().labels(&format!("kubenova.io/tenant={tenant}"));
        for object in all.list(&ours).await? {
            let api = match object.namespace() {
                Some(namespace) => Api::namespaced_with(world.admin.clone(), &namespace, &resource),
                None => all.clone(),
            };
            let title = format!("{name} {}/{}", object.namespace().unwrap_or_default(), object.name_any());
            found.push(Target { kind, api, name: object.name_any(), title });
        }
    }
    Ok(found)
}

/// What is compared: everything but status, and of the metadata what we or the test have set.
pub fn picture(object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    let keep = |map: &Value| -> Map<String, Value> {
        let wanted = ["kubenova.io/", "app.kubernetes.io/managed-by", "pod-security.", "example.com/"];
        let exact =
            ["capsule.clastix.io/tenant", "app.oam.dev/service-account-name", "app.oam.dev/publishVersion"];
        let entries = map.as_object().into_iter().flatten();
        let ours = |key: &str| wanted.iter().any(|w| key.starts_with(w)) || exact.contains(&key);
        entries.filter(|(key, _)| ours(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let metadata = &value["metadata"];
    let kept = json!({
        "labels": keep(&metadata["labels"]),
        "annotations": keep(&metadata["annotations"]),
        "ownerReferences": metadata["ownerReferences"],
    });
    value["metadata"] = kept;
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    value
}

/// A change of a field that we own.
fn edit(target: &Target) -> Value {
    match target.kind {
        ChildKind::Namespace => {
            json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}})
        }
        ChildKind::ServiceAccount => json!({"automountServiceAccountToken": true}),
        ChildKind::ResourceQuota => json!({"spec": {"hard": {"pods": "999"}}}),
        ChildKind::LimitRange => json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "64"}}]}}),
        ChildKind::NetworkPolicy => json!({"spec": {"podSelector": {"matchLabels": {"no": "pod"}}}}),
        ChildKind::RoleBinding => json!({"subjects": [
            {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "mallory"}]}),
        ChildKind::CapsuleTenant => json!({"spec": {"preventDeletion": false, "cordoned": true}}),
        ChildKind::Application => json!({"spec": {"components": [
            {"name": "web", "type": "webservice", "properties": {"image": "evil:1"}}]}}),
    }
}

/// Rules that open what our policy closes: list fields that the closed policy has no entries in.
fn open_the_network(target: &Target) -> Option<Value> {
    (target.name == "kubenova-default-deny").then(|| json!({"spec": {"ingress": [{}], "egress": [{}]}}))
}

/// Fields of somebody else; a part of the spec too, where its schema has room for one.
fn foreign(target: &Target) -> Value {
    let mut patch = match target.kind {
        ChildKind::ServiceAccount => json!({"imagePullSecrets": [{"name": "foreign"}]}),
        ChildKind::ResourceQuota => json!({"spec": {"hard": {"count/secrets": "50"}}}),
        ChildKind::CapsuleTenant => json!({"spec": {"imagePullPolicies": ["Always", "IfNotPresent"]}}),
        ChildKind::Application => json!({"spec": {"policies": [
            {"name": "foreign", "type": "apply-once", "properties": {"enable": false}}]}}),
        _ => json!({}),
    };
    patch["metadata"] =
        json!({"labels": {"example.com/foreign": "kept"}, "annotations": {"example.com/foreign": "kept"}});
    patch
}

fn without_labels(live: &DynamicObject, only_owner: bool) -> Value {
    let ours = |key: &str| {
        key == "kubenova.io/owner-uid"
            || !only_owner && (key.starts_with("kubenova.io/") || key == "app.kubernetes.io/managed-by")
    };
    let labels: Map<String, Value> =
        live.labels().keys().filter(|k| ours(k)).map(|k| (k.clone(), Value::Null)).collect();
    json!({"metadata": {"labels": labels}})
}

async fn merge(target: &Target, patch: &Value) -> Result<DynamicObject> {
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    let patched = target.api.patch(&target.name, &params, &Patch::Merge(patch)).await;
    patched.with_context(|| format!("change {}", target.title))
}

/// Waits until the child is as in `wanted`, and tells how long that took.
async fn repaired(target: &Target, wanted: &Value, gone: Option<&str>, within: Duration) -> Result<Duration> {
    let start = Instant::now();
    loop {
        let live = target.api.get_opt(&target.name).await?;
        let fresh = live.as_ref().filter(|o| gone.is_none_or(|uid| o.uid().as_deref() != Some(uid)));
        if let Some(object) = fresh
            && covers(wanted, &picture(object))
        {
            return Ok(start.elapsed());
        }
        if start.elapsed() > within {
            let found = live.map(|o| picture(&o));
            bail!("{} is not as it was after {within:?}:\nwanted {wanted}\nfound {found:?}", target.title);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn told(times: &mut [Duration]) -> String {
    times.sort();
    match times {
        [] => "none".to_owned(),
        _ => format!(
            "{} drifts, repaired in p50 {:.0?}, max {:.0?}",
            times.len(),
            times[times.len() / 2],
            times[times.len() - 1]
        ),
    }
}

/// Five seconds without a single write.
async fn quiet(world: &World, after: &str) -> Result<()> {
    world.ready(TENANT, PATIENCE).await?;
    // What a change sets off by counts and usage is due within a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mark = world.mark().await?;
    tokio::time::sleep(QUIET).await;
    let writes: Vec<_> =
        world.operator_writes(mark).await?.iter().map(nova_testkit::Entry::summary).collect();
    assert!(writes.is_empty(), "writes in the {QUIET:?} after {after}: {writes:#?}");
    Ok(())
}

/// Changes each child in turn; each has to be as before within two seconds.
async fn each(
    world: &World,
    what: &str,
    targets: &[Target],
    change: impl Fn(&Target, &DynamicObject) -> Option<Value>,
) -> Result<()> {
    let mark = world.mark().await?;
    let mut times = Vec::new();
    let mut by_kind: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for target in targets {
        let live = target.api.get(&target.name).await?;
        let Some(patch) = change(target, &live) else { continue };
        let before = picture(&live);
        let after = merge(target, &patch).await?;
        assert!(
            !covers(&before, &picture(&after)) || after.resource_version() != live.resource_version(),
            "{what} changed nothing in {}",
            target.title
        );
        let took = repaired(target, &before, None, REPAIR).await.with_context(|| what.to_owned())?;
        // The default-deny policy covers the picture from the start: what was added has to be gone as well.
        by_kind.entry(target.kind.display()).or_default().push(took);
        times.push(took);
    }
    println!("| {what} | {} | {} writes |", told(&mut times), child_writes(world, mark).await?.len());
    for (kind, mut times) in by_kind {
        println!("|   {kind} | {} | |", told(&mut times));
    }
    Ok(())
}

pub async fn every_child_is_repaired_and_what_others_add_is_kept(world: &World) -> Result<()> {
    world.apply_until_accepted(&quickstart(TENANT)?, PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let targets = targets(world, TENANT).await?;
    println!("children: {:#?}", targets.iter().map(|t| &t.title).collect::<Vec<_>>());
    for kind in ChildKind::ALL {
        assert!(targets.iter().any(|t| t.kind == kind), "no child of kind {kind:?}");
    }
    let mut plain = BTreeMap::new();
    for target in &targets {
        plain.insert(&target.title, picture(&target.api.get(&target.name).await?));
    }
    quiet(world, "convergence").await?;

    let mark = world.mark().await?;
    for target in &targets {
        merge(target, &foreign(target)).await?;
    }
    tokio::time::sleep(REPAIR).await;
    let writes: Vec<_> = child_writes(world, mark).await?.iter().map(nova_testkit::Entry::summary).collect();
    assert!(writes.is_empty(), "a foreign field made the operator write: {writes:#?}");
    println!("| a foreign field | {} children, none touched | 0 writes |", targets.len());

    each(world, "a field of ours edited", &targets, |target, _| Some(edit(target))).await?;
    quiet(world, "edits").await?;
    each(world, "all our labels stripped", &targets, |_, live| Some(without_labels(live, false))).await?;
    quiet(world, "stripped labels").await?;
    each(world, "the owner's label stripped", &targets, |_, live| Some(without_labels(live, true))).await?;
    each(world, "the network opened", &targets, |target, _| open_the_network(target)).await?;
    for target in targets.iter().filter(|t| open_the_network(t).is_some()) {
        e2e::eventually("the network is closed again", REPAIR, async || {
            let live = target.api.get(&target.name).await.map_err(|e| e.to_string())?;
            let spec = &live.data["spec"];
            let open =
                ["ingress", "egress"].iter().any(|k| spec[k].as_array().is_some_and(|l| !l.is_empty()));
            if open { Err(format!("{}: {spec}", target.title)) } else { Ok(()) }
        })
        .await?;
    }
    quiet(world, "stripped owner labels and opened networks").await?;
    for target in &targets {
        let foreign = foreign(target);
        let live = serde_json::to_value(target.api.get(&target.name).await?)?;
        assert!(covers(&foreign, &live), "{} lost a foreign field: {foreign}", target.title);
    }

    let mark = world.mark().await?;
    let mut times = Vec::new();
    for target in &targets {
        let protected = [ChildKind::Namespace, ChildKind::CapsuleTenant].contains(&target.kind);
        if protected {
            continue;
        }
        let uid = target.api.get(&target.name).await?.uid().unwrap_or_default();
        target.api.delete(&target.name, &DeleteParams::default()).await?;
        let within = if target.kind == ChildKind::Application { APPLICATION } else { REPAIR };
        let took = repaired(target, &plain[&target.title], Some(&uid), within).await?;
        if target.kind == ChildKind::Application {
            println!("| an Application deleted | Vela takes it down first; made again after {took:.1?} | |");
        } else {
            times.push(took);
        }
    }
    println!("| deleted | {} | {} writes |", told(&mut times), child_writes(world, mark).await?.len());
    quiet(world, "deletions").await?;

    let capsule = targets.iter().find(|t| t.kind == ChildKind::CapsuleTenant).context("no Capsule Tenant")?;
    match capsule.api.delete(&capsule.name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) => {
            println!("| Capsule Tenant deleted | refused: {} | |", status.message);
        }
        other => bail!("Capsule let its Tenant be deleted: {other:?}"),
    }
    Ok(())
}
