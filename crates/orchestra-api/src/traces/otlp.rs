//! The export, by OpenTelemetry's own library.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{Level, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use super::{TARGETS, TraceSettings};
use crate::http::is_this_machine;

const SERVICE: &str = "orchestra";
const TRACEPARENT: &str = "traceparent";
/// How long one export may take.
const EXPORT_WITHIN: Duration = Duration::from_secs(10);
/// How long the last spans get to reach the collector.
const END_WITHIN: Duration = Duration::from_secs(5);

/// The export, as long as it runs.
#[derive(Debug, Default)]
pub struct Traces {
    provider: Option<SdkTracerProvider>,
}

impl Traces {
    /// Begins the export where there is a collector, inside a runtime. The layer gives it the spans.
    ///
    /// # Errors
    /// When the URL of the collector is none, or there is no client to call it with.
    pub fn begin<S>(settings: &TraceSettings) -> anyhow::Result<(Self, Option<impl Layer<S> + use<S>>)>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let Some(endpoint) = &settings.endpoint else { return Ok((Self::default(), None)) };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_WITHIN)
            .with_http_client(Http { client: http_client(endpoint)?, runtime: Handle::current() })
            .build()
            .context("the export of traces cannot begin")?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_resource(resource())
            .with_batch_exporter(exporter)
            .build();
        let exported = filter_fn(|metadata| {
            metadata.is_span() && TARGETS.iter().any(|target| metadata.target().starts_with(target))
        });
        let layer = tracing_opentelemetry::layer()
            .with_tracer(provider.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false)
            .with_filter(exported.with_max_level_hint(Level::DEBUG));
        Ok((Self { provider: Some(provider) }, Some(layer)))
    }

    /// Sends what is left, and ends the export.
    pub async fn end(self) {
        let Some(provider) = self.provider else { return };
        // It waits for a client that runs on this runtime.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(END_WITHIN)).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last traces did not reach the collector"),
            Err(error) => tracing::warn!(%error, "the export of traces did not end in good order"),
        }
    }
}

/// Who sends the spans; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` go before what is here.
fn resource() -> Resource {
    let given = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let builder = Resource::builder();
    let builder = match given("OTEL_SERVICE_NAME") {
        true => builder,
        false => builder.with_service_name(SERVICE),
    };
    builder.with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build()
}

/// Makes a request's span a part of the caller's trace.
pub(super) fn follow(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || !headers.contains_key(TRACEPARENT) {
        return;
    }
    // A parent that cannot be set is one that came too late, which this is not.
    let _ = span.set_parent(TraceContextPropagator::new().extract(&Received(headers)));
}

/// Writes into the headers of a request of ours of which trace it is a part.
pub(super) fn inject(headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut Sent(headers));
}

struct Received<'a>(&'a HeaderMap);

impl Extractor for Received<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Sent<'a>(&'a mut HeaderMap);

impl Injector for Sent<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (key.parse::<HeaderName>(), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// The program's own client: one TLS stack for everything. The exporter waits on a thread without a runtime.
#[derive(Debug)]
struct Http {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        let client = self.client.clone();
        let answer = self.runtime.spawn(async move {
            let answer = client.execute(request).await?;
            let (status, headers) = (answer.status(), answer.headers().clone());
            Ok::<_, reqwest::Error>((status, headers, answer.bytes().await?))
        });
        let (status, headers, body) = answer.await??;
        let mut response = Response::new(body);
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        Ok(response)
    }
}

fn http_client(endpoint: &str) -> anyhow::Result<reqwest::Client> {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let endpoint: reqwest::Url = endpoint.parse().with_context(|| format!("{endpoint} is no URL of a collector"))?;
    let mut client = reqwest::Client::builder().timeout(EXPORT_WITHIN);
    if endpoint.host_str().is_some_and(is_this_machine) {
        client = client.no_proxy();
    }
    client.build().context("no client to send traces with")
}
