//! The route `/mcp`: what reaches it, and what does not.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use axum::routing::{get, post};
use axum::{Json, Router};
use orchestra_api::client::Client;
use orchestra_api::config::{EmbedderSettings, Settings};
use orchestra_api::mcp::endpoint;
use orchestra_api::state::AppState;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::Api;

fn initialize() -> String {
    let client = json!({"name": "test", "version": "1"});
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client});
    json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).to_string()
}

fn code(body: &str) -> String {
    let problem: Value = serde_json::from_str(body).unwrap();
    problem["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_client_begins_without_a_session() {
    let api = Api::new().await;
    let (status, body) = api.send(Method::POST, "/mcp", &[], initialize()).await;
    assert_eq!(status, 200, "{body}");
    let result = serde_json::from_str::<Value>(&body).unwrap()["result"].clone();
    assert_eq!(
        (&result["protocolVersion"], &result["serverInfo"]["name"]),
        (&json!("2025-11-25"), &json!("orchestra-memory"))
    );
    assert!(result["instructions"].as_str().unwrap().contains("never an instruction"));
    let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
    assert_eq!(api.send(Method::POST, "/mcp", &[], begun).await.0, 202);
}

#[tokio::test]
async fn the_current_revision_needs_no_handshake() {
    let api = Api::new().await;
    let version = "2026-07-28";
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    let params = json!({"name": "stats", "arguments": {}, "_meta": meta});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let headers = [("mcp-protocol-version", version), ("mcp-method", "tools/call"), ("mcp-name", "stats")];
    let (status, body) = api.send(Method::POST, "/mcp", &headers, call.clone()).await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["result"]["structuredContent"]["store"]["memories"], 0, "{body}");
    let lie = [("mcp-protocol-version", version), ("mcp-method", "tools/call"), ("mcp-name", "recall")];
    assert_eq!(api.send(Method::POST, "/mcp", &lie, call).await.0, 400, "the headers say what the body says");
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let api = Api::new().await;
    for origin in ["https://example.com", "null", "http://127.0.0.1.example.com"] {
        let (status, body) = api.send(Method::POST, "/mcp", &[("origin", origin)], initialize()).await;
        assert_eq!((status, &*code(&body)), (403, "wrong_origin"), "{origin}");
    }
    assert_eq!(api.send(Method::POST, "/mcp", &[("origin", "http://localhost:6274")], initialize()).await.0, 200);
    let (status, body) = api.send(Method::POST, "/mcp", &[("host", "example.com")], initialize()).await;
    assert_eq!((status, &*code(&body)), (421, "wrong_host"), "a name that was made to point here");
}

#[tokio::test]
async fn a_message_has_the_size_of_other_bodies() {
    let api = Api::with(|settings| settings.limits.body_bytes = 2000).await;
    let message = |size| {
        let params = json!({"name": "remember", "arguments": {"text": "a".repeat(size)}});
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string()
    };
    assert_eq!(api.send(Method::POST, "/mcp", &[], message(1500)).await.0, 200);
    let (status, body) = api.send(Method::POST, "/mcp", &[], message(2000)).await;
    assert_eq!((status, &*code(&body)), (413, "too_large"));
}

#[tokio::test]
async fn there_is_nothing_to_stream_and_nothing_to_end() {
    let api = Api::new().await;
    for method in [Method::GET, Method::DELETE] {
        let (status, body) = api.send(method, "/mcp", &[("mcp-session-id", "s")], "").await;
        assert_eq!((status, &*code(&body)), (405, "method_not_allowed"));
    }
}

#[tokio::test]
async fn what_is_not_the_protocol_is_refused() {
    let api = Api::new().await;
    let post = |headers: &'static [(&'static str, &'static str)], body: &'static str| {
        api.send(Method::POST, "/mcp", headers, body)
    };
    assert_eq!(post(&[("content-type", "text/plain")], "{}").await.0, 415);
    assert_eq!(post(&[("accept", "text/html")], "{}").await.0, 406);
    assert!((400..500).contains(&post(&[], "{").await.0));
    assert!((400..500).contains(&post(&[], r#"[{"jsonrpc": "2.0"}]"#).await.0));
    assert_eq!(
        post(&[("mcp-protocol-version", "1999-01-01")], r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await.0,
        400
    );
    let unknown = api.rpc("tools/call", json!({"name": "reset", "arguments": {}})).await;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown:#}");
    let unknown = api.rpc("resources/list", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32601, "{unknown:#}");
}

#[tokio::test]
async fn a_tool_calls_with_the_credentials_of_its_request() {
    // An interface that tells what it was sent.
    let told = |headers: HeaderMap| async move {
        let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Json(json!({
            "store": {}, "cache": {}, "key": header("authorization"), "id": header("x-request-id"),
            "writer": header("x-orchestra-writer"), "cookie": header("cookie"),
        }))
    };
    let folder = tempfile::tempdir().unwrap();
    let state = AppState::open(&Settings::for_data(folder.path())).await.unwrap();
    let client = Client::local(Router::new().route("/v1/stats", get(told)));
    let api = Api { router: endpoint::routes(client).with_state(state), _folder: folder };
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "stats"}}).to_string();
    let sent =
        [("authorization", "Bearer om_1"), ("x-request-id", "r1"), ("x-orchestra-writer", "import"), ("cookie", "c")];
    let (status, body) = api.send(Method::POST, "/mcp", &sent, call).await;
    assert_eq!(status, 200, "{body}");
    let seen = serde_json::from_str::<Value>(&body).unwrap()["result"]["structuredContent"].clone();
    let expected = json!({"key": "Bearer om_1", "id": "r1", "writer": "mcp", "cookie": null, "store": {}, "cache": {}});
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_write_that_had_begun_is_done_though_its_client_went_away() {
    // An embedder that says when it is asked, and answers when it is told to.
    let (asked, told) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let gates = (asked.clone(), told.clone());
    let embeddings = move || {
        let (asked, told) = gates.clone();
        async move {
            asked.notify_one();
            told.notified().await;
            Json(json!({"data": [{"index": 0, "embedding": [1.0, 0.0, 0.0]}]}))
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", listener.local_addr().unwrap());
    let embedder = axum::serve(listener, Router::new().route("/v1/embeddings", post(embeddings)));
    tokio::spawn(async move { embedder.await });
    let api = Arc::new(
        Api::with(|settings| {
            let model = "test".to_owned();
            settings.embedder = EmbedderSettings::OpenAi { base_url, model, dimensions: 3, send_dimensions: false };
        })
        .await,
    );
    let caller = api.clone();
    let call = tokio::spawn(async move { caller.remember("Ann prefers the window seat").await });
    tokio::time::timeout(DEADLINE, asked.notified()).await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert_eq!(memories(&api).await, 0, "it is not there yet, and other calls are answered");
    told.notify_one();
    tokio::time::timeout(DEADLINE, async { while memories(&api).await == 0 {} }).await.unwrap();
}

/// How long something may take that is waited for.
const DEADLINE: Duration = Duration::from_secs(30);

async fn memories(api: &Api) -> u64 {
    api.ok("stats", json!({})).await["store"]["memories"].as_u64().unwrap()
}
