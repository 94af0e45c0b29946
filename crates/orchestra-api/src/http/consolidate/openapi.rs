//! What the document says about consolidation.

use axum::http::StatusCode;
use serde_json::json;

use super::{ConsolidateBody, ConsolidatedView};
use crate::http::openapi::{EXAMPLE_ID, Operation};

/// The routes.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "consolidate",
            "Consolidate the long-term memory",
            "Puts together what is said many times, and ends what a later statement contradicts. One bounded run; with \
             `next` as its `cursor` another goes on. A dry run says what would be done.",
        )
        .reads::<ConsolidateBody>([
            ("what would be done", json!({"scope": {"user": "ann"}, "dry_run": true})),
            ("a small run", json!({"scope": {"user": "ann"}, "limit": 100})),
        ])
        .answers::<ConsolidatedView>(
            StatusCode::OK,
            "What was done.",
            [(
                "one step",
                json!({
                    "steps": [{
                        "action": "supersede",
                        "outcome": "done",
                        "reason": "a later statement differs in name: \"Lisbon\" against \"Porto\"",
                        "evidence": [EXAMPLE_ID],
                        "closes": [{"id": EXAMPLE_ID, "text": "Ann lives in Lisbon"}],
                        "result": {"id": "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c52", "text": "Ann lives in Porto"},
                    }],
                    "visited": 2,
                    "next": null,
                    "dry_run": false,
                    "token": "5f0c-23",
                }),
            )],
        )
        .refuses(&["invalid_cursor", "busy", "budget_brake", "embedder_refused", "embedder_unavailable"]),
    ]
}
