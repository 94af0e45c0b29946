//! Import: once, twice, interrupted, killed, corrected, forgotten.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{Orchestra, fixture, fixture_path};

fn file_summary(orchestra: &Orchestra, arguments: &[&str]) -> Value {
    orchestra.json(&[&["import"], arguments].concat())["files"][0].clone()
}

#[test]
fn importing_twice_adds_nothing_also_from_another_path() {
    for name in ["chats.jsonl", "chatgpt.json", "conversation.json", "locomo.json", "notes.md", "memories.jsonl"] {
        let orchestra = Orchestra::new();
        let first = file_summary(&orchestra, &[&fixture_path(name)]);
        assert!(first["created"].as_u64().unwrap() > 0 && first["created"] == first["read"], "{name}: {first}");
        let copy = orchestra.folder().join(format!("copy-of-{name}"));
        std::fs::copy(fixture(name), &copy).unwrap();
        let second = file_summary(&orchestra, &[copy.to_str().unwrap()]);
        assert_eq!((&second["created"], &second["unchanged"]), (&json!(0), &first["read"]), "{name}: {second}");
        assert_eq!(json!(orchestra.memories()), first["read"], "{name}");
    }
}

#[test]
fn the_summary_counts_what_was_left_out_and_why() {
    let orchestra = Orchestra::new();
    let ran = orchestra.ok(&["import", &fixture_path("chats.jsonl"), "--user", "farah"]);
    insta::assert_snapshot!(ran.out, @"
    File         Format       Read  Created  Unchanged  Forgotten  Skipped
    chats.jsonl  openai-chat     8        8          0          0  1 without text, 2 from system prompts
    ");
    assert!(ran.err.contains("chats.jsonl: read as openai-chat, since it has \"messages\"\n"), "{}", ran.err);
    let users = orchestra.json(&["list", "--user", "farah", "--limit", "100"]);
    assert_eq!(users["memories"].as_array().unwrap().len(), 8);
    assert_eq!(users["memories"][0]["origin"]["writer"], "import");
}

#[test]
fn a_broken_file_writes_nothing_and_names_every_place() {
    let orchestra = Orchestra::new();
    let good = fixture_path("memories.jsonl");
    let ran = orchestra.run(&["import", &good, &fixture_path("broken.jsonl")]);
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!(ran.err.replace(&fixture_path(""), ""), @r#"
    memories.jsonl: read as jsonl, since its first line has a text
    broken.jsonl: read as jsonl, since its first line has a text
    broken.jsonl:2:30: expected `,` or `}`; expected {"text": …} or a JSON string on a line of its own
    broken.jsonl:3:39: kind: given "fact"; expected message, episodic, semantic or procedural
    broken.jsonl:4:1: no "text"; expected {"text": …} or a JSON string
    broken.jsonl:5:1: importance: given 7, allowed: 0.0 to 1.0
    broken.jsonl:6:1: given a list; expected {"text": …} or a JSON string
    error: 5 broken places; nothing was written
    next:  correct them, leave them out with --skip-invalid, or say what the file is with --format
    "#);
    assert_eq!(orchestra.memories(), 0, "the good file was not imported either");

    let summary = file_summary(&orchestra, &[&fixture_path("broken.jsonl"), "--skip-invalid"]);
    assert_eq!((&summary["created"], &summary["skipped"]["invalid"]), (&json!(1), &json!(5)));
}

#[test]
fn at_most_ten_places_are_shown() {
    let orchestra = Orchestra::new();
    let ran = orchestra.run_with_input(&["import", "-", "--format", "jsonl"], &"{\"text\": 1}\n".repeat(25));
    assert_eq!(ran.code, 1);
    assert_eq!(ran.err.matches("<stdin>:").count(), 11, "{}", ran.err);
    assert!(
        ran.err.contains("<stdin>: and 15 more\n") && ran.err.contains("25 broken places; nothing was written"),
        "{}",
        ran.err
    );
}

#[test]
fn a_document_cut_short_is_refused_whole() {
    let orchestra = Orchestra::new();
    let text = std::fs::read_to_string(fixture("conversation.json")).unwrap();
    let half = &text[..text.len() * 3 / 4];
    let ran = orchestra.run_with_input(&["import", "-", "--skip-invalid"], half);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("what comes after the place cannot be read"), "{}", ran.err);
    assert_eq!(orchestra.memories(), 0);
    let ran = orchestra.run_with_input(&["import", "-"], &text.replace("2025-05-02", "the other day"));
    assert!(
        ran.err.contains("<stdin>:14:29: ") && ran.err.contains("is no time; expected a time such as"),
        "{}",
        ran.err
    );
}

#[test]
fn a_dry_run_writes_nothing() {
    let orchestra = Orchestra::new();
    let summary = orchestra.json(&["import", &fixture_path("locomo.json"), "--dry-run"]);
    assert_eq!((&summary["dry_run"], &summary["files"][0]["read"]), (&json!(true), &json!(4)));
    assert_eq!(orchestra.memories(), 0);
}

#[test]
fn the_kind_is_for_what_does_not_say_it() {
    let orchestra = Orchestra::new();
    orchestra.ok(&["import", &fixture_path("memories.jsonl"), "--kind", "semantic"]);
    let kind = |filter: &str| orchestra.json(&["list", "--filter", filter])["memories"][0]["kind"].clone();
    assert_eq!(kind(r#"{"metadata.source_id": "jira-881"}"#), "semantic");
    assert_eq!(kind(r#"{"metadata.runbook": "tls"}"#), "procedural");
}

#[test]
fn what_was_corrected_or_forgotten_since_stays_so() {
    let orchestra = Orchestra::new();
    let file = fixture_path("conversation.json");
    orchestra.ok(&["import", &file]);
    let find = |text: &str| {
        let filter = json!({"text": {"contains": text}}).to_string();
        orchestra.json(&["list", "--filter", &filter])["memories"][0]["id"].as_str().unwrap().to_owned()
    };
    let (key, potatoes) = (find("shed key"), find("Potatoes"));
    orchestra.ok(&["update", &key, "--text", "The shed key is with the neighbour.", "--user", "nils"]);
    orchestra.ok(&["forget", &potatoes, "--user", "nils"]);
    let summary = file_summary(&orchestra, &[&file]);
    assert_eq!(summary["created"], 0);
    assert_eq!((&summary["unchanged"], &summary["refused_forgotten"]), (&json!(3), &json!(1)), "{summary}");
    assert_eq!(summary["skipped"]["changed_since"], 1);
    assert_eq!(orchestra.json(&["get", &key])["text"], "The shed key is with the neighbour.");
    assert_eq!(orchestra.run(&["get", &potatoes]).code, 1);
}

#[test]
fn a_file_with_new_lines_before_old_ones_is_imported_whole() {
    // The last memory of a batch being there does not mean that all of it is.
    let orchestra = Orchestra::new();
    orchestra.run_with_input(&["import", "-"], "{\"text\": \"old\"}\n");
    let ran = orchestra.run_with_input(&["import", "-", "--json"], "{\"text\": \"new\"}\n{\"text\": \"old\"}\n");
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&summary["files"][0]["created"], &summary["files"][0]["unchanged"]), (&json!(1), &json!(1)));
    assert_eq!(orchestra.memories(), 2);
}

/// Many small notes.
fn many(number: usize) -> String {
    let mut text = String::new();
    for at in 0..number {
        writeln!(text, "{{\"text\": \"Note {at}: shelf {} holds box {}.\", \"user\": \"store\"}}", at % 97, at * 7)
            .unwrap();
    }
    text
}

#[test]
fn an_import_that_was_killed_goes_on() {
    const NUMBER: usize = 12_000;
    let orchestra = Orchestra::new();
    let file = orchestra.folder().join("notes.jsonl");
    std::fs::write(&file, many(NUMBER)).unwrap();
    let file = file.to_str().unwrap();
    let mut child = orchestra
        .command(&["import", file])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Killed once the log shows that writing has begun, at a moment of chance.
    let log = orchestra.data().join("memory.db-wal");
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::metadata(&log).map_or(0, |log| log.len()) < 500_000 && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "the import did not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = orchestra.memories();
    assert!(before > 0 && before < NUMBER as u64, "killed in the middle: {before}");
    assert_eq!(before % 200, 0, "a batch is all there or not at all");
    let summary = file_summary(&orchestra, &[file]);
    assert_eq!(summary["unchanged"], before);
    assert_eq!(summary["created"], NUMBER as u64 - before);
    assert_eq!(orchestra.memories(), NUMBER as u64);
}

#[cfg(unix)]
#[test]
fn an_interrupted_import_says_how_to_go_on() {
    let orchestra = Orchestra::new();
    let file = orchestra.folder().join("notes.jsonl");
    std::fs::write(&file, many(12_000)).unwrap();
    let child = orchestra
        .command(&["import", file.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = orchestra.data().join("memory.db-wal");
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::fs::metadata(&log).map_or(0, |log| log.len()) < 300_000 {
        assert!(Instant::now() < deadline, "the import did not begin");
        std::thread::sleep(Duration::from_millis(1));
    }
    let signalled = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signalled.success());
    let ran = super::support::ran(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.err.contains("of 12,000 memories; what was written is safe"), "{}", ran.err);
    assert!(ran.err.ends_with("next:  run the same command again: it goes on where it stopped\n"), "{}", ran.err);
    assert!(orchestra.memories() > 0);
}
