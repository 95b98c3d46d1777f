//! The control plane itself: it comes up, alone and side by side, and leaves nothing behind.

use nova_testkit::{ControlPlane, Options};

#[tokio::test]
async fn it_comes_up_within_half_a_minute() {
    let plane = ControlPlane::start_with(Options::default()).await.unwrap();
    eprintln!("started in {:?}", plane.started_in());
    for info in plane.components() {
        eprintln!(
            "{:24} pid {:6} port {:5} {:4} MiB",
            info.component,
            info.pid,
            info.port,
            info.memory.unwrap_or_default() >> 20
        );
    }
    eprintln!("{}", plane.kubectl(&["get", "nodes"]).await.unwrap());
    assert!(plane.started_in().as_secs() <= 30);
}
