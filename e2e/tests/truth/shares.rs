//! A plan's quota is divided among a tenant's namespaces so that it never adds up to more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::film::Frame;
use e2e::object::{self, Place};
use e2e::quantity::thousandths;
use e2e::{Film, World, condition, eventually, message};
use kube::core::ResourceExt as _;
use nova_testkit::Mark;
use serde_json::{Value, json};

use crate::cases::ready_reason;
use crate::{PATIENCE, filmed, honest};

const TENANT: &str = "shares";
/// By the API server's clock.
const TOLD: Duration = Duration::from_secs(5);

/// Amounts by resource, in thousandths.
type Amounts = BTreeMap<String, i128>;

fn project(name: &str, cpu: Option<i64>) -> String {
    let spec = cpu.map_or_else(|| json!({}), |cpu| json!({"quotas": {"cpu": cpu}}));
    object::project(TENANT, name, &spec)
}

fn project_place(name: &str) -> Place {
    Place::new("NovaProject", "tn-shares", name)
}

async fn divide(world: &World, quotas: &Value) -> Result<()> {
    let plan = Place::new("NovaPlan", "", TENANT);
    plan.merge(world, &json!({"spec": {"quotas": quotas}})).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn shares_that_do_not_fit_are_told_and_never_add_up_to_more_than_the_plan() -> Result<()> {
    let (world, film) = filmed().await?;
    let quotas = json!({"cpu": 4, "memory": "8Gi", "pods": 20});
    world.apply_once(&object::plan(TENANT, &json!({"quotas": quotas}))).await?;
    world.apply_once(&object::tenant(TENANT, &json!({"plan": TENANT}))).await?;
    let start = Instant::now();
    world.apply_until_accepted(&[project("first", Some(3))], PATIENCE).await?;
    world.ready(TENANT, PATIENCE).await?;
    let since = (world.mark().await?, Instant::now());
    world.apply_until_accepted(&[project("second", Some(2))], PATIENCE).await?;
    is_told(&world, &film, since).await?;

    // A larger plan, more and fewer projects, a smaller plan; some of it at the same time.
    divide(&world, &json!({"cpu": "9", "pods": 31})).await?;
    world.apply_until_accepted(&["third", "fourth"].map(|name| project(name, None)), PATIENCE).await?;
    settled(&world, &film, "9").await?;
    project_place("first").delete(&world).await?;
    world.apply_until_accepted(&[project("fifth", Some(4))], PATIENCE).await?;
    project_place("second").merge(&world, &json!({"spec": {"quotas": {"cpu": "1"}}})).await?;
    settled(&world, &film, "9").await?;
    divide(&world, &json!({"cpu": "6", "pods": 17})).await?;
    settled(&world, &film, "6").await?;
    let seen = never_more_than_the_plan(&film, start)?;
    println!("shares: {seen} versions of quotas, none of which added up to more than the plan");
    ensure!(seen >= 15, "too few versions to mean anything");
    honest(&film)
}

async fn is_told(world: &World, film: &Film, (mark, since): (Mark, Instant)) -> Result<()> {
    let here = |f: &Frame| f.is("NovaProject", "tn-shares", "second");
    let known = film.first("the project that does not fit is there", since, PATIENCE, here).await?;
    let told = |f: &Frame| {
        f.is("NovaTenant", "", TENANT)
            && ready_reason(f) == "QuotaExceeded"
            && condition(&f.object, "QuotaExceeded").is_some()
    };
    let told = film.first("shares that do not fit are told", since, PATIENCE, told).await?;
    let (message, took) = (message(&told.object), world.between(mark, &known, &told).await?);
    println!("shares told after {took:.1?}: {message}");
    ensure!(
        message.contains("ResourceQuota tn-shares-app-second/kubenova-quota")
            && message.contains("asks for 2 of requests.cpu, but 1 is left of the plan's 4"),
        "{message}"
    );
    ensure!(told.object.data["status"]["lastError"]["code"] == "KN-429", "{}", told.object.data["status"]);
    ensure!(took <= TOLD, "told late");
    Ok(())
}

/// Everything is Ready and the whole of the plan is given away, and enforced.
async fn settled(world: &World, film: &Film, cpu: &str) -> Result<()> {
    let whole = thousandths(cpu)?;
    eventually("the plan is divided", PATIENCE, async || {
        let shares = enforced(&film.all(), u64::MAX).map_err(|e| e.to_string())?;
        let shares = shares.get("requests.cpu").copied().unwrap_or_default();
        if shares == whole { Ok(()) } else { Err(format!("{shares} of {whole}")) }
    })
    .await?;
    world.ready(TENANT, PATIENCE).await
}

fn is_quota(frame: &Frame) -> bool {
    let namespace = frame.object.namespace().unwrap_or_default();
    frame.kind == "ResourceQuota" && (namespace == "tn-shares" || namespace.starts_with("tn-shares-"))
}

/// What the tenant's namespaces may use at a version: for each, the larger of what is asked and what is enforced.
fn enforced(frames: &[Frame], until: u64) -> Result<Amounts> {
    let mut quotas: BTreeMap<String, Amounts> = BTreeMap::new();
    let mut of: Vec<&Frame> = frames.iter().filter(|f| is_quota(f) && f.version() <= until).collect();
    of.sort_by_key(|f| f.version());
    for frame in of {
        let key = frame.name();
        if frame.gone {
            quotas.remove(&key);
            continue;
        }
        let mut hard = Amounts::new();
        for part in ["/spec/hard", "/status/hard"] {
            let part = frame.object.data.pointer(part).and_then(Value::as_object);
            for (resource, amount) in part.into_iter().flatten() {
                let amount = thousandths(amount.as_str().unwrap_or_default())?;
                let entry = hard.entry(resource.clone()).or_insert(amount);
                *entry = (*entry).max(amount);
            }
        }
        quotas.insert(key, hard);
    }
    let mut sum = Amounts::new();
    for (resource, amount) in quotas.into_values().flatten() {
        *sum.entry(resource).or_default() += amount;
    }
    Ok(sum)
}

/// At every version of a quota the sum is at most the plan; after a plan was lowered, it only falls until it is.
fn never_more_than_the_plan(film: &Film, start: Instant) -> Result<usize> {
    let frames = film.all();
    let mut plans: Vec<&Frame> = frames.iter().filter(|f| f.is("NovaPlan", "", TENANT)).collect();
    plans.sort_by_key(|f| f.version());
    let mut versions: Vec<u64> = frames.iter().filter(|f| is_quota(f)).map(Frame::version).collect();
    versions.sort_unstable();
    ensure!(plans.iter().any(|p| p.at >= start), "the plan was not filmed");
    let of_plan = |plan: &Frame, field: &str| {
        let amount = &plan.object.data["spec"]["quotas"][field];
        thousandths(&amount.as_str().map_or_else(|| amount.to_string(), str::to_owned))
    };
    let mut before = Amounts::new();
    for version in &versions {
        let plan = plans.iter().rev().find(|p| p.version() < *version).context("a quota before its plan")?;
        let sum = enforced(&frames, *version)?;
        for (resource, field) in [("requests.cpu", "cpu"), ("requests.memory", "memory"), ("pods", "pods")] {
            let whole = of_plan(plan, field)?;
            let held = sum.get(resource).copied().unwrap_or_default();
            let was = before.get(resource).copied().unwrap_or_default();
            ensure!(
                held <= whole.max(was),
                "{held} thousandths of {resource} at version {version}, the plan has {whole}, before were {was}"
            );
        }
        before = sum;
    }
    let last = of_plan(plans.last().context("a plan")?, "cpu")?;
    ensure!(before["requests.cpu"] == last, "it ends at {} of {last}", before["requests.cpu"]);
    Ok(versions.len())
}
