//! What each rule of the proxy looks like to a client, in front of the real API server.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::ResourceExt;
use kube::runtime::WatchStreamExt as _;
use nova_testkit::fault_proxy::{Fault, Refusal, Rule, Verb};
use nova_testkit::{ControlPlane, FaultProxy, Identity};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use crate::fault_proxy::client;

/// Longer than anything takes that is not held up.
const SOON: Duration = Duration::from_secs(10);
/// What hangs has not come after this.
const HANGS: Duration = Duration::from_millis(700);

struct Stage {
    plane: &'static ControlPlane,
    proxy: FaultProxy,
    /// Behind the proxy.
    maps: Api<ConfigMap>,
    /// Past it.
    truth: Api<ConfigMap>,
}

/// A namespace with nothing in it but what every namespace has.
async fn stage(namespace: &str) -> Stage {
    let plane = ControlPlane::shared().await.unwrap();
    plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
    let proxy = FaultProxy::start(plane, &Identity::Admin).await.unwrap();
    let maps = Api::namespaced(client(&proxy).await, namespace);
    let truth: Api<ConfigMap> = Api::namespaced(plane.admin().await.unwrap(), namespace);
    // It comes at any moment, and would be in one list and not in the other.
    while truth.get_opt("kube-root-ca.crt").await.unwrap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Stage { plane, proxy, maps, truth }
}

fn map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

fn on(verb: Verb) -> Rule {
    Rule::on([verb], "configmaps")
}

async fn create(api: &Api<ConfigMap>, name: &str) -> Result<ConfigMap, kube::Error> {
    api.create(&PostParams::default(), &map(name)).await
}

async fn apply(api: &Api<ConfigMap>, name: &str, value: &str) -> Result<ConfigMap, kube::Error> {
    let data = BTreeMap::from([("value".to_owned(), value.to_owned())]);
    let map = ConfigMap { data: Some(data), ..map(name) };
    api.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&map)).await
}

async fn names(api: &Api<ConfigMap>) -> Vec<String> {
    let list = api.list(&ListParams::default()).await.unwrap();
    list.iter().map(ResourceExt::name_any).filter(|name| name != "kube-root-ca.crt").collect()
}

async fn version(api: &Api<ConfigMap>) -> String {
    api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap()
}

type Events = std::pin::Pin<Box<dyn Stream<Item = Result<WatchEvent<ConfigMap>, kube::Error>> + Send>>;

async fn watch(api: &Api<ConfigMap>, version: &str) -> Result<Events, kube::Error> {
    Ok(api.watch(&WatchParams::default(), version).await?.boxed())
}

async fn next(events: &mut Events) -> Option<Result<String, kube::Error>> {
    let event = timeout(SOON, events.next()).await.unwrap()?;
    Some(event.map(|event| match event {
        WatchEvent::Added(map) => format!("added {}", map.name_any()),
        WatchEvent::Error(status) => format!("error {} {}", status.code, status.reason),
        other => format!("{other:?}"),
    }))
}

/// A watch that breaks off ends or brings an error, as kube takes it.
async fn ended(events: &mut Events) -> bool {
    next(events).await.is_none_or(|event| event.is_err())
}

#[tokio::test]
async fn a_refusal_is_a_status_and_nothing_is_written() {
    let Stage { proxy, maps, truth, .. } = stage("faults-refused").await;
    let refusals = [
        (Refusal::CONFLICT, 409, "Conflict"),
        (Refusal::FORBIDDEN, 403, "Forbidden"),
        (Refusal::INTERNAL, 500, "InternalError"),
        (Refusal::UNAVAILABLE, 503, "ServiceUnavailable"),
        (Refusal::throttled(7), 429, "TooManyRequests"),
    ];
    for (refusal, code, reason) in refusals {
        let rule = proxy.inject(on(Verb::Create), Fault::Answer(refusal));
        let Err(kube::Error::Api(status)) = create(&maps, "refused").await else { panic!("{reason}") };
        assert_eq!((status.code, status.reason.as_str()), (code, reason));
        let after = status.details.map(|details| details.retry_after_seconds);
        assert_eq!(after, Some(if code == 429 { 7 } else { 0 }));
        assert_eq!(rule.hits(), 1);
        rule.lift();
    }
    assert!(names(&truth).await.is_empty() && proxy.writes().is_empty());
    create(&maps, "accepted").await.unwrap();
    assert_eq!(names(&truth).await, ["accepted"]);
}

#[tokio::test]
async fn a_rule_meets_the_one_object_and_the_one_time_that_it_names() {
    let Stage { proxy, maps, truth, .. } = stage("faults-nth").await;
    let rule = on(Verb::Patch).in_namespace("faults-*").named("chosen").nth(2);
    let rule = proxy.inject(rule, Fault::Answer(Refusal::CONFLICT));
    for (name, value, passes) in [
        ("other", "1", true),
        ("chosen", "1", true),
        ("other", "2", true),
        ("chosen", "2", false),
        ("chosen", "3", true),
    ] {
        assert_eq!(apply(&maps, name, value).await.is_ok(), passes, "{name} {value}");
    }
    assert_eq!((rule.seen(), rule.hits()), (3, 1));
    assert_eq!(truth.get("chosen").await.unwrap().data.unwrap()["value"], "3");
}

#[tokio::test]
async fn a_dropped_request_is_not_done_and_one_whose_answer_is_lost_is() {
    let Stage { proxy, maps, truth, .. } = stage("faults-lost").await;
    let dropped = proxy.inject(on(Verb::Create).nth(1), Fault::Drop);
    let lost = proxy.inject(on(Verb::Create).nth(2), Fault::LoseAnswer);
    for name in ["dropped", "lost"] {
        let error = create(&maps, name).await.unwrap_err();
        assert!(!matches!(error, kube::Error::Api(_)), "{name}: {error:?}");
    }
    assert_eq!((dropped.hits(), lost.hits()), (1, 1));
    assert_eq!(names(&truth).await, ["lost"]);
    create(&maps, "third").await.unwrap();
    let delivered: Vec<bool> = proxy.writes().iter().map(|write| write.delivered).collect();
    assert_eq!(delivered, [false, true]);
}

#[tokio::test]
async fn a_slow_write_is_done_though_the_client_has_hung_up() {
    const SLOW: Duration = Duration::from_millis(1500);
    let Stage { proxy, maps, truth, .. } = stage("faults-slow").await;
    proxy.inject(on(Verb::Create), Fault::Delay(SLOW));
    let start = Instant::now();
    create(&maps, "patient").await.unwrap();
    assert!(start.elapsed() >= SLOW);
    assert!(timeout(HANGS, create(&maps, "hasty")).await.is_err());
    let until = Instant::now() + SOON;
    while !names(&truth).await.contains(&"hasty".to_owned()) {
        assert!(Instant::now() < until, "it was not done");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_hangs_is_answered_when_the_rule_is_lifted() {
    let Stage { proxy, maps, .. } = stage("faults-hang").await;
    let from = version(&maps).await;
    for fault in [Fault::Hang, Fault::Stall] {
        let list = proxy.inject(on(Verb::List), fault.clone());
        let everything = ListParams::default();
        let mut listing = Box::pin(maps.list(&everything));
        assert!(timeout(HANGS, &mut listing).await.is_err(), "{fault:?}: the list came");
        // Others are not held up, neither by name nor by kind.
        timeout(SOON, maps.get("kube-root-ca.crt")).await.unwrap().unwrap();
        list.lift();
        let listed = timeout(SOON, listing).await.unwrap().unwrap();
        assert_eq!(listed.items.len(), 1, "{fault:?}");
    }
    let hung = proxy.inject(on(Verb::Watch), Fault::Hang);
    assert!(timeout(HANGS, watch(&maps, &from)).await.is_err(), "the watch came");
    hung.lift();
    let silent = proxy.inject(on(Verb::Watch), Fault::Stall);
    let mut events = timeout(SOON, watch(&maps, &from)).await.unwrap().unwrap();
    create(&maps, "unheard").await.unwrap();
    assert!(timeout(HANGS, events.next()).await.is_err(), "the watch spoke");
    silent.lift();
    assert_eq!(next(&mut events).await.unwrap().unwrap(), "added unheard");
}

#[tokio::test]
async fn a_running_watch_is_cut() {
    let Stage { proxy, maps, .. } = stage("faults-cut").await;
    let from = version(&maps).await;
    let mut events = watch(&maps, &from).await.unwrap();
    create(&maps, "before").await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().unwrap(), "added before");
    assert_eq!((proxy.running_watches("configmaps"), proxy.cut_watches("secrets")), (1, 0));
    assert_eq!(proxy.cut_watches("configmaps"), 1);
    assert!(ended(&mut events).await);
    assert_eq!((proxy.running_watches("configmaps"), proxy.cut_watches("configmaps")), (0, 0));
    // One that begins anew goes on from there.
    let short = proxy.inject(on(Verb::Watch), Fault::CutAfter(HANGS));
    let mut events = watch(&maps, &from).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().unwrap(), "added before");
    assert!(ended(&mut events).await);
    assert_eq!(short.hits(), 1);
}

#[tokio::test]
async fn a_version_is_too_old_by_answer_and_by_event() {
    let Stage { proxy, maps, .. } = stage("faults-gone").await;
    let from = version(&maps).await;
    proxy.inject(on(Verb::Watch).nth(1), Fault::Answer(Refusal::GONE));
    proxy.inject(on(Verb::Watch).nth(2), Fault::ErrorEvent(Refusal::GONE));
    let Err(kube::Error::Api(status)) = watch(&maps, &from).await else { panic!("no answer 410") };
    assert_eq!(status.code, 410);
    let mut events = watch(&maps, &from).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().unwrap(), "error 410 Expired");
    assert!(next(&mut events).await.is_none());
    assert!(watch(&maps, &from).await.is_ok());
}

#[tokio::test]
async fn an_older_list_comes_again_and_a_watch_goes_on_from_it() {
    let Stage { proxy, maps, truth, .. } = stage("faults-old").await;
    create(&truth, "first").await.unwrap();
    assert_eq!(names(&maps).await, ["first"]);
    create(&truth, "second").await.unwrap();
    assert_eq!(names(&maps).await, ["first", "second"]);
    let old = proxy.inject(on(Verb::List).nth(1), Fault::OldList(0));
    let list = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!((old.hits(), list.items.len()), (1, 2), "the root certificate is there too");
    let mut events = watch(&maps, &list.metadata.resource_version.unwrap()).await.unwrap();
    assert_eq!(next(&mut events).await.unwrap().unwrap(), "added second");
    assert_eq!(names(&maps).await, ["first", "second"]);
    // Of another list none is kept.
    proxy.inject(on(Verb::List).nth(1), Fault::OldList(0));
    assert!(maps.list(&ListParams::default().labels("a=b")).await.is_err());
}

#[tokio::test]
async fn a_rule_kills_after_the_write_and_the_answer_is_seen_by_nobody() {
    let Stage { plane, proxy, truth, .. } = stage("faults-kill").await;
    let mut kubectl = Command::new(plane.kubectl_path())
        .arg("--kubeconfig")
        .arg(proxy.kubeconfig())
        .args(["apply", "--server-side", "-n", "faults-kill", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let rule = proxy.inject(on(Verb::Patch).named("two"), Fault::Kill(kubectl.id().unwrap()));
    let mut input = kubectl.stdin.take().unwrap();
    for name in ["one", "two", "three"] {
        let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n---\n");
        input.write_all(text.as_bytes()).await.unwrap();
    }
    drop(input);
    let output = kubectl.wait_with_output().await.unwrap();
    assert_eq!((output.status.signal(), rule.hits(), proxy.has_killed()), (Some(9), 1, true));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 1);
    let mut made = names(&truth).await;
    made.sort();
    assert_eq!(made, ["one", "two"]);
}

/// Errors are the client's to heal.
async fn wait_for(
    applied: &mut (impl Stream<Item = Result<ConfigMap, kube::runtime::watcher::Error>> + Unpin),
    name: &str,
) {
    let seen = async {
        loop {
            let object = applied.next().await.expect("a watcher never ends");
            if object.is_ok_and(|object| object.name_any() == name) {
                return;
            }
        }
    };
    timeout(Duration::from_secs(30), seen).await.unwrap();
}

#[tokio::test]
async fn a_client_that_watches_with_care_misses_nothing_through_all_of_it() {
    let Stage { proxy, maps, truth, .. } = stage("faults-watcher").await;
    let stream = kube::runtime::watcher(maps, kube::runtime::watcher::Config::default()).default_backoff();
    let mut applied = stream.applied_objects().boxed();
    create(&truth, "plain").await.unwrap();
    wait_for(&mut applied, "plain").await;
    for (name, fault) in [
        ("cut", Fault::Pass),
        ("dropped", Fault::Drop),
        ("refused", Fault::Answer(Refusal::UNAVAILABLE)),
        ("expired", Fault::ErrorEvent(Refusal::GONE)),
    ] {
        let met = proxy.inject(on(Verb::Watch).nth(1), fault);
        proxy.cut_watches("configmaps");
        create(&truth, name).await.unwrap();
        wait_for(&mut applied, name).await;
        assert_eq!(met.hits(), 1, "{name}");
    }
}
