//! The program itself, on memories in files.

use std::path::Path;
use std::process::{Command, Output};

use embedders::StaticEmbedder;
use memory_core::{Embedder as _, Error, ForgetRequest, MemoryPatch, MemoryStore as _, Purpose, Selection};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, MIGRATOR};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use tempfile::TempDir;

const MEMORIES: usize = 60;

/// A folder with two configurations, and memories in blue.
struct Home(TempDir);

impl Home {
    async fn new() -> Self {
        let home = Self(tempfile::tempdir().expect("a folder"));
        for side in ["blue", "green"] {
            let file = home.path().join(format!("{side}.yaml"));
            std::fs::write(file, format!("data: {}\n", home.path().join(side).display())).expect("a file");
            std::fs::create_dir(home.path().join(side)).expect("a folder");
        }
        let (blue, scope) = (home.open("blue").await, make::user("acme", "ann"));
        let (mut ids, embedder) = (Vec::new(), StaticEmbedder::built_in());
        for at in 0..MEMORIES {
            let memory = make::memory(&scope, &format!("Ann's note {at} is about cats"), chrono::Utc::now());
            ids.push(memory.id);
            let vectors = embedder.embed(&[&memory.text], Purpose::Document).await.expect("a vector");
            blue.insert(make::embedded(memory, vectors[0].clone())).await.expect("insert");
        }
        let patch = MemoryPatch { text: Some("a corrected note".into()), ..MemoryPatch::default() };
        blue.update(&scope, ids[0], patch).await.expect("update");
        let request = ForgetRequest { scope, selection: Selection::Ids(vec![ids[1]]), dry_run: false };
        blue.forget(&request).await.expect("forget");
        blue.close().await.expect("close");
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    async fn open(&self, side: &str) -> EmbeddedProvider {
        EmbeddedProvider::open(EmbeddedConfig::new(self.path().join(side).join("memory.db"))).await.expect("open")
    }

    /// How many memories a side has, and whether it takes another one.
    async fn state(&self, side: &str) -> (u64, bool) {
        let (store, scope) = (self.open(side).await, make::user("acme", "bob"));
        let memories = store.stats(&make::user("acme", "ann")).await.expect("stats").memories;
        let written = store.insert(make::batch([make::memory(&scope, "late", chrono::Utc::now())])).await;
        let takes = match written {
            Ok(_) => true,
            Err(Error::Fenced { .. }) => false,
            Err(error) => panic!("{error}"),
        };
        store.close().await.expect("close");
        (memories, takes)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra-migrate"));
        command.args(arguments).current_dir(self.path()).env("ORCHESTRA_DATA", "/nowhere").output().expect("it runs")
    }

    #[track_caller]
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "{arguments:?}: {out}\n{err}");
        out
    }

    #[track_caller]
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
        err
    }
}

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
async fn a_run_goes_through_all_phases_or_stops() {
    let home = Home::new().await;
    let over = ["run", "--yes", "--queries", "5", "--maintenance-window", "2025-06-01 01:00"];
    assert!(home.refuses(&over).contains("the maintenance window ends"));
    assert_eq!(home.state("blue").await, (59, true), "nothing moved");
    assert!(home.refuses(&["run", "--yes", "--maintenance-window", "soon"]).contains("is no time"));
    let planned = home.succeeds(&["run", "--dry-run", "--maintenance-window", "2025-06-01 01:00 +02:00"]);
    assert!(planned.contains("2025-05-31 23:00:00 UTC"), "{planned}");
    home.succeeds(&["run", "--yes"]);
    assert_eq!(home.state("green").await, (59, true));
    let report = std::fs::read_to_string(home.path().join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["phase"]["at"], "finalized");
    assert!(report["checked"]["gates"].as_array().is_some_and(|gates| gates.len() >= 4));
}

/// A database of its own with the schema; its URL.
async fn database(url: &str) -> String {
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
    let name = format!("test_{}", make::id().as_uuid().simple());
    let server = sqlx::PgPool::connect_with(options.clone()).await.expect("connect");
    // A name of ours, of letters and digits.
    let made = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::query(made).execute(&server).await.expect("a database");
    server.close().await;
    let pool = sqlx::PgPool::connect_with(options.database(&name)).await.expect("connect");
    MIGRATOR.run(&pool).await.expect("the schema");
    pool.close().await;
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    format!("{server}/{name}")
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
    let store = AlloyDbMemoryProvider::connect(config).await.expect("connect");
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
    home.succeeds(&["finalize", "--yes"]);
}
