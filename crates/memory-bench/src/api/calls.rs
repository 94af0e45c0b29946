//! The calls, and the data that they are about.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use chrono::Utc;
use embedders::StaticEmbedder;
use memory_core::{Embedder as _, Purpose};
use pgvector::Vector;
use redis::AsyncCommands as _;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::http::{Connection, post};
use super::servers::Servers;
use super::{Kind, bare};
use crate::corpus;

/// Over how many users the memories are spread.
const USERS: usize = 200;
/// How many answers are in the cache before.
const CACHED: usize = 1000;
/// Prompts that are asked again and again; the others are asked in turn, so that none is soon asked again.
const REPEATED: usize = 100;
const BATCH: usize = 500;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    RawHit,
    BareHit,
    Repeat,
    Exact,
    Meaning,
    Miss,
    Store,
    RawInsert,
    Remember,
    RawSearch,
    RecallVector,
    RecallUser,
    RecallAll,
}

impl Call {
    pub const ALL: [Self; 13] = [
        Self::RawHit,
        Self::BareHit,
        Self::Repeat,
        Self::Exact,
        Self::Meaning,
        Self::Miss,
        Self::Store,
        Self::RawInsert,
        Self::Remember,
        Self::RawSearch,
        Self::RecallVector,
        Self::RecallUser,
        Self::RecallAll,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::RawHit => "floor: HGET with the redis crate",
            Self::BareHit => "floor: bare axum handler with one HGET",
            Self::Repeat => "cache hit, exact repeat of 100 prompts",
            Self::Exact => "cache hit, exact prompt of 1,000",
            Self::Meaning => "cache hit by meaning",
            Self::Miss => "cache miss",
            Self::Store => "cache store",
            Self::RawInsert => "floor: INSERT and commit with sqlx",
            Self::Remember => "remember",
            Self::RawSearch => "floor: exact search of one user with sqlx",
            Self::RecallVector => "recall within one user, by vector alone",
            Self::RecallUser => "recall within one user, by vector and words",
            Self::RecallAll => "recall over all",
        }
    }

    /// What it is compared with.
    pub fn floor(self) -> Option<Self> {
        match self {
            Self::RawHit | Self::RawInsert | Self::RawSearch => None,
            Self::BareHit => Some(Self::RawHit),
            Self::Repeat | Self::Exact | Self::Meaning | Self::Miss | Self::Store => Some(Self::BareHit),
            Self::Remember => Some(Self::RawInsert),
            Self::RecallVector | Self::RecallUser | Self::RecallAll => Some(Self::RawSearch),
        }
    }

    /// What it is measured with: a floor with what is compared with it.
    pub fn kind(self) -> Kind {
        match self {
            Self::RawHit | Self::BareHit | Self::Repeat | Self::Exact | Self::Meaning => Kind::Hit,
            Self::Miss | Self::Store => Kind::Miss,
            Self::RawInsert | Self::Remember => Kind::Remember,
            Self::RawSearch | Self::RecallVector | Self::RecallUser | Self::RecallAll => Kind::Recall,
        }
    }

    /// Whether a process of its own answers it.
    pub fn has_server(self) -> bool {
        !matches!(self, Self::RawHit | Self::RawInsert | Self::RawSearch)
    }
}

/// What the calls say, made before.
pub struct Data {
    texts: Vec<String>,
    vectors: Vec<Vector>,
    next: AtomicUsize,
}

fn prompt(number: usize) -> String {
    format!("What did we decide about item {number} of the list?")
}

/// The same in other words, near enough for the cache.
fn prompt_by_meaning(number: usize) -> String {
    format!("What did we decide about item {number} of the list, please?")
}

fn user(number: usize) -> Value {
    json!({"user": format!("user-{}", number % USERS)})
}

impl Data {
    /// Loads memories and answers through the server.
    pub async fn load(servers: &Servers, memories: usize) -> Result<Arc<Self>> {
        let texts = corpus::sentences(memories.min(20_000), 5);
        let embedder = StaticEmbedder::built_in();
        let queries: Vec<&str> = texts.iter().take(1000).map(String::as_str).collect();
        let embeddings = embedder.embed(&queries, Purpose::Query).await?;
        let vectors = embeddings.iter().map(|embedding| Vector::from(embedding.values().to_vec())).collect();
        let mut connection = Connection::open(&servers.api).await?;
        for first in (0..memories).step_by(BATCH) {
            let batch: Vec<Value> = (first..(first + BATCH).min(memories))
                .map(|number| json!({"text": texts[number % texts.len()], "scope": user(number)}))
                .collect();
            connection.call(&post("/v1/memories", &json!({"memories": batch}))).await?;
        }
        let mut redis = servers.redis.clone();
        for number in 0..CACHED {
            let response = format!("The answer to {number}: {}", texts[number % texts.len()]);
            let _: () = redis.hset(bare::key(&prompt(number)), "response", &response).await?;
            connection
                .call(&post("/v1/cache/entries", &json!({"prompt": prompt(number), "response": response})))
                .await?;
        }
        sqlx::query("VACUUM (ANALYZE) orchestra.memories").execute(&servers.postgres).await?;
        Ok(Arc::new(Self { texts, vectors, next: AtomicUsize::new(memories) }))
    }

    fn text(&self, number: usize) -> &str {
        &self.texts[number % self.texts.len()]
    }

    /// The request of a call, as its number has it.
    pub fn request(&self, call: Call, number: usize) -> Vec<u8> {
        let recall = |scope: Value| json!({"query": self.text(number), "scope": scope, "limit": 10});
        match call {
            Call::BareHit => post("/hit", &json!({"prompt": prompt(number % REPEATED)})),
            Call::Repeat => post("/v1/cache/lookup", &json!({"prompt": prompt(number % REPEATED)})),
            Call::Exact => post("/v1/cache/lookup", &json!({"prompt": prompt(number % CACHED)})),
            Call::Meaning => post("/v1/cache/lookup", &json!({"prompt": prompt_by_meaning(number % CACHED)})),
            Call::Miss => post("/v1/cache/lookup", &json!({"prompt": format!("{} {number}?", self.text(number))})),
            Call::Store => {
                let body = json!({"prompt": format!("{} {number}", self.text(number)), "response": self.text(number)});
                post("/v1/cache/entries", &body)
            }
            Call::Remember => post("/v1/memories", &json!({"text": self.text(number), "scope": user(number)})),
            Call::RecallAll => post("/v1/memories/search", &recall(json!({}))),
            Call::RecallVector => {
                let mut body = recall(user(number));
                body["strategy"] = json!({"strategy": "weighted", "dense": 1.0, "actor": 0.0});
                post("/v1/memories/search", &body)
            }
            _ => post("/v1/memories/search", &recall(user(number))),
        }
    }
}

/// Calls for as long, from so many tasks: the time of each call, and the calls per second.
pub async fn run(
    servers: &Servers,
    data: &Arc<Data>,
    call: Call,
    tasks: usize,
    time: Duration,
) -> Result<(Vec<Duration>, f64)> {
    let begin = Arc::new(Barrier::new(tasks + 1));
    let mut set = JoinSet::new();
    for _ in 0..tasks {
        let mut caller = Caller::new(servers, data.clone(), call).await?;
        let begin = begin.clone();
        set.spawn(async move {
            begin.wait().await;
            let (started, mut times) = (Instant::now(), Vec::new());
            while started.elapsed() < time {
                times.push(caller.call().await?);
            }
            Ok::<_, anyhow::Error>(times)
        });
    }
    begin.wait().await;
    let started = Instant::now();
    let mut times = Vec::new();
    while let Some(taken) = set.join_next().await {
        times.extend(taken.context("a task failed")??);
    }
    let rate = times.len() as f64 / started.elapsed().as_secs_f64();
    Ok((times, rate))
}

/// One task's way to make a call.
struct Caller {
    call: Call,
    data: Arc<Data>,
    way: Way,
}

enum Way {
    Http(Connection),
    Redis(redis::aio::MultiplexedConnection),
    Postgres(sqlx::PgPool),
}

impl Caller {
    async fn new(servers: &Servers, data: Arc<Data>, call: Call) -> Result<Self> {
        let way = match call {
            Call::RawHit => Way::Redis(servers.redis.clone()),
            Call::RawInsert | Call::RawSearch => Way::Postgres(servers.postgres.clone()),
            Call::BareHit => Way::Http(Connection::open(&servers.bare).await?),
            _ => Way::Http(Connection::open(&servers.api).await?),
        };
        Ok(Self { call, data, way })
    }

    /// Makes a call and gives how long it took, without what went into making the request.
    async fn call(&mut self) -> Result<Duration> {
        let number = self.data.next.fetch_add(1, Ordering::Relaxed);
        match &mut self.way {
            Way::Redis(redis) => {
                let key = bare::key(&prompt(number % REPEATED));
                let begun = Instant::now();
                let found: Option<String> = redis.hget(key, "response").await?;
                found.context("an entry is gone")?;
                Ok(begun.elapsed())
            }
            Way::Http(connection) => {
                let request = self.data.request(self.call, number);
                let begun = Instant::now();
                let body = connection.call(&request).await?;
                let took = begun.elapsed();
                expect(self.call, body)?;
                Ok(took)
            }
            Way::Postgres(pool) if self.call == Call::RawInsert => {
                let vector = self.data.vectors[number % self.data.vectors.len()].clone();
                let (id, user) = (uuid::Uuid::now_v7(), format!("user-{}", number % USERS));
                let begun = Instant::now();
                sqlx::query(INSERT)
                    .bind(id)
                    .bind(user)
                    .bind(self.data.text(number))
                    .bind(Utc::now())
                    .bind(vector)
                    .execute(&*pool)
                    .await?;
                Ok(begun.elapsed())
            }
            Way::Postgres(pool) => {
                let vector = self.data.vectors[number % self.data.vectors.len()].clone();
                let user = format!("user-{}", number % USERS);
                let begun = Instant::now();
                let rows = sqlx::query(SEARCH).bind(user).bind(vector).fetch_all(&*pool).await?;
                if rows.is_empty() {
                    bail!("a user has no memories");
                }
                Ok(begun.elapsed())
            }
        }
    }
}

/// In a tenant of its own, so that what it writes is found by no recall.
const INSERT: &str = "INSERT INTO orchestra.memories (id, tenant, user_id, version, kind, text, metadata, importance, \
                      writer, path, evidence, recorded_at, content_hash, words, length, space, embedding) VALUES ($1, \
                      'another', $2, 1, 'episodic', $3, '{}', 0.5, 'agent', 'bench', '{}', $4, sha256($3::bytea), \
                      to_tsvector('simple', $3), 1, 1, $5)";
const SEARCH: &str = "SELECT id, text, metadata, recorded_at, 1 - (embedding <=> $2) FROM orchestra.memories \
                      WHERE tenant = 'default' AND user_id = $1 ORDER BY embedding <=> $2 LIMIT 10";

/// An answer of another kind than the row says would be measured as if it were that kind.
fn expect(call: Call, body: &[u8]) -> Result<()> {
    let expected: &[u8] = match call {
        Call::Repeat | Call::Exact => b"\"kind\":\"exact\"",
        Call::Meaning => b"\"kind\":\"semantic\"",
        Call::Miss => b"\"hit\":false",
        _ => return Ok(()),
    };
    if !body.windows(expected.len()).any(|window| window == expected) {
        bail!("{}: answered {}", call.name(), String::from_utf8_lossy(body));
    }
    Ok(())
}
