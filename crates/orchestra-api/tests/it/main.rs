//! The HTTP interface, in process and as a server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod any_input;
mod bad_input;
mod budget_brake;
mod connection;
mod documented;
mod drain;
mod durability;
mod failures;
mod full_disk;
mod http_ask;
mod http_cache;
mod http_consolidate;
mod http_memories;
mod http_operations;
mod http_recall;
mod http_rejections;
mod http_replica;
mod http_search;
mod http_sessions;
mod http_working;
mod moving;
mod opening;
mod process;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use orchestra_api::config::Settings;
use orchestra_api::http::router;
use orchestra_api::state::AppState;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

/// The router over a memory of its own, called in process.
struct Api {
    router: Router,
    _folder: TempDir,
}

/// An answer.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Api {
    async fn new() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::for_data(folder.path());
        change(&mut settings);
        let state = AppState::open(&settings).await.unwrap();
        Self { router: router(state), _folder: folder }
    }

    async fn post(&self, uri: &str, body: &Value) -> Answer {
        send(&self.router, Method::POST, uri, &[], body.to_string()).await
    }

    async fn patch(&self, uri: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        send(&self.router, Method::PATCH, uri, headers, body.to_string()).await
    }

    async fn get(&self, uri: &str) -> Answer {
        send(&self.router, Method::GET, uri, &[], "").await
    }

    async fn delete(&self, uri: &str) -> Answer {
        send(&self.router, Method::DELETE, uri, &[], "").await
    }

    /// Writes one memory and gives its id.
    async fn remember(&self, body: &Value) -> String {
        self.post("/v1/memories", body).await.ok(201)["id"].as_str().unwrap().to_owned()
    }
}

/// Sends a request, as JSON unless `headers` say otherwise.
async fn send(router: &Router, method: Method, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = Request::builder().method(method.clone()).uri(uri);
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
    let status = parts.status.as_u16();
    documented::check(&method, uri, status, &body);
    Answer { status, headers: parts.headers, body }
}

impl Answer {
    /// The body of an answer of this status.
    #[track_caller]
    fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:#}", self.body);
        self.body
    }

    /// The answer as a problem, in one line.
    #[track_caller]
    fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{:#}", self.body);
        assert_eq!(self.body["status"], self.status, "{:#}", self.body);
        let text = |member: &str| self.body[member].as_str().unwrap_or("-").to_owned();
        format!("{} {} [{}] {}", self.status, text("code"), text("field"), text("detail"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// The texts of the memories under `member`.
fn texts<'a>(body: &'a Value, member: &str) -> Vec<&'a str> {
    body[member].as_array().unwrap().iter().map(|memory| memory["text"].as_str().unwrap()).collect()
}
