//! What the document says about the turns of a conversation.

use axum::http::StatusCode;
use serde_json::json;

use super::{MessagesBody, MessagesView};
use crate::http::memories::ForgottenView;
use crate::http::memories::openapi::example;
use crate::http::openapi::{EXAMPLE_ID, Operation, dry_run, page, session_id, user_and_agent, writing};
use crate::http::wire::BatchView;

/// The routes.
pub fn operations() -> Vec<Operation> {
    vec![add(), list(), delete()]
}

fn add() -> Operation {
    Operation::new(
        "messages.add",
        "Add turns to a session",
        "They are written in their order, all or none, as memories of the kind `message`. A refusal names the turn, as \
         in `messages[1].text`.",
    )
    .takes([session_id()])
    .takes(writing())
    .reads::<MessagesBody>([(
        "two turns",
        json!({
            "scope": {"user": "ann"},
            "messages": [
                {"actor": "ann", "text": "Which seat did I book?", "at": "2025-06-01T09:00:00Z"},
                {"actor": "assistant", "text": "The window seat, 14A."},
            ],
        }),
    )])
    .answers::<BatchView<'static>>(
        StatusCode::CREATED,
        "They are written, and durable.",
        [(
            "two turns",
            json!({
                "items": [
                    {"id": EXAMPLE_ID, "status": "created"},
                    {"id": "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4e", "status": "created"},
                ],
                "token": "5f0c-21",
                "replayed": false,
            }),
        )],
    )
    .refuses(&[
        "idempotency_conflict",
        "quota_exceeded",
        "value_rejected",
        "embedder_refused",
        "embedder_unavailable",
    ])
}

fn list() -> Operation {
    let mut turn = example();
    turn["scope"]["session"] = "monday".into();
    turn["kind"] = "message".into();
    turn["tier"] = "short_term".into();
    turn["text"] = "Which seat did I book?".into();
    turn["actor"] = "ann".into();
    turn["metadata"] = json!({});
    turn["valid_from"] = "2025-06-01T09:00:00Z".into();
    Operation::new("messages.list", "List the turns of a session", "A page of them, oldest first.")
        .takes([session_id()])
        .takes(user_and_agent())
        .takes(page())
        .answers::<MessagesView<'static>>(
            StatusCode::OK,
            "A page.",
            [("the last page", json!({"messages": [turn], "next": null}))],
        )
        .refuses(&["invalid_cursor"])
}

fn delete() -> Operation {
    Operation::new(
        "messages.delete",
        "Forget the turns of a session",
        "For good, with what was derived from them and the cached answers that used them.",
    )
    .takes([session_id()])
    .takes(user_and_agent())
    .takes([dry_run()])
    .answers::<ForgottenView>(
        StatusCode::OK,
        "What went.",
        [(
            "a session",
            json!({
                "forgotten": [EXAMPLE_ID],
                "derived": [],
                "former_versions": 0,
                "embeddings": 1,
                "sessions": 1,
                "cache_entries": 0,
                "working_messages": 0,
                "dry_run": false,
                "token": "5f0c-22",
            }),
        )],
    )
}
