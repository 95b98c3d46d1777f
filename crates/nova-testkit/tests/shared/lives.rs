//! Pods live well or badly, as their image tag or annotation says.

use nova_testkit::ControlPlane;

use super::eventually;

const STATE: &str = "jsonpath={.status.phase} {.status.containerStatuses[0].state.waiting.reason} \
                     {.status.containerStatuses[0].lastState.terminated.exitCode} \
                     {.status.conditions[?(@.type==\"Ready\")].status}";

fn pod(namespace: &str, name: &str, image: &str, life: Option<&str>) -> String {
    let annotations =
        life.map(|life| format!("annotations: {{kubenova.io/test-pod-life: {life}}}")).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n  {annotations}\n\
         spec:\n  initContainers: [{{name: first, image: busybox}}]\n  containers: [{{name: main, image: {image}}}]\n"
    )
}

async fn lives(name: &str, image: &str, life: Option<&str>, wanted: &str) {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = format!("lives-{name}");
    plane.kubectl(&["create", "namespace", &namespace]).await.unwrap();
    plane.apply(&pod(&namespace, name, image, life)).await.unwrap();
    let args = ["get", "pod", name, "-n", &namespace, "-o", STATE];
    eventually(plane, 15, &args, |state| state.split_whitespace().collect::<Vec<_>>().join(" ") == wanted)
        .await;
}

#[tokio::test]
async fn a_good_pod_runs() {
    lives("good", "nginx:1.29", None, "Running True").await;
}

#[tokio::test]
async fn a_bad_image_is_not_pulled() {
    lives("bad-image", "registry.example.com/shop:bad-image", None, "Pending ImagePullBackOff False").await;
}

#[tokio::test]
async fn an_image_pull_error_can_be_asked_for_by_annotation() {
    lives("pull-error", "nginx:1.29", Some("image-pull-error"), "Pending ImagePullBackOff False").await;
}

#[tokio::test]
async fn a_crash_loop_shows_the_last_exit_code() {
    lives("crash-tag", "shop:crash-loop", None, "Running CrashLoopBackOff 1 False").await;
    lives("crash-note", "shop:1", Some("crash-loop"), "Running CrashLoopBackOff 1 False").await;
}

#[tokio::test]
async fn a_pod_that_is_never_ready_runs_all_the_same() {
    lives("never-ready", "shop:1", Some("never-ready"), "Running False").await;
}

#[tokio::test]
async fn a_bad_pod_whose_annotation_turns_good_recovers() {
    lives("recovers", "shop:1", Some("never-ready"), "Running False").await;
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = "lives-recovers";
    plane
        .kubectl(&[
            "annotate",
            "pod",
            "recovers",
            "-n",
            namespace,
            "kubenova.io/test-pod-life-",
            "--overwrite",
        ])
        .await
        .unwrap();
    let args = ["get", "pod", "recovers", "-n", namespace, "-o", STATE];
    eventually(plane, 15, &args, |state| state.split_whitespace().eq(["Running", "True"])).await;
}

#[tokio::test]
async fn a_deployment_heals_when_its_image_turns_good() {
    let plane = ControlPlane::shared().await.unwrap();
    let namespace = "lives-heals";
    plane.kubectl(&["create", "namespace", namespace]).await.unwrap();
    plane
        .kubectl(&[
            "create",
            "deployment",
            "shop",
            "-n",
            namespace,
            "--image",
            "shop:bad-image",
            "--replicas",
            "2",
        ])
        .await
        .unwrap();
    let reasons = [
        "get",
        "pods",
        "-n",
        namespace,
        "-o",
        "jsonpath={.items[*].status.containerStatuses[0].state.waiting.reason}",
    ];
    eventually(plane, 15, &reasons, |found| found == "ImagePullBackOff ImagePullBackOff").await;
    plane.kubectl(&["set", "image", "deployment/shop", "-n", namespace, "shop=shop:1"]).await.unwrap();
    plane.kubectl(&["rollout", "status", "deployment/shop", "-n", namespace, "--timeout=20s"]).await.unwrap();
}
