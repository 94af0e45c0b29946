//! What went wrong, whose mistake it was, and what to do next.

use std::process::Stdio;

use super::support::{Orchestra, bare, ran};

#[test]
fn the_callers_mistakes_exit_with_1() {
    let orchestra = Orchestra::new();
    let id = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d";
    let commands: [&[&str]; 14] = [
        &["recall"],
        &["recall", "x", "--limit", "0"],
        &["recall", "x", "--filter", "{"],
        &["recall", "x", "--filter", r#"{"colour": "red"}"#],
        &["remember", "  "],
        &["remember", "x", "--kind", "fact"],
        &["remember", "x", "--ttl", "soon"],
        &["remember", "x", "--metadata", "topic"],
        &["get", "not-an-id"],
        &["get", id],
        &["update", id],
        &["forget"],
        &["import", "absent.md"],
        &["list", "--url", "localhost:7070"],
    ];
    let mut told = String::new();
    for command in commands {
        let ran = orchestra.run(command);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{command:?}: {ran:?}");
        told.push_str(&format!("$ orchestra {}\n{}\n", command.join(" "), ran.err));
    }
    insta::assert_snapshot!(told);
}

#[test]
fn what_is_ours_or_the_machines_exits_with_2() {
    let orchestra = Orchestra::new();
    let ran = orchestra.run(&["stats", "--url", "http://127.0.0.1:1"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.starts_with("error: no answer from http://127.0.0.1:1: "), "{}", ran.err);
    assert!(ran.err.contains("next:  start the server with `orchestra serve`"), "{}", ran.err);

    std::fs::create_dir_all(orchestra.data()).unwrap();
    std::fs::write(orchestra.data().join("memory.db"), "this is a letter and not a database").unwrap();
    let ran = orchestra.run(&["stats"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("memory.db") && ran.err.contains("next:  "), "{}", ran.err);
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let orchestra = Orchestra::new();
    std::fs::write(orchestra.folder().join("photo.md"), b"\x89PNG\r\n\x1a\n\xff\xfe").unwrap();
    let ran = orchestra.run(&["import", "photo.md"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("photo.md:1:1: byte 0x89 is not UTF-8"), "{}", ran.err);
    std::fs::write(orchestra.folder().join("empty.jsonl"), "\n").unwrap();
    assert!(orchestra.run(&["import", "empty.jsonl"]).err.contains("empty.jsonl: the file is empty"));
    std::fs::write(orchestra.folder().join("other.json"), r#"{"name": "x"}"#).unwrap();
    assert!(orchestra.run(&["import", "other.json"]).err.contains("say it with --format"));
}

#[test]
fn a_closed_pipe_is_quiet() {
    let orchestra = Orchestra::new();
    let lines: String = (0..3000).map(|at| format!("\"note {at} {}\"\n", "x".repeat(200))).collect();
    assert_eq!(orchestra.run_with_input(&["import", "-"], &lines).code, 0);
    let mut child = orchestra.command(&["export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = ran(&child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn a_setting_that_is_wrong_is_named() {
    let run = |name: &str, value: &str| ran(&bare(&["stats", "--data", "unused"]).env(name, value).output().unwrap());
    let wrong = run("ORCHESTRA_EMBEDDER", "magic");
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("magic"), "{}", wrong.err);
    assert!(run("ORCHESTRA_LOG", "===").err.contains("log: given"), "{:?}", run("ORCHESTRA_LOG", "==="));
}
