//! The HTTP interface: JSON in, JSON out, errors as problem documents.
//!
//! | route | what it does |
//! | --- | --- |
//! | `POST /v1/memories` | writes one memory or many |
//! | `GET /v1/memories` | lists them |
//! | `GET`, `PATCH`, `DELETE /v1/memories/{id}` | reads, changes, forgets one |
//! | `GET /v1/memories/{id}/history` | its versions |
//! | `POST /v1/memories/search` | recalls |
//! | `POST /v1/memories/forget` | forgets many |
//! | `POST`, `GET`, `DELETE /v1/sessions/{id}/messages` | the turns of a conversation |
//! | `POST /v1/cache/lookup`, `/v1/cache/entries`, `/v1/cache/invalidate` | the semantic cache |
//! | `GET /v1/stats` | what the tiers hold |
//! | `POST /mcp` | the tools of the Model Context Protocol ([`crate::mcp`]) |
//! | `GET /healthz`, `/readyz` | whether the process lives, whether the store answers |
//! | `GET /metrics` | what the process measures of itself, for Prometheus |
//!
//! Every limit is checked here and not in the listener, so that the router is the same behind a socket and in process.

mod cache;
mod hints;
mod json;
mod memories;
mod operations;
mod params;
mod request;
mod search;
mod sessions;
mod wire;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};

pub(crate) use json::read_body;
pub(crate) use request::is_this_machine;
pub use request::{REQUEST_ID, WRITER};

use crate::client::Client;
use crate::error::Problem;
use crate::mcp::endpoint;
use crate::metrics;
use crate::state::AppState;

/// Every route, over the tiers of `state`.
pub fn router(state: AppState) -> Router {
    let api = api(&state);
    let mcp = endpoint::routes(Client::local(api.clone())).method_not_allowed_fallback(no_such_method);
    api.merge(around(mcp, &state))
}

/// What lies around every route.
fn around(routes: Router<AppState>, state: &AppState) -> Router {
    routes
        .layer(from_fn_with_state(state.clone(), request::for_this_host))
        .layer(from_fn(metrics::measured))
        .layer(from_fn(request::traced))
        .with_state(state.clone())
}

/// Every route but those whose answers are made of calls of these.
fn api(state: &AppState) -> Router {
    let routes = Router::new()
        .route("/v1/memories", post(memories::add).get(memories::list))
        .route("/v1/memories/search", post(search::search))
        .route("/v1/memories/forget", post(memories::forget))
        .route("/v1/memories/{id}", get(memories::get).patch(memories::update).delete(memories::delete))
        .route("/v1/memories/{id}/history", get(memories::history))
        .route("/v1/sessions/{id}/messages", post(sessions::add).get(sessions::list).delete(sessions::delete))
        .route("/v1/cache/lookup", post(cache::lookup))
        .route("/v1/cache/entries", post(cache::store))
        .route("/v1/cache/invalidate", post(cache::invalidate))
        .route("/v1/stats", get(operations::stats))
        .route_layer(from_fn_with_state(state.clone(), request::to_its_end))
        .route("/healthz", get(operations::healthz))
        .route("/readyz", get(operations::readyz))
        .route("/metrics", get(operations::metrics))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method);
    around(routes, state)
}

async fn no_such_route(uri: axum::http::Uri) -> Problem {
    let path: String = uri.path().chars().take(80).collect();
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", format!("there is no route {path}"))
}

async fn no_such_method(method: axum::http::Method) -> Problem {
    let detail = format!("this route does not answer {method}; the Allow header says what it answers");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
