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
//! | `GET /v1/rejections`, `DELETE /v1/rejections/{id}` | the values that are not written again; takes one back |
//! | `POST`, `GET`, `DELETE /v1/sessions/{id}/messages` | the turns of a conversation |
//! | `POST`, `GET`, `DELETE /v1/sessions/{id}/working` | the messages of a conversation that goes on |
//! | `POST /v1/sessions/{id}/working/promote` | keeps them for good |
//! | `POST /v1/cache/lookup`, `/v1/cache/entries`, `/v1/cache/invalidate` | the semantic cache |
//! | `POST /v1/cache/feedback` | what a reader says of a cached answer |
//! | `POST /v1/ask` | the cached answer to a question, or the memories to answer it from |
//! | `POST /v1/consolidate` | puts together what is said many times |
//! | `GET /v1/stats` | what the tiers hold |
//! | `POST /mcp` | the tools of the Model Context Protocol ([`crate::mcp`]) |
//! | `GET /v1/usage` | what the tenant used |
//! | `/v1/replica/…` | the whole store, of every tenant, for whoever moves it |
//! | `GET /openapi.json`, `/docs` | the document of this interface, and a page that shows it ([`document`]) |
//! | `GET /v1/identity` | whom the caller's key speaks for |
//! | `GET /healthz`, `/readyz` | whether the process lives, whether the store answers |
//! | `GET /metrics` | what the process measures of itself, for Prometheus |
//!
//! Every limit is checked here and not in the listener, so that the router is the same behind a socket and in process.

mod admission;
mod ask;
mod browser;
mod cache;
mod consolidate;
mod cursor;
mod docs;
mod feedback;
mod follow;
mod hints;
mod json;
mod memories;
mod openapi;
mod operations;
mod params;
mod rejections;
mod replica;
mod request;
mod search;
mod sessions;
mod usage;
mod wire;
mod working;

use axum::handler::Handler as _;
use axum::http::{Method, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use tower::ServiceBuilder;

pub(crate) use json::read_body;
pub use openapi::document;
pub(crate) use request::is_this_machine;
pub use request::{REQUEST_ID, WRITER};

use crate::client::Client;
use crate::error::Problem;
use crate::identity::{Need, Permission};
use crate::mcp::endpoint;
use crate::state::AppState;
use admission::Route;

/// Every route, over the tiers of `state`, for callers whom its gate has to know.
pub fn router(state: AppState) -> Router {
    let api = api(&state);
    let mcp = endpoint::routes(Client::local(api.clone())).method_not_allowed_fallback(no_such_method);
    let mcp = mcp.layer(from_fn_with_state(state.clone(), request::traced));
    api.merge(around(mcp, &state))
}

/// Every route but those whose answers are made of calls of these.
fn api(state: &AppState) -> Router {
    let traced = from_fn_with_state(state.clone(), request::traced);
    let routes = table().into_iter().map(Route::answered);
    let routes = routes
        .fold(Router::new(), |router, (path, handler)| router.route(path, handler))
        .fallback(no_such_route.layer(traced.clone()))
        .method_not_allowed_fallback(no_such_method.layer(traced));
    around(routes, state)
}

/// What lies around every route: one layer, since each copies all that is inside of it for every request.
fn around(routes: Router<AppState>, state: &AppState) -> Router {
    let layers = ServiceBuilder::new()
        .map_response(browser::secured)
        .option_layer(browser::cors(&state.settings().identity.cors_origins))
        .layer(browser::compression());
    routes.layer(layers).with_state(state.clone())
}

/// As [`router`], for a caller in this process: who opened the memory may do everything in it, without a key.
pub fn router_for_owner(state: AppState) -> Router {
    let owner = state.gate().owner().clone();
    router(state).layer(Extension(owner))
}

/// The routes with what each needs: method, path, need. What the router answers is made from the same table.
#[must_use]
pub fn needs() -> Vec<(Method, &'static str, Need)> {
    table().into_iter().map(|Route { method, path, need, .. }| (method, path, need)).collect()
}

/// Every route, with what it needs and its name in the audit log.
fn table() -> Vec<Route> {
    const READ: Need = Need::Permission(Permission::Read);
    const WRITE: Need = Need::Permission(Permission::Write);
    const MOVE: Need = Need::Permission(Permission::Move);
    vec![
        Route::new(Method::POST, "/v1/memories", WRITE, "memories.add", memories::add),
        Route::new(Method::GET, "/v1/memories", READ, "memories.list", memories::list),
        Route::new(Method::POST, "/v1/memories/search", READ, "memories.search", search::search),
        Route::new(Method::POST, "/v1/memories/forget", WRITE, "memories.forget", memories::forget),
        Route::new(Method::GET, "/v1/memories/{id}", READ, "memories.get", memories::get),
        Route::new(Method::PATCH, "/v1/memories/{id}", WRITE, "memories.update", memories::update),
        Route::new(Method::DELETE, "/v1/memories/{id}", WRITE, "memories.delete", memories::delete),
        Route::new(Method::GET, "/v1/memories/{id}/history", READ, "memories.history", memories::history),
        Route::new(Method::GET, "/v1/rejections", READ, "rejections.list", rejections::list),
        Route::new(Method::DELETE, "/v1/rejections/{id}", WRITE, "rejections.lift", rejections::lift),
        Route::new(Method::POST, "/v1/sessions/{id}/messages", WRITE, "messages.add", sessions::add),
        Route::new(Method::GET, "/v1/sessions/{id}/messages", READ, "messages.list", sessions::list),
        Route::new(Method::DELETE, "/v1/sessions/{id}/messages", WRITE, "messages.delete", sessions::delete),
        Route::new(Method::POST, "/v1/sessions/{id}/working", WRITE, "working.append", working::append),
        Route::new(Method::GET, "/v1/sessions/{id}/working", READ, "working.window", working::window),
        Route::new(Method::DELETE, "/v1/sessions/{id}/working", WRITE, "working.clear", working::clear),
        Route::new(Method::POST, "/v1/sessions/{id}/working/promote", WRITE, "working.promote", working::promote),
        Route::new(Method::POST, "/v1/cache/lookup", READ, "cache.lookup", cache::lookup),
        Route::new(Method::POST, "/v1/cache/entries", WRITE, "cache.store", cache::store),
        Route::new(Method::POST, "/v1/cache/invalidate", WRITE, "cache.invalidate", cache::invalidate),
        Route::new(Method::POST, "/v1/cache/feedback", WRITE, "cache.feedback", feedback::feedback),
        Route::new(Method::POST, "/v1/ask", READ, "ask", ask::ask),
        Route::new(Method::POST, "/v1/consolidate", WRITE, "consolidate", consolidate::consolidate),
        Route::new(Method::GET, "/v1/stats", READ, "stats", operations::stats),
        Route::new(Method::GET, "/v1/usage", READ, "usage", usage::usage),
        Route::new(Method::GET, "/v1/replica/size", MOVE, "replica.size", replica::size),
        Route::new(Method::GET, "/v1/replica/mirror", MOVE, "replica.mirror", replica::mirror),
        Route::new(Method::GET, "/v1/replica/gate", MOVE, "replica.gate", replica::gate),
        Route::new(Method::POST, "/v1/replica/gate", MOVE, "replica.set_gate", replica::set_gate),
        Route::new(Method::GET, "/v1/replica/items", MOVE, "replica.scan", replica::scan),
        Route::new(Method::POST, "/v1/replica/items/read", MOVE, "replica.read", replica::read),
        Route::new(Method::POST, "/v1/replica/items", MOVE, "replica.write", replica::write),
        Route::new(Method::POST, "/v1/replica/search", MOVE, "replica.search", replica::search::search),
        Route::new(Method::POST, "/v1/replica/look", MOVE, "replica.look", replica::search::look),
        Route::new(Method::POST, "/v1/replica/embed", MOVE, "replica.embed", replica::search::embed),
        Route::new(Method::POST, "/v1/replica/streams", MOVE, "replica.capture", replica::capture),
        Route::new(Method::DELETE, "/v1/replica/streams/{id}", MOVE, "replica.release", replica::release),
        Route::new(Method::GET, "/v1/replica/streams/{id}", MOVE, "replica.lag", replica::lag),
        Route::new(Method::GET, "/v1/replica/streams/{id}/changes", MOVE, "replica.changed", replica::changed),
        Route::new(
            Method::POST,
            "/v1/replica/streams/{id}/acknowledge",
            MOVE,
            "replica.acknowledge",
            replica::acknowledge,
        ),
        Route::new(Method::GET, "/v1/identity", Need::Identity, "identity", operations::identity),
        Route::new(Method::GET, "/openapi.json", Need::Nothing, "openapi", docs::document),
        Route::new(Method::GET, "/docs", Need::Nothing, "docs", docs::page),
        Route::new(Method::GET, "/healthz", Need::Nothing, "healthz", operations::healthz),
        Route::new(Method::GET, "/readyz", Need::Nothing, "readyz", operations::readyz),
        Route::new(Method::GET, "/metrics", Need::NothingOnLoopback(Permission::Read), "metrics", operations::metrics),
    ]
}

async fn no_such_route(uri: axum::http::Uri) -> Problem {
    let path: String = uri.path().chars().take(80).collect();
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", format!("there is no route {path}"))
}

async fn no_such_method(method: Method) -> Problem {
    let detail = format!("this route does not answer {method}; the Allow header says what it answers");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}
