//! What a memory that is governed has to keep, one test for each acceptance test of the Agent Memory Atlas, named as there:
//! `docs/governance.md` has the list. Each runs over the real router, by HTTP and by MCP, on the embedded store, and on Redis
//! and Postgres where they are; each has its positive control, so that a memory which returns nothing fails it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod correction;
mod deletion;
mod documented;
mod evidence;
mod gateway;
mod home;
mod prompt;
mod retrieval;
mod scope;
mod tombstone;

use axum::http::Method;
use serde_json::{Value, json};

use home::{Answer, Home, Who};

/// The texts of the memories under `member`.
fn texts<'a>(body: &'a Value, member: &str) -> Vec<&'a str> {
    body[member].as_array().unwrap().iter().map(|memory| memory["text"].as_str().unwrap()).collect()
}

fn ann() -> Value {
    json!({"user": "ann"})
}

impl Home {
    async fn post(&self, who: &Who, path: &str, body: Value) -> Answer {
        self.call(who, Method::POST, path, &[], body).await
    }

    async fn get(&self, who: &Who, path: &str) -> Answer {
        self.call(who, Method::GET, path, &[], Value::Null).await
    }

    /// Writes a memory of Ann's, and gives its id.
    async fn remember(&self, who: &Who, text: &str) -> String {
        self.write(who, json!({"text": text, "scope": ann()})).await
    }

    async fn write(&self, who: &Who, body: Value) -> String {
        self.post(who, "/v1/memories", body).await.ok(201)["id"].as_str().unwrap().to_owned()
    }

    /// What a search in a scope answers.
    async fn found(&self, who: &Who, query: &str, scope: &Value) -> Value {
        self.post(who, "/v1/memories/search", json!({"query": query, "scope": scope, "limit": 50})).await.ok(200)
    }

    /// Whether a search of Ann's memories finds this text.
    async fn finds(&self, who: &Who, query: &str, text: &str) -> bool {
        texts(&self.found(who, query, &ann()).await, "results").contains(&text)
    }

    /// Every memory of the tenant, closed ones too.
    async fn everything(&self, who: &Who) -> Vec<Value> {
        let page = self.get(who, "/v1/memories?limit=1000").await.ok(200);
        assert!(page["next"].is_null());
        page["memories"].as_array().unwrap().clone()
    }

    /// Forgets memories of Ann's and rejects what they say.
    async fn reject(&self, who: &Who, ids: &[&str]) -> Value {
        self.post(who, "/v1/memories/forget", json!({"ids": ids, "scope": ann(), "reject": true})).await.ok(200)
    }

    /// Runs the consolidation of a scope until it changes nothing more, and gives every step.
    async fn consolidate(&self, who: &Who, scope: &Value) -> Vec<Value> {
        let mut steps = Vec::new();
        for _ in 0..5 {
            let report = self.post(who, "/v1/consolidate", json!({"scope": scope})).await.ok(200);
            let done = report["steps"].as_array().unwrap().clone();
            let is_settled = done.iter().all(|step| step["outcome"] != "done");
            steps.extend(done);
            if is_settled {
                break;
            }
        }
        steps
    }

    /// The text that a model is given for a recall.
    async fn prompt(&self, who: &Who, query: &str, limit: usize) -> String {
        let arguments = json!({"query": query, "scope": ann(), "limit": limit});
        let result = self.tool(who, "recall", arguments).await;
        assert_eq!(result["isError"], false, "{result:#}");
        result["content"][0]["text"].as_str().unwrap().to_owned()
    }
}
