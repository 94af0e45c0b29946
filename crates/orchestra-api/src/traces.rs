//! Traces for OpenTelemetry: one span for each request, and inside it those of the manager, the tiers and the embedders.
//!
//! A `traceparent` of the caller ([W3C Trace Context](https://www.w3.org/TR/trace-context/)) makes the request a part of
//! the caller's trace, and a call of an embedder's server carries one on. Spans go to a collector by OTLP over HTTP, from
//! a thread of their own: no request waits for it, and what it cannot take is dropped. While no collector is set, no span
//! is made.
//!
//! Attributes are those of OpenTelemetry's conventions: `http.request.method`, `http.route`, `http.response.status_code`,
//! `db.system.name`, `db.operation.name`, `gen_ai.request.model`, `error.type`. Spans of the log, which name tenants and
//! keys, are not among them, nor are events.

#[cfg(feature = "otlp")]
mod otlp;

use axum::http::{HeaderMap, Method};
use memory_core::{Error, Result};
use tracing::Span;
use tracing::field::Empty;
#[cfg(not(feature = "otlp"))]
use tracing_subscriber::layer::Identity;

use crate::metrics;

#[cfg(feature = "otlp")]
pub use otlp::Traces;

/// The targets of the spans that are exported.
#[cfg(feature = "otlp")]
const TARGETS: [&str; 3] = ["orchestra_api::traces", "orchestra_api::observed", "memory_core::manager"];

/// What writes into a request of ours of which trace it is a part.
#[cfg(feature = "otlp")]
pub(crate) const TRACE_HEADERS: Option<fn(&mut HeaderMap)> = Some(otlp::inject);
/// What writes into a request of ours of which trace it is a part: nothing.
#[cfg(not(feature = "otlp"))]
pub(crate) const TRACE_HEADERS: Option<fn(&mut HeaderMap)> = None;

/// The span of a request, beside it while it is worked on. A task of its own has to be inside of it too: a layer that does
/// not take the log's span does not look for what is around that.
#[derive(Debug, Clone)]
pub(crate) struct RequestSpan(pub Span);

/// Where traces go, and how many.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TraceSettings {
    /// The collector's URL for traces; none for no traces.
    pub endpoint: Option<String>,
    /// The share of the traces begun here that is taken, 0 to 1. The caller decides for its own.
    pub sample_ratio: f64,
}

impl TraceSettings {
    /// Refuses a collector that this program was built without the means to reach. `field` is the setting as it was given.
    pub(crate) fn check(&self, field: &str) -> Result<()> {
        match &self.endpoint {
            Some(endpoint) if !cfg!(feature = "otlp") => {
                Err(Error::invalid(field, endpoint, "nothing: this program was built without the feature otlp"))
            }
            Some(endpoint) if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") => {
                Err(Error::invalid(field, endpoint, "the URL of a collector, such as http://127.0.0.1:4318"))
            }
            _ => Ok(()),
        }
    }
}

/// The span of a request on a route, which is a part of the caller's trace where it says so.
pub(crate) fn of_request(method: &Method, route: &str, headers: &HeaderMap) -> Span {
    let span = tracing::debug_span!(
        "request",
        otel.name = %format_args!("{} {route}", known(method)),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = known(method),
        http.route = route,
        http.response.status_code = Empty,
    );
    #[cfg(feature = "otlp")]
    otlp::follow(&span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = headers;
    span
}

/// A client may send a method of any name.
fn known(method: &Method) -> &'static str {
    match metrics::method_name(method) {
        "other" => "_OTHER",
        name => name,
    }
}

/// Notes how a request ended.
pub(crate) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// What would end the export, in a program without it.
#[cfg(not(feature = "otlp"))]
#[derive(Debug, Default)]
pub struct Traces;

#[cfg(not(feature = "otlp"))]
impl Traces {
    /// Begins nothing.
    ///
    /// # Errors
    /// None.
    pub fn begin(_: &TraceSettings) -> anyhow::Result<(Self, Option<Identity>)> {
        Ok((Self, None))
    }

    /// Does nothing: there are none.
    pub async fn end(self) {}
}
