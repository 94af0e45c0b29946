//! What the document says about the semantic cache.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{EntryBody, HitView, InvalidateBody, InvalidatedView, LookupBody, MissView, StoredView};
use crate::http::openapi::{EXAMPLE_ID, Operation};

/// The entry of the examples.
pub const ENTRY: &str = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c51";

/// The cached answer, or why there is none.
#[derive(JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
#[expect(dead_code, reason = "for its schema")]
enum HitOrMiss<'a> {
    Hit(HitView<'a>),
    Miss(MissView<'a>),
}

/// The routes.
pub fn operations() -> Vec<Operation> {
    vec![lookup(), store(), invalidate()]
}

/// A cached answer.
pub fn hit() -> Value {
    json!({
        "hit": true,
        "kind": "exact",
        "response": "At 9:40.",
        "similarity": 1.0,
        "age_seconds": 12.5,
        "entry_id": ENTRY,
        "prompt": "When does the flight leave?",
        "metadata": {},
        "depends_on": [EXAMPLE_ID],
        "tags": ["travel"],
        "expires_at": "2025-06-02T09:00:00Z",
        "took_ms": 0.21,
    })
}

/// A near miss.
pub fn miss() -> Value {
    json!({
        "hit": false,
        "near_miss": {
            "entry_id": ENTRY,
            "prompt": "When does the flight leave?",
            "similarity": 0.93,
            "refused": {"guard": [{"check": "negation", "asked": "not", "cached": ""}]},
        },
        "took_ms": 0.84,
    })
}

fn lookup() -> Operation {
    let asked = |prompt: &str| json!({"prompt": prompt, "scope": {"user": "ann"}, "model": "m1"});
    Operation::new(
        "cache.lookup",
        "Look an answer up",
        "An answer counts when its scope, model and instructions are the same, its prompt means the same, and the \
         memories that it used still stand. A miss is no error; `near_miss` says which entry was nearest, and why it \
         was not served.",
    )
    .reads::<LookupBody>([
        ("the same question", asked("when does the flight leave")),
        ("another question", asked("When does the flight not leave?")),
    ])
    .answers::<HitOrMiss<'static>>(StatusCode::OK, "A hit, or a miss.", [("a hit", hit()), ("a miss", miss())])
    .refuses(&["embedder_refused", "embedder_unavailable"])
}

fn with(mut entry: Value, member: &str, value: Value) -> Value {
    entry[member] = value;
    entry
}

fn store() -> Operation {
    let entry = json!({
        "prompt": "When does the flight leave?",
        "response": "At 9:40.",
        "scope": {"user": "ann"},
        "model": "m1",
        "tags": ["travel"],
        "ttl_seconds": 3600,
    });
    Operation::new(
        "cache.store",
        "File an answer",
        "It is bound to the memories that it used: changing or forgetting one of them removes it. With the versions \
         that were read in `made_of` it is not filed either when one of them was changed before. Where the cache is \
         switched off nothing is filed.",
    )
    .reads::<EntryBody>([
        ("an answer", entry.clone()),
        ("an answer that used a memory", with(entry.clone(), "depends_on", json!([EXAMPLE_ID]))),
        (
            "an answer that was made of a version of a memory",
            with(entry, "made_of", json!([{"id": EXAMPLE_ID, "version": 1}])),
        ),
    ])
    .answers::<StoredView>(
        StatusCode::CREATED,
        "It is filed.",
        [("an entry", json!({"id": ENTRY, "expires_at": "2025-06-02T09:00:00Z"}))],
    )
    .answers::<StoredView>(
        StatusCode::OK,
        "The cache is switched off.",
        [("nothing", json!({"id": null, "expires_at": null}))],
    )
    .refuses(&["memories_changed", "embedder_refused", "embedder_unavailable"])
}

fn invalidate() -> Operation {
    Operation::new(
        "cache.invalidate",
        "Remove answers",
        "Exactly one of `entry`, `memories`, `tag` and `all` says which, always inside the scope. When it is answered \
         none of them is served any more.",
    )
    .reads::<InvalidateBody>([
        ("by a label", json!({"scope": {"user": "ann"}, "tag": "travel"})),
        ("by the memories used", json!({"memories": [EXAMPLE_ID]})),
        ("all, dry", json!({"scope": {"user": "ann"}, "all": true, "dry_run": true})),
    ])
    .answers::<InvalidatedView>(StatusCode::OK, "What went.", [("one", json!({"removed": 1, "dry_run": false}))])
}
