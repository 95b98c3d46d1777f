//! A reverse proxy that counts writes and makes requests go wrong as a test wants. Does I/O: listens on loopback.
//!
//! It stands below the client, where every request passes whatever library made it. Upstream it speaks as the
//! identity it was started for, so the client needs no credentials. Watches are streamed through.
//!
//! What goes wrong is said by rules, at any time: [`FaultProxy::inject`] takes a [`Rule`], which says which requests
//! are meant, and a [`Fault`], which says what becomes of them. The first rule in the order of their coming decides. The
//! [`Injected`] that comes back counts the requests and ends the rule.
//!
//! ```no_run
//! # async fn example(plane: &nova_testkit::ControlPlane) -> anyhow::Result<()> {
//! use nova_testkit::fault_proxy::{Fault, Refusal, Rule, Verb};
//! use nova_testkit::{FaultProxy, Identity};
//!
//! let proxy = FaultProxy::start(plane, &Identity::operator()).await?;
//! let lists = proxy.inject(Rule::on([Verb::List], "limitranges"), Fault::Hang);
//! let applies = Rule::on([Verb::Patch], "applications.core.oam.dev").named("web");
//! let refused = proxy.inject(applies.times(3), Fault::Answer(Refusal::CONFLICT));
//! // Start a client with `proxy.kubeconfig()`, look at what it does, and then
//! lists.lift();
//! assert_eq!(refused.hits(), 3);
//! # Ok(()) }
//! ```

mod ledger;
mod listings;
mod refusal;
mod relay;
mod request;
mod rule;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::Client;
use rustix::process::Pid;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

pub use self::ledger::Write;
use self::ledger::{Chosen, Ledger};
use self::listings::Listings;
pub use self::refusal::Refusal;
pub use self::request::{Asked, Verb};
use self::rule::Rules;
pub use self::rule::{Fault, Injected, Rule};
use crate::identity::{Credential, Identity, kubeconfig};
use crate::plane::ControlPlane;

/// A watch that may be running, and what cuts it.
type Running = (Asked, oneshot::Sender<()>);

struct Shared {
    client: Client,
    ledger: Mutex<Ledger>,
    rules: Rules,
    listings: Listings,
    watches: Mutex<Vec<Running>>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Every change of the ledger is a single step, so a panic elsewhere leaves it whole.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watches(&self) -> MutexGuard<'_, Vec<Running>> {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|(_, cut)| !cut.is_closed());
        watches
    }

    fn watching(&self, asked: Asked, cut: oneshot::Sender<()>) {
        self.watches().push((asked, cut));
    }
}

/// A counting, faulting proxy in front of an API server. Dropping it closes it.
pub struct FaultProxy {
    shared: Arc<Shared>,
    server: JoinHandle<Infallible>,
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
        let shared = Arc::new(Shared {
            client,
            ledger: Mutex::default(),
            rules: Rules::default(),
            listings: Listings::default(),
            watches: Mutex::default(),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("listen on loopback")?;
        let address = format!("http://{}", listener.local_addr().context("listen on loopback")?);
        let server = tokio::spawn(listen(listener, shared.clone()));
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
        let pid = process(pid)?;
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
        let pid = process(pid)?;
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

    /// Adds a rule, which holds from now on until it is lifted. Of several, the first that was added decides.
    #[allow(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn inject(&self, rule: Rule, fault: Fault) -> Injected {
        self.shared.rules.add(rule, fault)
    }

    /// Adds a rule that only counts.
    #[allow(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn count(&self, rule: Rule) -> Injected {
        self.inject(rule, Fault::Pass)
    }

    /// Lifts every rule.
    pub fn clear(&self) {
        self.shared.rules.clear();
    }

    /// Closes the connection of each running watch of `plural[.group]`, and tells how many there were.
    #[allow(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn cut_watches(&self, kind: &str) -> usize {
        let mut watches = self.shared.watches();
        let (cut, left): (Vec<_>, Vec<_>) = watches.drain(..).partition(|(asked, _)| asked.kind() == kind);
        *watches = left;
        // One that has ended meanwhile was not cut.
        cut.into_iter().filter_map(|(_, cut)| cut.send(()).ok()).count()
    }

    /// How many watches of `plural[.group]` run.
    #[must_use]
    pub fn running_watches(&self, kind: &str) -> usize {
        self.shared.watches().iter().filter(|(asked, _)| asked.kind() == kind).count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn process(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")
}

/// Serves every connection until the task is aborted, and the connections with it.
async fn listen(listener: TcpListener, shared: Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptors left, as a rule; there will be.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        // Small answers follow each other closely.
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| relay::serve(shared.clone(), request));
            // An error is a connection that was closed, by a rule or by the client.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
