//! Every child, drifted in every way: the cluster says what the children are and what of them is ours, and a picture
//! from before says how each has to be afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{World, eventually, history, quickstart};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::discovery::{Discovery, verbs};
use nova_testkit::{Entry, Mark};
use serde_json::{Map, Value, json};

use crate::owned::{drifts, ours, whole};
use crate::{PATIENCE, REPAIR, STAGE, WORST};

/// Children that are drifted at once; each of them in one way at a time.
const PARALLEL: usize = 4;
/// How long nothing may be written after a repair.
const QUIET: Duration = Duration::from_secs(5);
const OWNER: &str = "kubenova.io/owner-uid";

/// A child and how to reach it.
#[derive(Clone)]
pub struct Target {
    pub resource: ApiResource,
    api: Api<DynamicObject>,
    pub namespace: String,
    pub name: String,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}/{}", self.resource.kind, self.namespace, self.name)
    }
}

impl Target {
    /// The child as it is now.
    pub async fn get(&self) -> Result<DynamicObject> {
        self.api.get(&self.name).await.with_context(|| format!("get {self}"))
    }

    /// Waits until the child looks like this, and is not the one of `old`.
    pub async fn looks(&self, wanted: &Value, old: Option<&str>) -> Result<()> {
        let look = if old.is_some() { anew } else { picture };
        eventually(&format!("{self} is as it was"), PATIENCE, async || {
            let live = self.api.get_opt(&self.name).await.map_err(|e| e.to_string())?;
            let live = live.filter(|o| old.is_none_or(|uid| o.uid().as_deref() != Some(uid)));
            let found = live.map(|live| look(&live)).ok_or("it is not there")?;
            if found == *wanted { Ok(()) } else { Err(difference(wanted, &found)) }
        })
        .await
    }

    fn is_about(&self, entry: &Entry) -> bool {
        entry.object.resource == self.resource.plural
            && entry.object.namespace == self.namespace
            && entry.object.name == self.name
    }
}

/// Every child of a tenant, of whatever kind: what says whose it is and was applied by the operator.
pub async fn targets(world: &World, tenant: &str) -> Result<Vec<Target>> {
    let discovery = Discovery::new(world.admin.clone()).run().await.context("discover the kinds")?;
    let kinds = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
    let kinds = kinds.filter(|(_, able)| able.supports_operation(verbs::LIST)).map(|(kind, _)| kind);
    let lists = stream::iter(kinds.map(|resource| async move {
        let all: Api<DynamicObject> = Api::all_with(world.admin.clone(), &resource);
        let labelled = ListParams::default().labels(&format!("{OWNER},kubenova.io/tenant={tenant}"));
        let list = all.list(&labelled).await.with_context(|| format!("list {}", resource.plural))?;
        let found = list.into_iter().filter(|object| !ours(object).is_empty()).map(move |object| {
            let namespace = object.namespace().unwrap_or_default();
            let api = if namespace.is_empty() {
                all.clone()
            } else {
                Api::namespaced_with(world.admin.clone(), &namespace, &resource)
            };
            Target { resource: resource.clone(), api, namespace, name: object.name_any() }
        });
        anyhow::Ok(found.collect::<Vec<_>>())
    }));
    let mut found: Vec<Target> =
        lists.buffered(8).try_collect::<Vec<_>>().await?.into_iter().flatten().collect();
    found.sort_by_key(ToString::to_string);
    Ok(found)
}

/// How a child looks: all of it but what each write moves, what others report in its status, and who owns which field:
/// a default that is taken out and comes back by itself changes its owner and nothing else.
pub fn picture(object: &DynamicObject) -> Value {
    let mut value = whole(object);
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    for moving in ["resourceVersion", "generation", "managedFields"] {
        value["metadata"][moving].take();
    }
    // After the hash of what is rolled out it counts the rollouts, and a repair may be one more; the hash of all that is
    // applied moves with the count.
    if let Some(Value::String(version)) =
        value.pointer_mut("/metadata/annotations/app.oam.dev~1publishVersion")
    {
        version.truncate(version.rfind('-').unwrap_or(version.len()));
        if let Some(hash) = value.pointer_mut("/metadata/annotations/kubenova.io~1applied-hash") {
            *hash = "a hash".into();
        }
    }
    value
}

/// How a child looks that was made anew.
pub fn anew(object: &DynamicObject) -> Value {
    let mut value = picture(object);
    for moving in ["uid", "creationTimestamp"] {
        value["metadata"][moving].take();
    }
    value
}

/// Where two pictures part, for a failed assertion.
fn difference(wanted: &Value, found: &Value) -> String {
    match (wanted, found) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let parts = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
            let none = Value::Null;
            let part = |key: &String| {
                format!("{key}: {}", difference(a.get(key).unwrap_or(&none), b.get(key).unwrap_or(&none)))
            };
            parts.map(part).collect::<Vec<_>>().join("; ")
        }
        _ => format!("wanted {wanted}, found {found}"),
    }
}

/// The operator's writes of children of a tenant.
async fn child_writes(world: &World, tenant: &str, mark: Mark) -> Result<Vec<Entry>> {
    let mut writes = world.operator_writes(mark).await?;
    writes.retain(|w| w.object.subresource != "status" && w.object.resource != "events");
    writes.retain(|w| history::tenant_of(w) == Some(tenant));
    Ok(writes)
}

/// A converged tenant, its children and how each looks.
async fn converged(world: &World, tenant: &str) -> Result<(Vec<Target>, BTreeMap<String, DynamicObject>)> {
    world.apply_until_accepted(&quickstart(tenant)?, PATIENCE).await?;
    world.ready(tenant, PATIENCE).await?;
    world.silent(Some(tenant), PATIENCE).await?;
    let targets = targets(world, tenant).await?;
    let kinds: BTreeSet<&str> = targets.iter().map(|target| target.resource.kind.as_str()).collect();
    println!("{tenant}: {} children of {} kinds: {kinds:?}", targets.len(), kinds.len());
    ensure!(kinds.len() >= 8, "the quickstart has children of more kinds than {kinds:?}");
    let mut live = BTreeMap::new();
    for target in &targets {
        live.insert(target.to_string(), target.get().await?);
    }
    Ok((targets, live))
}

/// Nothing is written about a tenant for a while.
async fn quiet(world: &World, tenant: &str, after: &str) -> Result<()> {
    world.ready(tenant, PATIENCE).await?;
    world.silent(Some(tenant), PATIENCE).await?;
    let mark = world.mark().await?;
    tokio::time::sleep(QUIET).await;
    let mut writes = world.operator_writes(mark).await?;
    writes.retain(|w| history::tenant_of(w) == Some(tenant));
    let writes: Vec<_> = writes.iter().map(Entry::summary).collect();
    ensure!(writes.is_empty(), "writes in the {QUIET:?} after {after}: {writes:#?}");
    Ok(())
}

/// Fields of somebody else; a part of the spec too, where its schema has room for one.
fn foreign(target: &Target) -> Value {
    let mut patch = match target.resource.kind.as_str() {
        "ServiceAccount" => json!({"imagePullSecrets": [{"name": "foreign"}]}),
        "ResourceQuota" => json!({"spec": {"hard": {"count/secrets": "50"}}}),
        "Tenant" => json!({"spec": {"imagePullPolicies": ["Always", "IfNotPresent"]}}),
        "Application" => json!({"spec": {"policies": [
            {"name": "foreign", "type": "apply-once", "properties": {"enable": false}}]}}),
        _ => json!({}),
    };
    patch["metadata"] =
        json!({"labels": {"example.com/foreign": "kept"}, "annotations": {"example.com/foreign": "kept"}});
    patch
}

async fn patch(target: &Target, patch: &Value) -> Result<DynamicObject, kube::Error> {
    let params = PatchParams { field_manager: Some("somebody".to_owned()), ..PatchParams::default() };
    let patch: Patch<Value> = if patch.is_array() {
        Patch::Json(serde_json::from_value(patch.clone()).map_err(kube::Error::SerdeError)?)
    } else {
        Patch::Merge(patch.clone())
    };
    target.api.patch(&target.name, &params, &patch).await
}

/// From each drift to the operator's next write of that child, as the audit log has it; the longest last.
async fn times(world: &World, targets: &[Target], mark: Mark) -> Result<Vec<Duration>> {
    world.plane.audit().settle().await;
    let entries = world.plane.audit().since(mark)?;
    let done = history::done_by_operator(&entries);
    let drifts: Vec<&Entry> =
        entries.iter().filter(|e| e.uri.contains("fieldManager=somebody") && e.succeeded()).collect();
    let mut times = Vec::new();
    for target in targets {
        let moments = |of: &[&Entry]| -> Vec<Timestamp> {
            of.iter().filter(|entry| target.is_about(entry)).filter_map(|entry| entry.received).collect()
        };
        let (drifts, answers) = (moments(&drifts), moments(&done));
        for (n, drift) in drifts.iter().enumerate() {
            // What changed nothing has no answer before the next; what did has been waited for.
            let next = drifts.get(n + 1).copied().unwrap_or(Timestamp::MAX);
            let answer = answers.iter().filter(|answer| *answer > drift && **answer < next).min();
            times.extend(answer.map(|answer| history::after(*drift, *answer)));
        }
    }
    times.sort();
    Ok(times)
}

/// The half of all is held to what is promised, the worst to what a busy machine can hold.
fn in_time(what: &str, times: &[Duration]) -> Result<()> {
    ensure!(!times.is_empty(), "{what}: the audit log has no drift that was answered");
    let (half, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("| {what} | {} drifts, answered in p50 {half:.0?}, max {worst:.0?} |", times.len());
    ensure!(half <= REPAIR && worst <= WORST, "{what}: answered in p50 {half:?}, max {worst:?}");
    Ok(())
}

/// Fields that nobody can drift: kind, beginning of the place, and why.
const UNCHANGEABLE: [(&str, &str, &str); 3] = [
    (
        "RoleBinding",
        "/roleRef",
        "a binding's role is immutable; see role_ref.rs for the one that is replaced",
    ),
    (
        "Namespace",
        "/metadata/labels/capsule.clastix.io~1tenant",
        "Capsule's webhook keeps a namespace in its Tenant",
    ),
    ("Namespace", "/metadata/ownerReferences", "and its owner with the label"),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_field_of_each_kind_of_child_is_put_back_and_what_others_add_is_kept() -> Result<()> {
    const TENANT: &str = "drift";
    let world = STAGE.together().await?;
    let (targets, _) = converged(&world, TENANT).await?;
    let mark = world.mark().await?;
    for target in &targets {
        patch(target, &foreign(target)).await.with_context(|| format!("add to {target}"))?;
    }
    tokio::time::sleep(REPAIR).await;
    let writes = child_writes(&world, TENANT, mark).await?;
    let writes: Vec<_> = writes.iter().map(Entry::summary).collect();
    ensure!(writes.is_empty(), "a foreign field made the operator write: {writes:#?}");
    world.silent(Some(TENANT), PATIENCE).await?;

    // Of children that look alike one is drifted: what counts is the kind and the place in it.
    let mut seen = BTreeSet::new();
    let mut work = Vec::new();
    for target in &targets {
        let live = target.get().await?;
        ensure!(live.labels().contains_key("example.com/foreign"), "{target} lost what was added");
        let mut mine = drifts(&live);
        mine.retain(|drift| seen.insert((target.resource.kind.clone(), drift.how, drift.shape.clone())));
        work.push((target, mine));
    }
    let mark = world.mark().await?;
    let done = stream::iter(work.iter().map(async |(target, drifts)| {
        let mut done = Vec::new();
        for drift in drifts {
            let effect = drifted(target, drift).await?;
            done.push((target.resource.kind.clone(), drift.how, drift.shape.clone(), effect));
        }
        anyhow::Ok(done)
    }));
    let done: Vec<_> = done.buffer_unordered(PARALLEL).try_collect::<Vec<_>>().await?;
    let done: Vec<_> = done.into_iter().flatten().collect();
    covered(&done)?;
    in_time("a field of ours", &times(&world, &targets, mark).await?)?;
    quiet(&world, TENANT, "drifts").await
}

/// What became of a drift.
type Done = (String, &'static str, String, Effect);

#[derive(Clone, Debug, PartialEq)]
enum Effect {
    /// It changed the child, and the child was put back.
    PutBack,
    /// The API server, or a webhook, made it as it was.
    None,
    /// The API server refused it.
    Refused(String),
}

/// Drifts a child in one way and waits until it is as it was.
async fn drifted(target: &Target, drift: &crate::owned::Drift) -> Result<Effect> {
    let before = picture(&target.get().await?);
    let mut effect = Effect::None;
    for way in &drift.patches {
        match patch(target, way).await {
            Ok(after) if picture(&after) == before => effect = Effect::None,
            Ok(_) => {
                let what = || format!("{} {} of {target}", drift.how, drift.shape);
                target.looks(&before, None).await.with_context(what)?;
                return Ok(Effect::PutBack);
            }
            Err(kube::Error::Api(status)) => effect = Effect::Refused(status.message.clone()),
            Err(error) => bail!(error),
        }
    }
    Ok(effect)
}

/// Every place was drifted in some way or is in the table of what cannot be; every kind in every way it allows.
fn covered(done: &[Done]) -> Result<()> {
    let mut counts: BTreeMap<(&str, &str), (usize, usize, usize)> = BTreeMap::new();
    let mut places: BTreeMap<(&str, &str), Vec<&Effect>> = BTreeMap::new();
    for (kind, how, shape, effect) in done {
        let count = counts.entry((kind, how)).or_default();
        match effect {
            Effect::PutBack => count.0 += 1,
            Effect::None => count.1 += 1,
            Effect::Refused(_) => count.2 += 1,
        }
        places.entry((kind, shape)).or_default().push(effect);
    }
    for ((kind, how), (back, none, refused)) in &counts {
        println!("| {kind} | {how} | {back} put back, {none} without effect, {refused} refused |");
    }
    let known = |kind: &str, shape: &str| {
        UNCHANGEABLE.iter().any(|(of, begin, _)| *of == kind && shape.starts_with(begin))
    };
    let back = |kind: &str, shape: &str| {
        places.get(&(kind, shape)).is_some_and(|effects| effects.contains(&&Effect::PutBack))
    };
    // What the API server lets nobody change alone, such as a word of few, was put back with what it is in.
    let with_the_whole = |kind: &str, shape: &str| {
        shape.match_indices('/').any(|(end, _)| end > 0 && back(kind, &shape[..end]))
    };
    let missed: Vec<_> = places
        .iter()
        .filter(|((kind, shape), _)| {
            !back(kind, shape) && !with_the_whole(kind, shape) && !known(kind, shape)
        })
        .collect();
    ensure!(missed.is_empty(), "nothing could drift these, and no table says why: {missed:#?}");
    let kinds: BTreeSet<&str> = counts.keys().map(|(kind, _)| *kind).collect();
    for kind in kinds {
        for how in ["change", "remove"] {
            let back = counts.get(&(kind, how)).map_or(0, |count| count.0);
            ensure!(back > 0, "{kind} was never drifted by {how}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_child_without_its_labels_is_put_back() -> Result<()> {
    const TENANT: &str = "strip";
    let world = STAGE.together().await?;
    let (targets, _) = converged(&world, TENANT).await?;
    for (what, ours) in [
        (
            "all our labels stripped",
            (|key: &str| key.contains("kubenova.io/") || key.ends_with("/managed-by")) as fn(&str) -> bool,
        ),
        ("the owner's label stripped", |key: &str| key == OWNER),
    ] {
        let mark = world.mark().await?;
        let each = stream::iter(targets.iter().map(async |target| {
            let live = target.get().await?;
            let labels: Map<String, Value> =
                live.labels().keys().filter(|key| ours(key)).map(|key| (key.clone(), Value::Null)).collect();
            ensure!(!labels.is_empty(), "{target} has none of these labels");
            patch(target, &json!({"metadata": {"labels": labels}})).await?;
            target.looks(&picture(&live), None).await.context(what)
        }));
        each.buffer_unordered(PARALLEL).try_collect::<Vec<()>>().await?;
        in_time(what, &times(&world, &targets, mark).await?)?;
    }
    quiet(&world, TENANT, "stripped labels").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_network_that_somebody_opens_is_closed_again() -> Result<()> {
    const TENANT: &str = "opened";
    let world = STAGE.together().await?;
    let (targets, _) = converged(&world, TENANT).await?;
    let closed: Vec<&Target> = targets.iter().filter(|t| t.name == "kubenova-default-deny").collect();
    ensure!(
        closed.len() == 3,
        "home, project and sandbox have a closed network each, and here are {}",
        closed.len()
    );
    let mark = world.mark().await?;
    for target in closed {
        let before = picture(&target.get().await?);
        // Fields that the closed policy has no entries in.
        let after = patch(target, &json!({"spec": {"ingress": [{}], "egress": [{}]}})).await?;
        ensure!(picture(&after) != before, "{target} was not opened");
        target.looks(&before, None).await?;
    }
    in_time("the network opened", &times(&world, &targets, mark).await?)
}

/// A namespace has a test of its own, and Capsule lets nobody delete its Tenant.
#[tokio::test(flavor = "multi_thread")]
async fn every_child_that_is_deleted_is_made_again_as_it_was() -> Result<()> {
    const TENANT: &str = "deleted";
    let world = STAGE.together().await?;
    let (targets, live) = converged(&world, TENANT).await?;
    let mut mine: Vec<&Target> =
        targets.iter().filter(|t| !["Namespace", "Tenant"].contains(&t.resource.kind.as_str())).collect();
    // Vela takes down what an Application made with the deployer's rights, so the Application comes first.
    mine.sort_by_key(|target| target.resource.kind != "Application");
    for target in mine {
        let before = &live[&target.to_string()];
        let uid = before.uid().unwrap_or_default();
        target.api.delete(&target.name, &DeleteParams::default()).await?;
        target.looks(&anew(before), Some(&uid)).await?;
    }
    quiet(&world, TENANT, "deletions").await?;
    let capsule = targets.iter().find(|t| t.resource.kind == "Tenant").context("no Capsule Tenant")?;
    match capsule.api.delete(&capsule.name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) => println!("| Capsule Tenant deleted | refused: {} |", status.message),
        other => bail!("Capsule let its Tenant be deleted: {other:?}"),
    }
    Ok(())
}
