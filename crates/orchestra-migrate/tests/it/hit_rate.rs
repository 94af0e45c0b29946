//! What a move does to the cache of answers, which is not moved.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use memory_core::{Compatibility, Metadata, NewCacheEntry, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use orchestra_api::config::Settings;
use orchestra_api::side::{self, Answers};

use crate::home::Home;
use crate::server::Server;

const GATE: &str = "hit rate";

/// The line of the gate in what `verify` says.
fn line(said: &str) -> &str {
    said.lines().find(|line| line.contains(GATE)).unwrap_or_else(|| panic!("it is not told: {said}"))
}

/// Files answers in the cache that blue's configuration names.
async fn answer(home: &Home, questions: &[&str]) {
    let settings = Settings::of_file(&home.path().join("blue.yaml")).expect("a configuration");
    let opened = side::open(&settings).await.expect("open");
    let Answers::Cache { cache, .. } = &opened.answers else { panic!("{:?}", opened.answers) };
    let cache: Arc<dyn SemanticCache> = cache.clone();
    for question in questions {
        let entry = NewCacheEntry {
            scope: make::user("acme", "ann"),
            prompt: (*question).to_owned(),
            response: "Yes.".into(),
            fingerprint: Compatibility::default().fingerprint(),
            embedding: None,
            depends_on: Vec::new(),
            tags: Vec::new(),
            metadata: Metadata::new(),
            ttl: Duration::from_secs(3600),
            sliding: false,
        };
        cache.store(entry).await.expect("it is filed");
    }
    opened.close().await.expect("close");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_do_not_come_along_are_told_and_stop_a_move_that_wants_them() {
    let home = Home::new().await;
    home.succeeds(&["plan", "--queries", "5", "--hit-rate", "0.5"]);
    home.succeeds(&["start"]);
    let said = home.succeeds(&["verify"]);
    assert!(line(&said).starts_with("ok ") && said.contains("0 answers, blue's 0 (tenants: 1), so 1.000"), "{said}");
    answer(&home, &["Does Ann like cats?", "Does Ann sing?", "Is Ann there?"]).await;
    let output = home.run(&["switch", "--writes", "--yes"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lost =
        "FAILED  hit rate     green's cache has 0 answers, blue's 3 (tenants: 1), so 0.000; 3 are computed again";
    assert!(line(&said).starts_with(lost) && said.contains("name the Redis of blue's cache"), "{said}");
    assert_eq!(home.state("blue").await, (59, true), "no traffic moved");

    // Whoever wants no share is told all the same.
    fs::remove_file(home.path().join("orchestra-migrate.json")).expect("the record");
    fs::remove_dir_all(home.path().join("green")).expect("green");
    home.succeeds(&["plan", "--queries", "5"]);
    home.succeeds(&["start"]);
    let said = home.succeeds(&["switch", "--writes", "--yes"]);
    assert!(line(&said).starts_with("ok ") && line(&said).ends_with("(wanted: any)"), "{said}");
    assert!(line(&said).contains("3 are computed again"), "{said}");
    let said = home.succeeds(&["verify"]);
    assert!(line(&said).starts_with("------  hit rate     not asked: green is in use"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answers_of_a_redis_that_both_use_stay() {
    let Some(mut redis) = services::private(Service::Redis) else { return };
    let home = Home::new().await;
    let config = |side: &str, threshold: f32| {
        let (data, url) = (home.path().join(side), redis.url());
        let config = format!(
            "data: {}\nshort_term_provider: redis\ncache_embedder: static-256\ncache_threshold: {threshold}\nredis:\n  url: {url}\n",
            data.display()
        );
        fs::write(home.path().join(format!("{side}.yaml")), config).expect("a file");
    };
    config("blue", 0.85);
    answer(&home, &["Does Ann like cats?", "Does Ann sing?"]).await;
    home.succeeds(&["plan", "--queries", "5", "--hit-rate", "1"]);
    home.succeeds(&["start"]);
    let output = home.run(&["verify"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(line(&said).starts_with("FAILED") && line(&said).contains("0 answers, blue's 2"), "{said}");
    config("green", 0.95);
    let output = home.run(&["verify"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        line(&said).starts_with("FAILED  hit rate     not asked: the caches compare questions by different"),
        "{said}"
    );
    config("green", 0.85);
    let said = home.succeeds(&["verify"]);
    assert!(line(&said).starts_with("ok ") && line(&said).contains("2 answers, blue's 2"), "{said}");
    redis.kill().expect("it ends");
    let output = home.run(&["verify"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(line(&said).starts_with("FAILED  hit rate     not asked: blue's cache does not answer"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn where_nobody_can_tell_it_says_so() {
    let home = Home::new().await;
    let (blue, green) = (Server::of(&home, "blue").await, Server::of(&home, "green").await);
    let (blue_url, green_url) = (blue.url(), green.url());
    let servers = |more: &[&'static str]| -> Vec<String> {
        ["--blue", &blue_url, "--green", &green_url].iter().chain(more).map(|&argument| argument.to_owned()).collect()
    };
    let succeeds = |more: &[&'static str]| home.succeeds(&servers(more).iter().map(String::as_str).collect::<Vec<_>>());
    succeeds(&["plan", "--queries", "5"]);
    succeeds(&["start"]);
    let said = succeeds(&["verify"]);
    assert!(
        line(&said).starts_with("------  hit rate     not asked: blue is a server, whose cache is its own"),
        "{said}"
    );
    blue.end().await;
    green.end().await;
    // A source without a cache has nothing to lose.
    let export =
        r#"{"id":"00000000-0000-0000-0000-000000000001","kind":"semantic","text":"Ann sings","scope":{"user":"ann"}}"#;
    fs::write(home.path().join("memory.jsonl"), format!("{export}\n")).expect("a file");
    fs::remove_file(home.path().join("orchestra-migrate.json")).expect("the record");
    fs::remove_dir_all(home.path().join("green")).expect("green");
    let side = ["--blue", "jsonl:memory.jsonl"];
    home.succeeds(&[&side[..], &["plan", "--hit-rate", "0.9"]].concat());
    home.succeeds(&[&side[..], &["start"]].concat());
    let said = home.succeeds(&[&side[..], &["verify"]].concat());
    assert!(line(&said).starts_with("------  hit rate     not asked: blue has no cache of answers"), "{said}");
}
