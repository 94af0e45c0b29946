//! What the tests of indexes share: rows of vectors, queries near them, and who looks after the indexes.

use std::sync::Arc;

use memory_core::{ArmReport, Embedding, EmbeddingSpace, MemoryStore as _, Scope, SearchRequest};
use memory_testkit::make;
use provider_alloydb::index::{BuildOutcome, IndexKeeper, IndexKind};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::Home;

/// Rows around 40 centres: `users` in turn have them.
pub struct Stock {
    pub rows: u32,
    pub dimensions: u32,
    pub users: u32,
    /// The column that they are in.
    pub column: &'static str,
}

pub const MANY: Stock = Stock { rows: 20_000, dimensions: 32, users: 10, column: "embedding" };

pub fn space(dimensions: u32) -> Arc<EmbeddingSpace> {
    Arc::new(EmbeddingSpace::new("clustered", "1", dimensions as usize).expect("a valid space"))
}

/// The vector at place `i` as SQL: one of 40 centres, and as much of its own.
fn vector(i: &str, dimensions: u32) -> String {
    let part = |seed: &str| format!("hashint8extended({seed} * 5000 + j, 1) / 9.3e18");
    let (centre, own) = (part(&format!("({i}::bigint % 40)")), part(&format!("({i}::bigint + 100)")));
    format!("l2_normalize(ARRAY(SELECT {centre} + {own} FROM generate_series(1, {dimensions}) j)::real[]::vector)")
}

/// Puts rows in, and gives the number of their space.
pub async fn stock(home: &Home, stock: &Stock, from: u32) -> i16 {
    let Stock { rows, dimensions, users, column } = stock;
    let mut connection = home.direct().await;
    let space = "INSERT INTO orchestra.spaces (model, revision, dimensions, normalized) \
                 VALUES ('clustered', '1', $1, true) ON CONFLICT DO NOTHING";
    sqlx::query(space).bind(dimensions.cast_signed()).execute(&mut connection).await.expect("a statement");
    let number: i16 =
        sqlx::query_scalar("SELECT space FROM orchestra.spaces").fetch_one(&mut connection).await.expect("a statement");
    let vector = vector("i", *dimensions);
    let to = from + rows;
    let insert = format!(
        "INSERT INTO orchestra.memories (id, tenant, user_id, version, kind, text, metadata, importance, writer, path, \
         evidence, recorded_at, content_hash, words, length, space, {column}) \
         SELECT gen_random_uuid(), 'acme', 'u' || i / 40 % {users}, 1, 'episodic', 'note ' || i, '{{}}', 0.5, 'agent', 'test', \
         '{{}}', '2026-01-01', '\\x00', '', 2, {number}, {vector} FROM generate_series({from}, {to} - 1) i; \
         ANALYZE orchestra.memories (tenant, user_id, space)"
    );
    connection.execute(AssertSqlSafe(insert)).await.expect("a statement");
    connection.close().await.expect("close");
    number
}

/// A query near the vector at place `i`.
pub async fn query(connection: &mut PgConnection, i: u32, dimensions: u32) -> Embedding {
    let vector: pgvector::Vector =
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT {}", vector(&i.to_string(), dimensions))))
            .fetch_one(connection)
            .await
            .expect("a statement");
    make::embedding_near(&Embedding::new(space(dimensions), vector.to_vec()).expect("a direction"), 0.95, i.into())
}

pub fn request(scope: &Scope, embedding: &Embedding, candidates: usize) -> SearchRequest {
    SearchRequest {
        scope: scope.clone(),
        also: Vec::new(),
        embedding: Some(embedding.clone()),
        text: None,
        filter: None,
        candidates,
        neighbours: false,
        at_least: None,
        as_of: None,
        best: None,
    }
}

/// Similarities, best first, and the report.
pub async fn search(provider: &AlloyDbMemoryProvider, request: &SearchRequest) -> (Vec<f32>, ArmReport) {
    let mut found = provider.search(request).await.expect("an answer");
    let mut similarities: Vec<f32> = found.candidates.iter().filter_map(|candidate| candidate.similarity).collect();
    similarities.sort_by(|a, b| b.total_cmp(a));
    (similarities, found.arms.remove(0))
}

pub fn recall(exact: &[f32], found: &[f32]) -> f32 {
    let hits = found.iter().filter(|similarity| **similarity >= exact[exact.len() - 1] - 1e-5).count();
    hits.min(exact.len()) as f32 / exact.len() as f32
}

pub fn config(home: &Home, dimensions: u32, kind: IndexKind) -> AlloyDbConfig {
    let mut config = home.config();
    config.vector_dim = dimensions as usize;
    config.exact_up_to = 500;
    config.index.kind = kind;
    config.index.min_rows = 200;
    config.index.build_workers = 0;
    config.index.measure_every = 0;
    config
}

/// As the superuser of the tests' server.
pub async fn keeper(config: &AlloyDbConfig) -> IndexKeeper {
    let mut config = config.clone();
    config.role = None;
    IndexKeeper::connect(config).await.expect("connect")
}

pub async fn built(keeper: &IndexKeeper, space: i16) -> String {
    match keeper.build(space, |_| {}).await.expect("a build") {
        BuildOutcome::Built { name, .. } => name,
        other => panic!("{other:?}"),
    }
}

/// The names of the vector indexes that are there, whole or not.
pub async fn standing(home: &Home) -> Vec<String> {
    let names = "SELECT relname::text FROM pg_class WHERE relname LIKE 'memories_by_vector%' ORDER BY 1";
    sqlx::query_scalar(names).fetch_all(&mut home.direct().await).await.expect("a statement")
}

/// Makes the planner prefer the vector index wherever there is one.
pub async fn prefer_index(home: &Home) {
    let setting = format!("ALTER DATABASE {} SET enable_sort = off", home.name);
    home.direct().await.execute(AssertSqlSafe(setting)).await.expect("a statement");
}
