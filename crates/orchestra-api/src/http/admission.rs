//! Who gets through to a handler, and what is written down about it.

use std::pin::Pin;
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, Request, State};
use axum::handler::Handler;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use tracing::Span;

use super::follow;
use super::request::{RequestId, around, ended, in_its_turn, to_its_end};
use super::usage::counted;
use crate::error::Problem;
use crate::identity::audit::{Event, Touched};
use crate::identity::limits::Taken;
use crate::identity::{Identity, Need, Permission};
use crate::state::AppState;
use crate::traces::RequestSpan;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// What a handler does with a request; while the memory is moved it may have to do it again. In a box, as are the futures that it
/// makes: there are many handlers, and what is around them is the same.
pub(super) type Work = Box<dyn Fn(Request, AppState) -> Pin<Box<dyn Future<Output = Response> + Send>> + Send + Sync>;

/// A route, and what it needs of its caller.
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path's pattern.
    pub path: &'static str,
    /// What it needs.
    pub need: Need,
    /// Its name in the audit log.
    pub operation: &'static str,
    handler: MethodRouter<AppState>,
}

impl Route {
    /// A route that `handler` answers, behind everything that a request has to pass. What is around it calls it itself: as a
    /// layer of axum it would make a service of it anew with every request.
    pub fn new<H, T>(method: Method, path: &'static str, need: Need, operation: &'static str, handler: H) -> Self
    where
        H: Handler<T, AppState>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("the table has HTTP's own methods");
        let admitted = move |State(state): State<AppState>, request: Request| {
            let work: Work = Box::new(move |request, state| Box::pin(handler.clone().call(request, state)));
            admitted((state, need, operation), request, work)
        };
        Self { method, path, need, operation, handler: on(filter, admitted) }
    }

    /// Where it is, and who answers there.
    pub fn answered(self) -> (&'static str, MethodRouter<AppState>) {
        (self.path, self.handler)
    }
}

/// What is known of a route: its need, and its name in the audit log.
type Admitted = (AppState, Need, &'static str);

/// What is around every request, and its admission.
async fn admitted(admitted: Admitted, request: Request, work: Work) -> Response {
    let state = admitted.0.clone();
    around(&state, request, |request| admit(admitted, request, work)).await
}

/// Lets a request through when its caller may make it: finds out who it is, compares what they may do, and takes a token
/// out of their tenant's bucket. The handler finds the [`Identity`] beside the request, and no key in it.
async fn admit(admitted: Admitted, mut request: Request, work: Work) -> Response {
    let (state, need, _) = &admitted;
    let need = *need;
    let gate = state.gate();
    // Only a caller in this process can have put it there: nothing that comes over the network becomes an extension.
    let in_process = request.extensions().get::<Identity>().is_some();
    if !in_process {
        match gate.identify(request.headers(), need) {
            Ok(Some(identity)) => {
                request.extensions_mut().insert(identity);
            }
            Ok(None) => {
                let state = state.clone();
                return work(request, state).await;
            }
            Err(problem) => {
                tracing::info!(code = problem.code(), "caller not known");
                return problem.into_response();
            }
        }
    }
    request.headers_mut().remove(header::AUTHORIZATION);
    let Some(identity) = request.extensions().get::<Identity>() else {
        let state = state.clone();
        return work(request, state).await;
    };
    let span = tracing::Span::current();
    span.record("tenant", identity.tenant.tenant_name());
    if let Some(key) = &identity.key {
        span.record("key", key);
    }
    // Before the scopes: a caller that is refused again and again is held back too.
    let taken = match gate.buckets() {
        Some(buckets) if !in_process => Some(buckets.take(identity.tenant.tenant_name(), Instant::now())),
        _ => None,
    };
    let refusal = match (&taken, need) {
        (Some(taken), _) if !taken.retry_after.is_zero() => Some(too_many(taken)),
        (_, Need::Permission(permission) | Need::NothingOnLoopback(permission)) => identity.require(permission).err(),
        _ => None,
    };
    let mut response = match refusal {
        Some(problem) => problem.into_response(),
        None => {
            let identity = identity.clone();
            worked_on(admitted, identity, request, work).await
        }
    };
    if let Some(taken) = &taken {
        tell(taken, response.headers_mut());
    }
    response
}

fn too_many(taken: &Taken) -> Problem {
    let seconds = whole_seconds(taken.retry_after);
    let detail = format!("the tenant makes more requests than it may; try again in {seconds} s");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).header(header::RETRY_AFTER, seconds)
}

/// The headers of the IETF's draft "RateLimit header fields for HTTP".
fn tell(taken: &Taken, headers: &mut HeaderMap) {
    let policy = format!("\"requests\";q={};w={}", taken.limit.burst(), whole_seconds(taken.limit.window()));
    let limit = format!("\"requests\";r={};t={}", taken.remaining, whole_seconds(taken.full_in));
    for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, limit)] {
        headers.insert(name, HeaderValue::from_str(&value).expect("digits are visible ASCII"));
    }
}

/// Rounded up: who waits that long has waited long enough.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs_f64().ceil() as u64
}

/// Lets the handler work. What the operator's probes ask is answered while the server is busy or shutting down.
async fn worked_on((state, need, operation): Admitted, identity: Identity, request: Request, work: Work) -> Response {
    let trace = request.extensions().get().cloned().unwrap_or(RequestSpan(Span::none())).0;
    let request_id = request.extensions().get::<RequestId>().cloned();
    if let (Some(moving), Need::Permission(permission)) = (state.moving().cloned(), need)
        && permission != Permission::Move
    {
        let writes = permission != Permission::Read;
        let work = follow::followed(state.clone(), moving, writes, request, work);
        let work = counted(state.clone(), identity.tenant.clone(), operation, work);
        if !writes {
            return Box::pin(work).await;
        }
        let work = async move {
            let response = work.await;
            audit(&state, &identity, request_id.as_ref(), operation, &response);
            response
        };
        return Box::pin(ended(trace, work)).await;
    }
    let work = work(request, state.clone());
    match need {
        Need::Nothing | Need::NothingOnLoopback(_) => work.await,
        Need::Identity => in_its_turn(&state, work).await,
        Need::Permission(Permission::Read) => {
            in_its_turn(&state, counted(state.clone(), identity.tenant, operation, work)).await
        }
        // The whole store's, and no tenant's: nobody's usage.
        Need::Permission(Permission::Move) => {
            let audited = state.clone();
            let work = async move {
                let response = work.await;
                // Handlers say of what they changed that they did: reading all of it would leave nothing else in the log.
                if response.extensions().get::<Touched>().is_some() || response.status().is_client_error() {
                    audit(&audited, &identity, request_id.as_ref(), operation, &response);
                }
                response
            };
            Box::pin(to_its_end(&state, trace, work)).await
        }
        Need::Permission(Permission::Write | Permission::Admin) => {
            let audited = state.clone();
            let counted = counted(state.clone(), identity.tenant.clone(), operation, work);
            let work = async move {
                let response = counted.await;
                audit(&audited, &identity, request_id.as_ref(), operation, &response);
                response
            };
            Box::pin(to_its_end(&state, trace, work)).await
        }
    }
}

/// Writes down what a write or a deletion came to. It is part of what is worked on to its end: a client that goes away
/// leaves no gap.
fn audit(
    state: &AppState,
    identity: &Identity,
    request_id: Option<&RequestId>,
    operation: &'static str,
    response: &Response,
) {
    let nothing = Touched::default();
    let touched = response.extensions().get::<Touched>().unwrap_or(&nothing);
    let request_id = request_id.map(RequestId::as_str).unwrap_or_default();
    let status = response.status().as_u16();
    state.gate().audit().record(Event { identity, request_id, operation, touched, status });
}

impl FromRequestParts<AppState> for Identity {
    type Rejection = Problem;

    /// Who calls: what admission found out.
    async fn from_request_parts(parts: &mut Parts, _state: &AppState) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| {
            tracing::error!("a handler without admission");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed; its log says why")
        })
    }
}
