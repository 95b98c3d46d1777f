//! `/metrics`, `/livez` and `/readyz`. Does I/O: serves HTTP.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use crate::connections::{self, Bounds};

/// Content type of the metrics: the `OpenMetrics` text format 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A kubelet and a few collectors of metrics need a handful. A probe waits 2 s, a scrape takes 10 s by default.
const BOUNDS: Bounds =
    Bounds { connections: 64, head: Duration::from_secs(5), whole: Duration::from_secs(30) };

/// What the three pages are about.
pub struct Health {
    stop: watch::Receiver<bool>,
    started: OnceLock<Started>,
}

struct Started {
    ready: watch::Receiver<bool>,
    metrics: Box<dyn Fn() -> String + Send + Sync>,
}

impl Health {
    /// Not ready until [`Health::started`], and no longer once `stop` is true.
    pub fn new(stop: watch::Receiver<bool>) -> Self {
        Self { stop, started: OnceLock::new() }
    }

    /// The operator is there; whether it is ready is in `ready` from now on. Only the first call counts.
    pub fn started(
        &self,
        ready: watch::Receiver<bool>,
        metrics: impl Fn() -> String + Send + Sync + 'static,
    ) {
        self.started.get_or_init(|| Started { ready, metrics: Box::new(metrics) });
    }

    /// Why the operator is not ready, if it is not.
    fn unready(&self) -> Option<&'static str> {
        if *self.stop.borrow() {
            return Some("stopping");
        }
        match self.started.get() {
            None => Some("waiting for the first answer of the API server"),
            Some(started) if !*started.ready.borrow() => {
                Some("waiting for the first list of every kind; the log names requests that fail")
            }
            Some(_) => None,
        }
    }
}

/// Serves the three pages; ends only when the listener breaks.
pub async fn serve(listener: TcpListener, health: Arc<Health>) -> io::Result<()> {
    connections::serve(listener, router(health), BOUNDS).await
}

fn router(health: Arc<Health>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health)
}

async fn readyz(State(health): State<Arc<Health>>) -> impl IntoResponse {
    match health.unready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
    }
}

async fn metrics(State(health): State<Arc<Health>>) -> impl IntoResponse {
    // Before the operator is there nothing was counted, which is a valid answer, too.
    let text = health.started.get().map_or_else(|| "# EOF\n".to_owned(), |started| (started.metrics)());
    ([(CONTENT_TYPE, OPEN_METRICS)], text)
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(health: &Arc<Health>, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(health.clone()).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_only_between_the_first_lists_and_the_stop_and_says_why_not() {
        let (stop, told) = watch::channel(false);
        let health = Arc::new(Health::new(told));
        let (status, body) = ask(&health, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("API server"), "{body}");

        let ready = watch::Sender::new(false);
        health.started(ready.subscribe(), String::new);
        let (status, body) = ask(&health, "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("first list"), "{body}");

        ready.send_replace(true);
        assert_eq!(ask(&health, "/readyz").await, (200, "ok\n".to_owned()));

        stop.send_replace(true);
        assert_eq!(ask(&health, "/readyz").await, (503, "not ready: stopping\n".to_owned()));
    }

    #[tokio::test]
    async fn alive_from_the_first_second_to_the_last() {
        let (stop, told) = watch::channel(false);
        let health = Arc::new(Health::new(told));
        assert_eq!(ask(&health, "/livez").await.0, 200);
        stop.send_replace(true);
        assert_eq!(ask(&health, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn metrics_are_valid_before_the_operator_is_there_and_its_own_afterwards() {
        let (_stop, told) = watch::channel(false);
        let health = Arc::new(Health::new(told));
        assert_eq!(ask(&health, "/metrics").await, (200, "# EOF\n".to_owned()));
        health
            .started(watch::Sender::new(true).subscribe(), || "kubenova_events_total 1\n# EOF\n".to_owned());
        assert_eq!(ask(&health, "/metrics").await.1, "kubenova_events_total 1\n# EOF\n");
    }
}
