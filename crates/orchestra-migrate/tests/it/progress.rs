//! What is told of a move while it goes on, where nobody sits at a terminal.

use crate::home::Home;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_tells_how_fast_it_is_beside_the_output_and_json_stays_json() {
    let home = Home::new().await;
    home.succeeds(&["plan", "--batch", "7", "--items-per-second", "14"]);
    let output = home.run(&["start", "--json"]);
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert!(output.status.success(), "{err}");
    let record: serde_json::Value = serde_json::from_str(&out).expect("JSON and nothing else");
    assert_eq!(record["phase"]["at"], "following");
    let lines: Vec<&str> = err.lines().filter(|line| line.starts_with("copying: ")).collect();
    assert!(!lines.is_empty() && lines.len() < 30, "some seconds of copying: {err}");
    for told in [" items, ", " items/s, ", " changes behind, about "] {
        assert!(lines.iter().any(|line| line.contains(told)), "{told}: {err}");
    }
    assert!(!err.contains('\u{1b}') && !err.contains('\u{2501}'), "no bar where there is no terminal: {err}");
    let status = home.succeeds(&["status"]);
    assert!(status.contains("items were copied") && !status.contains('\u{1b}'), "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_that_is_watched_ends_with_the_move() {
    let home = Home::new().await;
    home.succeeds(&["plan"]);
    home.succeeds(&["cancel", "--yes"]);
    for watched in [["status", "--watch"].as_slice(), &["status", "--watch", "1"]] {
        assert!(home.succeeds(watched).contains("cancelled, blue in use"), "{watched:?}");
    }
    let json = home.succeeds(&["status", "--watch", "1", "--json"]);
    let record: serde_json::Value = serde_json::from_str(&json).expect("JSON and nothing else");
    assert_eq!(record["phase"]["at"], "cancelled");
    assert!(!home.run(&["status", "--watch", "soon"]).status.success());
}
