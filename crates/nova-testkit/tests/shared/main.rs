//! What the testkit offers on a running control plane. All of these share one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod audit;
mod engines;
mod fault_proxy;
mod faults;
mod identities;
mod lives;
mod manifests;

use std::time::{Duration, Instant};

use nova_testkit::ControlPlane;

/// Asks `kubectl` until it prints what is wanted, for at most `seconds`.
async fn eventually(
    plane: &ControlPlane,
    seconds: u64,
    args: &[&str],
    wanted: impl Fn(&str) -> bool,
) -> String {
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        let printed = plane.kubectl(args).await.unwrap_or_else(|error| format!("{error:#}"));
        if wanted(&printed) {
            return printed;
        }
        assert!(Instant::now() < until, "kubectl {} still prints: {printed}", args.join(" "));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
