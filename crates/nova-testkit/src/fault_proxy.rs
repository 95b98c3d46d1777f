//! A reverse proxy that counts writes and kills its client after a chosen one. Does I/O: listens on loopback.
//!
//! It stands below the client, where every request passes whatever library made it. Upstream it speaks as the
//! identity it was started for, so the client needs no credentials. Watches are streamed through.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use kube::Client;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::identity::{Credential, Identity, kubeconfig};
use crate::plane::ControlPlane;

/// A write that the API server has answered with success.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// Counts from one.
    pub number: usize,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Whether the client got the answer.
    pub delivered: bool,
}

/// After which write to kill.
#[derive(Debug)]
enum Chosen {
    Number(usize),
    Kind { method: String, path: String, occurrence: usize },
}

#[derive(Debug, Default)]
struct Ledger {
    writes: Vec<Write>,
    kill: Option<(Chosen, Pid)>,
    killed: bool,
}

impl Ledger {
    /// How many writes of this method went to this path; the query does not tell writes apart.
    fn occurrences(&self, method: &str, path: &str) -> usize {
        self.writes.iter().filter(|w| w.method == method && w.resource() == path).count()
    }
}

impl Write {
    /// The path without its query: what was written.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.path.split('?').next().unwrap_or(&self.path)
    }
}

#[derive(Clone)]
struct Shared {
    client: Client,
    ledger: Arc<Mutex<Ledger>>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change of the ledger is a single step, so a panic elsewhere leaves it whole.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A counting, killing proxy in front of an API server. Dropping it closes it.
pub struct FaultProxy {
    shared: Shared,
    server: JoinHandle<()>,
    folder: tempfile::TempDir,
    kubeconfig: PathBuf,
    address: String,
}

impl FaultProxy {
    /// Starts a proxy that speaks to `plane` as `identity`.
    pub async fn start(plane: &ControlPlane, identity: &Identity) -> Result<Self> {
        Self::in_front_of(plane.client(identity).await?).await
    }

    /// Starts a proxy that speaks through `client`.
    pub async fn in_front_of(client: Client) -> Result<Self> {
        let shared = Shared { client, ledger: Arc::default() };
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen on loopback")?;
        let address = format!("http://{}", listener.local_addr().context("listen on loopback")?);
        let router = axum::Router::new().fallback(forward).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // It ends only with the task.
            drop(axum::serve(listener, router).await);
        });
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        let path = folder.path().join("kubeconfig.yaml");
        let config = kubeconfig(&address, None, &Credential::None);
        std::fs::write(&path, config.to_string()).with_context(|| format!("write {path:?}"))?;
        Ok(Self { shared, server, folder, kubeconfig: path, address })
    }

    /// A kubeconfig that points here. The file lives as long as the proxy.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The proxy's address, `http://127.0.0.1:…`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A folder for the client's own files; it lives as long as the proxy.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The writes answered so far.
    #[must_use]
    pub fn writes(&self) -> Vec<Write> {
        self.shared.ledger().writes.clone()
    }

    /// Forgets the writes counted so far, and a kill that has not happened.
    pub fn reset(&self) {
        *self.shared.ledger() = Ledger::default();
    }

    /// Kills process `pid` when the API server has answered write `number` (from one), and keeps that answer.
    ///
    /// # Errors
    /// When `pid` is no process id, or that write has already been answered.
    pub fn kill_after(&self, number: usize, pid: u32) -> Result<()> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
        let mut ledger = self.shared.ledger();
        if number == 0 || ledger.writes.len() >= number {
            bail!("write {number} is in the past: {} were answered", ledger.writes.len());
        }
        ledger.kill = Some((Chosen::Number(number), pid));
        ledger.killed = false;
        Ok(())
    }

    /// The same for the write that is the `occurrence`-th (from one) of a method to a path without query: writes
    /// of independent objects change places from run to run, so a number alone does not name one.
    ///
    /// # Errors
    /// When `pid` is no process id, or that write has already been answered.
    pub fn kill_at(&self, method: &str, path: &str, occurrence: usize, pid: u32) -> Result<()> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
        let mut ledger = self.shared.ledger();
        if ledger.occurrences(method, path) >= occurrence.max(1) {
            bail!("write {occurrence} of {method} {path} is in the past");
        }
        let chosen = Chosen::Kind { method: method.to_owned(), path: path.to_owned(), occurrence };
        ledger.kill = Some((chosen, pid));
        ledger.killed = false;
        Ok(())
    }

    /// Whether the kill has happened.
    #[must_use]
    pub fn has_killed(&self) -> bool {
        self.shared.ledger().killed
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Whether a request changes what the tests compare: no reviews, tokens, leases, events and dry runs.
fn counts(method: &Method, path: &str, query: &str) -> bool {
    let changes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
    let review =
        path.starts_with("/apis/authorization.k8s.io/") || path.starts_with("/apis/authentication.k8s.io/");
    let resource = |name: &str| path.split('/').any(|part| part == name);
    let lease = path.starts_with("/apis/coordination.k8s.io/") && resource("leases");
    let event =
        resource("events") && (path.starts_with("/apis/events.k8s.io/") || path.starts_with("/api/v1/"));
    changes && !review && !lease && !event && !path.ends_with("/token") && !query.contains("dryRun=All")
}

async fn forward(State(shared): State<Shared>, request: Request<Body>) -> Response<Body> {
    match relay(&shared, request).await {
        Ok(response) => response,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("{error:#}")).into_response(),
    }
}

async fn relay(shared: &Shared, request: Request<Body>) -> Result<Response<Body>> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    let counted = counts(&parts.method, parts.uri.path(), parts.uri.query().unwrap_or_default());
    let method = parts.method.to_string();
    // These speak of the client's own connection; the upstream client sets its own.
    for name in [
        header::HOST,
        header::CONNECTION,
        header::AUTHORIZATION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ] {
        parts.headers.remove(name);
    }
    parts.uri = path.parse().context("the request's path")?;
    let body = body.collect().await.context("read the request")?.to_bytes();
    // The client may hang up at any moment, and its task with it. What has been sent upstream must still be
    // counted, so it goes on in a task of its own.
    let shared = shared.clone();
    let answer = tokio::spawn(async move {
        let response = shared
            .client
            .send(Request::from_parts(parts, body.into()))
            .await
            .context("ask the API server")?;
        let keep = counted && response.status().is_success() && shared.record(method, path);
        anyhow::Ok((response, keep))
    });
    let (response, keep) = answer.await.context("the request's task")??;
    if keep {
        // The client has been killed. Nobody may ever see this answer, not even a client that survived.
        std::future::pending::<()>().await;
    }
    let (mut parts, body) = response.into_parts();
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    Ok(Response::from_parts(parts, Body::new(body)))
}

impl Shared {
    /// Writes a successful write down and kills if it is the one. Tells whether the answer must be kept.
    fn record(&self, method: String, path: String) -> bool {
        let mut ledger = self.ledger();
        let number = ledger.writes.len() + 1;
        let write = Write { number, method, path, delivered: true };
        let fatal = match &ledger.kill {
            _ if ledger.killed => None,
            Some((Chosen::Number(chosen), pid)) if *chosen == number => Some(*pid),
            Some((Chosen::Kind { method, path, occurrence }, pid)) => {
                let this = write.method == *method && write.resource() == path;
                (this && ledger.occurrences(method, path) + 1 == *occurrence).then_some(*pid)
            }
            _ => None,
        };
        // After the kill the client is gone; what was still under way is counted but not delivered either.
        let keep = fatal.is_some() || ledger.killed;
        if let Some(pid) = fatal {
            // It fails only when the process is gone already, which is what was wanted.
            let _ = kill_process(pid, Signal::KILL);
            ledger.killed = true;
        }
        ledger.writes.push(Write { delivered: !keep, ..write });
        keep
    }
}

#[cfg(test)]
mod tests {
    use super::counts;
    use axum::http::Method;

    #[test]
    fn only_requests_that_change_what_is_compared_count() {
        let counted = [
            (Method::POST, "/api/v1/namespaces", ""),
            (Method::PATCH, "/apis/kubenova.io/v1alpha1/novatenants/events/status", ""),
            (Method::DELETE, "/api/v1/namespaces/leases", ""),
        ];
        for (method, path, query) in counted {
            assert!(counts(&method, path, query), "{method} {path}");
        }
        let ignored = [
            (Method::GET, "/api/v1/namespaces", ""),
            (Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews", ""),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/a/leases/b", ""),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/a/events", ""),
            (Method::POST, "/api/v1/namespaces/a/events", ""),
            (Method::POST, "/api/v1/namespaces/a/serviceaccounts/b/token", ""),
            (Method::PATCH, "/api/v1/namespaces/a", "dryRun=All&force=true"),
        ];
        for (method, path, query) in ignored {
            assert!(!counts(&method, path, query), "{method} {path}");
        }
    }
}
