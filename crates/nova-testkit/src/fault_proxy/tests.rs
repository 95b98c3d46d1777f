//! The proxy in front of a server that knows three things, without a control plane.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::{get, patch};
use futures::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::config::Config;
use tokio::time::timeout;

use super::*;

const HANGS: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(5);
const LIST: &str = r#"{"kind":"PodList","metadata":{"resourceVersion":"N"},"items":[]}"#;

async fn list(State(version): State<Arc<AtomicUsize>>, uri: axum::http::Uri) -> axum::body::Body {
    if uri.query().is_some_and(|query| query.contains("watch=true")) {
        let event = stream::iter([Ok::<_, Infallible>(Bytes::from("event\n"))]);
        return axum::body::Body::from_stream(event.chain(stream::pending()));
    }
    let version = version.load(Ordering::Relaxed).to_string();
    axum::body::Body::from(LIST.replace('N', &version))
}

async fn write(State(version): State<Arc<AtomicUsize>>) -> String {
    version.fetch_add(1, Ordering::Relaxed).to_string()
}

/// Lists pods, each time at a newer version; watches them with an event at once; patches one.
async fn server() -> (Client, Arc<AtomicUsize>) {
    let written = Arc::new(AtomicUsize::new(0));
    let router = Router::new()
        .route("/api/v1/pods", get(list))
        .route("/api/v1/namespaces/a/pods/b", patch(write))
        .with_state(written.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (client(&address), written)
}

fn client(address: &str) -> Client {
    let mut config = Config::new(address.parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

struct Stage {
    proxy: FaultProxy,
    client: Client,
    written: Arc<AtomicUsize>,
}

async fn stage() -> Stage {
    let (upstream, written) = server().await;
    let proxy = FaultProxy::in_front_of(upstream).await.unwrap();
    Stage { client: client(proxy.address()), proxy, written }
}

impl Stage {
    async fn ask(&self, method: &str, path: &str) -> Result<axum::http::Response<Body>> {
        let request = axum::http::Request::builder().method(method).uri(path).body(Body::from(Vec::new()))?;
        Ok(self.client.send(request).await?)
    }

    async fn text(&self, method: &str, path: &str) -> Result<String> {
        let body = self.ask(method, path).await?.into_body().collect().await?;
        Ok(String::from_utf8(body.to_bytes().to_vec())?)
    }
}

const POD: &str = "/api/v1/namespaces/a/pods/b?force=true";
const PODS: &str = "/api/v1/pods?limit=5";
const WATCH: &str = "/api/v1/pods?watch=true";

fn on(verb: Verb) -> Rule {
    Rule::on([verb], "pods")
}

#[tokio::test]
async fn without_rules_requests_pass() {
    let stage = stage().await;
    assert_eq!(stage.text("PATCH", POD).await.unwrap(), "0");
    assert!(stage.text("GET", PODS).await.unwrap().contains(r#""resourceVersion":"1""#));
    assert_eq!(stage.proxy.writes().len(), 1);
    assert_eq!(stage.proxy.writes()[0].resource(), "/api/v1/namespaces/a/pods/b");
}

#[tokio::test]
async fn a_dropped_write_is_not_done_a_lost_one_is_and_a_refused_one_is_not() {
    let stage = stage().await;
    stage.proxy.inject(on(Verb::Patch).nth(1), Fault::Drop);
    stage.proxy.inject(on(Verb::Patch).nth(2), Fault::LoseAnswer);
    stage.proxy.inject(on(Verb::Patch).nth(3), Fault::Answer(Refusal::throttled(3)));
    for done in [0, 1] {
        assert!(stage.text("PATCH", POD).await.is_err());
        assert_eq!(stage.written.load(Ordering::Relaxed), done);
    }
    let refused = stage.ask("PATCH", POD).await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"3".parse().unwrap()));
    assert_eq!(stage.text("PATCH", POD).await.unwrap(), "1");
    let delivered: Vec<bool> = stage.proxy.writes().iter().map(|write| write.delivered).collect();
    assert_eq!(delivered, [false, true]);
}

#[tokio::test]
async fn what_hangs_goes_on_when_the_rule_is_lifted() {
    let stage = stage().await;
    for fault in [Fault::Hang, Fault::Stall] {
        let rule = stage.proxy.inject(on(Verb::List), fault.clone());
        let mut list = Box::pin(stage.text("GET", PODS));
        assert!(timeout(HANGS, &mut list).await.is_err(), "{fault:?}");
        rule.lift();
        let listed = timeout(SOON, list).await.unwrap().unwrap();
        assert_eq!(listed, LIST.replace('N', "0"), "{fault:?}");
    }
    let rule = stage.proxy.inject(on(Verb::Watch), Fault::Stall);
    let mut events = stage.ask("GET", WATCH).await.unwrap().into_body().into_data_stream();
    assert!(timeout(HANGS, events.next()).await.is_err());
    rule.lift();
    assert_eq!(timeout(SOON, events.next()).await.unwrap().unwrap().unwrap(), "event\n");
}

#[tokio::test]
async fn a_watch_is_cut_by_word_and_by_time() {
    let stage = stage().await;
    let timed = stage.proxy.inject(on(Verb::Watch).nth(2), Fault::CutAfter(HANGS));
    for cuts in [1, 0] {
        let mut events = stage.ask("GET", WATCH).await.unwrap().into_body().into_data_stream();
        assert_eq!(timeout(SOON, events.next()).await.unwrap().unwrap().unwrap(), "event\n");
        if cuts == 1 {
            assert_eq!((stage.proxy.cut_watches("nodes"), stage.proxy.cut_watches("pods")), (0, 1));
        }
        assert!(timeout(SOON, events.next()).await.unwrap().unwrap().is_err());
        assert_eq!(stage.proxy.running_watches("pods"), 0);
    }
    assert_eq!(timed.hits(), 1);
}

#[tokio::test]
async fn an_older_list_is_told_again_and_a_watch_may_bring_an_error() {
    let stage = stage().await;
    stage.text("GET", PODS).await.unwrap();
    stage.text("PATCH", POD).await.unwrap();
    let old = stage.proxy.inject(on(Verb::List).nth(1), Fault::OldList(0));
    assert!(stage.text("GET", "/api/v1/pods?limit=9").await.unwrap().contains(r#""resourceVersion":"0""#));
    assert!(stage.text("GET", PODS).await.unwrap().contains(r#""resourceVersion":"1""#));
    assert_eq!((old.seen(), old.hits()), (2, 1));
    stage.proxy.inject(on(Verb::Watch), Fault::ErrorEvent(Refusal::GONE));
    let event = stage.text("GET", WATCH).await.unwrap();
    assert!(event.starts_with(r#"{"object":{"#) || event.starts_with(r#"{"type":"ERROR""#), "{event}");
    assert!(event.contains(r#""code":410"#) && event.ends_with('\n'), "{event}");
}

#[tokio::test]
async fn a_slow_write_is_done_though_the_client_has_hung_up() {
    let stage = stage().await;
    stage.proxy.inject(on(Verb::Patch), Fault::Delay(2 * HANGS));
    assert!(timeout(HANGS, stage.text("PATCH", POD)).await.is_err());
    let done = async {
        while stage.proxy.writes().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, done).await.unwrap();
    assert_eq!(stage.written.load(Ordering::Relaxed), 1);
}
