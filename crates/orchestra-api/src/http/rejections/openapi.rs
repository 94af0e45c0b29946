//! What the document says about rejections.

use axum::http::StatusCode;
use serde_json::json;

use super::{LiftedView, PageView};
use crate::http::openapi::{Operation, page, rejection_key, user_and_agent};

/// The key of the examples.
const EXAMPLE_KEY: &str = "0f3c27b1e7c3a9f003d5e8a1b2c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6";

/// The routes.
pub fn operations() -> Vec<Operation> {
    let [limit, cursor, _] = page();
    vec![
        Operation::new(
            "rejections.list",
            "List what was rejected",
            "A page of the values that a scope does not take, oldest first. `reject` of a deletion puts one there. What a \
             value says is not kept.",
        )
        .takes(user_and_agent())
        .takes([limit, cursor])
        .answers::<PageView<'static>>(
            StatusCode::OK,
            "A page.",
            [(
                "one value",
                json!({
                    "rejections": [{
                        "key": EXAMPLE_KEY,
                        "scope": {"user": "ann"},
                        "rejected_at": "2025-06-01T09:00:00Z",
                        "rejected_by": "3f9a01bc",
                    }],
                    "next": null,
                }),
            )],
        )
        .refuses(&["invalid_cursor"]),
        Operation::new(
            "rejections.lift",
            "Take a rejection back",
            "The value may be written again. That there is no such rejection is no error.",
        )
        .takes([rejection_key(EXAMPLE_KEY)])
        .answers::<LiftedView>(StatusCode::OK, "Whether there was one.", [("lifted", json!({"lifted": true}))]),
    ]
}
