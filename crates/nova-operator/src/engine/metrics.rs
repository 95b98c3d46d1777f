//! What is counted, in the Prometheus text format. Labels are closed sets: no object names. The reference page of the docs
//! is made from what is registered here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nova_api::Kind;
use nova_plan::adapters::BACKENDS;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReconcileLabels {
    controller: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    controller: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AdapterLabels {
    adapter: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    verb: &'static str,
    code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BackendLabels {
    adapter: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ControllerLabels {
    controller: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;
type Number = Gauge<i64, AtomicI64>;

/// Seconds; a pass without a request takes microseconds, one that waits for a slow webhook takes seconds.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What is measured at the moment of asking.
#[derive(Debug, Default, Clone)]
pub struct Reading {
    /// Keys and the age of the oldest, by lane.
    pub lanes: Vec<(&'static str, usize, Duration)>,
    /// Resource, objects in its store, and whether it can be seen.
    pub stores: Vec<(String, usize, bool)>,
    /// Backends, and whether each is installed and answers.
    pub backends: Vec<(&'static str, bool)>,
}

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile: Family<ReconcileLabels, Histogram, fn() -> Histogram>,
    events: Family<EventLabels, Counter>,
    adapter_errors: Family<AdapterLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    undeclared_reads: Family<ControllerLabels, Counter>,
    in_flight: Number,
    queue_depth: Family<LaneLabels, Number>,
    queue_age: Family<LaneLabels, Seconds>,
    watch_idle: Family<ResourceLabels, Seconds>,
    watch_up: Family<ResourceLabels, Number>,
    objects: Family<ResourceLabels, Number>,
    backend_up: Family<BackendLabels, Number>,
    heard: Mutex<HashMap<String, Instant>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("kubenova");
        let reconcile: Family<_, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register_with_unit(
            "reconcile",
            "Time of one pass over an object, by controller and outcome",
            Unit::Seconds,
            reconcile.clone(),
        );
        let metrics = Self {
            reconcile,
            events: register(&mut registry, "events", "Events published, by controller and type"),
            adapter_errors: register(
                &mut registry,
                "adapter_errors",
                "Requests and watches that failed, by the platform that refused them and why",
            ),
            requests: register(
                &mut registry,
                "requests",
                "Requests to the API server, by verb and HTTP status; status 0 stands for no answer",
            ),
            undeclared_reads: register(
                &mut registry,
                "undeclared_reads",
                "Passes that have read what does not wake their kind; anything but 0 is a fault of KubeNova",
            ),
            in_flight: register(&mut registry, "in_flight", "Objects being worked on now"),
            queue_depth: register(&mut registry, "queue_depth", "Objects that wait to be worked on, by lane"),
            queue_age: unit(&mut registry, "queue_age", "How long the oldest object of a lane has waited"),
            watch_idle: unit(
                &mut registry,
                "watch_idle",
                "Since when nothing was heard of a watch, by resource; the API server sends something every minute",
            ),
            watch_up: register(
                &mut registry,
                "watch_up",
                "1 where a resource is listed and watched, 0 where it is not, by resource",
            ),
            objects: register(&mut registry, "objects", "Objects in memory, by resource"),
            backend_up: register(
                &mut registry,
                "backend_up",
                "1 where a backend is installed and answers, 0 where it does not, by backend",
            ),
            heard: Mutex::default(),
            registry,
        };
        // What has not happened yet is told as zero, so that a rate sees the first one.
        for kind in Kind::ALL {
            let controller = kind.controller();
            for kind in ["Normal", "Warning"] {
                drop(metrics.events.get_or_create(&EventLabels { controller, kind }));
            }
            drop(metrics.undeclared_reads.get_or_create(&ControllerLabels { controller }));
        }
        for adapter in ["kubernetes"].into_iter().chain(BACKENDS.iter().map(|b| b.id)) {
            let labels = AdapterLabels { adapter, reason: "BackendUnavailable" };
            drop(metrics.adapter_errors.get_or_create(&labels));
        }
        metrics
    }
}

fn register<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Default + Clone + prometheus_client::registry::Metric,
{
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn unit<M>(registry: &mut Registry, name: &str, help: &str) -> M
where
    M: Default + Clone + prometheus_client::registry::Metric,
{
    let metric = M::default();
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

impl Metrics {
    /// A pass has ended.
    pub fn reconciled(&self, controller: &'static str, outcome: &'static str, took: Duration) {
        self.reconcile.get_or_create(&ReconcileLabels { controller, outcome }).observe(took.as_secs_f64());
    }

    /// An event was published about an object of a kind.
    pub fn event(&self, kind: &str, type_: &'static str) {
        let Some(kind) = Kind::ALL.iter().find(|known| known.as_str() == kind) else { return };
        self.events.get_or_create(&EventLabels { controller: kind.controller(), kind: type_ }).inc();
    }

    /// A request or watch failed.
    pub fn adapter_error(&self, adapter: &'static str, reason: &'static str) {
        self.adapter_errors.get_or_create(&AdapterLabels { adapter, reason }).inc();
    }

    /// A request was answered, with 0 for not at all.
    pub fn requested(&self, verb: &'static str, code: u16) {
        self.requests.get_or_create(&RequestLabels { verb, code }).inc();
    }

    /// Something was heard of the watch of a resource.
    pub fn watch_heard(&self, resource: &str) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.get_mut(resource) {
            Some(at) => *at = Instant::now(),
            None => drop(heard.insert(resource.to_owned(), Instant::now())),
        }
    }

    /// A pass has read what is not in the relations of its kind.
    pub fn undeclared_read(&self, controller: &'static str) {
        self.undeclared_reads.get_or_create(&ControllerLabels { controller }).inc();
    }

    /// One more, or one less, is being worked on.
    pub fn in_flight(&self, change: i64) {
        self.in_flight.inc_by(change);
    }

    /// Takes a reading in, for the next time that somebody asks.
    pub fn read(&self, reading: &Reading) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        for (lane, depth, age) in &reading.lanes {
            self.queue_depth.get_or_create(&LaneLabels { lane }).set(number(*depth));
            self.queue_age.get_or_create(&LaneLabels { lane }).set(age.as_secs_f64());
        }
        for (resource, objects, listed) in &reading.stores {
            let labels = ResourceLabels { resource: resource.clone() };
            self.objects.get_or_create(&labels).set(number(*objects));
            self.watch_up.get_or_create(&labels).set(i64::from(*listed));
        }
        for (adapter, up) in &reading.backends {
            self.backend_up.get_or_create(&BackendLabels { adapter }).set(i64::from(*up));
        }
        for (resource, at) in self.heard.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let labels = ResourceLabels { resource: resource.clone() };
            self.watch_idle.get_or_create(&labels).set(at.elapsed().as_secs_f64());
        }
    }

    /// Makes one sample of each metric, which a page that lists them needs.
    pub fn sample(&self) {
        self.reconciled("sample", "ready", Duration::ZERO);
        self.requested("read", 200);
        self.watch_heard("sample");
        self.read(&Reading {
            lanes: vec![("edit", 0, Duration::ZERO)],
            stores: vec![("sample".to_owned(), 0, true)],
            backends: vec![("sample", true)],
        });
    }

    /// The text to serve.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_metrics_are_served_even_before_anything_has_gone_wrong() {
        let metrics = Metrics::default();
        metrics.reconciled("app", "ready", Duration::from_millis(2));
        metrics.read(&Reading {
            lanes: vec![("edit", 3, Duration::from_secs(2))],
            stores: vec![("pods".into(), 7, true)],
            backends: vec![("capsule", false)],
        });
        let text = metrics.text();
        for name in [
            "kubenova_reconcile_seconds_bucket",
            "kubenova_events_total",
            "kubenova_adapter_errors_total",
            "kubenova_queue_depth{lane=\"edit\"} 3",
            "kubenova_queue_age_seconds{lane=\"edit\"} 2.0",
            "kubenova_objects{resource=\"pods\"} 7",
            "kubenova_watch_up{resource=\"pods\"} 1",
            "kubenova_backend_up{adapter=\"capsule\"} 0",
        ] {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
}
