//! When to stop: the first signal asks for it, the second one does not ask. Does I/O: signals.

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Turns true at the first SIGTERM or SIGINT; at the second one the program ends.
///
/// Must be called inside a runtime. The handlers are in place when this returns.
pub fn on_signal() -> Result<watch::Receiver<bool>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be listened for")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be listened for")?;
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        let (name, _) = next(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "asked to stop; a second signal ends the program at once");
        tell.send_replace(true);
        let (name, number) = next(&mut terminate, &mut interrupt).await;
        tracing::warn!(signal = name, "asked again; what is in flight is given up");
        std::process::exit(128 + number);
    });
    Ok(told)
}

/// Waits until the receiver says so. If nobody can say so any more, this waits for ever.
pub async fn told(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|told| *told).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> (&'static str, i32) {
    tokio::select! {
        _ = terminate.recv() => ("SIGTERM", SignalKind::terminate().as_raw_value()),
        _ = interrupt.recv() => ("SIGINT", SignalKind::interrupt().as_raw_value()),
    }
}
