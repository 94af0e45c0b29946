//! What the document says about questions.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::json;

use super::{AskBody, OpenView};
use crate::http::cache::HitView;
use crate::http::cache::openapi::{hit, miss};
use crate::http::openapi::Operation;
use crate::http::search::openapi::result;

/// The cached answer, or what is known.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "for its schema")]
enum AnsweredOrOpen<'a> {
    Answered(HitView<'a>),
    Open(OpenView<'a>),
}

/// The routes.
pub fn operations() -> Vec<Operation> {
    let mut open = miss();
    open["results"] = json!([result()]);
    open["degraded"] = json!([]);
    open["tokens"] = 7.into();
    open["left_out"] = 0.into();
    open["fill"] = "eyJwcm9tcHQiOiIuLi4ifQ".into();
    vec![
        Operation::new(
            "ask",
            "Ask a question",
            "The cached answer, as a lookup gives it; else what is known, as a search gives it, and a `fill`. Sent with \
             the answer to `POST /v1/cache/entries`, the fill files it, bound to these memories.",
        )
        .reads::<AskBody>([(
            "a question",
            json!({"prompt": "Where does Ann like to sit?", "scope": {"user": "ann"}, "model": "m1"}),
        )])
        .answers::<AnsweredOrOpen<'static>>(
            StatusCode::OK,
            "The cached answer, or what is known.",
            [("a cached answer", hit()), ("what is known", open)],
        )
        .refuses(&["embedder_refused", "embedder_unavailable"]),
    ]
}
