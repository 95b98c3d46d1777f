//! One event as one line of JSON, with the fields of its spans at the top level. No I/O but the writer it is given.

use std::{
    error::Error,
    fmt::{self, Debug},
};

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormattedFields,
        format::{JsonFields, Writer},
        time::{FormatTime, SystemTime},
    },
    registry::{LookupSpan, Scope},
};

/// The format of a line. Where a span and the event have a field of the same name, the innermost one counts.
pub struct LogLine;

#[derive(Serialize)]
struct Line<'l> {
    timestamp: String,
    level: &'static str,
    message: Value,
    target: &'l str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<S> FormatEvent<S, JsonFields> for LogLine
where
    S: Subscriber + for<'s> LookupSpan<'s>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            if let Some(of_span) = extensions.get::<FormattedFields<JsonFields>>() {
                // The text was written by `JsonFields`, so it is an object, or empty.
                fields.0.extend(serde_json::from_str::<Map<_, _>>(of_span).unwrap_or_default());
            }
        }
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let metadata = event.metadata();
        // Crates that log through `log` arrive under one target and name their own in a field.
        let target = fields.remove("log.target");
        fields.retain(|name, _| !name.starts_with("log."));
        let message = fields.remove("message").unwrap_or_default();
        for name in ["timestamp", "level", "target"] {
            if let Some(value) = fields.remove(name) {
                fields.insert(format!("{name}_"), value);
            }
        }
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let line = Line {
            timestamp,
            level: metadata.level().as_str(),
            message,
            target: target.as_ref().and_then(Value::as_str).unwrap_or(metadata.target()),
            fields,
        };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

/// Collects the fields of an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        // Durations in milliseconds are of this type; what is larger than JSON's readers can take is text.
        match u64::try_from(value) {
            Ok(value) => self.set(field, value),
            Err(_) => self.set(field, value.to_string()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        self.set(field, text);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field, format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::{fmt::MakeWriter, prelude::*};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Sink {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn line(work: impl FnOnce()) -> String {
        let sink = Sink::default();
        let layer = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(LogLine)
            .with_writer(sink.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn time_level_and_message_come_first() {
        let text = line(|| tracing::info!(a = 1, "hello"));
        assert!(text.starts_with(r#"{"timestamp":"20"#), "{text}");
        assert!(text.contains(r#","level":"INFO","message":"hello","target":"#), "{text}");
    }

    #[test]
    fn a_message_of_several_lines_stays_one_line() {
        let text = line(|| tracing::error!("first\nsecond \"quoted\""));
        assert_eq!(text.lines().count(), 1);
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "first\nsecond \"quoted\"");
    }

    #[test]
    fn fields_of_outer_spans_are_there_and_the_innermost_counts() {
        let text = line(|| {
            let _outer = tracing::info_span!("outer", object = "acme", step = 1).entered();
            let _inner = tracing::info_span!("inner", step = 2).entered();
            tracing::info!("done");
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["object"], "acme");
        assert_eq!(line["step"], 2);
        assert_eq!(text.matches("\"step\"").count(), 1);
    }

    #[test]
    fn an_error_is_told_with_its_causes() {
        let error = io::Error::other(fmt::Error);
        let cause = anyhow::Error::new(error).context("cannot apply");
        let text = line(|| tracing::error!(error = &*cause as &(dyn Error + 'static), "failed"));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert!(line["error"].as_str().unwrap().starts_with("cannot apply: "), "{line}");
    }

    #[test]
    fn a_duration_in_milliseconds_is_a_number() {
        let text = line(|| tracing::info!(took_ms = std::time::Duration::from_secs(2).as_millis(), "done"));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["took_ms"], 2000);
    }

    #[test]
    fn a_field_cannot_pass_for_the_level() {
        let text = line(|| tracing::info!(level = "ERROR", "hello"));
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&line["level"], &line["level_"]), (&"INFO".into(), &"ERROR".into()));
    }
}
