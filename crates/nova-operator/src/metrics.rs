//! What is counted, in the Prometheus text format. Labels are closed sets: no object names.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram};
use prometheus_client::registry::{Registry, Unit};

use crate::key::Kind;

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

/// Seconds; a pass without a request takes microseconds, one that waits for Capsule takes seconds.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile: Family<ReconcileLabels, Histogram, fn() -> Histogram>,
    events: Family<EventLabels, Counter>,
    adapter_errors: Family<AdapterLabels, Counter>,
    in_flight: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("kubenova");
        let reconcile: Family<_, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS));
        // What has not happened yet is told as zero, so that a rate sees the first one.
        let events = Family::default();
        for kind in Kind::ALL {
            for type_ in ["Normal", "Warning"] {
                drop(events.get_or_create(&EventLabels { controller: kind.as_str(), kind: type_ }));
            }
        }
        let adapter_errors = Family::default();
        for adapter in ["kubernetes", "capsule"] {
            let labels = AdapterLabels { adapter, reason: "BackendUnavailable" };
            drop(adapter_errors.get_or_create(&labels));
        }
        let in_flight = Gauge::default();
        registry.register_with_unit(
            "reconcile",
            "Time of one pass over an object, by controller and outcome",
            Unit::Seconds,
            reconcile.clone(),
        );
        registry.register("events", "Events published, by controller and type", events.clone());
        registry.register(
            "adapter_errors",
            "Requests and watches that failed, by the platform that refused them and why",
            adapter_errors.clone(),
        );
        registry.register("in_flight", "Objects being worked on now", in_flight.clone());
        Self { registry, reconcile, events, adapter_errors, in_flight }
    }
}

impl Metrics {
    /// A pass has ended.
    pub fn reconciled(&self, controller: &'static str, outcome: &'static str, took: Duration) {
        self.reconcile.get_or_create(&ReconcileLabels { controller, outcome }).observe(took.as_secs_f64());
    }

    /// An event was published.
    pub fn event(&self, controller: &'static str, kind: &'static str) {
        self.events.get_or_create(&EventLabels { controller, kind }).inc();
    }

    /// A request or watch failed.
    pub fn adapter_error(&self, adapter: &'static str, reason: &'static str) {
        self.adapter_errors.get_or_create(&AdapterLabels { adapter, reason }).inc();
    }

    /// One more, or one less, is being worked on.
    pub fn in_flight(&self, change: i64) {
        self.in_flight.inc_by(change);
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
    fn the_three_documented_metrics_are_served_even_before_anything_has_gone_wrong() {
        let metrics = Metrics::default();
        metrics.reconciled("app", "ready", Duration::from_millis(2));
        let text = metrics.text();
        for name in
            ["kubenova_reconcile_seconds_bucket", "kubenova_events_total", "kubenova_adapter_errors_total"]
        {
            assert!(text.contains(name), "{text}");
        }
    }
}
