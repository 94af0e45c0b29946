//! What is said to the server is in none of its logs, however talkative they are.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Client, until};
use crate::process::Process;
use crate::setup::Setup;

/// A word that is in everything that is said, and nowhere else.
const WORD: &str = "xyzzymarzipan";

/// Whatever the outcome, some of these are refused on purpose.
async fn say(client: &Client, method: Method, path: &str, headers: &[(&str, &str)], body: Value) -> Value {
    let body = (!body.is_null()).then_some(body);
    client.send(method, path, headers, body).await.body
}

/// Says the word in every place there is, in what is accepted and in what is refused.
async fn say_everything(client: &Client) {
    let post = async |path: &str, body: Value| say(client, Method::POST, path, &[], body).await;
    let key = format!("key-{WORD}");
    let memory = json!({
        "text": format!("The vault opens with {WORD}"), "actor": WORD, "kind": "semantic",
        "scope": {"user": WORD, "agent": WORD}, "metadata": {WORD: {WORD: [WORD]}},
    });
    let added = say(client, Method::POST, "/v1/memories", &[("idempotency-key", &key)], memory).await;
    let path = format!("/v1/memories/{}?user={WORD}&agent={WORD}", added["id"].as_str().unwrap());
    say(client, Method::POST, "/v1/memories", &[("idempotency-key", &key)], json!({"text": WORD})).await;
    let filter = json!({format!("metadata.{WORD}"): {"$eq": WORD}});
    post("/v1/memories/search", json!({"query": WORD, "filter": filter, "scope": {"user": WORD}})).await;
    post("/v1/memories/search", json!({"query": WORD, "filter": {WORD: {WORD: WORD}}})).await;
    post("/v1/memories/search", json!({"query": WORD, "strategy": WORD})).await;
    say(client, Method::PATCH, &path, &[("if-match", "\"7\"")], json!({"text": WORD})).await;
    say(client, Method::PATCH, &path, &[], json!({"text": format!("It opens with {WORD} no more")})).await;
    post(&format!("/v1/sessions/{WORD}/messages"), json!({"messages": [{"role": "user", "content": WORD}]})).await;
    client.get(&format!("/v1/sessions/{WORD}/messages")).await;
    let working = format!("/v1/sessions/{WORD}/working");
    let message = json!({"role": "user", "content": WORD, "metadata": {WORD: WORD}});
    say(client, Method::POST, &working, &[("idempotency-key", &key)], json!({"messages": [message]})).await;
    say(client, Method::POST, &working, &[("idempotency-key", &key)], json!({"messages": []})).await;
    client.get(&format!("{working}?limit={WORD}")).await;
    assert!(client.get(&working).await.ok(200).to_string().contains(WORD), "the control: it was kept");
    post(&format!("{working}/promote"), json!({})).await;
    client.delete(&working).await;
    let entry = json!({"prompt": format!("What is {WORD}?"), "response": WORD, "tags": [WORD], "system": WORD});
    post("/v1/cache/entries", entry).await;
    for prompt in [format!("What is {WORD}?"), format!("What is a {WORD}"), format!("Is {WORD} 7 or 8?")] {
        post("/v1/cache/lookup", json!({"prompt": prompt, "system": WORD, "threshold": 0.3})).await;
    }
    post("/v1/cache/invalidate", json!({"tag": WORD})).await;
    post("/v1/consolidate", json!({"scope": {"user": WORD}})).await;
    post("/v1/memories", json!({"text": "a", WORD: WORD})).await;
    post("/v1/memories", json!({"text": "a", "scope": {"user": [WORD]}})).await;
    for path in ["/v1/memories?limit=", "/v1/memories?cursor=", "/v1/nowhere/", "/v1/memories/"] {
        client.get(&format!("{path}{WORD}")).await;
    }
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                      "params": {"name": "recall", "arguments": {"query": WORD}}});
    say(client, Method::POST, "/mcp", &[("accept", "application/json, text/event-stream")], call).await;
    client.delete(&path).await;
    client.post("/v1/memories/forget", json!({"scope": {"user": WORD}, "all": true})).await;
}

async fn check(setup: &Setup) {
    let log = [("ORCHESTRA_LOG", "debug"), ("ORCHESTRA_LOG_FORMAT", "json"), ("ORCHESTRA_REDIS_DEADLINE_MS", "5000")];
    let (process, client) = Process::start(setup, &log);
    until("every tier is ready", async || client.get("/readyz").await.ok(200)["short_term"]["status"] == "ready").await;
    say_everything(&client).await;
    let log = process.said();
    // The control: the log was kept, and goes down to what is told of the tiers.
    for told in ["request answered", "\"level\":\"DEBUG\"", "memories.forget", "\"status\":409", "\"status\":412"] {
        assert!(log.contains(told), "{told} is not in the log: {log}");
    }
    assert_eq!(log.lines().find(|line| line.contains(WORD)), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_said_is_in_the_logs_embedded() {
    check(&Setup::embedded().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_said_is_in_the_logs_on_redis_and_postgres() {
    let Some(setup) = Setup::redis_and_postgres().await else { return };
    check(&setup).await;
}
