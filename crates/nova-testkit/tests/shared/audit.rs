//! The audit log tells who wrote what.

use std::time::Duration;

use nova_testkit::{ControlPlane, Identity};

#[tokio::test]
async fn the_writes_of_a_user_are_counted_and_nobody_elses() {
    let plane = ControlPlane::shared().await.unwrap();
    let audit = plane.audit();
    let ann = Identity::user("audit-ann", &["system:masters"]);
    let mark = audit.mark().unwrap();
    plane.kubectl(&["create", "namespace", "audit"]).await.unwrap();
    plane.kubectl_as(&ann, &["create", "configmap", "one", "-n", "audit"]).await.unwrap();
    plane.kubectl_as(&ann, &["get", "configmap", "one", "-n", "audit"]).await.unwrap();
    plane.kubectl_as(&ann, &["auth", "can-i", "create", "pods"]).await.unwrap();
    plane.kubectl_as(&ann, &["create", "configmap", "two", "-n", "audit", "--dry-run=server"]).await.unwrap();
    plane.kubectl_as(&ann, &["label", "namespace", "audit", "a=b"]).await.unwrap();
    plane.kubectl_as(&ann, &["create", "configmap", "one", "-n", "audit"]).await.unwrap_err();
    audit.settle().await;

    let writes = audit.writes_by("audit-ann", mark).unwrap();
    let summaries: Vec<_> = writes.iter().map(nova_testkit::Entry::summary).collect();
    assert_eq!(
        summaries,
        [
            "create configmaps/audit/one 201",
            "patch namespaces/audit/audit 200",
            "create configmaps/audit/one 409"
        ]
    );
    assert!(writes[0].user_agent.starts_with("kubectl"), "{}", writes[0].user_agent);
    assert!(writes[0].received.is_some());
    assert_eq!(writes[1].body.as_ref().unwrap()["metadata"]["labels"]["a"], "b");
    assert!(!writes[2].succeeded());
    let later = audit.mark().unwrap();
    assert!(audit.writes_by("audit-ann", later).unwrap().is_empty());
}

#[tokio::test]
async fn an_impersonated_write_belongs_to_both() {
    let plane = ControlPlane::shared().await.unwrap();
    let audit = plane.audit();
    let mark = audit.mark().unwrap();
    plane
        .kubectl(&["create", "namespace", "audit-as", "--as", "audit-bob", "--as-group", "system:masters"])
        .await
        .unwrap();
    audit.settle().await;
    let writes = audit.writes_by("audit-bob", mark).unwrap();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].user, "kubernetes-admin");
    assert_eq!(writes[0].acting(), "audit-bob");
}

#[tokio::test]
async fn a_hundred_writes_are_a_hundred_lines() {
    let plane = ControlPlane::shared().await.unwrap();
    plane.kubectl(&["create", "namespace", "audit-hundred"]).await.unwrap();
    let identity = Identity::user("audit-hundred", &["system:masters"]);
    let client = plane.client(&identity).await.unwrap();
    let api: kube::Api<k8s_openapi::api::core::v1::ConfigMap> =
        kube::Api::namespaced(client, "audit-hundred");
    let mark = plane.audit().mark().unwrap();
    for number in 0..100 {
        let mut map = k8s_openapi::api::core::v1::ConfigMap::default();
        map.metadata.name = Some(format!("n{number}"));
        api.create(&kube::api::PostParams::default(), &map).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(plane.audit().writes_by("audit-hundred", mark).unwrap().len(), 100);
}
