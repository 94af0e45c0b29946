//! Calls to the semantic cache on a Redis of its own, beside the least that can be sent to the same Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use memory_core::{
    CacheLookup, CacheRequest, Compatibility, Embedding, EmbeddingSpace, Fingerprint, HitKind, Metadata, NewCacheEntry,
    Scope, SemanticCache as _,
};
use provider_redis::{Algorithm, IndexSchema, RedisConfig, RedisSemanticCacheProvider};
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::topics::Topics;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Call {
    Ping,
    Search,
    SearchFar,
    Hit,
    Miss,
    Exact,
    Repeat,
    RawStore,
    Store,
}

impl Call {
    /// Every kind.
    pub const ALL: [Call; 9] = [
        Call::Ping,
        Call::Search,
        Call::SearchFar,
        Call::Hit,
        Call::Miss,
        Call::Exact,
        Call::Repeat,
        Call::RawStore,
        Call::Store,
    ];

    /// What the tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Call::Ping => "PING",
            Call::Search => "floor: FT.SEARCH alone, for a hit",
            Call::SearchFar => "floor: FT.SEARCH alone, for a miss",
            Call::Hit => "lookup, hit by meaning",
            Call::Miss => "lookup, miss",
            Call::Exact => "lookup, exact prompt, no vector",
            Call::Repeat => "lookup, exact repeat of 100 prompts",
            Call::RawStore => "floor: HSET and PEXPIRE",
            Call::Store => "store",
        }
    }

    /// The least that can be sent in its place.
    pub fn floor(self) -> Option<Call> {
        match self {
            Call::Hit | Call::Exact | Call::Repeat => Some(Call::Search),
            // How far a graph is walked depends on how near its entries are.
            Call::Miss => Some(Call::SearchFar),
            Call::Store => Some(Call::RawStore),
            Call::Ping | Call::Search | Call::SearchFar | Call::RawStore => None,
        }
    }
}

/// Everything a call needs.
pub struct Bench {
    cache: RedisSemanticCacheProvider,
    connection: MultiplexedConnection,
    scope: Scope,
    topics: Arc<Topics>,
    entries: usize,
    /// The index's name, the prefix of its keys, and the tag of the entries' group, as the provider made them.
    index: String,
    prefix: String,
    group: String,
    /// How the index searches, as the tables say it.
    pub effort: String,
    /// Of the hits by meaning: asked, and found.
    asked: AtomicUsize,
    found: AtomicUsize,
}

impl Bench {
    /// Connects a cache for so many entries and stores them, telling how far it is.
    pub async fn fill(url: &str, entries: usize, dimensions: usize) -> Result<Self> {
        let space = Arc::new(EmbeddingSpace::new("bench", "1", dimensions)?);
        let mut config = RedisConfig::new(url, space.clone());
        config.expected_entries = entries as u64;
        // What is slow is to be seen, not cut off.
        config.deadline = Duration::from_secs(30);
        config.write_deadline = Duration::from_secs(30);
        let schema = IndexSchema::sized(dimensions, config.expected_entries);
        let cache = RedisSemanticCacheProvider::connect(config).await?;
        let scope = Scope::tenant("bench")?;
        let progress = ProgressBar::new(entries as u64)
            .with_style(ProgressStyle::with_template("filling with {len} entries {wide_bar} {percent} %, {eta} left")?);
        let topics = Arc::new(Topics::new(&space)?);
        let mut filling = JoinSet::new();
        for task in 0..32 {
            let (cache, scope, topics) = (cache.clone(), scope.clone(), topics.clone());
            let progress = progress.clone();
            filling.spawn(async move {
                for at in (task..entries).step_by(32) {
                    cache.store(entry(&scope, topics.draw(at as u64), at)).await?;
                    progress.inc(1);
                }
                Ok::<(), memory_core::Error>(())
            });
        }
        while let Some(filled) = filling.join_next().await {
            filled??;
        }
        progress.finish_and_clear();
        let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        let indexes: Vec<String> = redis::cmd("FT._LIST").query_async(&mut connection).await?;
        let index = indexes.into_iter().next().context("the provider made an index")?;
        let keys: (u64, Vec<String>) =
            redis::cmd("SCAN").arg(0).arg("MATCH").arg("*:e:*").query_async(&mut connection).await?;
        let key = keys.1.into_iter().next().context("the provider made entries")?;
        let group: String = redis::cmd("HGET").arg(&key).arg("_group").query_async(&mut connection).await?;
        let prefix = key.rsplit_once(':').context("a key has a prefix")?.0.to_owned();
        let effort = match schema.vector.algorithm {
            Algorithm::Flat => ", FLAT".to_owned(),
            Algorithm::Hnsw { ef_runtime, .. } => format!(", EF_RUNTIME {ef_runtime}"),
        };
        let (asked, found) = Default::default();
        Ok(Self { cache, connection, scope, topics, entries, index, prefix, group, effort, asked, found })
    }

    /// Makes calls from several tasks for as long, and gives each call's time. `call_at` says which call a task makes
    /// as its first, second and so on.
    pub async fn run(
        self: &Arc<Self>,
        call_at: impl Fn(usize) -> Call + Clone + Send + 'static,
        concurrency: usize,
        time: Duration,
        round: usize,
    ) -> Result<Vec<(Call, Duration)>> {
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for task in 0..concurrency {
            let (bench, call_at) = (self.clone(), call_at.clone());
            tasks.spawn(async move {
                let mut times = Vec::new();
                let mut connection = bench.connection.clone();
                let mut at = (round * 7919 + task * 104_729) % bench.entries;
                while started.elapsed() < time {
                    at = (at + 1_000_003) % bench.entries;
                    let call = call_at(task + times.len());
                    times.push((call, bench.once(call, at, &mut connection).await?));
                }
                Ok::<_, anyhow::Error>(times)
            });
        }
        let mut times = Vec::new();
        while let Some(task) = tasks.join_next().await {
            times.extend(task??);
        }
        Ok(times)
    }

    /// Of the lookups that have an entry at a similarity of 0.95: how many there were, and how many found it.
    pub fn sure_hits(&self) -> (usize, usize) {
        (self.asked.load(Ordering::Relaxed), self.found.load(Ordering::Relaxed))
    }

    /// One call, timed without what it takes to think of it.
    async fn once(&self, call: Call, at: usize, connection: &mut MultiplexedConnection) -> Result<Duration> {
        match call {
            Call::Ping => {
                let command = redis::cmd("PING");
                let start = Instant::now();
                command.exec_async(connection).await?;
                Ok(start.elapsed())
            }
            Call::Search | Call::SearchFar => {
                let embedding = self.embedding(call, at);
                let start = Instant::now();
                self.search(&embedding).query_async::<Value>(connection).await?;
                Ok(start.elapsed())
            }
            Call::Hit | Call::Miss => {
                let embedding = self.embedding(call, at);
                // The guard has nothing against the first, and looks at every word of it.
                let request = self.request(format!("How can I reset password number {at}?"), Some(embedding));
                let start = Instant::now();
                let found = self.cache.lookup(&request).await?;
                let took = start.elapsed();
                match (call, found) {
                    (Call::Hit, found) => {
                        self.asked.fetch_add(1, Ordering::Relaxed);
                        if matches!(&found, CacheLookup::Hit(hit) if hit.entry.prompt == prompt(at)) {
                            self.found.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    (_, CacheLookup::Miss(_)) => {}
                    (_, hit) => bail!("served to a prompt like no other: {hit:?}"),
                }
                Ok(took)
            }
            Call::Exact | Call::Repeat => {
                let at = if call == Call::Repeat { at % 100 } else { at };
                let request = self.request(prompt(at), None);
                let start = Instant::now();
                let found = self.cache.lookup(&request).await?;
                let took = start.elapsed();
                if !matches!(&found, CacheLookup::Hit(hit) if hit.kind == HitKind::Exact) {
                    bail!("an exact repeat was not found: {found:?}");
                }
                Ok(took)
            }
            // Both put entries of a group of their own in the place of former ones: the cache stays as large.
            Call::RawStore => {
                let blob = blob(&self.topics.draw(1_000_000 + at as u64));
                let key = format!("{}:raw{}", self.prefix, at % 500);
                let start = Instant::now();
                let mut pipeline = redis::pipe();
                pipeline.atomic().cmd("HSET").arg(&key).arg("_group").arg("raw").arg("_expires").arg(1);
                pipeline.arg("_entry").arg(&*"x".repeat(900)).arg("prompt_vector").arg(blob).ignore();
                pipeline.cmd("PEXPIRE").arg(&key).arg(3_600_000).ignore();
                pipeline.exec_async(connection).await?;
                Ok(start.elapsed())
            }
            Call::Store => {
                let scope = Scope::tenant("bench")?.with_user("store")?;
                let mut entry = entry(&scope, self.topics.draw(2_000_000 + at as u64), at);
                entry.prompt = prompt(at % 500);
                let start = Instant::now();
                self.cache.store(entry).await?;
                Ok(start.elapsed())
            }
        }
    }

    /// What is searched with: a vector near an entry, or one that is near none.
    fn embedding(&self, call: Call, at: usize) -> Embedding {
        match call {
            Call::Miss | Call::SearchFar => self.topics.draw(u64::from(u32::MAX) + at as u64),
            _ => self.topics.near(at as u64),
        }
    }

    fn search(&self, embedding: &Embedding) -> redis::Cmd {
        let effort = if self.effort == ", FLAT" { "" } else { self.effort.trim_start_matches(',') };
        let query = format!("(@_group:{{{}}})=>[KNN 8 @prompt_vector $vector{effort} AS _distance]", self.group);
        let mut search = redis::cmd("FT.SEARCH");
        search.arg(&self.index).arg(query).arg("RETURN").arg(2).arg("_distance").arg("_entry");
        search.arg("LIMIT").arg(0).arg(8).arg("PARAMS").arg(2).arg("vector").arg(blob(embedding));
        search.arg("DIALECT").arg(2);
        search
    }

    fn request(&self, prompt: String, embedding: Option<Embedding>) -> CacheRequest {
        let policy = self.cache.policy();
        CacheRequest { scope: self.scope.clone(), prompt, fingerprint: fingerprint(), embedding, policy, filter: None }
    }

    /// Seconds of processor time that Redis has used.
    pub async fn server_cpu(&self) -> Result<f64> {
        let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut self.connection.clone()).await?;
        let seconds = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<f64>().ok())
        };
        Ok(seconds("used_cpu_user").unwrap_or_default() + seconds("used_cpu_sys").unwrap_or_default())
    }
}

fn prompt(at: usize) -> String {
    format!("How do I reset password number {at}?")
}

fn blob(embedding: &Embedding) -> Vec<u8> {
    embedding.values().iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn fingerprint() -> Fingerprint {
    Compatibility::default().fingerprint()
}

fn entry(scope: &Scope, embedding: Embedding, at: usize) -> NewCacheEntry {
    NewCacheEntry {
        scope: scope.clone(),
        prompt: prompt(at),
        response: format!("{at}: {}", "an answer of some length. ".repeat(20)),
        fingerprint: fingerprint(),
        embedding: Some(embedding),
        depends_on: Vec::new(),
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: Duration::from_secs(3600),
        sliding: false,
    }
}
