//! What the document says about conversations that go on.

use axum::http::StatusCode;
use memory_core::{AppendReceipt, PromoteReceipt};
use serde_json::json;

use super::{AppendBody, ClearedView, PromoteBody, WindowView};
use crate::http::openapi::{EXAMPLE_ID, Operation, Parameter, session_id, user_and_agent, writing};
use crate::http::wire::Limit;

/// The routes.
pub fn operations() -> Vec<Operation> {
    vec![append(), window(), clear(), promote()]
}

fn append() -> Operation {
    Operation::new(
        "working.append",
        "Append messages to the conversation",
        "All or none, numbered without gaps; the session lasts a while after its last append.",
    )
    .takes([session_id()])
    .takes(writing())
    .reads::<AppendBody>([(
        "two messages",
        json!({
            "scope": {"user": "ann"},
            "messages": [
                {"role": "user", "content": "Which seat did I book?"},
                {"role": "assistant", "content": "The window seat, 14A.", "tokens": 8},
            ],
            "ttl_seconds": 3600,
        }),
    )])
    .answers::<AppendReceipt>(
        StatusCode::CREATED,
        "They are appended.",
        [(
            "two messages",
            json!({"first": 1, "last": 2, "total": 2, "expires_at": "2025-06-01T10:00:00Z", "replayed": false}),
        )],
    )
    .refuses(&["idempotency_conflict", "no_working_memory"])
}

fn window() -> Operation {
    let message = json!({
        "sequence": 1, "role": "user", "content": "Which seat did I book?", "tokens": 6, "metadata": {},
        "appended_at": "2025-06-01T09:00:00Z",
    });
    Operation::new(
        "working.window",
        "Read the newest messages",
        "Those that fit `limit` and `max_tokens`, or with `after` the oldest that follow that number; oldest first.",
    )
    .takes([session_id()])
    .takes(user_and_agent())
    .takes([
        Parameter::query::<Limit>("limit", "At most so many messages."),
        Parameter::query::<u64>("max_tokens", "At most so many tokens in all."),
        Parameter::query::<u64>("after", "Only those after this number."),
    ])
    .answers::<WindowView>(
        StatusCode::OK,
        "The messages.",
        [(
            "one message",
            json!({
                "messages": [message],
                "tokens": 6,
                "total": 1,
                "truncated": false,
                "expires_at": "2025-06-01T10:00:00Z",
            }),
        )],
    )
    .refuses(&["no_working_memory"])
}

fn clear() -> Operation {
    Operation::new("working.clear", "End the conversation", "What was promoted of it stays.")
        .takes([session_id()])
        .takes(user_and_agent())
        .answers::<ClearedView>(StatusCode::OK, "It is ended.", [("two messages", json!({"cleared": 2}))])
        .refuses(&["no_working_memory"])
}

fn promote() -> Operation {
    Operation::new(
        "working.promote",
        "Keep the conversation for good",
        "Makes memories of the messages that are none yet. Calling it again changes nothing.",
    )
    .takes([session_id()])
    .reads::<PromoteBody>([("what people said", json!({"scope": {"user": "ann"}, "roles": ["user"]}))])
    .answers::<PromoteReceipt>(
        StatusCode::OK,
        "They are kept.",
        [(
            "one message",
            json!({
                "promoted": [{"sequence": 1, "id": EXAMPLE_ID, "status": "created"}],
                "already": 0,
                "other_roles": 1,
                "too_long": [],
                "token": "5f0c-24",
            }),
        )],
    )
    .refuses(&["no_working_memory", "quota_exceeded", "embedder_refused", "embedder_unavailable"])
}
