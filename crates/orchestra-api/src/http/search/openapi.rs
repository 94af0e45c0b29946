//! What the document says about the search.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{SearchBody, SearchView};
use crate::http::memories::openapi::example;
use crate::http::openapi::Operation;

/// A result.
pub fn result() -> Value {
    let mut result = example();
    result["score"] = 0.83.into();
    result["from"] = "persistent".into();
    result
}

/// The routes.
pub fn operations() -> Vec<Operation> {
    let arm = |arm: &str| json!({"arm": arm, "exact": true, "considered": 1, "returned": 1, "shortfall": 0});
    let weights = json!({
        "strategy": "weighted", "dense": 0.5, "neighbours": 0.3, "actor": 0.2,
        "recency": 0.0, "recency_half_life_days": 30.0, "importance": 0.0,
    });
    vec![
        Operation::new(
            "memories.search",
            "Recall",
            "The memories that answer a question, best first: by meaning and by words. `degraded` says what the answer \
             lacks.",
        )
        .reads::<SearchBody>([
            ("a question", json!({"query": "Where does Ann like to sit?", "scope": {"user": "ann"}, "limit": 5})),
            (
                "with conditions, explained",
                json!({
                    "query": "When do we take off?",
                    "scope": {"user": "ann"},
                    "filter": {"and": [{"metadata.trip": "lisbon"}, {"importance": {"gte": 0.3}}]},
                    "explain": true,
                }),
            ),
            (
                "another ranking, at a time",
                json!({
                    "query": "seat",
                    "scope": {"user": "ann"},
                    "also": [{"user": "bob"}],
                    "strategy": {"strategy": "weighted", "dense": 0.3, "recency": 0.2},
                    "valid_at": "2025-06-01T00:00:00Z",
                }),
            ),
        ])
        .answers::<SearchView<'static>>(
            StatusCode::OK,
            "The results.",
            [(
                "one result",
                json!({
                    "results": [result()],
                    "strategy": weights,
                    "arms": [arm("dense"), arm("lexical")],
                    "degraded": [],
                    "tokens": 7,
                    "left_out": 0,
                    "took_ms": 1.93,
                }),
            ), ("nothing, explained", json!({
                    "results": [],
                    "strategy": weights,
                    "arms": [arm("dense"), arm("lexical")],
                    "degraded": [],
                    "tokens": 0,
                    "left_out": 0,
                    "explanation": [{"code": "nothing_in_scope", "detail": "the store holds nothing in this scope"}],
                    "took_ms": 0.4,
                }))],
        )
        .refuses(&["space_mismatch", "not_yet_visible", "embedder_refused", "embedder_unavailable"]),
    ]
}
