//! A folder with a move in it, and the program.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use embedders::StaticEmbedder;
use memory_core::{Embedder as _, Error, ForgetRequest, MemoryPatch, MemoryStore as _, Purpose, Selection};
use memory_testkit::make;
use migrate::engine::{Engine, Order, Parts, Side};
use migrate::record::file::FileRecords;
use provider_alloydb::MIGRATOR;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use tempfile::TempDir;

pub const MEMORIES: usize = 60;

/// A folder with two configurations, and memories in blue.
pub struct Home(TempDir);

impl Home {
    pub async fn new() -> Self {
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

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub async fn open(&self, side: &str) -> EmbeddedProvider {
        EmbeddedProvider::open(EmbeddedConfig::new(self.path().join(side).join("memory.db"))).await.expect("open")
    }

    /// How many memories a side has, and whether it takes another one.
    pub async fn state(&self, side: &str) -> (u64, bool) {
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

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestra-migrate"));
        command.args(arguments).current_dir(self.path()).env("ORCHESTRA_DATA", "/nowhere");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// Orders something and is gone before it is done, as a command that is killed.
    pub async fn begins(&self, order: Order) {
        let [blue, green] = [self.open("blue").await, self.open("green").await];
        let parts = Parts {
            blue: Side::of(blue.clone()),
            green: Side::of(green.clone()),
            records: Arc::new(FileRecords::new(self.path().join("orchestra-migrate.json"))),
            clock: Arc::new(chrono::Utc::now),
            timer: Arc::new(tokio::time::sleep),
        };
        Engine::open(parts).await.expect("a move").order(order).await.expect("it may be ordered");
        for store in [blue, green] {
            store.close().await.expect("close");
        }
    }

    #[track_caller]
    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success(), "{arguments:?}: {out}\n{err}");
        out
    }

    #[track_caller]
    pub fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {err}");
        err
    }
}

/// A database of its own with the schema; its URL.
pub async fn database(url: &str) -> String {
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
