//! Every version of some kinds of object as watches show them, with the time each was seen. Reads from the cluster.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use kube::core::ResourceExt as _;
use kube::runtime::watcher::{self, Event};
use nova_testkit::Entry;
use tokio::task::JoinSet;

use crate::object::{self, Kind};
use crate::{condition, eventually};

/// The kinds that a user or a backend shows trouble by.
#[must_use]
pub fn trouble() -> Vec<&'static Kind> {
    object::all(&["Pod", "ResourceQuota", "Deployment", "Application"])
}

/// One version of one object.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When this process saw it.
    pub at: Instant,
    /// The same by the clock of the audit log.
    pub clock: Timestamp,
    /// Its kind.
    pub kind: &'static str,
    /// What it was.
    pub object: Arc<DynamicObject>,
    /// This is its deletion.
    pub gone: bool,
}

impl Frame {
    /// True for this namespace (empty for cluster-scoped) and name.
    #[must_use]
    pub fn is(&self, kind: &str, namespace: &str, name: &str) -> bool {
        let meta = &self.object.metadata;
        self.kind == kind
            && meta.namespace.as_deref().unwrap_or_default() == namespace
            && meta.name.as_deref() == Some(name)
    }

    /// Versions of all kinds count up together in one etcd.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
    }

    /// Ready says True, of whatever generation.
    #[must_use]
    pub fn says_ready(&self) -> bool {
        condition(&self.object, "Ready").is_some_and(|c| c["status"] == "True")
    }

    /// `status.observedGeneration`; -1 before the first status.
    #[must_use]
    pub fn observed(&self) -> i64 {
        self.object.data["status"]["observedGeneration"].as_i64().unwrap_or(-1)
    }

    /// Kind, namespace and name, for a failed assertion.
    #[must_use]
    pub fn name(&self) -> String {
        let namespace = self.object.namespace().map(|n| format!("{n}/")).unwrap_or_default();
        format!("{} {namespace}{}", self.kind, self.object.name_any())
    }
}

/// A running record. Dropping it ends the watches.
pub struct Film {
    frames: Arc<Mutex<Vec<Frame>>>,
    watches: JoinSet<()>,
}

impl Film {
    /// Begins to watch, and returns once each kind was listed.
    pub async fn start(client: &Client, kinds: &[&'static Kind]) -> Result<Self> {
        let frames: Arc<Mutex<Vec<Frame>>> = Arc::default();
        let mut watches = JoinSet::new();
        let (listed, mut lists) = tokio::sync::mpsc::channel(kinds.len().max(1));
        for of in kinds.iter().copied() {
            let (api, kind) = (of.every(client), of.kind.as_str());
            let (frames, listed) = (frames.clone(), listed.clone());
            watches.spawn(async move {
                let stream = watcher::watcher(api, watcher::Config::default());
                futures::pin_mut!(stream);
                while let Some(event) = stream.next().await {
                    let (object, gone) = match event {
                        Ok(Event::Apply(object) | Event::InitApply(object)) => (object, false),
                        Ok(Event::Delete(object)) => (object, true),
                        Ok(Event::InitDone) => {
                            let _ = listed.send(kind).await;
                            continue;
                        }
                        Ok(Event::Init) => continue,
                        Err(_) => {
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            continue;
                        }
                    };
                    let (at, clock) = (Instant::now(), Timestamp::now());
                    let frame = Frame { at, clock, kind, object: Arc::new(object), gone };
                    frames.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
                }
            });
        }
        for _ in kinds {
            tokio::time::timeout(Duration::from_secs(30), lists.recv())
                .await
                .context("list what is filmed")?;
        }
        Ok(Self { frames, watches })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Frame>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything so far, as it was seen.
    #[must_use]
    pub fn all(&self) -> Vec<Frame> {
        self.lock().clone()
    }

    /// Every version of one object.
    #[must_use]
    pub fn of(&self, kind: &str, namespace: &str, name: &str) -> Vec<Frame> {
        self.lock().iter().filter(|f| f.is(kind, namespace, name)).cloned().collect()
    }

    /// The first frame since a moment that `wanted` says yes to, waited for.
    pub async fn first(
        &self,
        what: &str,
        since: Instant,
        within: Duration,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<Frame> {
        eventually(what, within, async || {
            let frames = self.lock();
            let found = frames.iter().find(|f| f.at >= since && !f.gone && wanted(f)).cloned();
            found.ok_or_else(|| format!("none of {} frames", frames.len()))
        })
        .await
    }

    /// What no status may ever have shown: told as sentences, empty if all is well.
    #[must_use]
    pub fn lies(&self) -> Vec<String> {
        let mut lies = Vec::new();
        let mut last: std::collections::HashMap<String, i64> = std::collections::HashMap::new();
        for frame in self.lock().iter().filter(|f| f.kind.starts_with("Nova") && !f.gone) {
            let name = frame.name();
            let mut lie = |what: String| lies.push(format!("{name} at {}: {what}", frame.version()));
            let observed = frame.observed();
            let uid = frame.object.uid().unwrap_or_default();
            let before = last.insert(uid, observed).unwrap_or(-1);
            if observed < before {
                lie(format!("observedGeneration went from {before} to {observed}"));
            }
            let status = &frame.object.data["status"];
            let is = |kind: &str| condition(&frame.object, kind).is_some_and(|c| c["status"] == "True");
            let blockers = status["blockers"].as_array().map_or(0, Vec::len);
            if frame.says_ready()
                && (is("Stalled") || is("Reconciling") || blockers > 0 || !status["lastError"].is_null())
            {
                lie("Ready, and yet in trouble".to_owned());
            }
            let Some(ready) = condition(&frame.object, "Ready").filter(|c| c["status"] == "False") else {
                continue;
            };
            let message = ready["message"].as_str().unwrap_or_default();
            if !message.contains(" because ") || message.chars().count() > 1024 {
                lie(format!("it does not say why, or at too great length: {message}"));
            }
            if is("Stalled") == is("Reconciling") {
                lie("neither or both of Stalled and Reconciling".to_owned());
            }
            // An error stays in the status while work goes on that may end it.
            let works =
                ["Progressing", "RolloutInProgress", "Deleting"].iter().any(|r| ready["reason"] == *r);
            if !status["lastError"].is_null() && !works {
                let fixes = status["blockers"].as_array().into_iter().flatten();
                if blockers == 0 || fixes.clone().any(|b| b["fix"].as_str().is_none_or(str::is_empty)) {
                    lie(format!("trouble without a blocker or without a fix: {}", status["blockers"]));
                }
                if !message.contains("Fix: ") {
                    lie(format!("no fix: {message}"));
                }
            }
        }
        lies
    }
}

impl Drop for Film {
    fn drop(&mut self) {
        self.watches.abort_all();
    }
}

/// The most requests for a change that the operator made of one object within any minute, refused ones among them,
/// by `<verb> <resource>/<namespace>/<name>/<subresource>`; events and dry runs aside.
#[must_use]
pub fn busiest(writes: &[Entry]) -> (usize, String) {
    let mut times: std::collections::BTreeMap<String, Vec<i64>> = std::collections::BTreeMap::new();
    for write in writes.iter().filter(|w| w.object.resource != "events") {
        let summary = write.summary();
        let key = summary.rsplit_once(' ').map_or(summary.as_str(), |(key, _)| key).to_owned();
        times.entry(key).or_default().push(write.received.map_or(0, Timestamp::as_millisecond));
    }
    let most = times.into_iter().map(|(key, mut at)| {
        at.sort_unstable();
        let within = |start: &i64| at.iter().filter(|t| (*start..start + 60_000).contains(*t)).count();
        (at.iter().map(within).max().unwrap_or(0), key)
    });
    most.max().unwrap_or_default()
}
