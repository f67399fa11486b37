//! From tracing to the collector.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use opentelemetry::{KeyValue, logs::LoggerProvider, trace::TracerProvider};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{LogExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, logs::SdkLoggerProvider, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing_subscriber::{Layer, filter::filter_fn};

use super::{
    super::log::{self, Beside},
    logs::Logs,
    way::Way,
};

/// What the collector is told that this is.
const SERVICE: &str = "ringfence";
/// How long what is left may take when the daemon ends: the supervisor waits ten seconds for everything.
const END_TIME: Duration = Duration::from_secs(2);

/// Sends what is left when it is dropped. The runtime must be there then.
pub(in crate::roles) struct Exporting {
    logs: SdkLoggerProvider,
    spans: SdkTracerProvider,
}

impl Drop for Exporting {
    fn drop(&mut self) {
        // Whatever could not be sent was told by the way to the collector, as often as it began to fail.
        let _ = self.spans.shutdown_with_timeout(END_TIME);
        let _ = self.logs.shutdown_with_timeout(END_TIME);
    }
}

/// Prepares to tell the collector at `endpoint`; an empty one is none. What comes first goes beside the log.
///
/// # Errors
/// No certificates can be found for a collector behind TLS, or the address is none.
pub(in crate::roles) fn start(
    endpoint: &str,
    build: &str,
    runtime: &Handle,
) -> anyhow::Result<(Option<Beside>, Option<Exporting>)> {
    if endpoint.is_empty() {
        return Ok((None, None));
    }
    let below = |path: &str| format!("{}/v1/{path}", endpoint.trim_end_matches('/'));
    let way: Arc<dyn HttpClient> = Arc::new(Way::new(endpoint, runtime.clone())?);
    let resource = Resource::builder_empty()
        .with_service_name(SERVICE)
        .with_attributes([KeyValue::new("service.version", build.to_owned()), KeyValue::new("ringfence.role", "serve")])
        .build();
    let exporter = LogExporter::builder()
        .with_http()
        .with_shared_http_client(way.clone())
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(below("logs"))
        .build()
        .context("preparing to send the log to the collector")?;
    let logs = SdkLoggerProvider::builder().with_resource(resource.clone()).with_batch_exporter(exporter).build();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_shared_http_client(way)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(below("traces"))
        .build()
        .context("preparing to send spans to the collector")?;
    let spans = SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    // Of the requests alone: what libraries have in their spans nobody of us has looked through. Events would go along unmasked.
    let of_requests = filter_fn(|metadata| metadata.is_span() && metadata.target() == ringfence_server::TRACE_TARGET);
    let traced = tracing_opentelemetry::layer()
        .with_tracer(spans.tracer(SERVICE))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(of_requests);
    let logged = Logs::new(logs.logger(SERVICE)).with_filter(log::filter(log::QUIET_IN_SERVE)?);
    Ok((Some(logged.and_then(traced).boxed()), Some(Exporting { logs, spans })))
}
