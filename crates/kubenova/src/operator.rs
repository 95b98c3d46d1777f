//! Wires the operator together, runs it and takes it down in time. Does I/O through everything it wires.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use nova_operator::{Metrics, Operator, Settings, TimeLimits};
use tokio::{net::TcpListener, runtime, sync::watch};

use crate::{
    args::OperatorArgs,
    client,
    server::{self, Health},
    stop,
    telemetry::{self, Telemetry},
};

// Together below the 10 s that a stop may take.
/// For the passes in flight.
const PASSES: Duration = Duration::from_secs(7);
/// For the last traces.
const TRACES: Duration = Duration::from_secs(2);
/// For threads that still look up a name or the like.
const THREADS: Duration = Duration::from_millis(500);

/// Runs the operator until it is told to stop.
///
/// # Errors
///
/// Only what goes wrong before anything can be logged; the rest is logged and is in the exit code.
pub fn run(args: &OperatorArgs) -> Result<ExitCode> {
    // Explicitly, so that the choice does not hang on which crates happen to be built in.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        bail!("another provider of cryptography is installed already");
    }
    let runtime =
        runtime::Builder::new_multi_thread().enable_all().build().context("threads cannot be started")?;
    let telemetry = Telemetry::start(args, runtime.handle())?;
    let ended = runtime.block_on(work(args));
    if let Err(error) = &ended {
        tracing::error!(error = told(error), "operator cannot run");
    }
    telemetry.finish(TRACES);
    runtime.shutdown_timeout(THREADS);
    Ok(if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn work(args: &OperatorArgs) -> Result<()> {
    let stop = stop::on_signal()?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let listen = listener.local_addr().context("own address cannot be read")?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %listen, "operator starts");
    let health = Arc::new(Health::new(stop.clone()));
    // Before the first request to the cluster: a slow API server is no reason to be killed by the liveness probe.
    let serving = server::serve(listener, health.clone());
    tokio::select! {
        served = serving => served.context("health and metrics cannot be served"),
        ended = operate(args, &health, stop) => ended,
    }
}

async fn operate(args: &OperatorArgs, health: &Health, stop: watch::Receiver<bool>) -> Result<()> {
    let metrics = Arc::new(Metrics::default());
    let limits = TimeLimits { watch: args.watch_idle, ..TimeLimits::default() };
    let client = tokio::select! {
        client = client::connect(metrics.clone(), limits) => client?,
        () = stop::told(stop.clone()) => return Ok(()),
    };
    let settings = Settings {
        client,
        metrics: metrics.clone(),
        resync: args.resync,
        request_id: telemetry::request_id,
        record_request_id: telemetry::record_request_id,
    };
    let operator = Operator::new(settings, nova_operator::controllers());
    health.started(operator.ready(), move || metrics.text());
    operator.run(stop::told(stop.clone()), PASSES).await;
    if !*stop.borrow() {
        bail!("the operator ended without being told to");
    }
    tracing::info!("stopped");
    Ok(())
}

/// An error with its causes, without those that an outer one has told already, as kube's do.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |told, cause| match told.as_str() {
        "" => cause,
        before if before.contains(&cause) => told,
        before => format!("{before}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("connection refused").context("service: connection refused").context("no answer");
        assert_eq!(told(&error), "no answer: service: connection refused");
    }

    #[test]
    fn a_stop_fits_into_ten_seconds() {
        assert!(PASSES + TRACES + THREADS < Duration::from_secs(10));
    }
}
