//! The commands for one memory at a time, and the cache.

use serde_json::json;

use super::support::{Orchestra, fixture_path};

#[test]
fn a_memory_from_first_to_last() {
    let orchestra = Orchestra::new();
    let remembered = orchestra.json(&[
        "remember",
        "Maya takes the window seat.",
        "--user",
        "maya",
        "--kind",
        "semantic",
        "--actor",
        "Maya",
        "--importance",
        "0.9",
        "--metadata",
        "topic=travel",
        "--metadata",
        "rows=[10,14]",
        "--valid-from",
        "2025-06-01",
    ]);
    let id = remembered["id"].as_str().unwrap();
    assert_eq!(remembered["status"], "created");

    let memory = orchestra.json(&["get", id, "--user", "maya"]);
    assert_eq!(memory["metadata"], json!({"topic": "travel", "rows": [10, 14]}));
    assert_eq!((&memory["valid_from"], &memory["tier"]), (&json!("2025-06-01T00:00:00Z"), &json!("long_term")));

    let recalled = orchestra.json(&["recall", "where does she sit?", "--user", "maya", "--explain"]);
    assert_eq!(recalled["results"][0]["id"], id);
    assert!(recalled["results"][0]["why"]["similarity"].is_number());
    assert_eq!(
        orchestra.json(&["recall", "seat", "--user", "maya", "--strategy", "rrf"])["strategy"]["strategy"],
        "rrf"
    );
    assert_eq!(orchestra.json(&["recall", "seat", "--user", "tom"])["results"], json!([]));

    let updated = orchestra.json(&["update", id, "--text", "Maya takes the aisle seat.", "--if-version", "1"]);
    assert_eq!((&updated["version"], &updated["text"]), (&json!(2), &json!("Maya takes the aisle seat.")));
    let history = orchestra.json(&["history", id]);
    assert_eq!(history["versions"].as_array().unwrap().len(), 2);

    let text_as = |flag: &str, time: &str| {
        orchestra.json(&["recall", "where does she sit?", "--user", "maya", flag, time])["results"][0]["text"].clone()
    };
    assert_eq!(text_as("--as-of", memory["recorded_at"].as_str().unwrap()), "Maya takes the window seat.");
    assert_eq!(text_as("--valid-at", "2025-06-01"), "Maya takes the aisle seat.");
    assert_eq!(text_as("--valid-at", "2025-05-31"), json!(null));

    let dry = orchestra.json(&["forget", id, "--dry-run"]);
    assert_eq!((&dry["forgotten"], &dry["dry_run"]), (&json!([id]), &json!(true)));
    assert_eq!(orchestra.json(&["forget", id])["forgotten"], json!([id]));
    assert_eq!(orchestra.json(&["list"])["memories"], json!([]));
    assert_eq!(orchestra.json(&["stats"])["store"]["tombstones"], 1);
}

#[test]
fn a_recall_is_explained_as_a_table() {
    let orchestra = Orchestra::new();
    let seat = ["remember", "The window seat", "--user", "maya", "--valid-from", "2025-06-01"];
    orchestra.ok(&seat);
    orchestra.ok(&[&seat[..1], &["the WINDOW seat"], &seat[2..]].concat());
    let ran = orchestra.ok(&["recall", "window seat", "--user", "maya", "--strategy", "rrf", "--explain"]);
    let lines = ran.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut table = lines.collect::<Vec<_>>().join("\n");
    for memory in orchestra.json(&["list"])["memories"].as_array().unwrap() {
        table = table.replace(memory["id"].as_str().unwrap(), "ID");
    }
    // How long ago that was is another in each month.
    let (before, after) = (table.find(" (").unwrap(), table.find(" The window").unwrap());
    table.replace_range(before..after, "");
    insta::assert_snapshot!(table, @"
    Score Tier When Who Memory Id Why
    0.033 medium-term 2025-06-01 The window seat ID similarity 1.00, #1 words 0.4, #1
    No more, because That is
    repeated 1 memory with the text of another result of its scope
    ");
    let none = orchestra.ok(&["recall", "window seat", "--user", "tom", "--explain"]);
    assert!(none.out.contains("nothing_in_scope") && none.err.contains("Nothing is remembered"), "{none:?}");
    let late = orchestra.run(&["recall", "seat", "--deadline-ms", "0"]);
    assert!(late.code == 1 && late.err.contains("deadline_ms: given 0"), "{late:?}");
}

#[test]
fn a_question_is_answered_once() {
    let orchestra = Orchestra::new();
    let question = "When does the office open?";
    orchestra.ok(&["remember", "The office opens at 8."]);
    let open = orchestra.run(&["ask", question]);
    assert!(open.code == 3 && open.out.contains("The office opens at 8."), "{open:?}");
    assert!(open.err.starts_with("miss") && !open.err.contains("error"), "{open:?}");

    // Its input is the fenced memories and the question; a command that counts them shows that it read both.
    let command = "grep -c -e '^| The office opens at 8.$' -e '^Question: When does the office open?$'";
    let answered = orchestra.ok(&["ask", question, "--answer-with", command]);
    assert_eq!(answered.out, "2\n");
    let again = orchestra.ok(&["ask", question, "--answer-with", "exit 1"]);
    assert!(again.out == "2\n" && again.err.starts_with("exact hit"), "nobody computes it again: {again:?}");

    let entry = orchestra.json(&["ask", question])["entry_id"].as_str().unwrap().to_owned();
    assert_eq!(orchestra.ok(&["cache", "feedback", &entry, "right"]).out, "noted\n");
    assert_eq!(orchestra.ok(&["cache", "feedback", &entry, "wrong"]).out, "removed the answer\n");
    let gone = orchestra.ok(&["cache", "feedback", &entry, "wrong"]).out;
    assert_eq!(gone, "no answer of that id is in the whole tenant\n");
    for command in ["exit 7", "true", "cat >/dev/null; exit 1"] {
        let failed = orchestra.run(&["ask", question, "--answer-with", command]);
        assert!(failed.code == 1 && failed.err.contains("nothing was filed"), "{failed:?}");
    }
    assert_eq!(orchestra.run(&["ask", question]).code, 3);
}

#[test]
fn text_comes_from_the_standard_input_too() {
    let orchestra = Orchestra::new();
    let ran = orchestra.run_with_input(&["remember", "-", "--user", "maya"], "From a pipe.\n");
    assert!(
        ran.code == 0 && ran.out.starts_with("remembered ") && ran.out.ends_with(" (medium-term, user maya)\n"),
        "{ran:?}"
    );
    assert_eq!(orchestra.json(&["list"])["memories"][0]["text"], "From a pipe.");
}

#[test]
fn forgetting_everything_needs_a_yes() {
    let orchestra = Orchestra::new();
    orchestra.ok(&["import", &fixture_path("conversation.json")]);
    let ran = orchestra.run(&["forget", "--all", "--user", "nils"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("there is no terminal to ask on") && ran.err.contains("add --yes"), "{}", ran.err);
    assert_eq!(orchestra.memories(), 5);
    let ran = orchestra.ok(&["forget", "--all", "--session", "allotment-2025-04-06", "--yes"]);
    assert_eq!(ran.out, "forgot 3 memories\n");
    assert_eq!(
        orchestra.ok(&["forget", "--filter", r#"{"actor": "Nils"}"#, "--dry-run"]).out,
        "would forget one memory\n"
    );
    assert_eq!(orchestra.memories(), 2);
}

#[test]
fn the_cache_serves_the_same_question_only() {
    let orchestra = Orchestra::new();
    let memory = orchestra.json(&["remember", "The office opens at 8."])["id"].as_str().unwrap().to_owned();
    let put = [
        "cache",
        "put",
        "When does the office open?",
        "At 8.",
        "--depends-on",
        &memory,
        "--tag",
        "hours",
        "--ttl",
        "2h",
    ];
    assert!(orchestra.json(&put)["id"].is_string());
    let get = orchestra.ok(&["cache", "get", "when does the office OPEN"]);
    assert_eq!(get.out, "At 8.\n");
    assert!(get.err.starts_with("exact hit, "), "{}", get.err);
    let other = orchestra.ok(&["cache", "get", "When does the office open?", "--model", "another"]);
    assert_eq!(other.out, "", "another model is another answer");
    assert_eq!(orchestra.json(&["cache", "get", "When does the office not open?"])["hit"], false);
    assert_eq!(
        orchestra.ok(&["cache", "invalidate", "--tag", "hours", "--dry-run"]).out,
        "would remove one answer of the whole tenant\n"
    );
    orchestra.ok(&["update", &memory, "--text", "The office opens at 9."]);
    assert_eq!(
        orchestra.json(&["cache", "get", "When does the office open?"])["hit"],
        false,
        "its memory was corrected"
    );
    assert_eq!(orchestra.json(&["cache", "invalidate", "--all"])["removed"], 0);
    let put_of = |of: &str| orchestra.run(&["cache", "put", "When does it open?", "At 8.", "--made-of", of]);
    let outdated = put_of(&format!("{memory}@1"));
    assert!(outdated.code == 1 && outdated.err.contains("was changed or forgotten since"), "{}", outdated.err);
    assert_eq!(put_of(&format!("{memory}@2")).code, 0);
    let unread = put_of(&memory);
    assert!(unread.code == 1 && unread.err.contains("expected one such as"), "{}", unread.err);
}

#[test]
fn what_is_piped_is_plain() {
    let orchestra = Orchestra::new();
    orchestra.ok(&["import", &fixture_path("locomo.json")]);
    for arguments in
        [&["list"][..], &["recall", "dog", "--explain"], &["stats"], &["import", &fixture_path("notes.md")]]
    {
        let ran = orchestra.ok(arguments);
        assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{arguments:?}: {ran:?}");
    }
    let list = orchestra.ok(&["list", "--user", "conv-7", "--oldest"]).out;
    assert_eq!(list.lines().count(), 5, "a row is a line: {list}");
    assert!(list.lines().nth(1).unwrap().contains("Are you still thinking about a dog?"), "{list}");
}

#[test]
fn pages_go_on_where_they_ended() {
    let orchestra = Orchestra::new();
    orchestra.ok(&["import", &fixture_path("conversation.json")]);
    let first = orchestra.json(&["list", "--oldest", "--limit", "3"]);
    let next = first["next"].as_str().unwrap();
    let second = orchestra.json(&["list", "--oldest", "--limit", "3", "--cursor", next]);
    let number = |page: &serde_json::Value| page["memories"].as_array().unwrap().len();
    assert_eq!((number(&first), number(&second)), (3, 2));
    assert!(second["next"].is_null());
}
