//! What the document says about feedback.

use axum::http::StatusCode;
use serde_json::json;

use super::{FeedbackBody, FeedbackView};
use crate::http::cache::openapi::ENTRY;
use crate::http::openapi::Operation;

/// The routes.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "cache.feedback",
            "Say whether an answer was right",
            "A wrong answer is removed at once. One that is not there any more is no error.",
        )
        .reads::<FeedbackBody>([(
            "it was wrong",
            json!({"entry": ENTRY, "verdict": "wrong", "scope": {"user": "ann"}}),
        )])
        .answers::<FeedbackView>(
            StatusCode::OK,
            "It is counted.",
            [("removed", json!({"verdict": "wrong", "removed": 1}))],
        ),
    ]
}
