//! Tenants on hold, tenants whose plan is missing, and plans that are in use.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::film::Frame;
use e2e::object::{self, Place};
use e2e::{condition, is_ready, message};
use serde_json::json;

use crate::cases::ready_reason;
use crate::{PATIENCE, filmed, honest};

/// By the API server's clock.
const TOLD: Duration = Duration::from_secs(5);

fn tenant(name: &str) -> Place {
    Place::new("NovaTenant", "", name)
}

fn small(name: &str) -> String {
    object::plan(name, &json!({"quotas": {"cpu": 2, "memory": "8Gi", "pods": 20}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_says_so() -> Result<()> {
    const NAME: &str = "rest";
    let (world, film) = filmed().await?;
    world.apply_once(&small(NAME)).await?;
    world.apply_once(&object::tenant(NAME, &json!({"plan": NAME}))).await?;
    world.ready(NAME, PATIENCE).await?;
    let start = Instant::now();
    tenant(NAME).merge(&world, &json!({"spec": {"suspended": true}})).await?;
    let told = |f: &Frame| f.is("NovaTenant", "", NAME) && condition(&f.object, "Suspended").is_some();
    let told = film.first("the tenant says that it is suspended", start, PATIENCE, told).await?;
    println!("suspended told after {:.1?}", told.at - start);
    let start = Instant::now();
    tenant(NAME).merge(&world, &json!({"spec": {"suspended": false}})).await?;
    let well = |f: &Frame| {
        f.is("NovaTenant", "", NAME) && is_ready(&f.object) && condition(&f.object, "Suspended").is_none()
    };
    film.first("the tenant goes on", start, PATIENCE, well).await?;
    honest(&film)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_plan_is_missing_says_so_until_it_is_there() -> Result<()> {
    const NAME: &str = "planless";
    let (world, film) = filmed().await?;
    let (mark, start) = (world.mark().await?, Instant::now());
    world.apply_once(&object::tenant(NAME, &json!({"plan": "missing"}))).await?;
    let here = |f: &Frame| f.is("NovaTenant", "", NAME);
    let known = film.first("the tenant is there", start, PATIENCE, here).await?;
    let told = |f: &Frame| here(f) && ready_reason(f) == "DependencyMissing";
    let told = film.first("the missing plan is told", start, PATIENCE, told).await?;
    let took = world.between(mark, &known, &told).await?;
    println!("{NAME} told after {took:5.0?}: {}", message(&told.object));
    let status = &told.object.data["status"];
    ensure!(status["lastError"]["code"] == "KN-404", "{status}");
    ensure!(status["blockers"][0]["object"] == "NovaPlan missing", "{status}");
    ensure!(condition(&told.object, "Stalled").is_none(), "a plan may still come: {status}");
    ensure!(took <= TOLD, "told after {took:?}");

    let start = Instant::now();
    world.apply_once(&object::plan("missing", &json!({"quotas": {"cpu": 1}}))).await?;
    let well =
        film.first("the tenant has its plan", start, PATIENCE, |f| here(f) && is_ready(&f.object)).await?;
    println!("{NAME} Ready {:.1?} after its fix", well.at - start);
    honest(&film)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_in_use_stays_until_nobody_uses_it() -> Result<()> {
    const NAME: &str = "holder";
    let (world, film) = filmed().await?;
    let start = Instant::now();
    world.apply_once(&small("held")).await?;
    world.apply_once(&small("spare")).await?;
    world.apply_once(&object::tenant(NAME, &json!({"plan": "held"}))).await?;
    world.ready(NAME, PATIENCE).await?;
    let held = Place::new("NovaPlan", "", "held");
    let here = |f: &Frame| f.is("NovaPlan", "", "held");
    let knows = |f: &Frame| here(f) && f.object.data["status"]["tenants"] == 1;
    film.first("the plan knows its tenant", start, PATIENCE, knows).await?;
    let start = Instant::now();
    held.delete(&world).await?;
    let told = |f: &Frame| here(f) && condition(&f.object, "DeletionBlocked").is_some();
    let told = film.first("the plan says what holds it", start, PATIENCE, told).await?;
    let message = message(&told.object);
    println!("plan in use told after {:.1?}: {message}", told.at - start);
    ensure!(ready_reason(&told) == "DeletionBlocked" && message.contains("NovaTenant holder"), "{message}");
    let blocker = &told.object.data["status"]["blockers"][0];
    ensure!(blocker["object"] == "NovaTenant holder" && blocker["class"] == "platform", "{blocker}");
    ensure!(told.object.data["status"]["lastError"]["code"] == "KN-409", "{}", told.object.data["status"]);
    ensure!(held.get(&world).await?.is_some(), "a plan in use is gone");

    tenant(NAME).merge(&world, &json!({"spec": {"plan": "spare"}})).await?;
    let took = held.gone(&world, PATIENCE).await?;
    println!("unused plan gone {took:.1?} after the last tenant left it");
    honest(&film)
}
