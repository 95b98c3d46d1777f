//! Restarts on the converged state cost no write, a lost status is rebuilt, and the operator can be looked at.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::{OperatorProcess, World, any, eventually, quickstart};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{GroupVersionKind, ResourceExt as _};
use nova_testkit::{Entry, Identity, Mark, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONVERGES: Duration = Duration::from_mins(1);
/// Watched after each restart.
const QUIET: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_writes_nothing_and_a_lost_status_is_rebuilt() -> Result<()> {
    let world = World::start(Options::default()).await?;
    help_shows_examples(&world)?;
    let kubeconfig = world.plane.kubeconfig(&Identity::operator()).await?;
    let operator = world.operator_with(&kubeconfig).await?;
    world.apply_until_accepted(&quickstart("acme")?, CONVERGES).await?;
    world.ready("acme", CONVERGES).await?;
    falls_silent(&world).await?;

    let took = operator.stop().await;
    println!("SIGTERM: ended after {took:.1?}");
    ensure!(took < Duration::from_secs(10), "it took {took:?} to end");
    let operator = restarted(&world, &kubeconfig, "after SIGTERM").await?;
    operator.kill();
    operator.ended(Duration::from_secs(2)).await?;
    let operator = restarted(&world, &kubeconfig, "after SIGKILL").await?;

    statuses_are_rebuilt(&world, "set to observedGeneration -1", &json!({"observedGeneration": -1})).await?;
    statuses_are_rebuilt(&world, "emptied", &json!({})).await?;
    pages_and_logs_tell(&operator).await?;
    operator.stop().await;
    ready_is_told_only_after_the_first_lists(&world, &kubeconfig).await?;
    traces_carry_the_id_of_the_log(&world, &kubeconfig).await?;
    a_stop_in_the_middle_of_work_is_quick_too(&world, &kubeconfig).await
}

/// SIGTERM while a tenant is being set up: the end comes in time, and the next start goes on from there.
async fn a_stop_in_the_middle_of_work_is_quick_too(world: &World, kubeconfig: &Path) -> Result<()> {
    let operator = world.operator_with(kubeconfig).await?;
    let documents = quickstart("globex")?;
    let mark = world.mark().await?;
    world.apply_until_accepted(&documents[..3], CONVERGES).await?;
    let took = operator.stop().await;
    let done = world.operator_writes(mark).await?.len();
    println!("SIGTERM in the middle of work, after {done} writes: ended after {took:.1?}");
    ensure!(took < Duration::from_secs(10), "it took {took:?} to end");
    let operator = world.operator_with(kubeconfig).await?;
    world.apply_until_accepted(&documents, CONVERGES).await?;
    world.ready("globex", CONVERGES).await?;
    operator.stop().await;
    Ok(())
}

fn help_shows_examples(world: &World) -> Result<()> {
    for args in [&["--help"][..], &["operator", "--help"], &["crds", "--help"]] {
        let text = world.program_says(args)?;
        ensure!(text.contains("Examples:") && text.contains("kubenova "), "{args:?} says: {text}");
    }
    Ok(())
}

/// Waits until nothing has been written for three seconds: counts of parents follow a moment after their children.
async fn falls_silent(world: &World) -> Result<()> {
    eventually("the operator falls silent", CONVERGES, async || {
        let mark = world.mark().await.map_err(|e| e.to_string())?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let writes = world.operator_writes(mark).await.map_err(|e| e.to_string())?;
        if writes.is_empty() { Ok(()) } else { Err(format!("{} writes", writes.len())) }
    })
    .await
}

async fn writes_since(world: &World, mark: Mark) -> Result<Vec<String>> {
    Ok(world.operator_writes(mark).await?.iter().map(Entry::summary).collect())
}

/// Starts the operator on the converged state and watches that it writes nothing.
async fn restarted(world: &World, kubeconfig: &Path, how: &str) -> Result<OperatorProcess> {
    let mark = world.mark().await?;
    let start = Instant::now();
    let operator = world.operator_with(kubeconfig).await?;
    let ready = start.elapsed();
    tokio::time::sleep(QUIET).await;
    let writes = writes_since(world, mark).await?;
    println!("restart {how}: ready after {ready:.1?}, {} writes in the {QUIET:?} after", writes.len());
    ensure!(writes.is_empty(), "a restart {how} wrote: {writes:#?}");
    Ok(operator)
}

/// Kinds of Nova objects, with their plurals.
const NOVA: [(&str, &str); 6] = [
    ("NovaCluster", "novaclusters"),
    ("NovaPlan", "novaplans"),
    ("NovaTenant", "novatenants"),
    ("NovaProject", "novaprojects"),
    ("NovaSandbox", "novasandboxes"),
    ("NovaApp", "novaapps"),
];

async fn all_nova(world: &World) -> Result<Vec<(ApiResource, DynamicObject)>> {
    let mut all = Vec::new();
    for (kind, plural) in NOVA {
        let gvk = GroupVersionKind::gvk("kubenova.io", "v1alpha1", kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        let api = any(&world.admin, "kubenova.io", "v1alpha1", kind, plural);
        all.extend(api.list(&ListParams::default()).await?.into_iter().map(|o| (resource.clone(), o)));
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

/// Every status is lost, as after a restore without status: each comes back as it was, and no child is written.
async fn statuses_are_rebuilt(world: &World, how: &str, status: &Value) -> Result<()> {
    let before = all_nova(world).await?;
    let mark = world.mark().await?;
    let start = Instant::now();
    for (resource, object) in &before {
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(world.admin.clone(), &namespace, resource),
            None => Api::all_with(world.admin.clone(), resource),
        };
        let patch = json!([{"op": "replace", "path": "/status", "value": status}]);
        let patch: Patch<()> = Patch::Json(serde_json::from_value(patch)?);
        let wiped = api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await;
        let wiped = wiped.with_context(|| format!("wipe the status of {}", object.name_any()))?;
        ensure!(wiped.data["status"]["conditions"].is_null(), "the status was not wiped: {:?}", wiped.data);
    }
    eventually("every status is back", Duration::from_secs(10), async || {
        let now = all_nova(world).await.map_err(|e| e.to_string())?;
        for ((_, was), (resource, is)) in before.iter().zip(&now) {
            if lasting(was) != lasting(is) {
                let name = is.name_any();
                return Err(format!("{} {name}: {} now {}", resource.kind, lasting(was), lasting(is)));
            }
        }
        Ok(())
    })
    .await?;
    let took = start.elapsed();
    falls_silent(world).await?;
    let writes = world.operator_writes(mark).await?;
    let children: Vec<String> =
        writes.iter().filter(|w| w.object.subresource != "status").map(Entry::summary).collect();
    println!(
        "{} statuses {how}: rebuilt after {took:.1?} by {} status writes, {} other writes",
        before.len(),
        writes.len() - children.len(),
        children.len()
    );
    ensure!(children.is_empty(), "a lost status cost writes of children: {children:#?}");
    Ok(())
}

async fn pages_and_logs_tell(operator: &OperatorProcess) -> Result<()> {
    let page = operator.http("/livez").await?;
    ensure!(page.starts_with("HTTP/1.1 200"), "/livez: {page}");
    let page = operator.http("/metrics").await?;
    for name in
        ["kubenova_reconcile_seconds_count{", "kubenova_events_total{", "kubenova_adapter_errors_total{"]
    {
        ensure!(page.contains(name), "/metrics lacks {name}: {page}");
    }
    let lines = operator.lines()?;
    let passes: Vec<&Value> = lines.iter().filter(|line| line["message"] == "pass").collect();
    let told = |line: &Value| line["request_id"].as_str().is_some_and(|id| id.len() == 32);
    println!("log: {} lines of JSON, {} of them passes", lines.len(), passes.len());
    ensure!(!passes.is_empty() && passes.iter().all(|line| told(line)), "passes without request_id");
    let tenants = passes.iter().filter(|line| line["tenant"] == "acme").count();
    ensure!(tenants > 0, "no pass names its tenant: {:?}", passes[0]);
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
async fn ready_is_told_only_after_the_first_lists(world: &World, kubeconfig: &Path) -> Result<()> {
    let gate = Gate::start(world.plane.server()).await?;
    let text = std::fs::read_to_string(kubeconfig)?.replace(world.plane.server(), &gate.address);
    ensure!(text.contains(&gate.address), "the kubeconfig does not name the server as expected");
    let gated = world.plane.dir().join("kubeconfigs/gated.yaml");
    std::fs::write(&gated, text)?;
    let operator = world.spawn_operator(&gated)?;
    let page = eventually("pages are served", Duration::from_secs(10), async || {
        operator.http("/readyz").await.map_err(|e| e.to_string())
    })
    .await?;
    ensure!(page.starts_with("HTTP/1.1 503"), "/readyz before any answer: {page}");
    println!("/readyz before the first lists: 503, {:?}", page.lines().last().unwrap_or_default());
    let page = operator.http("/livez").await?;
    ensure!(page.starts_with("HTTP/1.1 200"), "/livez before any answer: {page}");
    gate.open.send_replace(true);
    operator.ready(Duration::from_secs(20)).await?;
    let told =
        operator.lines()?.iter().any(|l| l["message"].as_str().is_some_and(|m| m.contains("is listed")));
    ensure!(told, "ready before every kind was listed");
    operator.stop().await;
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
async fn traces_carry_the_id_of_the_log(world: &World, kubeconfig: &Path) -> Result<()> {
    let received = Received::default();
    let endpoint = received.listen().await?;
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), endpoint)];
    let operator = world.spawn_operator_in(kubeconfig, &env)?;
    operator.ready(Duration::from_secs(30)).await?;
    let (ids, found) = eventually("spans arrive", Duration::from_secs(15), async || {
        let lines = operator.lines().map_err(|e| e.to_string())?;
        let passes = lines.iter().filter(|line| line["message"] == "pass");
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
    let took = operator.stop().await;
    ensure!(took < Duration::from_secs(10), "with a collector it took {took:?} to end");
    Ok(())
}
