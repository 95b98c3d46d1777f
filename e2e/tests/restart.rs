//! Restarts on the converged state cost no write, a lost status is rebuilt, and the operator can be looked at.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::object::{self, Kind};
use e2e::{Alone, OperatorProcess, Stage, World, eventually, history, program_says, quickstart};
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::ResourceExt as _;
use nova_testkit::{Entry, Identity, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONVERGES: Duration = Duration::from_mins(5);
/// Watched after each restart.
const QUIET: Duration = Duration::from_secs(15);
/// The chart's `terminationGracePeriodSeconds` is 30; half of it is plenty.
const ENDS: Duration = Duration::from_secs(10);
const TENANT: &str = "acme";

static STAGE: Stage = Stage::new(Options::default);

/// The stage alone, with a converged tenant and its operator silent.
async fn converged() -> Result<Alone> {
    let world = STAGE.alone().await?;
    world.apply_until_accepted(&quickstart(TENANT)?, CONVERGES).await?;
    world.ready(TENANT, CONVERGES).await?;
    world.silent(None, CONVERGES).await?;
    Ok(world)
}

#[test]
fn every_help_shows_examples() -> Result<()> {
    for args in [&["--help"][..], &["operator", "--help"], &["crds", "--help"]] {
        let text = program_says(args)?;
        ensure!(text.contains("Examples:") && text.contains("kubenova "), "{args:?} says: {text}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_the_converged_state_writes_nothing() -> Result<()> {
    let world = converged().await?;
    let operator = world.take_operator().await?;
    ends(operator, "idle").await?;
    let operator = restarted(&world, "after SIGTERM").await?;
    operator.kill();
    operator.ended(ENDS).await?;
    restarted(&world, "after SIGKILL").await.map(drop)
}

/// SIGTERM while a tenant is being set up: the end comes in time, and the next start goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_of_work_is_quick_and_the_next_start_goes_on() -> Result<()> {
    let world = STAGE.alone().await?;
    let operator = world.take_operator().await?;
    let documents = quickstart("globex")?;
    let mark = world.mark().await?;
    world.apply_until_accepted(&documents[..3], CONVERGES).await?;
    ends(operator, "in the middle of work").await?;
    println!("  {} writes were done until then", world.operator_writes(mark).await?.len());
    let _operator = world.start_operator(None).await?;
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready("globex", CONVERGES).await
}

/// SIGTERM, as a Deployment sends it.
async fn ends(operator: OperatorProcess, when: &str) -> Result<()> {
    let took = operator.stop().await;
    println!("SIGTERM {when}: ended after {took:.1?}");
    ensure!(took < ENDS, "it took {took:?} to end");
    Ok(())
}

/// Starts the operator on the converged state and watches that it writes nothing.
async fn restarted(world: &Alone, how: &str) -> Result<OperatorProcess> {
    let mark = world.mark().await?;
    let start = Instant::now();
    let operator = world.start_operator(None).await?;
    let ready = start.elapsed();
    tokio::time::sleep(QUIET).await;
    let writes: Vec<String> = world.operator_writes(mark).await?.iter().map(Entry::summary).collect();
    println!("restart {how}: ready after {ready:.1?}, {} writes in the {QUIET:?} after", writes.len());
    ensure!(writes.is_empty(), "a restart {how} wrote: {writes:#?}");
    Ok(operator)
}

async fn all_nova(world: &World) -> Result<Vec<(&'static Kind, DynamicObject)>> {
    let mut all = Vec::new();
    for kind in object::nova() {
        let list = kind.every(&world.admin).list(&ListParams::default()).await?;
        all.extend(list.into_iter().map(|object| (kind, object)));
    }
    Ok(all)
}

/// Status without what is allowed to be new: the time of a transition that was forgotten.
fn lasting(object: &DynamicObject) -> Value {
    let mut status = object.data["status"].clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"].take();
    }
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_was_taken_back_is_rebuilt_and_no_child_is_written() -> Result<()> {
    statuses_are_rebuilt("set to observedGeneration -1", &json!({"observedGeneration": -1})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_was_emptied_is_rebuilt_and_no_child_is_written() -> Result<()> {
    statuses_are_rebuilt("emptied", &json!({})).await
}

/// Every status is lost, as after a restore without status: each comes back as it was, and no child is written.
async fn statuses_are_rebuilt(how: &str, status: &Value) -> Result<()> {
    let world = converged().await?;
    let before = all_nova(&world).await?;
    ensure!(before.len() >= object::nova().count(), "some kind has no object: {}", before.len());
    let mark = world.mark().await?;
    for (kind, object) in &before {
        let api = kind.within(&world.admin, object.metadata.namespace.as_deref().unwrap_or_default());
        let patch = json!([{"op": "replace", "path": "/status", "value": status}]);
        let patch: Patch<()> = Patch::Json(serde_json::from_value(patch)?);
        let wiped = api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await;
        let wiped = wiped.with_context(|| format!("wipe the status of {}", object.name_any()))?;
        ensure!(wiped.data["status"]["conditions"].is_null(), "the status was not wiped: {:?}", wiped.data);
    }
    eventually("every status is back", CONVERGES, async || {
        let now = all_nova(&world).await.map_err(|e| e.to_string())?;
        for ((_, was), (kind, is)) in before.iter().zip(&now) {
            if lasting(was) != lasting(is) {
                let name = is.name_any();
                return Err(format!("{} {name}: {} now {}", kind.kind, lasting(was), lasting(is)));
            }
        }
        Ok(())
    })
    .await?;
    world.silent(None, CONVERGES).await?;
    let writes = world.operator_writes(mark).await?;
    let (statuses, children): (Vec<_>, Vec<_>) =
        writes.iter().partition(|w| w.object.subresource == "status");
    let took = history::span(statuses.iter().copied());
    println!("{} statuses {how}: rebuilt within {took:.1?} by {} writes", before.len(), statuses.len());
    let children: Vec<String> = children.into_iter().map(Entry::summary).collect();
    ensure!(children.is_empty(), "a lost status cost writes of children: {children:#?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_served_and_each_pass_in_the_log_has_its_id_and_tenant() -> Result<()> {
    let world = converged().await?;
    let operator = world.take_operator().await?;
    let page = operator.http("/livez").await?;
    ensure!(page.starts_with("HTTP/1.1 200"), "/livez: {page}");
    let page = operator.http("/metrics").await?;
    for name in
        ["kubenova_reconcile_seconds_count{", "kubenova_events_total{", "kubenova_adapter_errors_total{"]
    {
        ensure!(page.contains(name), "/metrics lacks {name}: {page}");
    }
    let passes = eventually("the log tells of passes", CONVERGES, async || {
        let mut lines = operator.lines().map_err(|e| e.to_string())?;
        lines.retain(|line| line["message"] == "reconciled");
        let named = lines.iter().filter(|line| line["tenant"] == TENANT).count();
        if named > 0 { Ok(lines) } else { Err(format!("{} passes, none names its tenant", lines.len())) }
    })
    .await?;
    let told = |line: &Value| line["request_id"].as_str().is_some_and(|id| id.len() == 32);
    println!("log: {} passes", passes.len());
    ensure!(passes.iter().all(told), "passes without request_id");
    Ok(())
}

/// Between the operator and the API server: what is held does not go through until it is let go.
struct Gate {
    address: String,
    open: tokio::sync::watch::Sender<bool>,
}

impl Gate {
    /// Listens in front of `server`; bytes pass as they are, so that TLS ends where it should.
    async fn start(server: &str) -> Result<Self> {
        let server = server.trim_start_matches("https://").to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = format!("https://{}", listener.local_addr()?);
        let (open, told) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (server, mut told) = (server.clone(), told.clone());
                tokio::spawn(async move {
                    told.wait_for(|open| *open).await?;
                    let mut upstream = TcpStream::connect(server).await?;
                    tokio::io::copy_bidirectional(&mut client, &mut upstream).await?;
                    anyhow::Ok(())
                });
            }
        });
        Ok(Self { address, open })
    }
}

/// `/readyz` is 503 while the API server does not answer, and `/livez` 200 all the same.
#[tokio::test(flavor = "multi_thread")]
async fn ready_is_told_only_after_the_first_lists() -> Result<()> {
    let world = STAGE.alone().await?;
    drop(world.take_operator().await?);
    let gate = Gate::start(world.plane.server()).await?;
    let kubeconfig = world.plane.kubeconfig(&Identity::operator()).await?;
    let text = std::fs::read_to_string(kubeconfig)?.replace(world.plane.server(), &gate.address);
    ensure!(text.contains(&gate.address), "the kubeconfig does not name the server as expected");
    let gated = world.plane.dir().join("kubeconfigs/gated.yaml");
    std::fs::write(&gated, text)?;
    let operator = world.spawn_operator(&gated)?;
    let page = eventually("pages are served", CONVERGES, async || {
        operator.http("/readyz").await.map_err(|e| e.to_string())
    })
    .await?;
    ensure!(page.starts_with("HTTP/1.1 503"), "/readyz before any answer: {page}");
    println!("/readyz before the first lists: 503, {:?}", page.lines().last().unwrap_or_default());
    let page = operator.http("/livez").await?;
    ensure!(page.starts_with("HTTP/1.1 200"), "/livez before any answer: {page}");
    gate.open.send_replace(true);
    operator.ready(CONVERGES).await?;
    let told =
        operator.lines()?.iter().any(|l| l["message"].as_str().is_some_and(|m| m.contains("is listed")));
    ensure!(told, "ready before every kind was listed");
    Ok(())
}

/// What a collector has received: heads and bodies, as they came.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<Vec<u8>>>>);

impl Received {
    fn all(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Listens and answers every request with 200.
    async fn listen(&self) -> Result<String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let received = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(received.clone().serve(stream));
            }
        });
        Ok(address)
    }

    async fn serve(self, mut stream: TcpStream) -> Result<()> {
        let mut bytes = Vec::new();
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length:")?.trim().parse().ok());
            let whole = end + 4 + length.unwrap_or(0_usize);
            if bytes.len() < whole {
                continue;
            }
            let request = bytes.drain(..whole).collect();
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(request);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await?;
        }
    }
}

/// Spans arrive where the environment says, and their trace id is the `request_id` of the log.
#[tokio::test(flavor = "multi_thread")]
async fn traces_carry_the_id_of_the_log() -> Result<()> {
    let world = converged().await?;
    drop(world.take_operator().await?);
    let kubeconfig = world.plane.kubeconfig(&Identity::operator()).await?;
    let received = Received::default();
    let endpoint = received.listen().await?;
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint)];
    let operator = world.spawn_operator_in(&kubeconfig, &env)?;
    operator.ready(CONVERGES).await?;
    let (ids, found) = eventually("spans arrive", CONVERGES, async || {
        let lines = operator.lines().map_err(|e| e.to_string())?;
        let passes = lines.iter().filter(|line| line["message"] == "reconciled");
        let ids: Vec<String> =
            passes.filter_map(|line| line["request_id"].as_str().map(str::to_owned)).collect();
        let requests = received.all();
        let arrived = |id: &String| {
            let id: Vec<u8> = (0..id.len() / 2)
                .filter_map(|i| u8::from_str_radix(id.get(2 * i..2 * i + 2)?, 16).ok())
                .collect();
            id.len() == 16 && requests.iter().any(|r| r.windows(16).any(|w| w == id))
        };
        let found = ids.iter().filter(|id| arrived(id)).count();
        if found > 0 { Ok((ids.len(), found)) } else { Err(format!("{} requests came", requests.len())) }
    })
    .await?;
    let requests = received.all();
    ensure!(requests.iter().all(|r| r.starts_with(b"POST /v1/traces ")), "not to the path of OTLP");
    println!("traces: {} requests, {found} of {ids} logged passes found by their request_id", requests.len());
    ends(operator, "with a collector").await
}
