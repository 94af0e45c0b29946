//! What the document says about `/v1/memories`.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{
    AddedView, BatchBody, BatchView, ForgetBody, ForgottenView, HistoryView, MemoryBody, PageView, PatchBody,
    UpdatedView,
};
use crate::http::openapi::{
    EXAMPLE_ID, Operation, dry_run, if_match, kind_and_filter, memory_id, page, reject, scope, with_embeddings, writing,
};
use crate::http::wire::MemoryView;

/// One memory or many.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "for its schema")]
enum OneOrMany {
    One(Box<MemoryBody>),
    Many(BatchBody),
}

/// What became of one memory or of many.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "for its schema")]
enum OneOrManyAdded<'a> {
    One(AddedView<'a>),
    Many(BatchView<'a>),
}

/// The routes.
pub fn operations() -> Vec<Operation> {
    vec![add(), list(), get(), update(), delete(), history(), forget()]
}

fn add() -> Operation {
    Operation::new(
        "memories.add",
        "Remember one memory, or many",
        "Many are written all or none, in their order; `items` says what became of each. Where one of them is not \
         acceptable nothing is written, and `field` names it, as in `memories[1].scope.usr`. The answer comes when what \
         was written is durable.",
    )
    .takes(writing())
    .reads::<OneOrMany>([
        ("a fact", json!({"text": "Ann prefers the window seat", "scope": {"user": "ann"}, "kind": "semantic"})),
        (
            "many",
            json!({"memories": [
                {"text": "The flight to Lisbon leaves at 9:40", "scope": {"user": "ann"}, "metadata": {"trip": "lisbon"}},
                {"text": "The hotel is near the river", "scope": {"user": "ann"}, "metadata": {"trip": "lisbon"}},
            ]}),
        ),
        (
            "with an id, a time and an end",
            json!({
                "id": "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4e",
                "text": "Ann is in Lisbon",
                "scope": {"user": "ann", "agent": "planner"},
                "importance": 0.8,
                "valid_from": "2025-06-01T00:00:00Z",
                "ttl_seconds": 86_400,
            }),
        ),
    ])
    .answers::<OneOrManyAdded<'static>>(
        StatusCode::CREATED,
        "It is written, and durable.",
        [
            ("one", json!({"id": EXAMPLE_ID, "status": "created", "token": "5f0c-17", "replayed": false})),
            (
                "many",
                json!({
                    "items": [
                        {"id": "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4f", "status": "created"},
                        {"id": "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c50", "status": "created"},
                    ],
                    "token": "5f0c-19",
                    "replayed": false,
                }),
            ),
        ],
    )
    .with_headers(&["Location"])
    .refuses(&["space_mismatch", "id_taken", "idempotency_conflict", "forgotten", "quota_exceeded", "value_rejected"])
    .refuses(&["embedder_refused", "embedder_unavailable"])
}

/// The memory of the examples.
pub fn example() -> Value {
    json!({
        "id": EXAMPLE_ID,
        "version": 1,
        "scope": {"user": "ann"},
        "kind": "semantic",
        "tier": "long_term",
        "text": "Ann prefers the window seat",
        "actor": null,
        "metadata": {"trip": "lisbon"},
        "importance": 0.5,
        "origin": {"writer": "agent", "path": "http"},
        "evidence": [],
        "valid_from": null,
        "valid_to": null,
        "recorded_at": "2025-06-01T09:00:00Z",
        "superseded_at": null,
        "expires_at": null,
    })
}

fn list() -> Operation {
    Operation::new("memories.list", "List memories", "A page of a scope's current memories, oldest first.")
        .takes(scope())
        .takes(kind_and_filter())
        .takes(page())
        .takes([with_embeddings()])
        .answers::<PageView<'static>>(
            StatusCode::OK,
            "A page.",
            [("the last page", json!({"memories": [example()], "next": null}))],
        )
        .refuses(&["invalid_cursor", "invalid_json", "missing_field"])
}

fn get() -> Operation {
    Operation::new("memories.get", "Read a memory", "Its current version; the `ETag` is for a change of it.")
        .takes([memory_id()])
        .takes(scope())
        .answers::<MemoryView<'static>>(StatusCode::OK, "The memory.", [("a fact", example())])
        .with_headers(&["ETag"])
        .refuses(&["not_found"])
}

fn update() -> Operation {
    let mut updated = example();
    updated["version"] = 2.into();
    updated["text"] = "Ann prefers the aisle seat".into();
    updated["token"] = "5f0c-18".into();
    Operation::new(
        "memories.update",
        "Correct a memory",
        "Makes another version and keeps the former one. Cached answers that used the memory are removed. What is \
         absent stays as it is.",
    )
    .takes([memory_id(), if_match()])
    .takes(scope())
    .reads::<PatchBody>([
        ("another text", json!({"text": "Ann prefers the aisle seat"})),
        ("an end", json!({"valid_to": "2025-07-01T00:00:00Z", "importance": 0.2})),
    ])
    .answers::<UpdatedView<'static>>(StatusCode::OK, "The new version.", [("another text", updated)])
    .with_headers(&["ETag"])
    .refuses(&[
        "not_found",
        "version_conflict",
        "value_rejected",
        "space_mismatch",
        "embedder_refused",
        "embedder_unavailable",
    ])
}

fn receipt(forgotten: Value) -> Value {
    json!({
        "forgotten": forgotten,
        "derived": [],
        "former_versions": 0,
        "embeddings": 1,
        "sessions": 0,
        "cache_entries": 1,
        "working_messages": 0,
        "dry_run": false,
        "token": "5f0c-20",
    })
}

fn delete() -> Operation {
    Operation::new(
        "memories.delete",
        "Forget a memory",
        "For good: its history, what was derived from it, and the cached answers that used it. Its id is not used \
         again. Forgetting what is not there is no error, and the receipt is empty then.",
    )
    .takes([memory_id()])
    .takes(scope())
    .takes([dry_run(), reject()])
    .answers::<ForgottenView>(StatusCode::OK, "What went.", [("one", receipt(json!([EXAMPLE_ID])))])
}

fn history() -> Operation {
    let mut former = example();
    former["superseded_at"] = "2025-06-02T09:00:00Z".into();
    let mut current = example();
    current["version"] = 2.into();
    current["text"] = "Ann prefers the aisle seat".into();
    current["recorded_at"] = "2025-06-02T09:00:00Z".into();
    Operation::new("memories.history", "Read a memory's versions", "Every version, oldest first.")
        .takes([memory_id()])
        .takes(scope())
        .answers::<HistoryView<'static>>(
            StatusCode::OK,
            "The versions.",
            [("corrected once", json!({"versions": [former, current]}))],
        )
        .refuses(&["not_found"])
}

fn forget() -> Operation {
    let mut rejected = receipt(json!([EXAMPLE_ID]));
    rejected["rejected"] = 1.into();
    Operation::new(
        "memories.forget",
        "Forget many memories",
        "Exactly one of `ids`, `filter` and `all` says which, always inside the scope. `all` needs a key with the scope \
         `admin`. A dry run says what would go.",
    )
    .reads::<ForgetBody>([
        ("by their ids", json!({"scope": {"user": "ann"}, "ids": [EXAMPLE_ID]})),
        ("by a filter, dry", json!({"scope": {"user": "ann"}, "filter": {"metadata.trip": "lisbon"}, "dry_run": true})),
        ("what is not so", json!({"scope": {"user": "ann"}, "ids": [EXAMPLE_ID], "reject": true})),
        ("all of a person", json!({"scope": {"user": "ann"}, "all": true})),
    ])
    .answers::<ForgottenView>(
        StatusCode::OK,
        "What went.",
        [("one", receipt(json!([EXAMPLE_ID]))), ("one that was rejected", rejected)],
    )
}
