//! The Model Context Protocol: over HTTP in process, over the standard streams of the real binary, and with a client
//! that others wrote.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod any_arguments;
mod endpoint;
mod fence;
mod packages;
#[path = "../it/process.rs"]
#[expect(dead_code, reason = "the tests of the server use all of it")]
mod process;
mod python;
mod stdio;
mod tools;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use orchestra_api::config::Settings;
use orchestra_api::http::router;
use orchestra_api::state::AppState;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// The router over a memory of its own, called in process.
struct Api {
    router: Router,
    _folder: TempDir,
}

/// A status, and the body as text.
type Answer = (u16, String);

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

    /// Sends a request as a client of the protocol does, with `headers` in place of its own where they have the name.
    async fn send(&self, method: Method, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        let usual = [
            ("host", "127.0.0.1:7070"),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
            ("mcp-protocol-version", "2025-11-25"),
        ];
        for (name, value) in usual.iter().filter(|(name, _)| !headers.iter().any(|(given, _)| given == name)) {
            request = request.header(*name, *value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Gets an answer of the HTTP interface.
    async fn get(&self, uri: &str) -> Value {
        let (status, body) = self.send(Method::GET, uri, &[], "").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Calls a method of the protocol.
    async fn rpc(&self, method: &str, params: Value) -> Value {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let (status, body) = self.send(Method::POST, "/mcp", &[], message.to_string()).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Calls a tool and gives its result.
    async fn tool(&self, name: &str, arguments: Value) -> Value {
        let answer = self.rpc("tools/call", json!({"name": name, "arguments": arguments})).await;
        answer.get("result").unwrap_or_else(|| panic!("{answer:#}")).clone()
    }

    /// Calls a tool that must succeed, and gives what programs read.
    async fn ok(&self, name: &str, arguments: Value) -> Value {
        let result = self.tool(name, arguments).await;
        assert_eq!(result["isError"], false, "{result:#}");
        result["structuredContent"].clone()
    }

    /// Calls a tool that must refuse, and gives the problem in one line.
    async fn refused(&self, name: &str, arguments: Value) -> String {
        let result = self.tool(name, arguments).await;
        assert_eq!(result["isError"], true, "{result:#}");
        assert!(result.get("structuredContent").is_none(), "it would have to be of the tool's schema");
        let problem: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        let member = |name: &str| problem[name].as_str().unwrap_or("-").to_owned();
        format!("{} [{}] given {}, allowed: {}", member("code"), member("field"), member("given"), member("allowed"))
    }

    async fn remember(&self, text: &str) -> String {
        let written = self.ok("remember", json!({"text": text, "scope": {"user": "ann"}})).await;
        written["id"].as_str().unwrap().to_owned()
    }

    /// The names of all tools.
    async fn names(&self) -> Vec<String> {
        let listed = self.rpc("tools/list", json!({})).await;
        let tools = listed["result"]["tools"].as_array().unwrap();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }
}
