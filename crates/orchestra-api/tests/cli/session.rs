//! `orchestra session`.

use serde_json::json;

use super::support::Orchestra;

#[test]
fn a_session_from_first_to_last() {
    let orchestra = Orchestra::new();
    let session = |command: &str, more: &[&str]| {
        let arguments = [&["session", command, "monday", "--user", "maya"], more].concat();
        orchestra.json(&arguments)
    };
    let append = |content: &str, more: &[&str]| {
        let arguments = [&["session", "append", "monday", content, "--user", "maya"], more].concat();
        orchestra.json(&arguments)
    };
    assert_eq!(append("Where is my order?", &["--tokens", "7", "--ttl", "2h"])["last"], 1);
    let keyed = ["--role", "tool", "--key", "call-17", "--metadata", "took_ms=12"];
    assert_eq!(append("sent", &keyed)["replayed"], false);
    assert_eq!(append("sent", &keyed)["replayed"], true);
    let ran = orchestra.run_with_input(
        &["session", "append", "monday", "-", "--role", "assistant", "--user", "maya"],
        "It was sent.\n",
    );
    assert!(
        ran.code == 0 && ran.out.starts_with("appended as message 3 of user maya, session monday, until "),
        "{ran:?}"
    );

    let window = session("window", &["--limit", "2"]);
    let shown: Vec<_> = window["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!((shown, &window["total"]), (vec![&json!("sent"), &json!("It was sent.")], &json!(3)));
    assert_eq!(window["messages"][0]["metadata"], json!({"took_ms": 12}));
    assert_eq!(session("window", &["--after", "0", "--max-tokens", "7"])["tokens"], 7);
    let ran = orchestra.ok(&["session", "window", "monday", "--user", "maya"]);
    assert!(ran.out.contains("Where is my order?") && ran.err.contains("3 of 3 messages"), "{ran:?}");

    let ran = orchestra.ok(&["session", "promote", "monday", "--user", "maya"]);
    assert_eq!(ran.out, "promoted 2 messages, 1 of other roles\n");
    let again = session("promote", &["--role", "user", "--role", "tool"]);
    assert_eq!((again["promoted"].as_array().unwrap().len(), &again["already"]), (1, &json!(1)));
    assert_eq!(orchestra.memories(), 3);

    assert_eq!(session("clear", &[]), json!({"cleared": 3}));
    let ran = orchestra.ok(&["session", "window", "monday", "--user", "maya"]);
    assert!(ran.out.is_empty() && ran.err.contains("No conversation goes on in user maya, session monday."), "{ran:?}");
    let ran = orchestra.run(&["session", "append", "monday", "hello", "--role", "robot"]);
    assert!(ran.code == 1 && ran.err.contains("user, assistant, system, tool"), "{ran:?}");
}

#[test]
fn forgetting_everything_tells_of_the_sessions() {
    let orchestra = Orchestra::new();
    orchestra.ok(&["session", "append", "monday", "The code is 4711", "--user", "maya"]);
    let ran = orchestra.ok(&["forget", "--all", "--user", "maya", "--yes"]);
    assert_eq!(ran.out, "forgot 0 memories, one message of sessions that went on\n");
}
