//! Logs and traces. Does I/O: writes to standard error, sends traces when an endpoint is set.
//!
//! A trace id exists for every pass, whether traces are sent or not: it is the `request_id` of logs and events.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use anyhow::{Context as _, Result};
use opentelemetry::{
    Context, Key,
    trace::{TraceContextExt, TracerProvider},
};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::runtime::Handle;
use tracing::{Level, Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, LevelFilter, filter_fn},
    fmt::{self, MakeWriter, format::JsonFields},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    args::{LogFormat, OperatorArgs},
    log_line::LogLine,
    otlp,
};

/// Name under which traces appear, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` gives another.
const SERVICE: &str = "kubenova-operator";

/// Logs and traces, set up.
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Sets up logs and traces for the whole program; traces are sent on threads of `runtime`.
    pub fn start(args: &OperatorArgs, runtime: &Handle) -> Result<Self> {
        let provider = provider(runtime)?;
        subscriber(args.log_format, &args.log_filter, &provider, io::stderr)?
            .try_init()
            .context("logs are set up already")?;
        Ok(Self { provider })
    }

    /// Sends the last traces, at most for `bound`. Blocks: not to be called on a thread of the runtime.
    pub fn finish(self, bound: Duration) {
        if let Err(error) = self.provider.shutdown_with_timeout(bound) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Id of the trace we are in, as 32 hexadecimal digits; empty outside of a pass.
pub fn request_id() -> String {
    trace_id(&Context::current())
}

/// Records the id of the trace that `span` belongs to in its field `request_id`, so that log lines show it.
pub fn record_request_id(span: &Span) {
    let id = trace_id(&span.context());
    if !id.is_empty() {
        span.record("request_id", id);
    }
}

fn trace_id(context: &Context) -> String {
    let span = context.span();
    let context = span.span_context();
    if context.is_valid() { context.trace_id().to_string() } else { String::new() }
}

fn provider(runtime: &Handle) -> Result<SdkTracerProvider> {
    let builder = SdkTracerProvider::builder().with_resource(resource());
    Ok(match otlp::exporter(runtime)? {
        Some(exporter) => builder.with_batch_exporter(exporter).build(),
        // Spans that nobody will see have an id and record nothing.
        None => builder.with_sampler(Sampler::AlwaysOff).build(),
    })
}

fn resource() -> Resource {
    let given = Resource::builder().build();
    let named = given
        .get(&Key::from_static_str("service.name"))
        .is_some_and(|name| !name.as_str().starts_with("unknown_service"));
    if named { given } else { Resource::builder().with_service_name(SERVICE).build() }
}

/// Everything between `tracing`'s macros and the two outputs.
fn subscriber<W>(
    format: LogFormat,
    filter: &str,
    provider: &SdkTracerProvider,
    writer: W,
) -> Result<impl Subscriber + Send + Sync + use<W>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let traces = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SERVICE))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(filter_fn(is_ours).with_max_level_hint(LevelFilter::INFO));
    // However little is logged, what is logged says which pass it belongs to.
    let our_spans = filter_fn(is_our_span).with_max_level_hint(LevelFilter::INFO);
    let filter = EnvFilter::builder().parse(filter).context("log filter cannot be read")?.or(our_spans);
    let lines = fmt::layer().with_writer(writer);
    let lines = match format {
        LogFormat::Json => {
            lines.fmt_fields(JsonFields::new()).event_format(LogLine).with_filter(filter).boxed()
        }
        LogFormat::Pretty => lines.with_ansi(io::stderr().is_terminal()).with_filter(filter).boxed(),
    };
    Ok(Registry::default().with(traces).with(lines))
}

/// Whether this is from the project's own code, at level info or above.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    *metadata.level() <= Level::INFO && (target.starts_with("nova_") || target.starts_with("kubenova"))
}

fn is_our_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && is_ours(metadata)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry_sdk::trace::InMemorySpanExporter;
    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        fn json(&self) -> Vec<Value> {
            self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }

    /// Runs `work` with logs into the lines that are given back.
    fn logged(format: LogFormat, filter: &str, provider: &SdkTracerProvider, work: impl FnOnce()) -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = subscriber(format, filter, provider, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, work);
        lines
    }

    fn without_exporter() -> SdkTracerProvider {
        SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build()
    }

    /// A pass as the operator makes it; gives back the id that an event would carry.
    fn pass(work: impl FnOnce()) -> String {
        let span = tracing::info_span!(
            "reconcile",
            controller = "tenant",
            object = "acme",
            tenant = "acme",
            request_id = tracing::field::Empty,
        );
        record_request_id(&span);
        span.in_scope(|| {
            work();
            request_id()
        })
    }

    #[test]
    fn a_log_line_names_its_pass_at_its_top_level() {
        let mut id = String::new();
        let lines = logged(LogFormat::Json, "info", &without_exporter(), || {
            id = pass(|| tracing::info!(writes = 3, dry = false, "applied"));
        });
        assert_eq!(id.len(), 32);
        let [line] = lines.json().try_into().unwrap();
        for (field, value) in [
            ("level", "INFO".into()),
            ("message", "applied".into()),
            ("controller", "tenant".into()),
            ("object", "acme".into()),
            ("tenant", "acme".into()),
            ("request_id", Value::String(id)),
            ("writes", 3.into()),
            ("dry", false.into()),
        ] {
            assert_eq!(line[field], value, "{field} in {line}");
        }
    }

    #[test]
    fn a_warning_names_its_pass_even_if_only_warnings_are_logged() {
        let mut id = String::new();
        let lines = logged(LogFormat::Json, "warn", &without_exporter(), || {
            id = pass(|| {
                tracing::info!("unheard");
                tracing::warn!("heard");
            });
        });
        let [line] = lines.json().try_into().unwrap();
        assert_eq!(line["message"], "heard");
        assert_eq!(line["request_id"], Value::String(id));
    }

    #[test]
    fn each_pass_has_its_own_id_and_outside_there_is_none() {
        logged(LogFormat::Json, "info", &without_exporter(), || {
            assert_ne!(pass(|| ()), pass(|| ()));
            assert_eq!(request_id(), "");
        });
    }

    #[test]
    fn the_id_in_the_logs_is_the_id_of_the_exported_trace() {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let mut id = String::new();
        logged(LogFormat::Json, "info", &provider, || id = pass(|| tracing::info!("applied")));
        let spans = exporter.get_finished_spans().unwrap();
        assert_eq!(spans.len(), 1);
        assert_eq!(spans[0].name, "reconcile");
        assert_eq!(spans[0].span_context.trace_id().to_string(), id);
    }

    #[test]
    fn a_line_for_people_names_its_pass_too() {
        let mut id = String::new();
        let lines = logged(LogFormat::Pretty, "info", &without_exporter(), || {
            id = pass(|| tracing::info!("applied"));
        });
        let text = lines.text();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains(&id) && text.contains("applied"), "{text}");
    }
}
