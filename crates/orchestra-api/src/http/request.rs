//! What happens around every request: its id, its span, its turn, and who writes.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use memory_core::{IdempotencyKey, Origin, Writer};
use tokio::runtime::Handle;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::json::JsonBody;
use crate::error::{Problem, with_request_id};
use crate::metrics;
use crate::state::AppState;
use crate::traces::{self, RequestSpan};

/// The header that carries a request's id, which the log names. An acceptable one is echoed, else one is made.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header in which a caller that does not write for itself says so: `agent` (the default), `tool`, `import`, or
/// `mcp` for an agent that writes by way of that protocol.
pub const WRITER: HeaderName = HeaderName::from_static("x-orchestra-writer");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;
const MAX_REQUEST_ID_BYTES: usize = 128;
const HEADERS_ADDED: usize = 8;

/// A request's id, beside it while it is worked on.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Its text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The one in the headers if it is acceptable, else a new one. It goes into logs, so it is nothing but letters, digits
    /// and a few marks.
    fn of(headers: &HeaderMap) -> Self {
        let acceptable = |value: &&HeaderValue| {
            (1..=MAX_REQUEST_ID_BYTES).contains(&value.len())
                && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
        };
        Self(match headers.get(&REQUEST_ID).filter(acceptable) {
            Some(id) => id.clone(),
            None => HeaderValue::from_str(&new_id().to_string()).expect("a UUID is visible ASCII"),
        })
    }
}

/// A UUID of version 7. What makes it unique is a hash of a count, by a key that the process drew once: no request has to
/// ask the system for randomness.
fn new_id() -> Uuid {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let halves = [KEY.hash_one((count, 0_u8)), KEY.hash_one((count, 1_u8))];
    let mut random = [0; 10];
    random.copy_from_slice(&[halves[0].to_le_bytes(), halves[1].to_le_bytes()].concat()[..10]);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// What is [`around`] a request that no admission is for.
pub async fn traced(State(state): State<AppState>, request: Request, next: Next) -> Response {
    around(&state, request, |request| next.run(request)).await
}

/// Gives the request an id and a span, refuses what is for another host, and logs and measures how it ended.
pub async fn around<F>(state: &AppState, mut request: Request, work: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let id = RequestId::of(request.headers());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let path = matched.as_ref().map_or("none", MatchedPath::as_str);
    let method = metrics::method_name(request.method());
    let trace = traces::of_request(request.method(), path, request.headers());
    let span = trace.in_scope(|| {
        tracing::info_span!(
            "http_request",
            method = %request.method(),
            path,
            request_id = id.as_str(),
            tenant = tracing::field::Empty,
            key = tracing::field::Empty,
        )
    });
    request.extensions_mut().insert(RequestSpan(trace.clone()));
    request.extensions_mut().insert(id.clone());
    let begun = Instant::now();
    let ended = trace.clone();
    async move {
        let response = match is_for_another_host(state, request.headers()) {
            Some(problem) => problem.into_response(),
            None => work(request).await,
        };
        let mut response = with_request_id(response, id.as_str());
        let (status, took) = (response.status(), begun.elapsed());
        metrics::answered(method, path, status, took);
        tracing::info!(status = status.as_u16(), duration_ms = took.as_micros() as f64 / 1000.0, "request answered");
        traces::answered(&ended, status.as_u16());
        let headers = response.headers_mut();
        // For this one and those that are added around.
        headers.reserve(HEADERS_ADDED);
        headers.insert(REQUEST_ID, id.0);
        response
    }
    .instrument(span)
    .instrument(trace)
    .await
}

/// Refuses a request for another host, while the server is one that only this machine reaches and that asks nobody for
/// credentials. A web page whose name was made to point to this machine (DNS rebinding) could otherwise read the memory.
fn is_for_another_host(state: &AppState, headers: &HeaderMap) -> Option<Problem> {
    let settings = state.settings();
    if settings.allow_unauthenticated || state.gate().asks_for_keys() || !settings.listen.ip().is_loopback() {
        return None;
    }
    // A request in process has no host.
    let host = String::from_utf8_lossy(headers.get(header::HOST)?.as_bytes());
    if is_this_machine(&host) {
        return None;
    }
    let allowed = "localhost or a loopback address; --allow-unauthenticated lifts this for a server behind a proxy";
    let problem = Problem::bad_argument("wrong_host", "Host", format!("{host:?}"), allowed);
    Some(problem.with_status(StatusCode::MISDIRECTED_REQUEST))
}

/// Whether a host, with or without a port, is a name or an address of this machine.
pub(crate) fn is_this_machine(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.');
    if name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()) {
        return true;
    }
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Does the work of a read. It ends when the client goes away.
pub async fn in_its_turn(state: &AppState, work: impl Future<Output = Response>) -> Response {
    let Some(_turn) = state.turn().await else { return shutting_down() };
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| panicked())
}

/// Does the work of a write to its end, even when the client goes away: a change and what follows from it (the cached
/// answers it invalidates) are never torn apart.
pub async fn to_its_end(
    state: &AppState,
    trace: Span,
    work: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let Some(turn) = state.turn().await else { return shutting_down() };
    let work = async move {
        let response = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| panicked());
        drop(turn);
        response
    };
    ended(trace, work).await
}

/// As [`to_its_end`], of work that takes its turn itself.
pub async fn ended(trace: Span, work: impl Future<Output = Response> + Send + 'static) -> Response {
    ToItsEnd(Some(Box::pin(work.in_current_span().instrument(trace)))).await
}

/// Work that the runtime goes on with when whoever waits for it lets go. While somebody waits it is done there: a task of its
/// own would be woken on another thread, and wake this one at its end.
struct ToItsEnd(Option<Pin<Box<dyn Future<Output = Response> + Send>>>);

impl Future for ToItsEnd {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl Drop for ToItsEnd {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(work);
        }
    }
}

fn shutting_down() -> Response {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", "the server is shutting down").into_response()
}

fn panicked() -> Response {
    tracing::error!("request handler panicked");
    let detail = "the server failed; its log says why, under this request's id";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}

/// By whom and on which path a request writes. The path assigns it; the header can only name a writer of less trust.
#[derive(Debug)]
pub struct WrittenBy(pub Origin);

impl FromRequestParts<AppState> for WrittenBy {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        let writer = match parts.headers.get(&WRITER).map(HeaderValue::as_bytes) {
            None | Some(b"agent") => Writer::Agent,
            Some(b"mcp") => return Ok(Self(Origin::new(Writer::Agent, "mcp"))),
            Some(b"tool") => Writer::Tool,
            Some(b"import") => Writer::Import,
            Some(other) => {
                let given = String::from_utf8_lossy(other).into_owned();
                let allowed = "agent, tool, import or mcp; the path assigns the rest";
                return Err(Problem::bad_argument("invalid", "X-Orchestra-Writer", format!("{given:?}"), allowed));
            }
        };
        Ok(Self(Origin::new(writer, "http")))
    }
}

/// What makes a request safe to send twice, if the client asked for it.
#[derive(Debug)]
pub struct Idempotency {
    key: Option<String>,
    path: String,
}

impl FromRequestParts<AppState> for Idempotency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        let key = match parts.headers.get(&IDEMPOTENCY_KEY) {
            None => None,
            Some(value) => match value.to_str() {
                Ok(key) if (1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len()) => Some(key.to_owned()),
                _ => {
                    let given = format!("{:?}", String::from_utf8_lossy(value.as_bytes()));
                    let allowed = format!("1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters");
                    return Err(Problem::bad_argument("invalid", "Idempotency-Key", given, allowed));
                }
            },
        };
        Ok(Self { key, path: parts.uri.path().to_owned() })
    }
}

impl Idempotency {
    /// The key, bound to the whole request: its path, its writer and its body.
    pub fn bind(self, origin: &Origin, body: &JsonBody) -> Option<IdempotencyKey> {
        let key = self.key?;
        let mut hasher = blake3::Hasher::new();
        for part in [self.path.as_bytes(), format!("{origin:?}").as_bytes(), body.as_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Some(IdempotencyKey { key, body_hash: *hasher.finalize().as_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_this_machine() {
        for host in
            ["localhost", "LOCALHOST:7070", "localhost.:80", "a.localhost", "127.0.0.1:7070", "127.1.2.3", "[::1]:7070"]
        {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["", "example.com", "localhost.example.com", "127.0.0.1.example.com:80", "10.0.0.7", "[fe80::1]"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
