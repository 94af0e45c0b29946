//! What the document says about moving the store.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::search::{HitsView, LookBody, SearchBody, SightView, TextsBody, VectorsView};
use super::{
    AcknowledgeBody, ChangesView, GateBody, ItemsView, KeysBody, LagView, SizeView, StreamBody, WriteBody, WrittenView,
};
use crate::http::openapi::{EXAMPLE_ID, Operation, Parameter, page, stream_name};
use crate::moving::mirror::MirrorReport;

const ABOUT: &str = "For whoever moves the store: it is of every tenant, and needs a key with the scope `move`.";

/// The routes.
pub fn operations() -> Vec<Operation> {
    let mut operations = gate();
    operations.extend(items());
    operations.extend(searches());
    operations.extend(streams());
    let side = || {
        Parameter::query::<Option<String>>(
            "side",
            "Of a server that follows a move: `blue`, its own store, or `green`.",
        )
    };
    let complete = |operation: Operation| operation.takes([side()]).refuses(&["no_replica", "store_unavailable"]);
    operations.into_iter().map(complete).chain([mirror()]).collect()
}

fn mirror() -> Operation {
    let times = json!({"p50_ms": 1.5, "p95_ms": 4.0});
    let report = json!({
        "percent": 10,
        "compared": 200,
        "same": 0.98,
        "same_first": 1.0,
        "overlap": 0.995,
        "failures": 0,
        "left_out": 0,
        "blue": times,
        "green": times,
    });
    Operation::new(
        "replica.mirror",
        "Compare green's answers with blue's",
        "Of the searches that green answered too, since the server began, as `move.mirror_percent` says.",
    )
    .answers::<MirrorReport>(StatusCode::OK, "How they compare.", [("nearly the same", report)])
}

fn gate() -> Vec<Operation> {
    let clients = json!({"epoch": 0, "writers": "clients"});
    vec![
        Operation::new("replica.size", "Say how much is in the store", ABOUT).answers::<SizeView>(
            StatusCode::OK,
            "About how much.",
            [("small", json!({"memories": 1, "others": 0, "bytes": 4096}))],
        ),
        Operation::new("replica.gate", "Say who may write to the store", ABOUT).answers::<GateBody>(
            StatusCode::OK,
            "Who, and since which epoch.",
            [("no move", clients)],
        ),
        Operation::new(
            "replica.set_gate",
            "Say who may write to the store from now on",
            "Waits for the writes that are under way. Whoever may not write is refused with `fenced`.",
        )
        .reads::<GateBody>([("for the mover", json!({"epoch": 1, "writers": "mover"}))])
        .answers::<GateBody>(
            StatusCode::OK,
            "It is so, durably.",
            [("for the mover", json!({"epoch": 1, "writers": "mover"}))],
        )
        .refuses(&["fenced"]),
    ]
}

fn items() -> Vec<Operation> {
    let key = json!({"memory": {"tenant": "default", "id": "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4e"}});
    let absent = json!({"item": "absent", "key": key});
    let [limit, ..] = page();
    vec![
        Operation::new(
            "replica.scan",
            "Read all that there is",
            "Rejections and forgotten texts, then tombstones, then memories with their history in the order of first writing; \
             answered keys among them. A page may be shorter than asked for.",
        )
        .takes([limit, Parameter::query::<String>("after", "The `next` of the page before. It is opaque.")])
        .answers::<ItemsView>(StatusCode::OK, "A page.", [("one memory", json!({"items": [memory()], "next": null}))]),
        Operation::new("replica.read", "Read what has become of items", "In the order of their keys.")
            .reads::<KeysBody>([("a memory", json!({"keys": [key]}))])
            .answers::<ItemsView>(
                StatusCode::OK,
                "One for each key.",
                [("it is no more", json!({"items": [absent], "next": null}))],
            ),
        Operation::new(
            "replica.write",
            "Make items what they are elsewhere",
            "All or nothing, durably. The store has to be open to the mover at this very epoch.",
        )
        .reads::<WriteBody>([("a memory that is no more", json!({"epoch": 1, "items": [absent]}))])
        .answers::<WrittenView>(StatusCode::OK, "They are.", [("one", json!({"written": 1}))])
        .refuses(&["fenced", "storage_full"]),
    ]
}

fn memory() -> Value {
    json!({
        "item": "memory",
        "ordinal": 1,
        "current": {
            "memory": {
                "id": EXAMPLE_ID,
                "version": 1,
                "scope": {"tenant": "default", "user": "ann"},
                "kind": "semantic",
                "text": "Ann prefers the window seat",
                "actor": null,
                "metadata": {},
                "importance": 0.5,
                "origin": {"writer": "agent", "path": "http"},
                "evidence": [],
                "valid_from": null,
                "valid_to": null,
                "recorded_at": "2025-06-01T09:00:00Z",
                "superseded_at": null,
                "expires_at": null,
            },
        },
    })
}

fn searches() -> Vec<Operation> {
    let (scope, space) = (json!({"tenant": "default", "user": "ann"}), json!({"model": "static-256", "revision": "1"}));
    let hit = json!({"id": EXAMPLE_ID, "scope": scope, "similarity": null});
    vec![
        Operation::new("replica.search", "Search within any scope", "To compare what two stores find, and how fast.")
            .reads::<SearchBody>([("by words", json!({"scope": scope, "text": "Where does Ann sit?"}))])
            .answers::<HitsView>(StatusCode::OK, "What it found.", [("one", json!({"hits": [hit], "took_us": 840}))]),
        Operation::new("replica.look", "Say what is shown of a memory", "To whoever asks within a scope.")
            .reads::<LookBody>([("a memory", json!({"scope": scope, "id": EXAMPLE_ID}))])
            .answers::<SightView>(
                StatusCode::OK,
                "Whether it is shown.",
                [("it is not", json!({"is_shown": false, "turn_before": null}))],
            ),
        Operation::new("replica.embed", "Make vectors of texts", "As the server makes those of memories.")
            .reads::<TextsBody>([("the space alone", json!({"texts": []}))])
            .answers::<VectorsView>(StatusCode::OK, "The vectors.", [("none", json!({"space": space, "vectors": []}))]),
    ]
}

fn streams() -> Vec<Operation> {
    let stream = json!({"stream": "to-green"});
    let change = json!({
        "position": "1",
        "key": {"memory": {"tenant": "default", "id": EXAMPLE_ID}},
        "occurred_at": "2025-06-01T09:00:00Z",
    });
    let [limit, ..] = page();
    vec![
        Operation::new(
            "replica.capture",
            "Have changes noted from here on",
            "A stream that is there already keeps its place.",
        )
        .reads::<StreamBody>([("to green", stream.clone())])
        .answers::<StreamBody>(StatusCode::OK, "They are.", [("to green", stream.clone())]),
        Operation::new("replica.release", "End a stream of changes", "That there is none is no error.")
            .takes([stream_name()])
            .answers::<StreamBody>(StatusCode::OK, "There is none.", [("to green", stream.clone())]),
        Operation::new("replica.lag", "Say how far behind a stream is", "").takes([stream_name()]).answers::<LagView>(
            StatusCode::OK,
            "So far.",
            [("nothing is left", json!({"changes": 0, "oldest": null}))],
        ),
        Operation::new(
            "replica.changed",
            "Read which items changed",
            "The oldest changes that the stream has not acknowledged.",
        )
        .takes([stream_name(), limit])
        .answers::<ChangesView>(StatusCode::OK, "The oldest.", [("one", json!({"changes": [change]}))]),
        Operation::new(
            "replica.acknowledge",
            "Say that changes were moved",
            "Every one up to this position; an older one changes nothing.",
        )
        .takes([stream_name()])
        .reads::<AcknowledgeBody>([("the first", json!({"position": "1"}))])
        .answers::<StreamBody>(StatusCode::OK, "They are not told again.", [("to green", stream)]),
    ]
}
