//! A table of troubles: each is told by reason, code, blocker, class and fix, and healed by the fix it names.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::film::{Frame, busiest};
use e2e::{Film, OperatorProcess, World, any, condition, eventually, is_ready};
use kube::ResourceExt as _;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::SOON;
use crate::table::{Case, Known, cases, image};

const SHOP: &str = "tn-truth-app-shop";
/// From the moment when the trouble can be known to the status that tells it.
const TOLD: Duration = Duration::from_secs(5);
/// How long the troubles last, to count what is tried meanwhile.
const LASTING: Duration = Duration::from_mins(1);

/// A plan, a tenant and projects `shop` and `calm`, so that each project has half of the plan.
const GROUND: &str = "
apiVersion: kubenova.io/v1alpha1
kind: NovaPlan
metadata: {name: truth}
spec:
  quotas: {cpu: 5, memory: 8Gi, pods: 60}
  limits: {defaultRequest: {cpu: 20m, memory: 16Mi}, default: {cpu: 100m, memory: 64Mi}, max: {cpu: 3, memory: 4Gi}}
---
apiVersion: kubenova.io/v1alpha1
kind: NovaTenant
metadata: {name: truth}
spec: {plan: truth, owners: [{kind: User, name: ann}]}
";

fn project(name: &str) -> String {
    format!(
        "apiVersion: kubenova.io/v1alpha1\nkind: NovaProject\nmetadata: {{name: {name}, namespace: tn-truth}}\nspec: {{}}"
    )
}

/// An app as YAML, which JSON is.
pub fn app(namespace: &str, name: &str, source: &Value) -> String {
    json!({"apiVersion": "kubenova.io/v1alpha1", "kind": "NovaApp", "metadata": {"name": name, "namespace": namespace},
        "spec": {"source": source}})
    .to_string()
}

/// Apps of a namespace.
pub fn apps(world: &World, namespace: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("kubenova.io", "v1alpha1", "NovaApp");
    Api::namespaced_with(world.admin.clone(), namespace, &ApiResource::from_gvk_with_plural(&gvk, "novaapps"))
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
    async fn is_told(&self, film: &Film, since: Instant) -> Result<Duration> {
        let name = self.name;
        let known = film.first(&format!("{name} can be known"), since, SOON, |f| self.knows(f)).await?;
        let told = |f: &Frame| {
            f.is("NovaApp", SHOP, name)
                && ready_reason(f) == self.reason
                && e2e::message(&f.object).contains(self.words)
        };
        let told = film.first(&format!("{name} is told as {}", self.reason), since, SOON, told).await;
        let last = film.of("NovaApp", SHOP, name);
        let last = last.last().map(|f| f.object.data["status"].to_string()).unwrap_or_default();
        let told = told.with_context(|| format!("last status: {last}"))?;
        let took = told.at.saturating_duration_since(known.at);
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
        let patched =
            apps(world, SHOP).patch(self.name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
        let generation = patched.metadata.generation;
        let well = |f: &Frame| {
            f.is("NovaApp", SHOP, self.name)
                && is_ready(&f.object)
                && f.object.metadata.generation == generation
        };
        let well = film.first(&format!("{} is Ready again", self.name), start, SOON * 3, well).await?;
        let took = well.at.saturating_duration_since(start);
        println!("{:10} Ready {took:.1?} after its fix", self.name);
        let bad = film.of("NovaApp", SHOP, self.name);
        let lie = bad.iter().find(|f| f.says_ready() && f.observed() < generation.unwrap_or(0));
        ensure!(lie.is_none(), "{} was Ready while it was bad: {:?}", self.name, lie.map(|f| &f.object.data));
        Ok(took)
    }
}

pub async fn each_trouble_is_told_within_five_seconds_and_ends_with_its_cause(
    world: &World,
    operator: &OperatorProcess,
    film: &Film,
) -> Result<()> {
    let start = Instant::now();
    world.apply_once(GROUND).await?;
    let projects = ["shop", "calm"].map(project);
    world.apply_until_accepted(&projects, SOON).await?;
    world.ready("truth", SOON).await?;

    let cases = cases();
    let bad: Vec<String> = cases.iter().map(|case| app(SHOP, case.name, &case.source)).collect();
    let missing_plan = "apiVersion: kubenova.io/v1alpha1\nkind: NovaTenant\nmetadata: {name: planless}\nspec: {plan: missing}";
    world.apply_until_accepted(&bad, SOON).await?;
    world.apply_once(missing_plan).await?;
    // Meanwhile somebody else goes on.
    let calm = Instant::now();
    world.apply_until_accepted(&[app("tn-truth-app-calm", "web", &image("1"))], SOON).await?;
    let told = futures::future::try_join_all(cases.iter().map(|case| case.is_told(film, start)));
    let quiet = film.first("an app of another project is Ready", calm, SOON, |f| {
        f.is("NovaApp", "tn-truth-app-calm", "web") && is_ready(&f.object)
    });
    let (mut told, quiet, planless) = tokio::try_join!(told, quiet, plan_is_missing(film, start))?;
    told.push(planless);
    println!("worst of {}: told after {:.0?}", told.len(), told.iter().max().copied().unwrap_or_default());
    println!("meanwhile an app of another project was Ready after {:.1?}", quiet.at - calm);

    let mark = world.mark().await?;
    tokio::time::sleep(LASTING).await;
    let mut writes = world.operator_writes(mark).await?;
    writes.retain(|w| w.object.namespace == SHOP || w.object.name == "planless");
    let (most, of) = busiest(&writes);
    ensure!(most <= 12, "{most} requests in a minute: {of}");
    println!(
        "a minute of troubles: {} writes about them, refused ones among them; at most {most} on one: {of}",
        writes.len()
    );
    ensure!(
        writes.len() <= cases.len(),
        "{:#?}",
        writes.iter().map(nova_testkit::Entry::summary).collect::<Vec<_>>()
    );
    let web = film.of("NovaApp", "tn-truth-app-calm", "web");
    ensure!(
        web.iter().skip_while(|f| !f.says_ready()).all(|f| is_ready(&f.object)),
        "the neighbour was disturbed"
    );

    println!("{}", world.plane.kubectl(&["-n", SHOP, "describe", "napp", "image"]).await?);
    let healing = futures::future::try_join_all(cases.iter().map(|case| case.heals(world, film)));
    let (healed, ()) = tokio::try_join!(healing, plan_appears(world, film))?;
    println!("longest way back: {:.1?}", healed.iter().max().copied().unwrap_or_default());
    events(world, operator, &cases).await
}

async fn plan_is_missing(film: &Film, start: Instant) -> Result<Duration> {
    let here = |f: &Frame| f.is("NovaTenant", "", "planless");
    let known = film.first("the tenant is there", start, SOON, here).await?;
    let told = |f: &Frame| here(f) && ready_reason(f) == "DependencyMissing";
    let told = film.first("the missing plan is told", start, SOON, told).await?;
    let took = told.at - known.at;
    println!("{:10} told after {took:5.0?}: {}", "planless", e2e::message(&told.object));
    let status = &told.object.data["status"];
    ensure!(status["lastError"]["code"] == "KN-404", "{status}");
    ensure!(status["blockers"][0]["object"] == "NovaPlan missing", "{status}");
    ensure!(condition(&told.object, "Stalled").is_none(), "a plan may still come: {status}");
    ensure!(took <= TOLD, "told after {took:?}");
    Ok(took)
}

async fn plan_appears(world: &World, film: &Film) -> Result<()> {
    let start = Instant::now();
    world.apply_once("apiVersion: kubenova.io/v1alpha1\nkind: NovaPlan\nmetadata: {name: missing}\nspec: {quotas: {cpu: 1}}").await?;
    let well = |f: &Frame| f.is("NovaTenant", "", "planless") && is_ready(&f.object);
    let well = film.first("the tenant has its plan", start, SOON, well).await?;
    println!("{:10} Ready {:.1?} after its fix", "planless", well.at - start);
    Ok(())
}

/// One warning for each trouble, one word at its end, and each leads to the log.
async fn events(world: &World, operator: &OperatorProcess, cases: &[Case]) -> Result<()> {
    eventually("every trouble has its two events", SOON, async || {
        let log = std::fs::read_to_string(operator.log()).map_err(|e| e.to_string())?;
        let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let events = any(&world.admin, "events.k8s.io", "v1", "Event", "events");
        let events = events.list(&ListParams::default()).await.map_err(|e| e.to_string())?;
        for case in cases.iter().filter(|case| case.code.is_some()) {
            let mut of: Vec<&DynamicObject> = events
                .iter()
                .filter(|e| {
                    e.data["regarding"]["kind"] == "NovaApp" && e.data["regarding"]["name"] == case.name
                })
                .filter(|e| e.data["regarding"]["namespace"] == SHOP)
                .collect();
            of.sort_by_key(|e| e.data["eventTime"].to_string());
            let told: Vec<_> =
                of.iter().map(|e| (e.data["type"].as_str(), e.data["reason"].as_str())).collect();
            if told != [(Some("Warning"), Some(case.reason)), (Some("Normal"), Some("Reconciled"))] {
                return Err(format!("{}: {told:?}", case.name));
            }
            for event in of {
                let id = event.annotations().get("kubenova.io/correlation-id").cloned().unwrap_or_default();
                let object = format!("app/{SHOP}/{}", case.name);
                let logged = lines.iter().any(|line| line["request_id"] == id && line["object"] == object);
                if id.len() != 32 || !logged {
                    return Err(format!("{}: the log has no request_id {id:?} of {object}", case.name));
                }
            }
        }
        Ok(())
    })
    .await?;
    println!("one Warning and one Normal event for each trouble, their correlation ids in the log");
    Ok(())
}
