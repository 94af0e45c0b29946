//! Moves by hand and in one go, of memories in files and in Postgres.

use embedders::StaticEmbedder;
use memory_core::{Embedder as _, Error, MemoryStore as _};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use migrate::engine::Order;
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider};
use sqlx::{Connection as _, PgConnection};

use crate::home::{Home, database};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_by_hand_there_back_and_there_again() {
    let home = Home::new().await;
    assert!(home.refuses(&["status"]).contains("no move is planned"));
    assert!(home.refuses(&["plan", "--batch", "0"]).contains("batch"));
    assert!(home.refuses(&["plan", "--green", "blue.yaml"]).contains("the same store"));
    assert!(home.succeeds(&["plan", "--dry-run"]).contains("59 memories"));
    home.succeeds(&["plan", "--batch", "7", "--queries", "5"]);
    assert!(home.refuses(&["plan"]).contains("planned already"));
    assert!(home.succeeds(&["start", "--dry-run"]).contains("would copy everything to green"));
    assert!(home.succeeds(&["start"]).contains("following"));
    assert_eq!(home.state("blue").await, (59, true));
    assert_eq!(home.state("green").await, (59, false), "it follows, and takes no client's write");
    home.succeeds(&["verify"]);
    assert!(home.refuses(&["switch", "--writes"]).contains("say --yes"));
    home.succeeds(&["switch", "--reads", "10%", "--yes"]);
    assert!(home.succeeds(&["status"]).contains("10 % of reads on green"));
    home.succeeds(&["switch", "--writes", "--yes"]);
    assert_eq!(home.state("blue").await, (59, false));
    assert_eq!(home.state("green").await, (59, true));
    assert!(home.refuses(&["cancel", "--yes"]).contains("rollback"));
    home.succeeds(&["rollback", "--yes"]);
    assert_eq!(home.state("blue").await, (59, true), "what green took meanwhile is there, and it is in use");
    home.succeeds(&["switch", "--writes", "--yes"]);
    home.succeeds(&["finalize", "--yes"]);
    let status: serde_json::Value = serde_json::from_str(&home.succeeds(&["status", "--json"])).expect("JSON");
    assert_eq!((&status["phase"]["at"], &status["active"]), (&"finalized".into(), &"green".into()));
    assert!(home.refuses(&["rollback", "--yes"]).contains("cannot switch"));
    home.succeeds(&["report", "out"]);
    assert!(home.path().join("out/report.html").is_file());
    assert_eq!(home.state("blue").await, (59, false), "it stays closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_was_killed_is_run_again() {
    let home = Home::new().await;
    home.succeeds(&["plan", "--queries", "5"]);
    home.succeeds(&["start"]);
    home.begins(Order::SwitchWrites).await;
    assert!(home.refuses(&["cancel", "--yes"]).contains("switching"), "another order has to wait");
    home.succeeds(&["switch", "--writes", "--yes"]);
    assert_eq!(home.state("green").await, (59, true));
    home.begins(Order::Rollback).await;
    home.succeeds(&["rollback", "--yes"]);
    assert_eq!(home.state("blue").await, (59, true));
    home.begins(Order::SwitchWrites).await;
    home.succeeds(&["run", "--yes"]);
    assert!(home.succeeds(&["status"]).contains("finalized, green in use"));
    let home = Home::new().await;
    home.succeeds(&["plan", "--queries", "5"]);
    home.succeeds(&["start"]);
    home.succeeds(&["switch", "--writes", "--yes"]);
    home.begins(Order::Finalize).await;
    home.succeeds(&["finalize", "--yes"]);
    assert!(home.succeeds(&["status"]).contains("finalized, green in use"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_move_from_the_same_store_takes_nothing_from_this_one() {
    let home = Home::new().await;
    std::fs::write(home.path().join("other.yaml"), "data: other\n").expect("a file");
    let another = |command: &[&str]| {
        home.succeeds(&[&["--record", "other.json", "--green", "other.yaml"], command].concat());
    };
    home.succeeds(&["plan", "--queries", "5"]);
    home.succeeds(&["start"]);
    another(&["plan", "--queries", "5"]);
    another(&["start"]);
    assert_eq!(home.state("blue").await, (59, true));
    another(&["start"]);
    another(&["cancel", "--yes"]);
    home.succeeds(&["switch", "--writes", "--yes"]);
    assert_eq!(home.state("green").await, (59, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_goes_through_all_phases_or_stops() {
    let home = Home::new().await;
    let over = ["run", "--yes", "--queries", "5", "--maintenance-window", "2025-06-01 01:00"];
    assert!(home.refuses(&over).contains("the maintenance window ended"));
    assert_eq!(home.state("blue").await, (59, true), "nothing moved");
    assert!(home.refuses(&["run", "--yes", "--maintenance-window", "soon"]).contains("is no time"));
    let planned = home.succeeds(&["run", "--dry-run", "--maintenance-window", "2025-06-01 01:00 +02:00"]);
    assert!(planned.contains("2025-05-31 23:00:00 UTC"), "{planned}");
    let load = ["--stress-test", "--rate-start", "20", "--max-rate", "20", "--step-seconds", "0.5", "--p99-ms", "1500"];
    let would = home.succeeds(&[["run", "--dry-run"].as_slice(), &load].concat());
    assert!(would.contains("would load green, then blue, the store in use, with 100 queries"), "{would}");
    // Any rate will do: how fast a machine is that has other tests to run is not what is tested.
    home.succeeds(&[["run", "--yes", "--green-only"].as_slice(), &load].concat());
    assert_eq!(home.state("green").await, (59, true));
    let report = std::fs::read_to_string(home.path().join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["phase"]["at"], "finalized");
    let gates = report["checked"]["gates"].as_array().expect("gates");
    assert!(gates.len() >= 5 && gates.iter().any(|gate| gate["name"] == "stress"), "{gates:?}");
    let stress = &report["stress"];
    assert!(stress["green"]["knee"].as_f64().is_some_and(|knee| knee <= 20.0), "{stress}");
    // The one that was corrected has no vector.
    assert_eq!((&stress["green"]["truth"]["vectors"], &stress["blue"]), (&58.into(), &serde_json::Value::Null));
    let page = std::fs::read_to_string(home.path().join("report.html")).expect("a page");
    assert!(page.contains("<h2>Stress test</h2>") && page.contains("The knee is at"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_moves_to_postgres_and_back() {
    let Some(url) = services::url(Service::Postgres) else { return };
    let url = database(&url).await;
    let home = Home::new().await;
    let green = format!(
        "data: green\nshort_term_provider: none\nmedium_term_provider: alloydb\nalloydb:\n  url: {url}\n  role: orchestra_app\n"
    );
    std::fs::write(home.path().join("green.yaml"), green).expect("a file");
    home.succeeds(&["plan", "--batch", "7", "--queries", "5"]);
    home.succeeds(&["start"]);
    home.succeeds(&["switch", "--writes", "--yes"]);
    assert_eq!(home.state("blue").await, (59, false));
    // What is written to green comes to blue with the rollback.
    let mut config = AlloyDbConfig::from_url(&url).expect("a URL");
    (config.role, config.vector_dim) = (Some("orchestra_app".into()), StaticEmbedder::built_in().space().dimensions);
    let store = AlloyDbMemoryProvider::connect(config.clone()).await.expect("connect");
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "written on green", chrono::Utc::now());
    store.insert(make::batch([memory.clone()])).await.expect("green is in use");
    home.succeeds(&["rollback", "--yes"]);
    let late = store.insert(make::batch([make::memory(&scope, "late", chrono::Utc::now())])).await;
    assert!(matches!(late, Err(Error::Fenced { .. })), "{late:?}");
    store.close().await;
    let blue = home.open("blue").await;
    let got = blue.get(&scope, memory.id).await.expect("get").expect("it is there");
    assert_eq!(got.text, memory.text);
    blue.close().await.expect("close");
    assert_eq!(home.state("blue").await, (60, true));
    home.succeeds(&["verify"]);
    home.succeeds(&["switch", "--writes", "--yes"]);
    let mut green = PgConnection::connect(&url).await.expect("connect");
    let mut triggers = async || -> i64 {
        let count = "SELECT count(*) FROM pg_trigger WHERE tgname = 'fence' OR tgname LIKE 'note\\_%'";
        sqlx::query_scalar(count).fetch_one(&mut green).await.expect("a number")
    };
    assert!(triggers().await > 0, "blue follows it");
    // What was written behind a transaction that is under way cannot be read yet, and would not be in the dump.
    let mut under_way = PgConnection::connect(&url).await.expect("connect");
    for statement in ["BEGIN", "SELECT pg_current_xact_id()"] {
        sqlx::query(statement).execute(&mut under_way).await.expect("it has begun");
    }
    let store = AlloyDbMemoryProvider::connect(config).await.expect("connect");
    store.insert(make::batch([make::memory(&scope, "behind it", chrono::Utc::now())])).await.expect("green is in use");
    store.close().await;
    let refused = home.refuses(&["finalize", "--yes"]);
    assert!(refused.contains("blue does not catch up"), "{refused}");
    under_way.close().await.expect("close");
    home.succeeds(&["finalize", "--yes"]);
    assert_eq!(home.state("blue").await, (61, false));
    assert_eq!(triggers().await, 0, "nothing of the move is left on the store in use");
    green.close().await.expect("close");
}
