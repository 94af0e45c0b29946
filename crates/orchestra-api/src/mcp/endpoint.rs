//! The route `/mcp`: the protocol over HTTP, one request a message.
//!
//! There are no sessions. The revision of 2026 has none; a client of an earlier one is answered without, which it
//! allows. So there is nothing to bound, to expire or to take over, and any process can answer any request.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::server::Server;
use crate::client::Client;
use crate::error::Problem;
use crate::http::{is_this_machine, read_body};
use crate::identity::{Identity, Need};
use crate::state::AppState;

/// The route. Its tools are calls of `client`.
pub fn routes(client: Client) -> Router<AppState> {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        // Host, Origin and size are checked before, as for every route and with its errors.
        .disable_allowed_hosts()
        .disable_allowed_origins()
        .with_max_request_body_bytes(usize::MAX);
    let server = Server::new(client);
    let sessions = Arc::new(NeverSessionManager::default());
    let service = StreamableHttpService::new(move || Ok(server.clone()), sessions, config);
    let answer = |State(state): State<AppState>, request: Request| async move {
        check_origin(request.headers())?;
        // Each tool's call is admitted by itself; who has no key is told so before the protocol begins.
        if request.extensions().get::<Identity>().is_none() {
            state.gate().identify(request.headers(), Need::Identity)?;
        }
        let (head, body) = request.into_parts();
        let body = read_body(Request::from_parts(head.clone(), body), state.settings().limits.body_bytes).await?;
        let request = Request::from_parts(head, Body::from(body));
        Ok::<Response, Problem>(service.handle(request).await.map(Body::new))
    };
    Router::new().route("/mcp", post(answer))
}

/// Refuses the page of another site. A browser names the site in every request; other clients name none. A page whose
/// name was made to point to this machine (DNS rebinding) still names its own.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin.as_bytes());
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if authority.is_some_and(is_this_machine) {
        return Ok(());
    }
    let allowed = "none, or that of a page of this machine";
    Err(Problem::bad_argument("wrong_origin", "Origin", format!("{origin:?}"), allowed)
        .with_status(StatusCode::FORBIDDEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(origin: &str) -> Option<u16> {
        let headers = HeaderMap::from_iter([(header::ORIGIN, origin.parse().unwrap())]);
        check_origin(&headers).err().map(|problem| problem.status().as_u16())
    }

    #[test]
    fn only_pages_of_this_machine_may_ask() {
        assert!(check_origin(&HeaderMap::new()).is_ok(), "what is no browser names no page");
        for origin in ["http://localhost:6274", "https://127.0.0.1", "http://[::1]:80"] {
            assert_eq!(answered(origin), None, "{origin}");
        }
        for origin in
            ["null", "http://example.com", "https://localhost.example.com", "file://localhost", "localhost", ""]
        {
            assert_eq!(answered(origin), Some(403), "{origin}");
        }
    }
}
