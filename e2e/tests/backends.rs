//! Backends that are away: told by those whom it concerns, everybody else goes on, and it heals by itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::film::{Frame, TROUBLE, busiest};
use e2e::{Film, World, any, eventually, is_ready, message, reason};
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use nova_testkit::{CapsuleValues, Component, Entry, Mark, Options};
use serde_json::{Value, json};

/// From the moment when the fault can be known to the status that tells it.
const TOLD: Duration = Duration::from_secs(5);
/// For what nobody measures.
const SOON: Duration = Duration::from_mins(1);
/// How long Capsule is away, to count what is tried meanwhile.
const LASTING: Duration = Duration::from_secs(61);
/// Silence after which Vela counts as away; the operator's own figure.
const SILENCE: Duration = Duration::from_secs(8);

fn nova(world: &World, kind: &'static str) -> Api<DynamicObject> {
    any(&world.admin, "kubenova.io", "v1alpha1", kind, &format!("{}s", kind.to_lowercase()))
}

async fn merge(api: &Api<DynamicObject>, name: &str, spec: &Value) -> Result<()> {
    api.patch(name, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await?;
    Ok(())
}

fn plan(name: &str, cpu: u8) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaPlan\nmetadata: {{name: {name}}}\nspec: {{quotas: {{cpu: {cpu}, pods: 20}}}}"
    )
}

fn tenant(name: &str) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaTenant\nmetadata: {{name: {name}}}\nspec: {{plan: harbour}}"
    )
}

fn project(name: &str) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaProject\nmetadata: {{name: {name}, namespace: tn-wharf}}\nspec: {{}}"
    )
}

fn app(name: &str) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaApp\nmetadata: {{name: {name}, namespace: tn-wharf-app-front}}\nspec: {{source: {{kind: containerImage, containerImage: {{image: nginx, tag: '1'}}}}}}"
    )
}

/// A tenant `wharf` with the project `front` and an app `web` in it, all Ready.
async fn set_up(world: &World) -> Result<()> {
    world
        .apply_until_accepted(&[plan("harbour", 4), tenant("wharf"), project("front"), app("web")], SOON)
        .await?;
    world.ready("wharf", SOON).await
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
async fn first_refusal(world: &World, mark: Mark, start: (Instant, Timestamp)) -> Result<Instant> {
    let refused = eventually("a write is refused for want of Capsule", SOON, async || {
        let writes = world.operator_writes(mark).await.map_err(|e| e.to_string())?;
        let first = writes.iter().filter(|w| w.code == 500).filter_map(|w| w.received).min();
        first.ok_or_else(|| format!("{} writes, none refused", writes.len()))
    })
    .await?;
    let after = refused.duration_since(start.1);
    Ok(start.0 + Duration::try_from(after).unwrap_or_default())
}

/// Waits for a status and measures from `known`; looks at blocker, class and fix.
async fn tells(
    film: &Film,
    known: Instant,
    since: Instant,
    what: (&str, &str, &str),
    words: &str,
) -> Result<()> {
    let (kind, namespace, name) = what;
    let frame =
        film.first(&format!("{kind} {name} tells"), since, SOON, told(kind, namespace, name, words)).await;
    let last = film.of(kind, namespace, name);
    let frame =
        frame.with_context(|| format!("last: {:?}", last.last().map(|f| &f.object.data["status"])))?;
    let took = frame.at.saturating_duration_since(known);
    println!("  {kind} {name} told after {took:.1?}: {}", message(&frame.object));
    ensure!(took <= TOLD, "{kind} {name} told {took:?} after it could be known");
    let blocker = &frame.object.data["status"]["blockers"][0];
    ensure!(blocker["class"] == "platform" && blocker["reason"] == "BackendUnavailable", "{blocker}");
    ensure!(blocker["fix"].as_str().is_some_and(|fix| fix.contains("-system get pods")), "{blocker}");
    ensure!(e2e::condition(&frame.object, "Stalled").is_none(), "it heals by itself, and yet: {blocker}");
    Ok(())
}

async fn heals(film: &Film, start: Instant, all: &[(&str, &str, &str)]) -> Result<()> {
    for (kind, namespace, name) in all {
        let since_start = well(kind, namespace, name);
        eventually(&format!("{kind} {name} is Ready again"), SOON, async || {
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

/// One control plane at a time: what is measured should not wait for another's.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn with_the_recommended_values_everybody_tells_who_waits_for_capsule_or_vela() -> Result<()> {
    let _alone = ALONE.lock().await;
    let world = World::start(Options::default()).await?;
    let operator = world.operator().await?;
    let film = Film::start(&world.admin, &TROUBLE).await?;
    set_up(&world).await?;
    capsule_stops(&world, &film).await?;
    vela_stops(&world, &film).await?;
    ensure!(operator.is_running(), "the operator has ended");
    honest(&film)
}

async fn capsule_stops(world: &World, film: &Film) -> Result<()> {
    let (mark, start) = (world.mark().await?, (Instant::now(), Timestamp::now()));
    world.plane.stop(Component::Capsule).await?;
    let late = ("NovaApp", "tn-wharf-app-front", "late");
    let back = ("NovaProject", "tn-wharf", "back");
    world.apply_once(&project("back")).await?;
    world.apply_once(&app("late")).await?;
    world.apply_once(&tenant("quay")).await?;
    let quay = ("NovaTenant", "", "quay");
    let known = first_refusal(world, mark, start).await?;
    println!("Capsule stopped, with the recommended values; known by the API server's first refusal:");
    for (what, words) in [
        (LOCAL, "capsule: it does not answer: "),
        (WHARF, "Capsule does not answer: "),
        (quay, "Capsule does not answer"),
        (back, "Namespace tn-wharf-app-back: Capsule does not answer"),
        (late, "Application tn-wharf-app-front/late: Capsule does not answer"),
    ] {
        tells(film, known, start.0, what, words).await?;
    }

    // What needs no Capsule goes on: a plan, a tenant's own words, an app that is there, and its status.
    let meanwhile = Instant::now();
    world.apply_once(&plan("inland", 1)).await?;
    film.first("a new plan is Ready", meanwhile, TOLD, well("NovaPlan", "", "inland")).await?;
    merge(&nova(world, "NovaTenant"), "wharf", &json!({"displayName": "Wharf"})).await?;
    let observed =
        |f: &Frame| f.is("NovaTenant", "", "wharf") && f.object.metadata.generation == Some(f.observed());
    let named = |f: &Frame| observed(f) && f.object.data["spec"]["displayName"] == "Wharf";
    film.first("a change of the tenant is observed", meanwhile, TOLD, named).await?;

    tokio::time::sleep(LASTING.saturating_sub(start.0.elapsed())).await;
    let writes = world.operator_writes(mark).await?;
    let refused = writes.iter().filter(|w| !w.succeeded()).count();
    let (most, of) = busiest(&writes);
    println!(
        "  a minute without Capsule: {} writes, {refused} of them refused, at most {most} on one: {of}",
        writes.len()
    );
    ensure!(most <= 12, "{most} requests in a minute: {of}");
    let probes = probes(world, mark)?;
    println!("  and {probes} dry runs to see whether it is back");
    ensure!((1..=13).contains(&probes), "{probes} probes in a minute");
    undisturbed(film, start.0, WEB)?;
    undisturbed(film, start.0, FRONT)?;

    world.plane.start_component(Component::Capsule).await?;
    println!("Capsule answers again:");
    heals(film, Instant::now(), &[LOCAL, WHARF, quay, back, late]).await
}

fn probes(world: &World, mark: Mark) -> Result<usize> {
    let entries: Vec<Entry> = world.plane.audit().since(mark)?;
    Ok(entries
        .iter()
        .filter(|e| e.user.ends_with(":kubenova-operator") && e.uri.contains("dryRun=All"))
        .count())
}

async fn vela_stops(world: &World, film: &Film) -> Result<()> {
    world.plane.stop(Component::Vela).await?;
    let start = Instant::now();
    world.apply_once(&app("becalmed")).await?;
    let becalmed = ("NovaApp", "tn-wharf-app-front", "becalmed");
    let waits = film
        .first("the Application is there", start, SOON, |f| {
            f.is("Application", "tn-wharf-app-front", "becalmed")
        })
        .await?;
    println!("Vela stopped; known by {SILENCE:?} of silence on an Application that waits:");
    let known = waits.at + SILENCE;
    tells(
        film,
        known,
        start,
        becalmed,
        "Application tn-wharf-app-front/becalmed: KubeVela has not acted on it",
    )
    .await?;
    tells(film, known, start, LOCAL, "kubevela: it does not answer").await?;
    // A project needs no Vela.
    let meanwhile = Instant::now();
    world.apply_once(&project("yard")).await?;
    let yard = film
        .first("a project is Ready without Vela", meanwhile, SOON, well("NovaProject", "tn-wharf", "yard"))
        .await?;
    println!("  meanwhile a new project was Ready after {:.1?}", yard.at - meanwhile);
    undisturbed(film, start, WEB)?;

    world.plane.start_component(Component::Vela).await?;
    println!("Vela answers again:");
    heals(film, Instant::now(), &[LOCAL, becalmed]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn capsule_may_come_late_and_with_its_defaults_tenant_and_cluster_tell_that_it_is_away() -> Result<()> {
    let _alone = ALONE.lock().await;
    let world = World::start(Options { capsule: CapsuleValues::Off, ..Options::default() }).await?;
    let operator = world.operator().await?;
    let film = Film::start(&world.admin, &TROUBLE).await?;
    capsule_comes(&world, &film).await?;
    capsule_goes(&world, &film).await?;
    ensure!(operator.is_running(), "the operator has ended");
    honest(&film)
}

/// Without its CRDs the kinds that need them wait, and go on without a restart once they are there.
async fn capsule_comes(world: &World, film: &Film) -> Result<()> {
    let start = Instant::now();
    world.apply_once(&plan("harbour", 4)).await?;
    world.apply_once(&tenant("wharf")).await?;
    let written = film.first("the tenant is there", start, SOON, |f| f.is("NovaTenant", "", "wharf")).await?;
    let missing = |f: &Frame| {
        f.is("NovaTenant", "", "wharf")
            && reason(&f.object) == "CapabilityMissing"
            && f.object.data["status"]["lastError"]["code"] == "KN-422"
            && e2e::condition(&f.object, "CapabilityMissing").is_some()
    };
    let told = film.first("the tenant tells", start, SOON, missing).await?;
    println!(
        "Capsule not installed: tenant told after {:.1?}: {}",
        told.at - written.at,
        message(&told.object)
    );
    ensure!(told.at - written.at <= TOLD, "told late");
    eventually("the cluster tells", TOLD, async || {
        let cluster = nova(world, "NovaCluster").get("local").await.map_err(|e| e.to_string())?;
        let status = &cluster.data["status"];
        let told = reason(&cluster) == "CapabilityMissing"
            && status["capabilities"]["capsule"] == Value::Bool(false);
        if told { Ok(()) } else { Err(status.to_string()) }
    })
    .await?;
    film.first("a plan needs no Capsule", start, SOON, well("NovaPlan", "", "harbour")).await?;

    let start = Instant::now();
    world.plane.install_capsule(CapsuleValues::Defaults).await?;
    println!("Capsule installed with its defaults in {:.1?}:", start.elapsed());
    heals(film, Instant::now(), &[WHARF, LOCAL]).await?;
    let cluster = nova(world, "NovaCluster").get("local").await?;
    let advice = cluster.data["status"]["components"][0]["message"].as_str().unwrap_or_default();
    println!("  NovaCluster advises: {advice}");
    ensure!(advice.contains("capsule-values.yaml"), "no advice: {}", cluster.data["status"]);
    set_up(world).await
}

/// With Capsule's defaults not even a status in a tenant's namespace can be written while it is away.
async fn capsule_goes(world: &World, film: &Film) -> Result<()> {
    let (mark, start) = (world.mark().await?, (Instant::now(), Timestamp::now()));
    world.plane.stop(Component::Capsule).await?;
    let refused = world.apply_once(&app("late")).await;
    ensure!(refused.is_err(), "with Capsule's defaults an app could be written without Capsule");
    // The plan is cluster-scoped, and its change reaches into the tenant's namespaces.
    merge(&nova(world, "NovaPlan"), "harbour", &json!({"quotas": {"cpu": "6"}})).await?;
    let known = first_refusal(world, mark, start).await?;
    println!("Capsule stopped, with its defaults; known by the API server's first refusal:");
    tells(film, known, start.0, WHARF, "Capsule does not answer").await?;
    tells(film, known, start.0, LOCAL, "capsule: it does not answer").await?;
    let quota = nova(world, "NovaTenant").get("wharf").await?.data["status"]["quota"].clone();
    ensure!(quota["allocated"]["requests.cpu"] == "4", "what was refused counts as allocated: {quota}");
    let meanwhile = Instant::now();
    world.apply_once(&plan("inland", 1)).await?;
    film.first("a new plan is Ready", meanwhile, TOLD, well("NovaPlan", "", "inland")).await?;
    undisturbed(film, start.0, WEB)?;

    world.plane.start_component(Component::Capsule).await?;
    println!("Capsule answers again:");
    let back = Instant::now();
    heals(film, back, &[LOCAL, WHARF, FRONT, WEB]).await?;
    let quota = |f: &Frame| {
        f.is("ResourceQuota", "tn-wharf-app-front", "kubenova-quota")
            && f.object.data["spec"]["hard"]["requests.cpu"] == "6"
    };
    let quota = film.first("the plan's change has arrived", start.0, SOON, quota).await?;
    println!("  the change that waited was made {:.1?} after", quota.at.saturating_duration_since(back));
    Ok(())
}
