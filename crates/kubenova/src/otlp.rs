//! Sends traces by OTLP over HTTP, when the environment names an endpoint. Does I/O: HTTP requests.

use std::{env, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use hyper_rustls::HttpsConnectorBuilder;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response, hyper::HyperClient};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use tokio::runtime::Handle;

/// Where the endpoint may stand; the first one that is set counts. The exporter reads the rest of `OTEL_*` itself.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// Longest wait for the collector's answer: what OTLP gives as the default.
const ANSWER: Duration = Duration::from_secs(10);

/// What sends traces, if an endpoint is set; requests run on `runtime`.
///
/// # Errors
///
/// When the endpoint is not a URL, or is `https` and no root certificates are found.
pub fn exporter(runtime: &Handle) -> Result<Option<SpanExporter>> {
    let Some(endpoint) = endpoint(|name| env::var(name).ok()) else { return Ok(None) };
    let client: Arc<dyn HttpClient> = if endpoint.to_ascii_lowercase().starts_with("https:") {
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .context("no root certificates for the https endpoint of traces; SSL_CERT_FILE can name them")?
            .https_only()
            .enable_http1()
            .build();
        Arc::new(HyperClient::new(connector, ANSWER, None))
    } else {
        Arc::new(HyperClient::with_default_connector(ANSWER, None))
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(OnRuntime { client, runtime: runtime.clone() })
        .build()
        .with_context(|| format!("traces cannot be sent to {endpoint:?}"))?;
    Ok(Some(exporter))
}

fn endpoint(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    ENDPOINTS.into_iter().filter_map(variable).find(|value| !value.trim().is_empty())
}

/// A client for a thread outside of the runtime, which is where batches of spans are sent from.
#[derive(Debug)]
struct OnRuntime {
    client: Arc<dyn HttpClient>,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        self.runtime.spawn(async move { client.send_bytes(request).await }).await?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_for_traces_goes_before_the_general_one() {
        assert_eq!(endpoint(|_| None), None);
        assert_eq!(endpoint(|_| Some(String::new())), None);
        let both = endpoint(|name| Some(name.to_owned()));
        assert_eq!(both.as_deref(), Some("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"));
        let general = endpoint(|name| (name == ENDPOINTS[1]).then(|| "http://collector:4318".to_owned()));
        assert_eq!(general.as_deref(), Some("http://collector:4318"));
    }
}
