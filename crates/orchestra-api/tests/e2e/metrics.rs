//! What /metrics says, held against its documentation, on servers in processes of their own: what is measured is the
//! process's.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::client::{Client, until};
use crate::process::Process;
use crate::setup::Setup;

const DOCUMENTATION: &str = include_str!("../../../../docs/metrics.md");

/// What is documented: kind and labels by name, of the metrics that are on one of these.
fn documented(on: &[&str]) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let rows = DOCUMENTATION.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix("| `")?.split('|').map(str::trim).collect();
        let name = cells[0].trim_end_matches('`').to_owned();
        on.contains(&cells[3]).then(|| (name, (cells[1].to_owned(), names(cells[2]))))
    });
    rows.collect()
}

/// What is exported, in the terms of the documentation. Panics where it is not the text format.
fn exported(text: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut families = BTreeMap::new();
    let mut family = (String::new(), String::new());
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# HELP ")) {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            family = (name.to_owned(), kind.to_owned());
            let former = families.insert(name.to_owned(), (kind.to_owned(), BTreeSet::new()));
            assert_eq!(former, None, "{name} is declared twice");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let part = name.strip_prefix(&*family.0).unwrap_or_else(|| panic!("{line} is not of {}", family.0));
        let parts: &[&str] = if family.1 == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(parts.contains(&part), "{line}");
        let labels = labels.strip_suffix('}').unwrap();
        let names = labels.split("\",").filter(|label| !label.is_empty()).map(|label| label.split('=').next().unwrap());
        let known = &mut families.get_mut(&family.0).unwrap().1;
        known.extend(names.filter(|name| *name != "le").map(str::to_owned));
    }
    families
}

/// The sum over the series of a metric that have all of these labels.
fn sum(text: &str, name: &str, labels: &[&str]) -> f64 {
    let series = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
    let series = series.filter(|rest| labels.iter().all(|label| rest.contains(label)));
    series.map(|rest| rest.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// A bit of everything, and what was measured of it.
async fn mixed_run(client: &Client) {
    let body = json!({"text": "Ann's office is in Lisbon", "scope": {"user": "ann"}});
    let added = client.post("/v1/memories", body).await.ok(201);
    let id = added["id"].as_str().unwrap();
    client.post("/v1/memories/search", json!({"query": "Where is Ann's office?"})).await.ok(200);
    client.get("/v1/memories/no-id").await;
    let messages = json!({"messages": [{"role": "user", "content": "Is it in Lisbon?"}]});
    client.post("/v1/sessions/monday/working", messages).await.ok(201);
    let (asked, other) = ("What did the office cost in 2024?", "What did the office cost in 2025?");
    let entry = json!({"prompt": asked, "response": "It was cheap, as Lisbon is", "depends_on": [id]});
    client.post("/v1/cache/entries", entry).await.ok(201);
    for (prompt, threshold, hit) in [(asked, 0.9, true), (other, 0.5, false), ("Quite something else", 0.9, false)] {
        let lookup = json!({"prompt": prompt, "threshold": threshold});
        assert_eq!(client.post("/v1/cache/lookup", lookup).await.ok(200)["hit"], hit, "{prompt}");
    }
    client.delete(&format!("/v1/memories/{id}?user=ann")).await.ok(200);
}

async fn check(setup: &Setup, on: &[&str]) {
    let (_process, client) = Process::start(setup, &[]);
    until("every tier is ready", async || client.get("/readyz").await.ok(200)["short_term"]["status"] == "ready").await;
    mixed_run(&client).await;
    let expected = documented(on);
    assert!(expected.len() > 15, "the documentation is read: {expected:?}");
    // Some of it is measured beside the requests, the first time soon after the start.
    until("everything is there", async || expected.len() <= exported(&client.text("/metrics").await).len()).await;
    let text = client.text("/metrics").await;
    assert_eq!(exported(&text), expected, "what is exported is what is documented");
    for (result, count) in [("exact_hit", 1.0), ("refused_by_guard", 1.0), ("miss", 1.0), ("semantic_hit", 0.0)] {
        let label = format!("result=\"{result}\"");
        assert!((sum(&text, "orchestra_cache_lookups_total", &[&label]) - count).abs() < 0.5, "{result}\n{text}");
    }
    assert!((sum(&text, "orchestra_cache_refusals_total", &["check=\"number\""]) - 1.0).abs() < 0.5, "{text}");
    let ok = |tier: &str, operation: &str| {
        let labels = [format!("tier=\"{tier}\""), format!("operation=\"{operation}\""), "outcome=\"ok\"".into()];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        sum(&text, "orchestra_tier_calls_total", &labels)
    };
    assert!(ok("medium_term", "insert") > 0.5 && ok("medium_term", "search") > 0.5 && ok("short_term", "lookup") > 3.5);
    assert!(ok("working", "append") > 0.5, "{text}");
    assert!(sum(&text, "orchestra_embedded_texts_total", &["embedder=\"memories\""]) > 1.5, "{text}");
    assert!(sum(&text, "orchestra_background_failures_total", &[]).abs() < 0.5, "{text}");
    for secret in ["Lisbon", "office", "ann", "acme", "monday"] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    if on.contains(&"follower") {
        until("the correction is measured", async || {
            sum(&client.text("/metrics").await, "orchestra_follower_change_seconds_count", &[]) > 0.5
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_metric_is_there_and_no_other_embedded() {
    let setup = Setup::embedded().await.unwrap();
    check(&setup, &["every"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_metric_is_there_and_no_other_on_redis_and_postgres_with_replicas() {
    let Some(setup) = Setup::redis_and_postgres_with_two_replicas().await else { return };
    check(&setup, &["every", "follower", "redis", "postgres", "replicas"]).await;
}
