//! The proxy counts, streams and kills. What its rules do is in `faults.rs`.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use nova_testkit::{ControlPlane, FaultProxy, Identity};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

fn maps(namespace: &str) -> String {
    let map = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\n---\n")
    };
    ["one", "two", "three"].map(map).concat()
}

#[tokio::test]
async fn the_client_dies_after_the_chosen_write_and_never_learns_of_it() {
    let plane = ControlPlane::shared().await.unwrap();
    for chosen in 1..=3 {
        let namespace = format!("proxy-kill-{chosen}");
        plane.kubectl(&["create", "namespace", &namespace]).await.unwrap();
        let proxy = FaultProxy::start(plane, &Identity::Admin).await.unwrap();
        let mut kubectl = Command::new(plane.kubectl_path())
            .arg("--kubeconfig")
            .arg(proxy.kubeconfig())
            .args(["apply", "--server-side", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        proxy.kill_after(chosen, kubectl.id().unwrap()).unwrap();
        // It writes nothing before it has read its input to the end.
        let mut input = kubectl.stdin.take().unwrap();
        input.write_all(maps(&namespace).as_bytes()).await.unwrap();
        drop(input);
        let output = kubectl.wait_with_output().await.unwrap();

        assert_eq!(output.status.signal(), Some(9));
        assert!(proxy.has_killed());
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(told.lines().count(), chosen - 1, "{told}");
        let writes = proxy.writes();
        assert_eq!(writes.len(), chosen, "{writes:?}");
        assert_eq!(writes.iter().filter(|write| !write.delivered).count(), 1);
        assert!(!writes[chosen - 1].delivered);
        assert_eq!(writes[0].method, "PATCH");
        let names = plane.kubectl(&["get", "configmaps", "-n", &namespace, "-o", "name"]).await.unwrap();
        let made = names.lines().filter(|name| !name.contains("kube-root-ca")).count();
        assert_eq!(made, chosen, "{names}");
    }
}

/// A client behind a proxy that does not retry: what is answered is what it gets.
pub async fn client(proxy: &FaultProxy) -> kube::Client {
    let config = Kubeconfig::read_from(proxy.kubeconfig()).unwrap();
    let mut config =
        kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    kube::Client::try_from(config).unwrap()
}

#[tokio::test]
async fn without_a_kill_everything_passes_and_is_counted() {
    let plane = ControlPlane::shared().await.unwrap();
    let proxy = FaultProxy::start(plane, &Identity::user("proxied", &["system:masters"])).await.unwrap();
    let client = client(&proxy).await;
    plane.kubectl(&["create", "namespace", "proxy-pass"]).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(client, "proxy-pass");
    // A watch through the proxy is open while the writes pass.
    let version =
        api.list(&kube::api::ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut watch = Box::pin(api.watch(&WatchParams::default(), &version).await.unwrap());
    let mut map = ConfigMap::default();
    for name in ["a", "b"] {
        map.metadata.name = Some(name.to_owned());
        api.create(&PostParams::default(), &map).await.unwrap();
    }
    assert!(api.create(&PostParams::default(), &map).await.is_err());
    let mut seen = Vec::new();
    while !seen.contains(&"b".to_owned()) {
        let event =
            tokio::time::timeout(Duration::from_secs(5), watch.try_next()).await.unwrap().unwrap().unwrap();
        if let WatchEvent::Added(map) = event {
            seen.push(map.metadata.name.unwrap());
        }
    }
    let writes = proxy.writes();
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert!(writes.iter().all(|write| write.delivered));
    assert_eq!(writes[1].number, 2);
    assert!(proxy.kill_after(2, std::process::id()).is_err());
    proxy.reset();
    assert!(proxy.writes().is_empty());
    let audit = plane.audit();
    audit.settle().await;
    assert!(!audit.writes_by("proxied", nova_testkit::Mark::default()).unwrap().is_empty());
}
