//! Whatever a caller sends, the server answers, and never with a failure of its own.

use std::cell::Cell;

use axum::http::Method;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::{Api, send};

/// Every field of every body, and some that are none.
const KEYS: &[&str] = &[
    "text",
    "scope",
    "user",
    "agent",
    "session",
    "tenant",
    "id",
    "kind",
    "actor",
    "metadata",
    "importance",
    "evidence",
    "valid_from",
    "valid_to",
    "expires_at",
    "ttl_seconds",
    "embedding",
    "model",
    "values",
    "memories",
    "query",
    "limit",
    "filter",
    "strategy",
    "k",
    "dense",
    "explain",
    "max_tokens",
    "deadline_ms",
    "at_least",
    "also",
    "as_of",
    "valid_at",
    "ids",
    "all",
    "dry_run",
    "reject",
    "messages",
    "content",
    "role",
    "at",
    "prompt",
    "fill",
    "entry",
    "verdict",
    "response",
    "system",
    "tools",
    "parameters",
    "threshold",
    "policy",
    "depends_on",
    "tags",
    "entry",
    "tag",
    "and",
    "not",
    "metadata.a",
    "gt",
    "in",
    "",
];
const ROUTES: &[&str] = &[
    "/v1/memories",
    "/v1/memories/search",
    "/v1/memories/forget",
    "/v1/sessions/s/messages",
    "/v1/sessions/s/working",
    "/v1/sessions/s/working/promote",
    "/v1/cache/lookup",
    "/v1/cache/entries",
    "/v1/cache/invalidate",
];

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..1.0).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        prop::sample::select(
            &["semantic", "weighted", "rrf", "2025-06-01T01:00:00Z", "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d", "guarded"]
                [..]
        )
        .prop_map(Value::from),
        Just(json!(vec![0.5; 256])),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    leaf().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS), inner), 0..6).prop_map(Value::from_iter),
        ]
    })
}

/// A body that has what its route requires, and anything beside it.
fn body() -> impl Strategy<Value = (usize, Value)> {
    let members = prop::collection::vec((prop::sample::select(KEYS), value()), 0..4);
    (0..ROUTES.len(), members, any::<bool>()).prop_map(|(route, members, complete)| {
        let mut body = Value::from_iter(members);
        if complete {
            for (key, value) in [
                json!({"text": "t"}),
                json!({"query": "q"}),
                json!({}),
                json!({"messages": [{"text": "t"}]}),
                json!({"messages": [{"role": "user", "content": "t"}]}),
                json!({}),
                json!({"prompt": "p"}),
                json!({"prompt": "p", "response": "r"}),
                json!({}),
            ][route]
                .as_object()
                .into_iter()
                .flatten()
            {
                body[key] = value.clone();
            }
        }
        (route, body)
    })
}

#[test]
fn any_json_is_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(Api::new());
    let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    let (done, refused) = (Cell::new(0), Cell::new(0));
    let result = runner.run(&body(), |(route, body)| {
        let answer = runtime.block_on(api.post(ROUTES[route], &body));
        prop_assert!(answer.status < 500, "{} {body}: {:#}", ROUTES[route], answer.body);
        if answer.status < 300 {
            done.set(done.get() + 1);
        } else {
            refused.set(refused.get() + 1);
            prop_assert!(answer.problem().len() > 10 && answer.body["field"].is_string() || answer.status != 400);
        }
        Ok(())
    });
    result.unwrap();
    assert!(done.get() > 50 && refused.get() > 50, "one-sided: {done:?} done, {refused:?} refused");
}

#[test]
fn any_bytes_are_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let api = runtime.block_on(Api::new());
    let mut runner = TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
    let broken = (prop::collection::vec(any::<u8>(), 0..60), "[ -~]{0,60}", any::<bool>());
    let result = runner.run(&broken, |(bytes, text, in_body)| {
        let answer = runtime.block_on(async {
            if in_body {
                send(&api.router, Method::POST, "/v1/memories", &[], bytes).await
            } else {
                let query: String = text.chars().filter(|c| !" \"<>\\^`{|}#".contains(*c)).collect();
                send(&api.router, Method::GET, &format!("/v1/memories?{query}"), &[], "").await
            }
        });
        prop_assert!(answer.status < 500, "{:#}", answer.body);
        Ok(())
    });
    result.unwrap();
}
