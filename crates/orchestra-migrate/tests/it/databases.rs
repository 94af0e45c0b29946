//! Moves whose stores, and whose record, are in Postgres.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use embedders::StaticEmbedder;
use memory_core::{
    Embedder as _, ForgetRequest, InsertBatch, MemoryId, MemoryPatch, MemoryStore as _, Purpose, Selection,
};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use migrate::record::{Phase, Record};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider};
use sqlx::{Connection as _, PgConnection};

use crate::home::{Home, database};

/// How many memories there are, and how many of them are copied in a second: it takes a while.
const MEMORIES: usize = 1500;
const A_SECOND: usize = 400;
/// How long the copy may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A database as a side, and the store in it.
async fn side(home: &Home, name: &str, url: &str) -> AlloyDbMemoryProvider {
    let config = format!(
        "data: {name}\nshort_term_provider: none\nmedium_term_provider: alloydb\nalloydb:\n  url: {url}\n  role: orchestra_app\n"
    );
    fs::write(home.path().join(format!("{name}.yaml")), config).expect("a file");
    let mut config = AlloyDbConfig::from_url(url).expect("a URL");
    (config.role, config.vector_dim) = (Some("orchestra_app".into()), StaticEmbedder::built_in().space().dimensions);
    AlloyDbMemoryProvider::connect(config).await.expect("connect")
}

async fn fill(store: &AlloyDbMemoryProvider) -> Vec<MemoryId> {
    let (embedder, scope) = (StaticEmbedder::built_in(), make::user("acme", "ann"));
    let mut ids = Vec::new();
    for page in 0..MEMORIES / 100 {
        let texts: Vec<_> = (0..100).map(|at| format!("Ann's note {page}-{at} is about cats")).collect();
        let vectors = embedder.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>(), Purpose::Document).await;
        let mut batch = InsertBatch { memories: Vec::new(), idempotency: None };
        for (text, vector) in texts.iter().zip(vectors.expect("vectors")) {
            batch.memories.extend(make::embedded(make::memory(&scope, text, chrono::Utc::now()), vector).memories);
        }
        ids.extend(batch.memories.iter().map(|embedded| embedded.memory.id));
        store.insert(batch).await.expect("insert");
    }
    ids
}

/// Every row of a table of the memory, as text, by what the stores agree on.
async fn rows(url: &str, query: &'static str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.expect("connect");
    sqlx::query_scalar(query).fetch_all(&mut connection).await.expect("rows")
}

fn record(home: &Home) -> Record {
    serde_json::from_slice(&fs::read(home.path().join("orchestra-migrate.json")).expect("a file")).expect("a record")
}

/// The rows of every table that is moved, without what each database counts for itself.
const TABLES: [&str; 6] = [
    "SELECT (to_jsonb(m) - 'session' - 'space')::text FROM orchestra.memories m ORDER BY ordinal",
    "SELECT (to_jsonb(v) - 'session' - 'space')::text FROM orchestra.memory_versions v ORDER BY ordinal, version",
    "SELECT to_jsonb(t)::text FROM orchestra.tombstones t ORDER BY tenant, id",
    "SELECT to_jsonb(f)::text FROM orchestra.forgotten_texts f ORDER BY 1",
    "SELECT to_jsonb(k)::text FROM orchestra.idempotency_keys k ORDER BY tenant, key",
    "SELECT (to_jsonb(r) - 'sequence')::text FROM orchestra.rejections r ORDER BY 1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mover_that_is_killed_in_its_copy_goes_on_from_there() {
    let Some(server) = services::url(Service::Postgres) else { return };
    let urls = [database(&server).await, database(&server).await];
    let home = Home::new().await;
    let (blue, green) = (side(&home, "blue", &urls[0]).await, side(&home, "green", &urls[1]).await);
    let (ids, scope) = (fill(&blue).await, make::user("acme", "ann"));
    home.succeeds(&["plan", "--batch", "50", "--items-per-second", &A_SECOND.to_string(), "--queries", "5"]);
    let mut mover = home.command(&["start"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs");
    let began = Instant::now();
    let copied = loop {
        let at = record(&home);
        if at.phase == Phase::Copying && at.copied.items > 0 {
            break at.copied.items;
        }
        assert!(began.elapsed() < PATIENCE && mover.try_wait().expect("a process").is_none(), "{:?}", at.phase);
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    mover.kill().expect("a process");
    assert!(!mover.wait().expect("it was killed").success());
    let left = record(&home);
    assert!(left.phase == Phase::Copying && left.copied.items < MEMORIES as u64, "{:?}", left.copied);

    // Of what was copied and of what was not, while nobody follows.
    for id in [ids[0], ids[MEMORIES - 1]] {
        let patch = MemoryPatch { text: Some(format!("a corrected note, {id}")), ..MemoryPatch::default() };
        blue.update(&scope, id, patch).await.expect("update");
    }
    let selection = Selection::Ids(vec![ids[1], ids[MEMORIES - 2]]);
    let request = ForgetRequest { scope: scope.clone(), selection, dry_run: false };
    blue.forget(&request).await.expect("forget");
    blue.insert(make::batch([make::memory(&scope, "written meanwhile", chrono::Utc::now())])).await.expect("insert");

    assert!(home.succeeds(&["start"]).contains("following, blue in use"));
    let done = record(&home);
    let copies = done.history.iter().filter(|event| event.what == "copy began").count();
    assert_eq!(copies, 1, "it went on, and did not begin anew: {:?}", done.history);
    assert!(done.copied.items >= copied && done.copied.items < MEMORIES as u64 + copied, "{:?}", done.copied);
    let checked = home.succeeds(&["verify"]);
    assert!(checked.contains("ok      functional"), "{checked}");
    for table in TABLES {
        let (there, copy) = (rows(&urls[0], table).await, rows(&urls[1], table).await);
        assert!(there == copy, "{table}: {} and {} rows", there.len(), copy.len());
        let wanted = match table {
            memories if memories.contains("orchestra.memories") => MEMORIES - 1,
            versions if versions.contains("memory_versions") => 2,
            tombstones if tombstones.contains("tombstones") => 2,
            _ => there.len(),
        };
        assert_eq!(there.len(), wanted, "{table}");
    }
    home.succeeds(&["switch", "--writes", "--yes"]);
    green.insert(make::batch([make::memory(&scope, "on green", chrono::Utc::now())])).await.expect("green is in use");
    home.succeeds(&["finalize", "--no-dump", "--yes"]);
    for store in [blue, green] {
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_record_of_a_move_may_be_in_a_database() {
    let Some(server) = services::url(Service::Postgres) else { return };
    let url = database(&server).await;
    let home = Home::new().await;
    let with = |more: &[&'static str]| -> Vec<String> {
        ["--record-url", &url, "--name", "spring"].iter().chain(more).map(|&argument| argument.to_owned()).collect()
    };
    let succeeds = |more: &[&'static str]| {
        let all = with(more);
        home.succeeds(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let refuses = |more: &[&'static str]| {
        let all = with(more);
        home.refuses(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    const TABLES: &str = "SELECT to_regclass('orchestra_moves')::text WHERE to_regclass('orchestra_moves') IS NOT NULL";
    assert!(refuses(&["status"]).contains("no move is planned"));
    succeeds(&["plan", "--dry-run"]);
    assert_eq!(rows(&url, TABLES).await, [""; 0], "a dry run makes no table");
    succeeds(&["plan", "--batch", "7", "--queries", "5"]);
    assert!(refuses(&["plan"]).contains("planned already"));
    succeeds(&["start"]);
    succeeds(&["switch", "--writes", "--yes"]);
    succeeds(&["rollback", "--yes"]);
    succeeds(&["switch", "--writes", "--yes"]);
    assert!(succeeds(&["status"]).contains("move spring: following, green in use"));
    // Another move has a record of its own there; a file has none.
    let other = home.refuses(&["--record-url", &url, "--name", "autumn", "status"]);
    assert!(other.contains("no move is planned"), "{other}");
    assert!(home.refuses(&["status"]).contains("no move is planned"));
    succeeds(&["finalize", "--yes"]);
    succeeds(&["report", "out"]);
    assert!(home.path().join("out/report.html").is_file());
    assert!(home.path().join("orchestra-migrate-blue.jsonl.gz").is_file(), "where it was called");
    assert!(!home.path().join("orchestra-migrate.json").exists());
    assert_eq!(
        rows(&url, "SELECT name || ' ' || (record::jsonb -> 'phase' ->> 'at') FROM orchestra_moves").await,
        ["spring finalized"]
    );
    assert_eq!((home.state("blue").await, home.state("green").await), ((59, false), (59, true)));
    let refused = home.refuses(&["--record-url", "postgres://ann:s3cret@:not-a-port/x", "status"]);
    assert!(refused.contains("--record-url") && !refused.contains("s3cret"), "{refused}");
}
