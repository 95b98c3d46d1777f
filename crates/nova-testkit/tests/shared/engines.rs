//! Capsule and KubeVela do their work.

use nova_testkit::{Component, ControlPlane, Identity, Manifests};

use super::eventually;

fn tenant(name: &str) -> String {
    format!(
        "apiVersion: capsule.clastix.io/v1beta2\nkind: Tenant\nmetadata: {{name: {name}}}\n\
         spec:\n  owners: [{{kind: Group, name: {name}-owners}}]\n"
    )
}

/// A namespace that Capsule takes into the tenant: it wants the label and the owner.
async fn tenant_namespace(plane: &ControlPlane, tenant: &str, name: &str) -> String {
    let uid = plane.kubectl(&["get", "tenant", tenant, "-o", "jsonpath={.metadata.uid}"]).await.unwrap();
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{capsule.clastix.io/tenant: {tenant}}}\n  \
         ownerReferences: [{{apiVersion: capsule.clastix.io/v1beta2, kind: Tenant, name: {tenant}, uid: {uid}}}]\n"
    )
}

const APPLICATION: &str = "
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {name: web, namespace: engines-web}
spec:
  components:
    - name: web
      type: webservice
      properties: {image: 'nginx:1.29', ports: [{port: 80, expose: true}]}
";

#[tokio::test]
async fn an_application_in_a_tenants_namespace_gets_running() {
    let plane = ControlPlane::shared().await.unwrap();
    plane.apply(&tenant("engines")).await.unwrap();
    // Only owners and Capsule's administrators make namespaces of a tenant, and the operator is one of the latter.
    let operator = Identity::operator().user_name();
    plane.operator().await.unwrap();
    let binding =
        ["create", "clusterrolebinding", "engines", "--clusterrole=cluster-admin", "--user", &operator];
    plane.kubectl(&binding).await.unwrap();
    let namespace = tenant_namespace(plane, "engines", "engines-web").await;
    let namespace = Manifests::from_yaml(&namespace, "default").unwrap();
    namespace.apply(&plane.operator().await.unwrap()).await.unwrap();
    let size = ["get", "tenant", "engines", "-o", "jsonpath={.status.size}"];
    eventually(plane, 10, &size, |found| found == "1").await;
    plane.apply(APPLICATION).await.unwrap();
    let status = ["get", "application", "web", "-n", "engines-web", "-o", "jsonpath={.status.status}"];
    eventually(plane, 20, &status, |found| found == "running").await;
    let ready = ["get", "deployment", "web", "-n", "engines-web", "-o", "jsonpath={.status.readyReplicas}"];
    assert_eq!(plane.kubectl(&ready).await.unwrap(), "1");
}

#[tokio::test]
async fn capsule_lets_owners_make_namespaces_and_nobody_else() {
    let plane = ControlPlane::shared().await.unwrap();
    plane.apply(&tenant("engines-own")).await.unwrap();
    let owner = Identity::user("olga", &["engines-own-owners", "projectcapsule.dev"]);
    let labelled = "apiVersion: v1\nkind: Namespace\nmetadata: {name: engines-own-one, labels: {capsule.clastix.io/tenant: engines-own}}";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), labelled).unwrap();
    let path = file.path().display().to_string();
    let stranger = Identity::user("steve", &["projectcapsule.dev"]);
    plane.kubectl_as(&stranger, &["create", "-f", &path]).await.unwrap_err();
    let size = ["get", "tenant", "engines-own", "-o", "jsonpath={.status.state}"];
    eventually(plane, 10, &size, |found| found == "Active").await;
    plane.kubectl_as(&owner, &["create", "-f", &path]).await.unwrap();
}

#[tokio::test]
async fn vela_and_the_api_server_are_stopped_and_started_again() {
    let plane = ControlPlane::start().await.unwrap();
    plane.stop(Component::Vela).await.unwrap();
    plane.kubectl(&["create", "namespace", "engines-web"]).await.unwrap();
    plane.apply(APPLICATION).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let status = ["get", "application", "web", "-n", "engines-web", "-o", "jsonpath={.status.status}"];
    assert_eq!(plane.kubectl(&status).await.unwrap(), "");
    plane.start_component(Component::Vela).await.unwrap();
    eventually(&plane, 20, &status, |found| found == "running").await;

    plane.stop(Component::ApiServer).await.unwrap();
    assert!(plane.kubectl(&["get", "namespaces"]).await.is_err());
    plane.start_component(Component::ApiServer).await.unwrap();
    // Vela may be at work on the Application again, but what was stored is there.
    eventually(&plane, 20, &status, |found| found == "running").await;
    plane.check().unwrap();
}

#[tokio::test]
async fn a_program_of_the_test_runs_under_the_control_plane() {
    let plane = ControlPlane::shared().await.unwrap();
    let program = plane
        .spawn("sleeper", "/bin/sh".as_ref(), &["-c".into(), "echo awake; sleep 60".into()], &[])
        .unwrap();
    while !std::fs::read_to_string(program.log()).unwrap().contains("awake\n") {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let usage = program.usage().unwrap();
    assert!(usage.memory > 0 && usage.peak_memory >= usage.memory, "{usage:?}");
    program.check().unwrap();
    program.stop(std::time::Duration::from_secs(2)).await;
    assert!(!program.is_running());
    program.check().unwrap();
}
