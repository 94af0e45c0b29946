//! The schema: how a database gets it, goes on from a half of it, and serves programs older than it.

mod app_user;
mod catalog;
mod rights;

use std::time::{Duration, Instant};

use memory_core::{Clock as _, Error, ForgetRequest, ListRequest, MemoryPatch, MemoryStore as _, Selection};
use memory_testkit::make;
use provider_alloydb::{AlloyDbConfig, MIGRATOR, MigrationState, SchemaStatus, migrate, status};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::Home;
use catalog::schema;

/// A database without the schema.
struct Blank {
    url: String,
    name: String,
}

impl Blank {
    /// `None` where there is no server, which was said.
    async fn new() -> Option<Self> {
        let blank = Self::of(Home::new()?);
        blank.administer(&format!("CREATE DATABASE {}", blank.name)).await;
        Some(blank)
    }

    fn of(home: Home) -> Self {
        Self { url: home.url, name: home.name }
    }

    /// Runs a statement in the server's own database.
    async fn administer(&self, statement: &str) {
        let mut connection = self.connect("postgres").await;
        connection.execute(AssertSqlSafe(statement.to_owned())).await.expect(statement);
        connection.close().await.expect("close");
    }

    /// A connection as the superuser.
    async fn connect(&self, database: &str) -> PgConnection {
        let options: PgConnectOptions = self.url.parse().expect("a URL");
        PgConnection::connect_with(&options.database(database)).await.expect("connect")
    }

    async fn direct(&self) -> PgConnection {
        self.connect(&self.name).await
    }

    fn config(&self) -> AlloyDbConfig {
        let mut config = AlloyDbConfig::from_url(&self.url).expect("a URL");
        config.database = self.name.clone();
        config
    }

    async fn schema(&self) -> Vec<String> {
        let mut connection = self.direct().await;
        let lines = schema(&mut connection).await;
        connection.close().await.expect("close");
        lines
    }
}

/// The schema as it is when it is made at once.
async fn fresh() -> Vec<String> {
    let home = Home::new().expect("there is a server");
    let mut connection = home.direct().await;
    let lines = schema(&mut connection).await;
    connection.close().await.expect("close");
    assert!(lines.len() > 100, "the comparison sees the schema");
    lines
}

fn all() -> usize {
    MIGRATOR.iter().count()
}

/// How many are applied, pending, changed and unknown.
fn counts(status: &SchemaStatus) -> [usize; 4] {
    [MigrationState::Applied, MigrationState::Pending, MigrationState::Changed, MigrationState::Unknown]
        .map(|state| status.count(state))
}

#[tokio::test]
async fn migrating_again_changes_nothing() {
    let Some(blank) = Blank::new().await else { return };
    let before = status(&blank.config()).await.unwrap();
    assert_eq!((counts(&before), before.is_current()), ([0, all(), 0, 0], false));
    assert_eq!(before.problems, [""; 0]);

    let mut told = Vec::new();
    let first = migrate(&blank.config(), |migration| told.push(migration.version)).await.unwrap();
    assert_eq!(told, MIGRATOR.iter().map(|migration| migration.version).collect::<Vec<_>>());
    assert_eq!((first.applied.len(), counts(&first.status)), (all(), [all(), 0, 0, 0]));
    assert!(first.status.is_current() && first.status.pgvector.is_some());
    let made = blank.schema().await;
    assert_eq!(made, fresh().await);

    let second = migrate(&blank.config(), |migration| panic!("applied again: {migration:?}")).await.unwrap();
    assert_eq!((second.applied.len(), second.status), (0, first.status));
    assert_eq!(blank.schema().await, made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_at_once_each_migration_is_applied_once() {
    let Some(blank) = Blank::new().await else { return };
    let several: Vec<_> = (0..4)
        .map(|_| {
            let config = blank.config();
            tokio::spawn(async move { migrate(&config, |_| {}).await })
        })
        .collect();
    let mut applied = Vec::new();
    for one in several {
        let report = one.await.unwrap().unwrap();
        assert!(report.status.is_current(), "who comes second finds it done");
        applied.extend(report.applied.into_iter().map(|migration| migration.version));
    }
    applied.sort_unstable();
    assert_eq!(applied, MIGRATOR.iter().map(|migration| migration.version).collect::<Vec<_>>());
    assert_eq!(blank.schema().await, fresh().await);
}

#[tokio::test]
async fn a_schema_upgraded_step_by_step_equals_a_fresh_one() {
    let Some(blank) = Blank::new().await else { return };
    for (at, migration) in MIGRATOR.iter().enumerate() {
        // Each step is another program's: its own connection, and nothing that the one before has left in a session.
        let mut connection = blank.direct().await;
        MIGRATOR.run_direct(Some(migration.version), &mut connection, false).await.unwrap();
        connection.close().await.unwrap();
        let status = status(&blank.config()).await.unwrap();
        assert_eq!(counts(&status), [at + 1, all() - at - 1, 0, 0]);
    }
    assert_eq!(blank.schema().await, fresh().await);
}

#[tokio::test]
async fn the_rest_of_the_migrations_gives_the_same_from_any_of_them_on() {
    let versions: Vec<i64> = MIGRATOR.iter().map(|migration| migration.version).collect();
    for version in [versions[0], versions[versions.len() / 2], versions[versions.len() - 2]] {
        let Some(blank) = Blank::new().await else { return };
        let mut connection = blank.direct().await;
        MIGRATOR.run_direct(Some(version), &mut connection, false).await.unwrap();
        connection.close().await.unwrap();
        let report = migrate(&blank.config(), |_| {}).await.unwrap();
        assert!(report.applied.iter().all(|migration| migration.version > version) && report.status.is_current());
        assert_eq!(blank.schema().await, fresh().await, "from {version} on");
    }
}

#[tokio::test]
async fn an_interrupted_migration_leaves_nothing_and_is_taken_up_again() {
    let Some(blank) = Blank::new().await else { return };
    // One that changes a table after others, so that it can be stopped in its midst.
    let interrupted = MIGRATOR.iter().find(|migration| migration.description == "enable row security").unwrap().version;
    let mut reader = blank.direct().await;
    MIGRATOR.run_direct(Some(interrupted - 1), &mut reader, false).await.unwrap();
    let before = blank.schema().await;
    reader.execute("BEGIN; SELECT FROM orchestra.memories").await.unwrap();
    let config = blank.config();
    let run = tokio::spawn(async move { migrate(&config, |migration| panic!("{migration:?}")).await });

    let mut connection = blank.direct().await;
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        // Once it waits for the reader, its session is ended.
        let ended: Vec<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'orchestra db' AND wait_event_type = 'Lock'",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        if ended == [true] {
            break;
        }
        assert!(Instant::now() < deadline, "it does not come to where it waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = run.await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert_eq!(blank.schema().await, before);

    reader.execute("ROLLBACK").await.unwrap();
    let report = migrate(&blank.config(), |_| {}).await.unwrap();
    assert_eq!(report.applied.first().map(|migration| migration.version), Some(interrupted));
    assert!(report.status.is_current());
    assert_eq!(blank.schema().await, fresh().await);
}

#[tokio::test]
async fn a_changed_migration_is_told_and_nothing_is_applied_on_top() {
    let Some(blank) = Blank::new().await else { return };
    migrate(&blank.config(), |_| {}).await.unwrap();
    let mut connection = blank.direct().await;
    let last = MIGRATOR.iter().map(|migration| migration.version).max().unwrap();
    let change = "UPDATE orchestra.migrations SET checksum = '\\x00' WHERE version = 3";
    connection.execute(change).await.unwrap();
    let delete = format!("DELETE FROM orchestra.migrations WHERE version = {last}");
    connection.execute(AssertSqlSafe(delete)).await.unwrap();
    connection.close().await.unwrap();

    let told = status(&blank.config()).await.unwrap();
    assert_eq!((counts(&told), told.is_current()), ([all() - 2, 1, 1, 0], false));
    let error = migrate(&blank.config(), |migration| panic!("{migration:?}")).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }));
    insta::assert_snapshot!(error.to_string(), @"alloydb: migration 0003 (create sessions) was changed after this database had it; what was applied stays as it is: put the former text back, and the change into a migration of its own");
}

/// What every later schema may have that this program knows nothing of.
fn later() -> Migrator {
    let sql = "
        ALTER TABLE orchestra.memories ADD COLUMN note text;
        ALTER TABLE orchestra.memory_versions ADD COLUMN note text;
        ALTER TABLE orchestra.spaces ADD COLUMN note text;
        CREATE TABLE orchestra.notes (tenant text NOT NULL, note text NOT NULL);
        CREATE FUNCTION orchestra.count_memories(
            p_tenant text, p_user_id text, p_agent_id text, p_session_id text, p_now timestamptz, p_note text
        ) RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
    ";
    let mut migrations: Vec<Migration> = MIGRATOR.iter().cloned().collect();
    let sql = sqlx::SqlSafeStr::into_sql_str(sql);
    migrations.push(Migration::new(9999, "a later one".into(), MigrationType::Simple, sql, false));
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.create_schema("orchestra");
    migrator.dangerous_set_table_name("orchestra.migrations");
    migrator
}

#[tokio::test]
async fn this_program_works_on_a_later_schema() {
    let Some(home) = Home::new() else { return };
    let mut connection = home.direct().await;
    later().run_direct(None, &mut connection, false).await.unwrap();
    connection.close().await.unwrap();

    let mut config = home.config();
    config.role = None;
    let report = migrate(&config, |migration| panic!("{migration:?}")).await.unwrap();
    assert_eq!((counts(&report.status), report.status.is_current()), ([all(), 0, 0, 1], true));

    let store = home.open().await;
    let scope = make::session("acme", "ann", "monday");
    let now = home.clock.now();
    let (kept, gone) = (make::memory(&scope, "Ann likes tea", now), make::memory(&scope, "Ann's old number", now));
    let vector = make::embedding(&make::space("m"), 1);
    store.insert(make::embedded(kept.clone(), vector.clone())).await.unwrap();
    store.insert(make::batch([gone.clone()])).await.unwrap();
    let patch = MemoryPatch { text: Some("Ann likes coffee".into()), ..MemoryPatch::default() };
    let updated = store.update(&scope, kept.id, patch).await.unwrap();
    assert_eq!(store.history(&scope, kept.id).await.unwrap().len(), 2);
    let selection = Selection::Ids(vec![gone.id]);
    store.forget(&ForgetRequest { scope: scope.clone(), selection, dry_run: false }).await.unwrap();
    assert_eq!(store.get(&scope, kept.id).await.unwrap(), Some(updated.memory.clone()));
    let found = store.search(&make::search(&scope, Some(vector), Some("coffee"))).await.unwrap();
    assert_eq!(found.candidates[0].memory, updated.memory);
    let list = ListRequest {
        scope: scope.clone(),
        filter: None,
        limit: 10,
        cursor: None,
        newest_first: false,
        with_embeddings: true,
    };
    assert_eq!(store.list(&list).await.unwrap().memories.len(), 1);
    let stats = store.stats(&scope).await.unwrap();
    assert_eq!((stats.memories, stats.tombstones), (1, 1));
}

#[test]
fn every_migration_is_one_transaction() {
    assert!(MIGRATOR.iter().all(|migration| !migration.no_tx), "index builds are on a track of their own");
}
