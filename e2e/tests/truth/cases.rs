//! A table of troubles: each is told by reason, code, blocker, class and fix, and healed by the fix it names.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::film::{Frame, busiest};
use e2e::object::{self, Place, app, image};
use e2e::{Film, World, condition, is_ready};
use kube::ResourceExt as _;
use nova_testkit::{Entry, Mark};
use serde_json::json;

use crate::events::events;
use crate::table::{Case, Known, cases};
use crate::{PATIENCE, filmed, honest};

/// The namespace of all cases.
pub const SHOP: &str = "tn-truth-app-shop";
const CALM: &str = "tn-truth-app-calm";
/// From the write that shows the trouble to the operator's status that tells it, by the API server's clock.
const TOLD: Duration = Duration::from_secs(5);
/// How long the troubles last, to count what is tried meanwhile.
const LASTING: Duration = Duration::from_mins(1);

/// A plan, a tenant and projects `shop` and `calm`, so that each project has half of the plan.
fn ground() -> Vec<String> {
    let limits = json!({"defaultRequest": {"cpu": "20m", "memory": "16Mi"},
        "default": {"cpu": "100m", "memory": "64Mi"}, "max": {"cpu": 3, "memory": "4Gi"}});
    let quotas = json!({"cpu": 5, "memory": "8Gi", "pods": 60});
    vec![
        object::plan("truth", &json!({"quotas": quotas, "limits": limits})),
        object::tenant("truth", &json!({"plan": "truth", "owners": [{"kind": "User", "name": "ann"}]})),
        object::project("truth", "shop", &json!({})),
        object::project("truth", "calm", &json!({})),
    ]
}

pub fn ready_reason(frame: &Frame) -> &str {
    e2e::reason(&frame.object)
}

fn status_holds(frame: &Frame, words: &str) -> bool {
    frame.object.data["status"].to_string().contains(words)
}

impl Case {
    fn knows(&self, frame: &Frame) -> bool {
        let of_app = frame.object.labels().get("app.oam.dev/name").is_some_and(|app| app == self.name)
            && frame.object.namespace().as_deref() == Some(SHOP);
        match self.known {
            Known::Written => frame.is("NovaApp", SHOP, self.name),
            Known::Pod(words) => frame.kind == "Pod" && of_app && status_holds(frame, words),
            Known::Deployment(words) => frame.kind == "Deployment" && of_app && status_holds(frame, words),
            Known::Application(words) => {
                frame.is("Application", SHOP, self.name) && status_holds(frame, words)
            }
        }
    }

    /// Waits until it can be known and until it is told, and looks at what is told.
    async fn is_told(&self, world: &World, film: &Film, (mark, since): (Mark, Instant)) -> Result<Duration> {
        let name = self.name;
        let known = film.first(&format!("{name} can be known"), since, PATIENCE, |f| self.knows(f)).await?;
        let told = |f: &Frame| {
            f.is("NovaApp", SHOP, name)
                && ready_reason(f) == self.reason
                && e2e::message(&f.object).contains(self.words)
        };
        let told = film.first(&format!("{name} is told as {}", self.reason), since, PATIENCE, told).await;
        let last = film.of("NovaApp", SHOP, name);
        let last = last.last().map(|f| f.object.data["status"].to_string()).unwrap_or_default();
        let told = told.with_context(|| format!("last status: {last}"))?;
        let took = world.between(mark, &known, &told).await?;
        ensure!(took <= TOLD, "{name} was told {took:?} after it could be known");
        let status = &told.object.data["status"];
        let message = e2e::message(&told.object);
        println!("{name:10} told after {took:5.0?}: {message}");
        ensure!(message.contains(self.fix), "{name}: no word of {:?} in {message}", self.fix);
        ensure!(
            condition(&told.object, "Stalled").is_some() == self.stalled,
            "{name}: Stalled should be {}: {}",
            self.stalled,
            status["conditions"]
        );
        if let Some(code) = self.code {
            ensure!(status["lastError"]["code"] == code, "{name}: {}", status["lastError"]);
            let blocker = &status["blockers"][0];
            let object = blocker["object"].as_str().unwrap_or_default();
            ensure!(object.starts_with(self.blocks), "{name}: {blocker}");
            ensure!(blocker["class"] == self.class && blocker["reason"] == self.reason, "{name}: {blocker}");
            ensure!(blocker["fix"].as_str().is_some_and(|fix| fix.contains(self.fix)), "{name}: {blocker}");
        } else {
            ensure!(status["blockers"].is_null(), "{name}: nobody has to act yet: {}", status["blockers"]);
        }
        let healthy = status["healthy"].as_str().unwrap_or("0/1");
        ensure!(healthy == "0/1", "{name} counts as healthy: {healthy}");
        Ok(took)
    }

    async fn heals(&self, world: &World, film: &Film) -> Result<Duration> {
        let patch = json!({"spec": {"source": self.heal}});
        let start = Instant::now();
        let patched = Place::new("NovaApp", SHOP, self.name).merge(world, &patch).await?;
        let generation = patched.metadata.generation;
        let well = |f: &Frame| {
            f.is("NovaApp", SHOP, self.name)
                && is_ready(&f.object)
                && f.object.metadata.generation == generation
        };
        let well = film.first(&format!("{} is Ready again", self.name), start, PATIENCE, well).await?;
        let took = well.at.saturating_duration_since(start);
        println!("{:10} Ready {took:.1?} after its fix", self.name);
        let bad = film.of("NovaApp", SHOP, self.name);
        let lie = bad.iter().find(|f| f.says_ready() && f.observed() < generation.unwrap_or(0));
        ensure!(lie.is_none(), "{} was Ready while it was bad: {:?}", self.name, lie.map(|f| &f.object.data));
        Ok(took)
    }
}

/// All of them at once, for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn each_trouble_is_told_within_five_seconds_and_ends_with_its_cause() -> Result<()> {
    let (world, film) = filmed().await?;
    let begin = (world.mark().await?, Instant::now());
    world.apply_until_accepted(&ground(), PATIENCE).await?;
    world.ready("truth", PATIENCE).await?;

    let cases = cases();
    let bad: Vec<String> = cases.iter().map(|case| app(SHOP, case.name, &case.source)).collect();
    world.apply_until_accepted(&bad, PATIENCE).await?;
    // Meanwhile somebody else goes on.
    let calm = Instant::now();
    world.apply_until_accepted(&[app(CALM, "web", &image("1"))], PATIENCE).await?;
    let told = futures::future::try_join_all(cases.iter().map(|case| case.is_told(&world, &film, begin)));
    let quiet = film.first("an app of another project is Ready", calm, PATIENCE, |f| {
        f.is("NovaApp", CALM, "web") && is_ready(&f.object)
    });
    let (told, quiet) = tokio::try_join!(told, quiet)?;
    println!("worst of {}: told after {:.0?}", told.len(), told.iter().max().copied().unwrap_or_default());
    println!("meanwhile an app of another project was Ready after {:.1?}", quiet.at - calm);

    let mark = world.mark().await?;
    tokio::time::sleep(LASTING).await;
    let mut writes = world.operator_writes(mark).await?;
    writes.retain(|w| w.object.namespace == SHOP);
    let (most, of) = busiest(&writes);
    ensure!(most <= 12, "{most} requests in a minute: {of}");
    println!(
        "a minute of troubles: {} writes about them, refused ones among them; at most {most} on one: {of}",
        writes.len()
    );
    ensure!(writes.len() <= cases.len(), "{:#?}", writes.iter().map(Entry::summary).collect::<Vec<_>>());
    let web = film.of("NovaApp", CALM, "web");
    ensure!(
        web.iter().skip_while(|f| !f.says_ready()).all(|f| is_ready(&f.object)),
        "the neighbour was disturbed"
    );

    println!("{}", world.plane.kubectl(&["-n", SHOP, "describe", "napp", "image"]).await?);
    let healed = futures::future::try_join_all(cases.iter().map(|case| case.heals(&world, &film))).await?;
    println!("longest way back: {:.1?}", healed.iter().max().copied().unwrap_or_default());
    events(&world, world.operator(), &cases).await?;
    honest(&film)
}
