//! The control plane itself: it comes up, alone and side by side, and leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nova_testkit::{CapsuleValues, Component, ControlPlane, Options, process};
use tokio::sync::Mutex;

/// Each of these tests starts control planes of its own; together they would measure each other's load.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The smallest control plane: what these tests look at is processes, not engines.
fn small() -> Options {
    Options { capsule: CapsuleValues::Off, vela: false, simulated_nodes: 1, ..Options::default() }
}

fn print(plane: &ControlPlane) {
    eprintln!("started in {:.1} s", plane.started_in().as_secs_f32());
    for info in plane.components() {
        eprintln!("{:24} {:4} MiB", info.component, info.memory.unwrap_or_default() >> 20);
    }
}

#[tokio::test]
async fn it_comes_up_within_half_a_minute() {
    let _alone = ALONE.lock().await;
    let plane = ControlPlane::start().await.unwrap();
    print(&plane);
    assert!(plane.started_in() <= Duration::from_secs(30), "{:?}", plane.started_in());
    let nodes = plane.kubectl(&["get", "nodes", "--no-headers"]).await.unwrap();
    assert_eq!(nodes.lines().filter(|line| line.contains(" Ready ")).count(), 3, "{nodes}");
}

#[tokio::test]
async fn two_run_side_by_side() {
    let _alone = ALONE.lock().await;
    let (one, other) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    let (one, other) = (one.unwrap(), other.unwrap());
    print(&one);
    print(&other);
    one.kubectl(&["create", "namespace", "only-in-one"]).await.unwrap();
    assert!(other.kubectl(&["get", "namespace", "only-in-one"]).await.is_err());
    drop(one);
    other.check().unwrap();
    other.kubectl(&["create", "namespace", "still-here"]).await.unwrap();
}

#[tokio::test]
async fn capsule_with_its_defaults_answers_and_blocks_when_it_stops() {
    let _alone = ALONE.lock().await;
    let plane = ControlPlane::start_with(Options {
        capsule: CapsuleValues::Defaults,
        vela: false,
        ..Options::default()
    })
    .await
    .unwrap();
    let webhooks = plane.kubectl(&["get", "validatingwebhookconfigurations", "-o", "yaml"]).await.unwrap();
    assert!(webhooks.contains("generic.rules.validating.projectcapsule.dev"));
    plane.kubectl(&["create", "namespace", "before"]).await.unwrap();
    plane.stop(Component::Capsule).await.unwrap();
    plane.check().unwrap();
    let refused = plane.kubectl(&["create", "namespace", "meanwhile"]).await.unwrap_err().to_string();
    assert!(refused.contains("failed calling webhook"), "{refused}");
    plane.start_component(Component::Capsule).await.unwrap();
    plane.kubectl(&["create", "namespace", "after"]).await.unwrap();
}

#[tokio::test]
async fn the_kinds_of_both_engines_can_be_had_without_the_engines() {
    let _alone = ALONE.lock().await;
    let plane =
        ControlPlane::start_with(Options { crds_only: true, simulated_nodes: 0, ..Options::default() })
            .await
            .unwrap();
    assert!(
        plane
            .components()
            .iter()
            .all(|info| ![Component::Capsule, Component::Vela].contains(&info.component))
    );
    plane
        .apply("apiVersion: capsule.clastix.io/v1beta2\nkind: Tenant\nmetadata: {name: a}\nspec: {owners: [{kind: User, name: ann}]}")
        .await
        .unwrap();
    plane.kubectl(&["get", "componentdefinition", "webservice", "-n", "vela-system"]).await.unwrap();
}

#[tokio::test]
async fn a_component_that_dies_is_reported_with_the_end_of_its_log() {
    let _alone = ALONE.lock().await;
    let plane = ControlPlane::start_with(small()).await.unwrap();
    plane.check().unwrap();
    let scheduler =
        plane.components().into_iter().find(|info| info.component == Component::Scheduler).unwrap();
    process::kill(scheduler.pid).unwrap();
    let report = tokio::time::timeout(Duration::from_secs(5), plane.died()).await.unwrap().to_string();
    assert!(report.starts_with("kube-scheduler ended: signal: 9"), "{report}");
    assert!(report.lines().count() > 5, "{report}");
    assert!(plane.check().is_err());
}

#[tokio::test]
async fn a_start_that_fails_leaves_nothing_behind() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    // A file where the API server's audit policy goes makes the start fail half way.
    std::fs::create_dir_all(dir.join("audit-policy.json")).unwrap();
    let error = ControlPlane::start_with(Options { dir: Some(dir.clone()), ..small() }).await.err().unwrap();
    assert!(format!("{error:#}").contains("audit-policy.json"), "{error:#}");
    assert_gone(&dir);
}

#[tokio::test]
async fn dropping_it_leaves_nothing_behind() {
    let _alone = ALONE.lock().await;
    let plane = ControlPlane::start_with(small()).await.unwrap();
    let dir = plane.dir().to_path_buf();
    assert!(!users_of(&dir).is_empty());
    let begun = Instant::now();
    drop(plane);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_gone(&dir);
}

#[test]
fn an_owner_that_is_killed_leaves_nothing_behind() {
    let _alone = ALONE.blocking_lock();
    let (owner, dir) = owner("wait");
    process::kill(owner.id()).unwrap();
    ended(owner);
    assert_gone(&dir);
}

#[test]
fn an_owner_that_is_interrupted_leaves_nothing_behind() {
    let _alone = ALONE.blocking_lock();
    let (owner, dir) = owner("wait");
    process::interrupt(owner.id()).unwrap();
    ended(owner);
    assert_gone(&dir);
}

#[test]
fn an_owner_that_panics_leaves_nothing_behind() {
    let _alone = ALONE.blocking_lock();
    let (owner, dir) = owner("panic");
    ended(owner);
    assert_gone(&dir);
}

#[test]
fn an_owner_that_is_killed_while_it_starts_leaves_nothing_behind() {
    let _alone = ALONE.blocking_lock();
    // The later parts are the ones most likely to be started just then.
    for pause in [300, 1_500, 3_000] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("state");
        let owner = spawn_owner("wait", &dir);
        std::thread::sleep(Duration::from_millis(pause));
        process::kill(owner.id()).unwrap();
        ended(owner);
        assert_gone(&dir);
    }
}

/// Not a test of its own: what the tests above run as a process and end.
#[tokio::test]
#[ignore = "an owner for other tests to kill"]
async fn owner_of_a_control_plane() {
    let Some(dir) = std::env::var_os("OWNER_DIR") else { return };
    let plane = ControlPlane::start_with(Options { dir: Some(dir.into()), ..small() }).await.unwrap();
    println!("\nREADY {}", plane.dir().display());
    assert!(std::env::var("OWNER_END").is_ok_and(|end| end != "panic"), "as asked");
    std::future::pending::<()>().await;
}

fn spawn_owner(end: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "owner_of_a_control_plane", "--nocapture"])
        .env("OWNER_DIR", dir)
        .env("OWNER_END", end)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn owner(end: &str) -> (Child, PathBuf) {
    let dir = tempfile::tempdir().unwrap().keep().join("state");
    let mut child = spawn_owner(end, &dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("READY")), "the owner did not start");
    (child, dir)
}

fn ended(mut owner: Child) {
    assert!(!owner.wait().unwrap().success());
}

/// Processes whose command line names the state folder: every component's does, and the reaper's.
fn users_of(dir: &Path) -> Vec<String> {
    let dir = dir.display().to_string();
    let line = |pid: &Path| {
        let bytes = std::fs::read(pid.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\0', " ")
    };
    let processes = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes.map(|pid| line(&pid)).filter(|line| line.contains(&dir) && !line.contains("--exact")).collect()
}

fn assert_gone(dir: &Path) {
    let until = Instant::now() + Duration::from_secs(5);
    while !users_of(dir).is_empty() || dir.exists() {
        assert!(Instant::now() < until, "left: {:?}, folder: {}", users_of(dir), dir.exists());
        std::thread::sleep(Duration::from_millis(20));
    }
}
