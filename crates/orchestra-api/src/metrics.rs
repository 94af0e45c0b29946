//! What the process measures of itself, in the text format of Prometheus.
//!
//! `docs/metrics.md` lists all of it, with that of the providers, and a test holds the list against a server. Tenants,
//! users and texts are in no label. A `route` is the pattern that a request matched, so labels have no more values than
//! there are routes.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::state::AppState;
use crate::{background, brake, moving, observed};

pub mod lag;
mod process;

const REQUESTS: &str = "orchestra_http_requests_total";
const REQUEST_SECONDS: &str = "orchestra_http_request_seconds";
const FEEDBACK: &str = "orchestra_cache_feedback_total";
const INFO: &str = "orchestra_info";

/// The content type of [`render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the histograms' buckets, in seconds: a cached answer takes tenths of a millisecond, a model seconds.
const SECONDS: [f64; 16] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often what was measured is put in order while nobody reads it.
const UPKEEP: Duration = Duration::from_secs(5);

static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Takes in what this process measures from here on; call it before providers are opened. Where the process has another
/// recorder already, that one keeps it all, and [`render`] has nothing.
pub fn install() -> bool {
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new().set_buckets(&SECONDS).ok()?;
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            metrics::set_global_recorder(recorder).ok()?;
            describe_counter!(REQUESTS, Unit::Count, "Answered requests");
            describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "How long requests took");
            describe_counter!(FEEDBACK, Unit::Count, "Verdicts on cached answers");
            for verdict in ["right", "wrong"] {
                counter!(FEEDBACK, "verdict" => verdict).increment(0);
            }
            describe_gauge!(INFO, "What the process is made of");
            process::describe();
            lag::describe();
            observed::describe();
            background::describe();
            brake::describe();
            moving::describe();
            Some(handle)
        })
        .is_some()
}

/// Puts what was measured in order now and then, for as long as it is polled.
pub async fn keep_up() {
    loop {
        tokio::time::sleep(UPKEEP).await;
        if let Some(Some(handle)) = HANDLE.get() {
            handle.run_upkeep();
        }
    }
}

/// Everything that was measured, or `None` where the process has a recorder of its own.
pub fn render(state: &AppState) -> Option<String> {
    install();
    let settings = state.tiers_settings();
    let labels = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("short_term_provider", settings.short_term_provider.name().to_owned()),
        ("medium_term_provider", settings.medium_term_provider.name().to_owned()),
        ("embedder", state.manager().embedder().space().to_string()),
    ];
    gauge!(INFO, &labels).set(1.0);
    process::measure();
    if let Some(database) = state.database() {
        lag::observe_connections(database);
    }
    HANDLE.get().and_then(Option::as_ref).map(PrometheusHandle::render)
}

/// The time and the count of the requests of one method with one status.
struct Answered {
    method: &'static str,
    status: StatusCode,
    seconds: Histogram,
    requests: Counter,
}

/// What was asked for before, by route: to find it anew by its labels takes longer.
static ANSWERED: LazyLock<RwLock<HashMap<String, Vec<Answered>>>> = LazyLock::new(RwLock::default);

/// Counts a request that was answered, and how long that took.
pub(crate) fn answered(method: &'static str, route: &str, status: StatusCode, took: Duration) {
    let note = |answered: &Answered| {
        answered.seconds.record(took);
        answered.requests.increment(1);
    };
    let known = ANSWERED.read().unwrap_or_else(PoisonError::into_inner);
    let of_route = known.get(route).map_or(&[][..], Vec::as_slice);
    if let Some(answered) = of_route.iter().find(|answered| (answered.method, answered.status) == (method, status)) {
        return note(answered);
    }
    drop(known);
    let name = route.to_owned();
    let seconds = histogram!(REQUEST_SECONDS, "method" => method, "route" => name.clone());
    let code = status.as_str().to_owned();
    let requests = counter!(REQUESTS, "method" => method, "route" => name.clone(), "status" => code);
    let answered = Answered { method, status, seconds, requests };
    note(&answered);
    // Handles that were made before there is a recorder lead nowhere for ever.
    if HANDLE.get().is_none() {
        return;
    }
    ANSWERED.write().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().push(answered);
}

/// Counts what a reader said of a cached answer.
pub fn answer_was(verdict: &'static str) {
    counter!(FEEDBACK, "verdict" => verdict).increment(1);
}

/// A client may send a method of any name.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::PUT => "PUT",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
