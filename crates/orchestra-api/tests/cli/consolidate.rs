//! `orchestra consolidate`.

use serde_json::json;

use super::support::Orchestra;

fn with_facts() -> Orchestra {
    let orchestra = Orchestra::new();
    for (text, day) in [
        ("Maya prefers the window seat", "2025-06-01"),
        ("Maya prefers the window seat.", "2025-06-02"),
        ("Maya lives in Lisbon", "2025-06-03"),
        ("Maya lives in Porto", "2025-06-04"),
    ] {
        orchestra.ok(&["remember", text, "--user", "maya", "--kind", "semantic", "--valid-from", day]);
    }
    orchestra
}

#[test]
fn the_plan_is_a_table_and_the_run_gives_a_receipt() {
    let orchestra = with_facts();
    let planned = orchestra.ok(&["consolidate", "--user", "maya", "--dry-run"]);
    insta::assert_snapshot!("consolidate_dry_run", planned.out);
    assert_eq!(planned.err, "Nothing was changed: that was a dry run.\n");
    let done = orchestra.ok(&["consolidate", "--user", "maya"]);
    insta::assert_snapshot!("consolidate", done.out);
    let again = orchestra.ok(&["consolidate", "--user", "maya"]);
    assert_eq!(
        (again.out.as_str(), again.err.as_str()),
        ("done: nothing to do; looked at 5 memories of user maya\n", "")
    );
    let recalled = orchestra.json(&["recall", "where does maya live?", "--user", "maya"]);
    let texts: Vec<&str> =
        recalled["results"].as_array().unwrap().iter().filter_map(|result| result["text"].as_str()).collect();
    assert_eq!(texts, ["Maya lives in Porto", "Maya prefers the window seat."]);
}

#[test]
fn programs_get_the_steps() {
    let orchestra = with_facts();
    let planned = orchestra.json(&["consolidate", "--dry-run"]);
    assert_eq!((&planned["dry_run"], &planned["visited"]), (&json!(true), &json!(4)));
    let actions: Vec<_> = planned["steps"].as_array().unwrap().iter().map(|step| step["action"].clone()).collect();
    assert_eq!(actions, ["supersede", "merge"]);
    assert_eq!(orchestra.memories(), 4);
    assert_eq!(orchestra.json(&["consolidate"])["steps"].as_array().unwrap().len(), 2);
    assert_eq!(orchestra.json(&["consolidate", "--user", "tom"])["steps"], json!([]));
}
