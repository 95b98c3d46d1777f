//! YAML and charts are applied, CRDs first.

use nova_testkit::{ControlPlane, Identity, Manifests};
use serde_json::json;

const CRD: &str = "
apiVersion: example.com/v1
kind: Gadget
metadata: {name: first}
spec: {size: 3}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gadgets.example.com}
spec:
  group: example.com
  scope: Cluster
  names: {kind: Gadget, plural: gadgets}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

#[tokio::test]
async fn an_object_whose_kind_comes_after_it_in_the_file_is_applied() {
    let plane = ControlPlane::shared().await.unwrap();
    plane.apply(CRD).await.unwrap();
    plane.apply(CRD).await.unwrap();
    let size = plane.kubectl(&["get", "gadget", "first", "-o", "jsonpath={.spec.size}"]).await.unwrap();
    assert_eq!(size, "3");
}

#[tokio::test]
async fn what_the_api_server_refuses_is_told_with_kind_and_name() {
    let plane = ControlPlane::shared().await.unwrap();
    let bad = "apiVersion: v1\nkind: Namespace\nmetadata: {name: Not_A_Name}";
    let error = plane.apply(bad).await.unwrap_err();
    assert!(format!("{error:#}").contains("apply Namespace \"Not_A_Name\""), "{error:#}");
}

#[tokio::test]
async fn a_chart_is_rendered_and_installed_without_its_workload() {
    let plane = ControlPlane::shared().await.unwrap();
    let chart = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = chart.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("Chart.yaml", "apiVersion: v2\nname: tiny\nversion: 0.1.0\n");
    write(
        "templates/all.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tiny}\ndata: {greeting: {{ .Values.greeting }}}\n---\n\
         apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: kubenova-operator}\n---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: tiny}\n",
    );
    write("crds/widgets.yaml", &CRD.split("---").nth(1).unwrap().replace("adget", "idget"));
    let installed = plane.install_chart(chart.path(), &json!({"greeting": "hello"})).await.unwrap();
    assert_eq!(installed.objects().len(), 3);
    let args = ["get", "configmap", "tiny", "-n", "kubenova-system", "-o", "jsonpath={.data.greeting}"];
    assert_eq!(plane.kubectl(&args).await.unwrap(), "hello");
    assert!(plane.kubectl(&["get", "deployment", "tiny", "-n", "kubenova-system"]).await.is_err());
    plane.kubectl_as(&Identity::operator(), &["auth", "whoami"]).await.unwrap();
    // The garbage collector knows the new kind at once.
    plane.kubectl(&["create", "-f", "-"]).await.unwrap_err();
    garbage_goes_with_its_owner(plane).await;
}

async fn garbage_goes_with_its_owner(plane: &ControlPlane) {
    plane.apply("apiVersion: example.com/v1\nkind: Gidget\nmetadata: {name: owner}").await.unwrap();
    let uid = plane.kubectl(&["get", "gidget", "owner", "-o", "jsonpath={.metadata.uid}"]).await.unwrap();
    let owned = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "owned",
            "ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Gidget", "name": "owner", "uid": uid}],
        },
    });
    Manifests::from_values(vec![owned], "kubenova-system")
        .unwrap()
        .apply(&plane.admin().await.unwrap())
        .await
        .unwrap();
    plane.kubectl(&["delete", "gidget", "owner"]).await.unwrap();
    let args = ["get", "configmap", "owned", "-n", "kubenova-system", "--ignore-not-found", "-o", "name"];
    super::eventually(plane, 10, &args, str::is_empty).await;
}
