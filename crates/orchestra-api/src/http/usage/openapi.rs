//! What the document says about usage.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::UsageView;
use crate::http::openapi::{Operation, Parameter};

/// The routes.
pub fn operations() -> Vec<Operation> {
    let used = json!({
        "operations": 3, "failures": 0, "bytes_in": 210, "bytes_out": 1_904, "embedded_texts": 3, "embedded_tokens": 21,
        "exact_hits": 0, "semantic_hits": 0, "false_hits": 0, "misses": 0, "saved_tokens": 0, "saved_ms": 0,
    });
    let mut search = used.clone();
    search["operation"] = Value::from("memories.search");
    vec![
        Operation::new("usage", "Read what was used", "By the caller's tenant, of this process, by operation.")
            .takes([
                Parameter::query::<String>("from", "Since when, as RFC 3339 or another common form.")
                    .such_as("2025-06-01T00:00:00Z"),
                Parameter::query::<String>("to", "Until when."),
            ])
            .answers::<UsageView>(
                StatusCode::OK,
                "The figures.",
                [(
                    "three searches",
                    json!({
                        "tenant": "default",
                        "from": "2025-06-01T00:00:00Z",
                        "to": null,
                        "known_since": "2025-06-01T09:00:00Z",
                        "window_seconds": 60,
                        "total": used,
                        "operations": [search],
                    }),
                )],
            ),
    ]
}
