//! A filter finds in Postgres what it matches by its meaning in memory-core: every operator, on every field, with values
//! of every type, most of them out of the memories themselves.

#![expect(clippy::unwrap_used, reason = "test helpers are tests too")]

mod generate;

use std::collections::BTreeMap;

use memory_core::{Condition, Field, Filter, Memory, MemoryKind, Metadata, Scope};
use memory_testkit::services::{self, Service};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use provider_alloydb::escape::{escape, escape_json};
use provider_alloydb::filter::compile;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const TENANT: &str = "acme";

const INSERT: &str = "INSERT INTO orchestra.memories \
     (id, tenant, version, kind, text, actor, metadata, importance, writer, path, evidence, valid_from, valid_to, \
      recorded_at, expires_at, content_hash, words, length) \
     VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, '{}', $10, $11, $12, $13, '', '', 0)";

/// A table as small as these would be read whole.
const INDEXES_FIRST: &str = "SET enable_seqscan = off";

/// A database of its own with these memories, in their order. It is kept when the test fails.
struct Database {
    server: PgConnection,
    name: String,
    connection: PgConnection,
}

impl Database {
    /// `None` when there is no Postgres, which was said.
    async fn with(memories: &[Memory]) -> Option<Self> {
        let url = services::url(Service::Postgres)?;
        let mut server = PgConnection::connect(&url).await.unwrap();
        let name = format!("filter_{}", uuid::Uuid::now_v7().simple());
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut server).await.unwrap();
        let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
        let mut connection = PgConnection::connect_with(&options.database(&name)).await.unwrap();
        sqlx::migrate!("../../migrations").run_direct(None, &mut connection, false).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        for memory in memories {
            let writer = serde_json::to_value(memory.origin.writer).unwrap();
            sqlx::query(INSERT)
                .bind(memory.id.as_uuid())
                .bind(TENANT)
                .bind(memory.kind.name())
                .bind(escape(&memory.text))
                .bind(memory.actor.as_deref().map(escape))
                .bind(sqlx::types::Json(escape_json(&memory.metadata)))
                .bind(memory.importance)
                .bind(writer.as_str())
                .bind(escape(&memory.origin.path))
                .bind(memory.valid_from)
                .bind(memory.valid_to)
                .bind(memory.recorded_at)
                .bind(memory.expires_at)
                .execute(&mut *transaction)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
        sqlx::raw_sql("ANALYZE orchestra.memories").execute(&mut connection).await.unwrap();
        Some(Self { server, name, connection })
    }

    /// What the filter says of each memory; `None` is NULL.
    async fn verdicts(&mut self, filter: &Filter) -> sqlx::Result<Vec<Option<bool>>> {
        let compiled = compile(filter, "$1");
        let sql = format!("SELECT array_agg({} ORDER BY m.ordinal) FROM orchestra.memories m", compiled.sql);
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(compiled.arguments).persistent(false);
        query.fetch_one(&mut self.connection).await
    }

    /// The places of the memories found, by an index wherever one can be used.
    async fn found(&mut self, filter: &Filter) -> sqlx::Result<Vec<usize>> {
        let compiled = compile(filter, "$1");
        let sql = format!(
            "SELECT m.ordinal FROM orchestra.memories m WHERE m.tenant = $2 AND {} ORDER BY m.ordinal",
            compiled.sql
        );
        sqlx::raw_sql(INDEXES_FIRST).execute(&mut self.connection).await?;
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(compiled.arguments).bind(TENANT).persistent(false);
        let positions: Vec<i64> = query.fetch_all(&mut self.connection).await?;
        sqlx::raw_sql("RESET enable_seqscan").execute(&mut self.connection).await?;
        Ok(positions.into_iter().map(|position| usize::try_from(position - 1).unwrap()).collect())
    }

    /// The plan as the store's statements get it, with the arguments known.
    async fn plan(&mut self, filter: &Filter) -> String {
        let compiled = compile(filter, "$1");
        let sql = format!(
            "EXPLAIN (VERBOSE, COSTS OFF) SELECT FROM orchestra.memories m WHERE m.tenant = $2 AND {}",
            compiled.sql
        );
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).bind(compiled.arguments).bind(TENANT).persistent(false);
        let lines: Vec<String> = query.fetch_all(&mut self.connection).await.unwrap();
        lines.join("\n")
    }

    async fn close(mut self) {
        self.connection.close().await.unwrap();
        sqlx::query(AssertSqlSafe(format!("DROP DATABASE {}", self.name))).execute(&mut self.server).await.unwrap();
    }
}

/// Runs as many cases, the same ones in every run.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// How many memories a condition was right to find, and to leave.
type Tally = BTreeMap<(String, &'static str), (usize, usize)>;

fn operator(condition: &Condition) -> &'static str {
    match condition {
        Condition::Eq(_) => "eq",
        Condition::Ne(_) => "ne",
        Condition::Gt(_) => "gt",
        Condition::Gte(_) => "gte",
        Condition::Lt(_) => "lt",
        Condition::Lte(_) => "lte",
        Condition::In(_) => "in",
        Condition::Exists(_) => "exists",
        Condition::Contains(_) => "contains",
    }
}

#[test]
fn postgres_finds_what_a_filter_matches() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let memories = generate::memories(&mut runner(1), 200);
    let Some(mut database) = runtime.block_on(Database::with(&memories)) else { return };
    let tally = std::cell::RefCell::new(Tally::new());
    let shared = std::cell::RefCell::new(&mut database);
    let failed =
        |error: sqlx::Error, filter: &Filter| TestCaseError::fail(format!("{error:?}\n{}", compile(filter, "$1").sql));

    let outcome = runner(2000).run(&generate::condition(&memories), |filter| {
        let expected: Vec<Option<bool>> = memories.iter().map(|memory| Some(filter.matches(memory))).collect();
        let verdicts =
            runtime.block_on(shared.borrow_mut().verdicts(&filter)).map_err(|error| failed(error, &filter))?;
        let wrong = (0..memories.len()).find(|at| verdicts[*at] != expected[*at]);
        if let Some(at) = wrong {
            let (memory, sql) = (&memories[at], compile(&filter, "$1").sql);
            return Err(TestCaseError::fail(format!("{:?} for {memory:?}\n{sql}", verdicts[at])));
        }
        if let Filter::Is(field, condition) = &filter {
            let field = if let Field::Metadata(_) = field { "metadata".to_owned() } else { field.to_string() };
            let found = expected.iter().filter(|verdict| **verdict == Some(true)).count();
            let mut tally = tally.borrow_mut();
            let counts = tally.entry((field, operator(condition))).or_default();
            *counts = (counts.0 + found, counts.1 + expected.len() - found);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let tally = tally.into_inner();
    assert_eq!(tally.len(), 11 * 9, "every operator on every field");
    for ((field, operator), (found, left)) in &tally {
        // Only texts and lists contain something.
        let finds =
            *operator != "contains" || !(field == "importance" || field.ends_with("_at") || field.starts_with("valid"));
        assert!((*found > 0) == finds && *left > 0, "{field} {operator} found {found} and left {left}");
    }

    let outcome = runner(800).run(&generate::filter(&memories), |filter| {
        let expected: Vec<usize> = (0..memories.len()).filter(|at| filter.matches(&memories[*at])).collect();
        let found = runtime.block_on(shared.borrow_mut().found(&filter)).map_err(|error| failed(error, &filter))?;
        if found != expected {
            return Err(TestCaseError::fail(format!("{found:?} and not {expected:?}\n{}", compile(&filter, "$1").sql)));
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    runtime.block_on(database.close());
}

#[tokio::test]
async fn every_two_values_are_told_apart_as_in_a_filter() {
    let values = generate::hard_values();
    let scope = Scope::tenant(TENANT).unwrap();
    let memory = |value: &Value| Memory {
        metadata: Metadata::from_iter([("a".to_owned(), value.clone())]),
        ..memory_testkit::make::memory(&scope, "text", chrono::DateTime::UNIX_EPOCH)
    };
    let memories: Vec<Memory> = values.iter().map(memory).collect();
    let Some(mut database) = Database::with(&memories).await else { return };
    for value in &values {
        for condition in [
            Condition::Eq(value.clone()),
            Condition::In(vec![value.clone(), json!("a"), json!(true)]),
            Condition::Contains(value.clone()),
            Condition::Gte(value.clone()),
            Condition::Lt(value.clone()),
        ] {
            let filter = Filter::Is(Field::Metadata(vec!["a".to_owned()]), condition);
            let verdicts = database.verdicts(&filter).await.unwrap();
            for (memory, verdict) in memories.iter().zip(verdicts) {
                assert_eq!(verdict, Some(filter.matches(memory)), "{filter:?} of {:?}", memory.metadata);
            }
        }
    }
    database.close().await;
}

#[tokio::test]
async fn arguments_are_constants_of_the_plan_and_metadata_is_found_by_an_index() {
    let scope = Scope::tenant(TENANT).unwrap();
    let memories: Vec<Memory> = (0..2000)
        .map(|at| {
            // As long as texts are, so that the whole table is not read for less than two looks into an index.
            let mut memory = memory_testkit::make::memory(&scope, &"text ".repeat(300), chrono::DateTime::UNIX_EPOCH);
            memory.kind = MemoryKind::ALL[at % 4];
            memory.metadata =
                serde_json::from_value(json!({"topic": format!("topic {at}"), "trip": {"days": at}})).unwrap();
            memory
        })
        .collect();
    let Some(mut database) = Database::with(&memories).await else { return };
    // Not of the schema: row-level security keeps a program from asking it, since `@>` is not leakproof.
    let index = "CREATE INDEX ON orchestra.memories USING gin (tenant, metadata jsonb_path_ops)";
    sqlx::raw_sql(index).execute(&mut database.connection).await.unwrap();
    sqlx::raw_sql(INDEXES_FIRST).execute(&mut database.connection).await.unwrap();
    for (filter, by_index) in [
        (json!({"metadata.topic": "topic 7"}), true),
        (json!({"metadata.trip.days": 7}), true),
        (json!({"metadata.topic": {"in": ["topic 7", "topic 8", 9]}}), true),
        (json!({"or": [{"metadata.topic": "topic 7"}, {"metadata.trip.days": 7}]}), true),
        (json!({"kind": "semantic", "metadata.topic": "topic 7", "not": {"metadata.trip.days": {"in": [1, 2]}}}), true),
        (json!({"not": {"metadata.topic": "topic 7"}}), false),
        (json!({"kind": {"in": ["semantic", "message"]}, "actor": {"lt": "Ann"}, "importance": {"gte": 0.5}}), false),
        (json!({"recorded_at": {"gt": "2025-01-01T00:00:00Z"}, "metadata.topic": {"gt": "a", "contains": "b"}}), false),
    ] {
        let plan = database.plan(&Filter::from_json(&filter).unwrap()).await;
        let is_found = plan.lines().any(|line| line.contains("Index Cond") && line.contains("metadata @>"));
        assert_eq!(is_found, by_index, "{filter}\n{plan}");
        for computed in ["'::jsonb ->", "$1", "$2", "make_interval"] {
            assert!(!plan.contains(computed), "{filter}: {computed} in\n{plan}");
        }
    }
    database.close().await;
}
