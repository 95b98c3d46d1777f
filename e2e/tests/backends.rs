//! Backends that are away: told by those whom it concerns, everybody else goes on, and it heals by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::film::{Frame, busiest, trouble};
use e2e::object::{self, Place, image};
use e2e::{Film, Stage, World, eventually, history, is_ready, message, reason};
use jiff::Timestamp;
use nova_testkit::{CapsuleValues, Component, Entry, Mark, Options};
use serde_json::{Value, json};

/// From the moment when the fault can be known to the status that tells it, by the API server's clock.
const TOLD: Duration = Duration::from_secs(5);
/// For what nobody measures.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long Capsule is away, to count what is tried meanwhile.
const LASTING: Duration = Duration::from_secs(61);

fn plan(name: &str, cpu: u8) -> String {
    object::plan(name, &json!({"quotas": {"cpu": cpu, "pods": 20}}))
}

fn tenant(name: &str) -> String {
    object::tenant(name, &json!({"plan": "harbour"}))
}

fn project(name: &str) -> String {
    object::project("wharf", name, &json!({}))
}

fn app(name: &str) -> String {
    object::app("tn-wharf-app-front", name, &image("1"))
}

/// A tenant `wharf` with the project `front` and an app `web` in it, all Ready.
async fn set_up(world: &World) -> Result<()> {
    let documents = [plan("harbour", 4), tenant("wharf"), project("front"), app("web")];
    world.apply_until_accepted(&documents, PATIENCE).await?;
    world.ready("wharf", PATIENCE).await?;
    world.silent(None, PATIENCE).await
}

fn told<'a>(
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    words: &'a str,
) -> impl Fn(&Frame) -> bool + 'a {
    move |f: &Frame| {
        f.is(kind, namespace, name)
            && reason(&f.object) == "BackendUnavailable"
            && message(&f.object).contains(words)
            && f.object.data["status"]["lastError"]["code"] == "KN-503"
    }
}

fn well<'a>(kind: &'a str, namespace: &'a str, name: &'a str) -> impl Fn(&Frame) -> bool + 'a {
    move |f: &Frame| f.is(kind, namespace, name) && is_ready(&f.object)
}

/// The first write of the operator that Capsule's absence made the API server refuse: from then on it can be known.
async fn first_refusal(world: &World, mark: Mark) -> Result<Timestamp> {
    eventually("a write is refused for want of Capsule", PATIENCE, async || {
        let writes = world.operator_writes(mark).await.map_err(|e| e.to_string())?;
        let first = writes.iter().filter(|w| w.code == 500).filter_map(|w| w.received).min();
        first.ok_or_else(|| format!("{} writes, none refused", writes.len()))
    })
    .await
}

/// Waits for a status that tells of the absence, and looks at blocker, class and fix.
async fn tells(film: &Film, since: Instant, what: (&str, &str, &str), words: &str) -> Result<Frame> {
    let (kind, namespace, name) = what;
    let tells = told(kind, namespace, name, words);
    let frame = film.first(&format!("{kind} {name} tells"), since, PATIENCE, tells).await;
    let last = film.of(kind, namespace, name);
    let frame =
        frame.with_context(|| format!("last: {:?}", last.last().map(|f| &f.object.data["status"])))?;
    let blocker = &frame.object.data["status"]["blockers"][0];
    ensure!(blocker["class"] == "platform" && blocker["reason"] == "BackendUnavailable", "{blocker}");
    ensure!(blocker["fix"].as_str().is_some_and(|fix| fix.contains("-system get pods")), "{blocker}");
    ensure!(e2e::condition(&frame.object, "Stalled").is_none(), "it heals by itself, and yet: {blocker}");
    Ok(frame)
}

/// The same, told in time after a moment.
async fn tells_in_time(
    world: &World,
    film: &Film,
    (mark, known, since): (Mark, Timestamp, Instant),
    what: (&str, &str, &str),
    words: &str,
) -> Result<()> {
    let frame = tells(film, since, what, words).await?;
    world.plane.audit().settle().await;
    let told = history::written(&world.plane.audit().since(mark)?, &frame);
    let took = history::after(known, told.with_context(|| format!("no write of {}", frame.name()))?);
    println!("  {} told after {took:.1?}: {}", frame.name(), message(&frame.object));
    ensure!(took <= TOLD, "{} told {took:?} after it could be known", frame.name());
    Ok(())
}

async fn heals(film: &Film, start: Instant, all: &[(&str, &str, &str)]) -> Result<()> {
    for (kind, namespace, name) in all {
        let since_start = well(kind, namespace, name);
        eventually(&format!("{kind} {name} is Ready again"), PATIENCE, async || {
            let frames = film.of(kind, namespace, name);
            let last = frames.last().filter(|f| since_start(f)).map(|f| f.at);
            last.ok_or_else(|| frames.last().map(|f| message(&f.object).to_owned()).unwrap_or_default())
        })
        .await
        .map(|at| println!("  {kind} {name} Ready {:.1?} after", at.saturating_duration_since(start)))?;
    }
    Ok(())
}

fn honest(film: &Film) -> Result<()> {
    let lies = film.lies();
    ensure!(lies.is_empty(), "a status was not true: {lies:#?}");
    Ok(())
}

/// Nothing but Ready since a moment.
fn undisturbed(film: &Film, since: Instant, what: (&str, &str, &str)) -> Result<()> {
    let frames = film.of(what.0, what.1, what.2);
    let bad = frames.iter().filter(|f| f.at >= since).find(|f| !is_ready(&f.object));
    ensure!(bad.is_none(), "{what:?} was disturbed: {:?}", bad.map(|f| message(&f.object).to_owned()));
    Ok(())
}

const WEB: (&str, &str, &str) = ("NovaApp", "tn-wharf-app-front", "web");
const FRONT: (&str, &str, &str) = ("NovaProject", "tn-wharf", "front");
const WHARF: (&str, &str, &str) = ("NovaTenant", "", "wharf");
const LOCAL: (&str, &str, &str) = ("NovaCluster", "", "local");

static RECOMMENDED: Stage = Stage::new(Options::default);
/// Tests with a control plane of their own go one after the other, so that there are two of them at most.
static ONE_MORE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn without_capsule_those_who_wait_for_it_say_so_and_the_others_go_on() -> Result<()> {
    let world = RECOMMENDED.alone().await?;
    set_up(&world).await?;
    let film = Film::start(&world.admin, &trouble()).await?;
    let (mark, start) = (world.mark().await?, Instant::now());
    world.plane.stop(Component::Capsule).await?;
    let late = ("NovaApp", "tn-wharf-app-front", "late");
    let back = ("NovaProject", "tn-wharf", "back");
    let quay = ("NovaTenant", "", "quay");
    world.apply_once(&project("back")).await?;
    world.apply_once(&app("late")).await?;
    world.apply_once(&tenant("quay")).await?;
    let known = first_refusal(&world, mark).await?;
    println!("Capsule stopped, with the recommended values; known by the API server's first refusal:");
    for (what, words) in [
        (LOCAL, "capsule: it does not answer: "),
        (WHARF, "Capsule does not answer: "),
        (quay, "Capsule does not answer"),
        (back, "Namespace tn-wharf-app-back: Capsule does not answer"),
        // Its Application is made; its pods are what Capsule has a say in.
        (late, "Deployment tn-wharf-app-front/late: FailedCreate"),
    ] {
        tells_in_time(&world, &film, (mark, known, start), what, words).await?;
    }

    // What needs no Capsule goes on: a plan, a tenant's own words, an app that is there, and its status.
    let meanwhile = Instant::now();
    world.apply_once(&plan("inland", 1)).await?;
    film.first("a new plan is Ready", meanwhile, PATIENCE, well("NovaPlan", "", "inland")).await?;
    let wharf = Place::new("NovaTenant", "", "wharf");
    wharf.merge(&world, &json!({"spec": {"displayName": "Wharf"}})).await?;
    let observed =
        |f: &Frame| f.is("NovaTenant", "", "wharf") && f.object.metadata.generation == Some(f.observed());
    let named = |f: &Frame| observed(f) && f.object.data["spec"]["displayName"] == "Wharf";
    film.first("a change of the tenant is observed", meanwhile, PATIENCE, named).await?;

    tokio::time::sleep(LASTING.saturating_sub(start.elapsed())).await;
    a_minute_without(&world, mark).await?;
    undisturbed(&film, start, WEB)?;
    undisturbed(&film, start, FRONT)?;

    world.plane.start_component(Component::Capsule).await?;
    println!("Capsule answers again:");
    heals(&film, Instant::now(), &[LOCAL, WHARF, quay, back, late]).await?;
    honest(&film)
}

/// What was tried meanwhile is bounded, in any minute of it.
async fn a_minute_without(world: &World, mark: Mark) -> Result<()> {
    let writes = world.operator_writes(mark).await?;
    let refused = writes.iter().filter(|w| !w.succeeded()).count();
    let (most, of) = busiest(&writes);
    println!(
        "  without Capsule: {} writes, {refused} of them refused, at most {most} a minute on one: {of}",
        writes.len()
    );
    ensure!(most <= 12, "{most} requests in a minute: {of}");
    let entries: Vec<Entry> = world.plane.audit().since(mark)?;
    let probe = |e: &&Entry| e.user.ends_with(":kubenova-operator") && e.uri.contains("dryRun=All");
    let mut probes: BTreeMap<&str, Vec<Timestamp>> = BTreeMap::new();
    for entry in entries.iter().filter(probe) {
        probes.entry(&entry.uri).or_default().extend(entry.received);
    }
    let most_a_minute = |times: &Vec<Timestamp>| {
        let within = |from: &Timestamp| {
            times
                .iter()
                .filter(|at| *at >= from && history::after(*from, **at) < Duration::from_mins(1))
                .count()
        };
        times.iter().map(within).max().unwrap_or(0)
    };
    // What was refused by the webhook of namespaces, and by the one of Tenants.
    ensure!((1..=2).contains(&probes.len()), "dry runs of {:?}", probes.keys());
    for (uri, times) in &probes {
        let most = most_a_minute(times);
        println!("  and at most {most} dry runs a minute to see whether it is back: {uri}");
        ensure!((1..=13).contains(&most), "{most} probes in a minute: {uri}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_vela_an_app_that_waits_for_it_says_so_and_the_others_go_on() -> Result<()> {
    let world = RECOMMENDED.alone().await?;
    set_up(&world).await?;
    let film = Film::start(&world.admin, &trouble()).await?;
    let (mark, start) = (world.mark().await?, Instant::now());
    world.plane.stop(Component::Vela).await?;
    world.apply_once(&app("becalmed")).await?;
    let becalmed = ("NovaApp", "tn-wharf-app-front", "becalmed");
    let waits = |f: &Frame| f.is("Application", "tn-wharf-app-front", "becalmed");
    let waits = film.first("the Application is there", start, PATIENCE, waits).await?;
    let words = "Application tn-wharf-app-front/becalmed: KubeVela has not acted on it";
    let told = tells(&film, start, becalmed, words).await?;
    // It is known when it has been silent for as long as the status says it was.
    let silent = silence(message(&told.object))?;
    println!("Vela stopped; known by {silent:?} of silence on an Application that waits:");
    let took = world.between(mark, &waits, &told).await?;
    println!("  told {took:.1?} after the Application was made: {}", message(&told.object));
    ensure!(
        took >= silent.saturating_sub(Duration::from_secs(1)),
        "{silent:?} of silence told after {took:?}"
    );
    ensure!(took <= silent + TOLD, "{silent:?} of silence told after {took:?}");
    let local = tells(&film, start, LOCAL, "kubevela: it does not answer").await?;
    let after = world.between(mark, &told, &local).await?;
    ensure!(after <= TOLD, "the cluster told {after:?} after the app");
    // A project needs no Vela.
    let meanwhile = Instant::now();
    world.apply_once(&project("yard")).await?;
    let yard = well("NovaProject", "tn-wharf", "yard");
    let yard = film.first("a project is Ready without Vela", meanwhile, PATIENCE, yard).await?;
    println!("  meanwhile a new project was Ready after {:.1?}", yard.at - meanwhile);
    undisturbed(&film, start, WEB)?;

    world.plane.start_component(Component::Vela).await?;
    println!("Vela answers again:");
    heals(&film, Instant::now(), &[LOCAL, becalmed]).await?;
    honest(&film)
}

/// The seconds of `… for 8 s …`.
fn silence(message: &str) -> Result<Duration> {
    let words: Vec<&str> = message.split_whitespace().collect();
    let seconds = words.windows(3).find_map(|part| match part {
        ["for", seconds, unit] if unit.starts_with('s') => seconds.parse().ok(),
        _ => None,
    });
    seconds.map(Duration::from_secs).with_context(|| format!("for how long it was silent: {message}"))
}

/// Without its CRDs the kinds that need them wait, and go on without a restart once they are there.
#[tokio::test(flavor = "multi_thread")]
async fn capsule_may_come_late() -> Result<()> {
    let _one = ONE_MORE.lock().await;
    let options = Options { capsule: CapsuleValues::Off, vela: false, ..Options::default() };
    let world = World::start(options).await?;
    let operator = world.operator().await?;
    let film = Film::start(&world.admin, &trouble()).await?;
    let (mark, start) = (world.mark().await?, Instant::now());
    world.apply_once(&plan("harbour", 4)).await?;
    world.apply_once(&tenant("wharf")).await?;
    let here = |f: &Frame| f.is("NovaTenant", "", "wharf");
    let known = film.first("the tenant is there", start, PATIENCE, here).await?;
    let missing = |f: &Frame| {
        here(f)
            && reason(&f.object) == "CapabilityMissing"
            && f.object.data["status"]["lastError"]["code"] == "KN-422"
            && e2e::condition(&f.object, "CapabilityMissing").is_some()
    };
    let told = film.first("the tenant tells", start, PATIENCE, missing).await?;
    let took = world.between(mark, &known, &told).await?;
    println!("Capsule not installed: tenant told after {took:.1?}: {}", message(&told.object));
    ensure!(took <= TOLD, "told late");
    let cluster = Place::new("NovaCluster", "", "local");
    eventually("the cluster tells", PATIENCE, async || {
        let cluster = cluster.live(&world).await.map_err(|e| e.to_string())?;
        let status = &cluster.data["status"];
        let told = reason(&cluster) == "CapabilityMissing"
            && status["capabilities"]["capsule"] == Value::Bool(false);
        if told { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    film.first("a plan needs no Capsule", start, PATIENCE, well("NovaPlan", "", "harbour")).await?;

    let start = Instant::now();
    world.plane.install_capsule(CapsuleValues::Defaults).await?;
    println!("Capsule installed with its defaults in {:.1?}:", start.elapsed());
    heals(&film, Instant::now(), &[WHARF, LOCAL]).await?;
    let status = cluster.live(&world).await?.data["status"].clone();
    let advice = status["components"][0]["message"].as_str().unwrap_or_default();
    println!("  NovaCluster advises: {advice}");
    ensure!(advice.contains("capsule-values.yaml"), "no advice: {status}");
    ensure!(operator.is_running(), "the operator has ended");
    honest(&film)
}

/// With Capsule's defaults not even a status in a tenant's namespace can be written while it is away.
#[tokio::test(flavor = "multi_thread")]
async fn with_capsules_defaults_tenant_and_cluster_tell_that_it_is_away() -> Result<()> {
    let _one = ONE_MORE.lock().await;
    let world = World::start(Options { capsule: CapsuleValues::Defaults, ..Options::default() }).await?;
    let operator = world.operator().await?;
    set_up(&world).await?;
    let film = Film::start(&world.admin, &trouble()).await?;
    let (mark, start) = (world.mark().await?, Instant::now());
    world.plane.stop(Component::Capsule).await?;
    let refused = world.apply_once(&app("late")).await;
    ensure!(refused.is_err(), "with Capsule's defaults an app could be written without Capsule");
    // The plan is cluster-scoped, and its change reaches into the tenant's namespaces.
    let harbour = Place::new("NovaPlan", "", "harbour");
    harbour.merge(&world, &json!({"spec": {"quotas": {"cpu": "6"}}})).await?;
    let known = first_refusal(&world, mark).await?;
    println!("Capsule stopped, with its defaults; known by the API server's first refusal:");
    tells_in_time(&world, &film, (mark, known, start), WHARF, "Capsule does not answer").await?;
    tells_in_time(&world, &film, (mark, known, start), LOCAL, "capsule: it does not answer").await?;
    let quota = Place::new("NovaTenant", "", "wharf").live(&world).await?.data["status"]["quota"].clone();
    ensure!(quota["allocated"]["requests.cpu"] == "4", "what was refused counts as allocated: {quota}");
    let meanwhile = Instant::now();
    world.apply_once(&plan("inland", 1)).await?;
    film.first("a new plan is Ready", meanwhile, PATIENCE, well("NovaPlan", "", "inland")).await?;
    undisturbed(&film, start, WEB)?;

    world.plane.start_component(Component::Capsule).await?;
    println!("Capsule answers again:");
    let back = Instant::now();
    heals(&film, back, &[LOCAL, WHARF, FRONT, WEB]).await?;
    let quota = |f: &Frame| {
        f.is("ResourceQuota", "tn-wharf-app-front", "kubenova-quota")
            && f.object.data["spec"]["hard"]["requests.cpu"] == "6"
    };
    let quota = film.first("the plan's change has arrived", start, PATIENCE, quota).await?;
    println!("  the change that waited was made {:.1?} after", quota.at.saturating_duration_since(back));
    ensure!(operator.is_running(), "the operator has ended");
    honest(&film)
}
