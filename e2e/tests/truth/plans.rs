//! Tenants on hold, plans in use, and a plan's quota divided so that it never adds up to more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::film::Frame;
use e2e::{Film, World, any, condition, eventually, is_ready};
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::ResourceExt as _;
use nova_plan::quantity::Amount;
use serde_json::{Value, json};

use crate::SOON;
use crate::cases::ready_reason;

fn tenants(world: &World) -> Api<DynamicObject> {
    any(&world.admin, "kubenova.io", "v1alpha1", "NovaTenant", "novatenants")
}

fn plans(world: &World) -> Api<DynamicObject> {
    any(&world.admin, "kubenova.io", "v1alpha1", "NovaPlan", "novaplans")
}

async fn merge(api: &Api<DynamicObject>, name: &str, spec: &Value) -> Result<()> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
    Ok(())
}

fn tenant(name: &str, plan: &str) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaTenant\nmetadata: {{name: {name}}}\nspec: {{plan: {plan}}}"
    )
}

fn plan(name: &str, cpu: i64) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaPlan\nmetadata: {{name: {name}}}\nspec: {{quotas: {{cpu: {cpu}, memory: 8Gi, pods: 20}}}}"
    )
}

pub async fn a_suspended_tenant_says_so(world: &World, film: &Film) -> Result<()> {
    world.apply_once(&plan("rest", 2)).await?;
    world.apply_once(&tenant("rest", "rest")).await?;
    world.ready("rest", SOON).await?;
    let start = Instant::now();
    merge(&tenants(world), "rest", &json!({"suspended": true})).await?;
    let told = |f: &Frame| f.is("NovaTenant", "", "rest") && condition(&f.object, "Suspended").is_some();
    let told = film.first("the tenant says that it is suspended", start, SOON, told).await?;
    println!("suspended told after {:.1?}", told.at - start);
    let capsule = any(&world.admin, "capsule.clastix.io", "v1beta2", "Tenant", "tenants");
    eventually("Capsule has it cordoned", SOON, async || {
        let live = capsule.get("rest").await.map_err(|e| e.to_string())?;
        if live.data["spec"]["cordoned"] == true { Ok(()) } else { Err(live.data["spec"].to_string()) }
    })
    .await?;
    let start = Instant::now();
    merge(&tenants(world), "rest", &json!({"suspended": false})).await?;
    let well = |f: &Frame| {
        f.is("NovaTenant", "", "rest") && is_ready(&f.object) && condition(&f.object, "Suspended").is_none()
    };
    film.first("the tenant goes on", start, SOON, well).await?;
    Ok(())
}

pub async fn a_plan_in_use_stays_until_nobody_uses_it(world: &World, film: &Film) -> Result<()> {
    let start = Instant::now();
    world.apply_once(&plan("held", 2)).await?;
    world.apply_once(&plan("spare", 2)).await?;
    world.apply_once(&tenant("holder", "held")).await?;
    world.ready("holder", SOON).await?;
    let here = |f: &Frame| f.is("NovaPlan", "", "held");
    film.first("the plan knows its tenant", start, SOON, |f| {
        here(f) && f.object.data["status"]["tenants"] == 1
    })
    .await?;
    let start = Instant::now();
    plans(world).delete("held", &DeleteParams::default()).await?;
    let told = |f: &Frame| here(f) && condition(&f.object, "DeletionBlocked").is_some();
    let told = film.first("the plan says what holds it", start, SOON, told).await?;
    let message = e2e::message(&told.object);
    println!("plan in use told after {:.1?}: {message}", told.at - start);
    ensure!(ready_reason(&told) == "DeletionBlocked" && message.contains("NovaTenant holder"), "{message}");
    let blocker = &told.object.data["status"]["blockers"][0];
    ensure!(blocker["object"] == "NovaTenant holder" && blocker["class"] == "platform", "{blocker}");
    ensure!(told.object.data["status"]["lastError"]["code"] == "KN-409", "{}", told.object.data["status"]);
    ensure!(plans(world).get_opt("held").await?.is_some(), "a plan in use is gone");

    let start = Instant::now();
    merge(&tenants(world), "holder", &json!({"plan": "spare"})).await?;
    eventually("the plan that nobody uses goes", SOON, async || match plans(world).get_opt("held").await {
        Ok(None) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    println!("unused plan gone {:.1?} after the last tenant left it", start.elapsed());
    Ok(())
}

fn project(name: &str, cpu: Option<i64>) -> String {
    let quotas = cpu.map(|cpu| format!("quotas: {{cpu: {cpu}}}")).unwrap_or_default();
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaProject\nmetadata: {{name: {name}, namespace: tn-shares}}\nspec: {{{quotas}}}"
    )
}

pub async fn shares_never_add_up_to_more_than_the_plan(world: &World, film: &Film) -> Result<()> {
    world.apply_once(&plan("shares", 4)).await?;
    world.apply_once(&tenant("shares", "shares")).await?;
    let start = Instant::now();
    world.apply_until_accepted(&[project("first", Some(3))], SOON).await?;
    world.ready("shares", SOON).await?;
    let known = Instant::now();
    world.apply_until_accepted(&[project("second", Some(2))], SOON).await?;
    let told = |f: &Frame| {
        f.is("NovaTenant", "", "shares")
            && ready_reason(f) == "QuotaExceeded"
            && condition(&f.object, "QuotaExceeded").is_some()
    };
    let told = film.first("shares that do not fit are told", known, SOON, told).await?;
    let message = e2e::message(&told.object);
    println!("shares told after {:.1?}: {message}", told.at - known);
    ensure!(
        message.contains("ResourceQuota tn-shares-app-second/kubenova-quota")
            && message.contains("asks for 2 of requests.cpu, but 1 is left of the plan's 4"),
        "{message}"
    );
    ensure!(told.object.data["status"]["lastError"]["code"] == "KN-429", "{}", told.object.data["status"]);
    ensure!(told.at - known <= Duration::from_secs(5), "told late");

    // A larger plan, more and fewer projects, a smaller plan; some of it at the same time.
    merge(&plans(world), "shares", &json!({"quotas": {"cpu": "9", "pods": 31}})).await?;
    world.apply_until_accepted(&["third", "fourth"].map(|name| project(name, None)), SOON).await?;
    settled(world, film, "9").await?;
    let gvk = kube::core::GroupVersionKind::gvk("kubenova.io", "v1alpha1", "NovaProject");
    let resource = kube::api::ApiResource::from_gvk_with_plural(&gvk, "novaprojects");
    let projects: Api<DynamicObject> = Api::namespaced_with(world.admin.clone(), "tn-shares", &resource);
    projects.delete("first", &DeleteParams::default()).await?;
    world.apply_until_accepted(&[project("fifth", Some(4))], SOON).await?;
    merge(&projects, "second", &json!({"quotas": {"cpu": "1"}})).await?;
    settled(world, film, "9").await?;
    merge(&plans(world), "shares", &json!({"quotas": {"cpu": "6", "pods": 17}})).await?;
    settled(world, film, "6").await?;
    let seen = never_more_than_the_plan(film, start)?;
    println!("shares: {seen} versions of quotas, none of which added up to more than the plan");
    ensure!(seen >= 15, "too few versions to mean anything");
    Ok(())
}

/// Everything is Ready and the whole of the plan is given away, and enforced.
async fn settled(world: &World, film: &Film, cpu: &str) -> Result<()> {
    let whole = Amount::parse(cpu)?;
    eventually("the plan is divided", SOON, async || {
        let quotas = enforced(&film.all(), u64::MAX).get("requests.cpu").copied().unwrap_or_default();
        if quotas == whole { Ok(()) } else { Err(format!("{quotas} of {whole}")) }
    })
    .await?;
    world.ready("shares", SOON).await
}

/// What the tenant's namespaces may use at a version: for each, the larger of what is asked and what is enforced.
fn enforced(frames: &[Frame], until: u64) -> BTreeMap<String, Amount> {
    let mut quotas: BTreeMap<String, BTreeMap<String, Amount>> = BTreeMap::new();
    let ours = |f: &&Frame| {
        let namespace = f.object.namespace().unwrap_or_default();
        f.kind == "ResourceQuota" && (namespace == "tn-shares" || namespace.starts_with("tn-shares-"))
    };
    let mut of: Vec<&Frame> = frames.iter().filter(ours).filter(|f| f.version() <= until).collect();
    of.sort_by_key(|f| f.version());
    for frame in of {
        let key = frame.name();
        if frame.gone {
            quotas.remove(&key);
            continue;
        }
        let mut hard = BTreeMap::new();
        for part in ["/spec/hard", "/status/hard"] {
            for (resource, amount) in
                frame.object.data.pointer(part).and_then(Value::as_object).into_iter().flatten()
            {
                let amount = Amount::parse(amount.as_str().unwrap_or_default()).unwrap_or_default();
                let entry = hard.entry(resource.clone()).or_insert(amount);
                *entry = (*entry).max(amount);
            }
        }
        quotas.insert(key, hard);
    }
    let mut sum: BTreeMap<String, Amount> = BTreeMap::new();
    for (resource, amount) in quotas.into_values().flatten() {
        let entry = sum.entry(resource).or_default();
        *entry = *entry + amount;
    }
    sum
}

/// At every version of a quota the sum is at most the plan; after a plan was lowered, it only falls until it is.
fn never_more_than_the_plan(film: &Film, start: Instant) -> Result<usize> {
    let frames = film.all();
    let mut plans: Vec<&Frame> = frames.iter().filter(|f| f.is("NovaPlan", "", "shares")).collect();
    plans.sort_by_key(|f| f.version());
    let mut versions: Vec<u64> = frames
        .iter()
        .filter(|f| {
            f.kind == "ResourceQuota" && f.object.namespace().is_some_and(|n| n.starts_with("tn-shares"))
        })
        .map(Frame::version)
        .collect();
    versions.sort_unstable();
    ensure!(plans.iter().any(|p| p.at >= start), "the plan was not filmed");
    let mut before: BTreeMap<String, Amount> = BTreeMap::new();
    for version in &versions {
        let plan = plans.iter().rev().find(|p| p.version() < *version).context("a quota before its plan")?;
        let sum = enforced(&frames, *version);
        for (resource, field) in [("requests.cpu", "cpu"), ("requests.memory", "memory"), ("pods", "pods")] {
            let quotas = &plan.object.data["spec"]["quotas"][field];
            let text = quotas.as_str().map_or_else(|| quotas.to_string(), str::to_owned);
            let whole = Amount::parse(&text)?;
            let held = sum.get(resource).copied().unwrap_or_default();
            let was = before.get(resource).copied().unwrap_or_default();
            ensure!(
                held <= whole.max(was),
                "{held} of {resource} at version {version}, the plan has {whole}, before were {was}"
            );
        }
        before = sum;
    }
    let last = plans.last().context("a plan")?.object.data["spec"]["quotas"]["cpu"].clone();
    ensure!(
        before["requests.cpu"] == Amount::parse(last.as_str().unwrap_or("6"))?,
        "it ends at {}",
        before["requests.cpu"]
    );
    Ok(versions.len())
}
