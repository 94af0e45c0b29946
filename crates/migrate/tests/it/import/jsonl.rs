//! Files of `orchestra export`.

use std::fs;
use std::sync::Arc;

use memory_core::{Error, Gate, Item, MemoryKind, MemoryStore, Replica, Writer, Writers};
use memory_testkit::replica::model::Model;
use memory_testkit::{TestClock, make};
use migrate::import::open_jsonl;

use super::{is_read_only, left_out, options, scan};

const LINES: &str = r#"{"id":"0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d","version":3,"scope":{"user":"maya","agent":"a","session":"s"},"kind":"message","text":"Window seats.","actor":"Maya","metadata":{"n":0.1},"importance":0.75,"origin":{"path":"cli","writer":"user"},"evidence":["0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4e"],"valid_from":"2025-05-01T01:00:00Z","valid_to":"2025-05-02T01:00:00Z","recorded_at":"2025-06-01T01:00:00Z","expires_at":"2035-06-01T01:00:00Z"}

{"id":"00000000-0000-0000-0000-000000000002","kind":"semantic","text":"Café ☕"}
{"id":"00000000-0000-0000-0000-000000000002","kind":"semantic","text":"twice"}
{"id":"00000000-0000-0000-0000-000000000003","kind":"semantic","text":"x","colour":"red"}
{"id":"00000000-0000-0000-0000-000000000004","kind":"semantic","text":" "}
{"id":"00000000-0000-0000-0000-000000000005","kind":"semantic","text":"x","metadata":[]}
not json
"#;

#[tokio::test]
async fn an_export_is_read_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory.jsonl");
    let mut bytes = LINES.as_bytes().to_vec();
    bytes.extend(b"{\"id\":\"00000000-0000-0000-0000-000000000006\",\"kind\":\"semantic\",\"text\":\"\xff\"}\n");
    // The last line need not have an end.
    bytes.extend(br#"{"id":"00000000-0000-0000-0000-000000000001","kind":"episodic","text":"the last","scope":{}}"#);
    fs::write(&path, bytes).expect("write");
    let import = open_jsonl(&path, options(None)).await.expect("it opens");
    let all = scan(&import).await;
    let texts: Vec<(&str, u64)> = all.iter().map(|whole| (whole.current.memory.text.as_str(), whole.ordinal)).collect();
    assert_eq!(texts, [("Window seats.", 1), ("Café ☕", 2), ("the last", 9)], "in the order of the file");
    let memory = &all[0].current.memory;
    assert_eq!((memory.scope.tenant_name(), memory.scope.session()), ("acme", Some("s")));
    assert_eq!((memory.kind, memory.actor.as_deref(), memory.importance), (MemoryKind::Message, Some("Maya"), 0.75));
    assert_eq!((memory.version, memory.origin.writer), (1, Writer::Import), "as an import says it");
    assert_eq!(memory.recorded_at.to_rfc3339(), "2025-06-01T01:00:00+00:00");
    assert_eq!(memory.evidence.len(), 1);
    assert!(memory.valid_from < memory.valid_to && memory.valid_to < memory.expires_at);
    let found = left_out(&import);
    let lines: Vec<&str> = found.iter().map(|(key, _)| *key).collect();
    assert_eq!(lines, ["line 4", "line 5", "line 6", "line 7", "line 8", "line 9"]);
    let reasons =
        ["is that of a row before it", "unknown field `colour`", "not blank", "invalid type", "expected", "unicode"];
    for ((key, reason), expected) in found.iter().zip(reasons) {
        assert!(reason.contains(expected), "{key}: {reason}");
    }
    is_read_only(&import, &all).await;
    assert_eq!(scan(&open_jsonl(&path, options(None)).await.expect("it opens")).await, all);

    fs::write(&path, LINES.replace("Window", "Middle")).expect("write");
    let error = import.scan(None, 1).await.expect_err("it was changed").to_string();
    assert_eq!(error, "jsonl: line 1 was changed since the source was opened; stop writing to it and begin again");
}

#[tokio::test]
async fn a_file_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = open_jsonl(&folder.path().join("none.jsonl"), options(None)).await.expect_err("there is none");
    assert!(matches!(error, Error::Unusable { .. }) && error.to_string().contains("cannot be read"), "{error}");
}

#[tokio::test]
async fn an_export_is_copied_into_a_store_as_often_as_wished() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("memory.jsonl");
    fs::write(&path, LINES).expect("write");
    let import = open_jsonl(&path, options(None)).await.expect("it opens");
    let clock = TestClock::new();
    let store = Model::new(Arc::new(clock.clone()));
    for epoch in [2, 4] {
        let mut told = Vec::new();
        let written = import.copy_to(&store, 1, |written| told.push(written)).await.expect("it is copied");
        assert_eq!((written, told), (2, vec![1, 2]));
        let items = store.scan(None, 100).await.expect("scan").items;
        let expected: Vec<Item> = scan(&import).await.into_iter().map(|whole| Item::Memory(Box::new(whole))).collect();
        assert_eq!(items, expected);
        assert_eq!(store.gate().await.expect("a gate"), Gate { epoch, writers: Writers::Clients });
    }
    let later = make::memory(&make::user("acme", "maya"), "later", memory_core::Clock::now(&clock));
    store.insert(make::batch([later])).await.expect("it is open");
}
