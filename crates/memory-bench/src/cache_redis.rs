//! How fast the semantic cache on Redis is, beside the least that can be sent to the same Redis.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memory_core::{
    CacheLookup, CacheRequest, Compatibility, Embedding, EmbeddingSpace, Fingerprint, HitKind, Metadata, NewCacheEntry,
    Scope, SemanticCache as _,
};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::{Algorithm, IndexSchema, RedisConfig, RedisSemanticCacheProvider};
use redis::Value;
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use crate::report::{Report, Table, Times, micros};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Entries in the cache
    #[arg(long, default_value_t = 10_000)]
    entries: usize,
    /// Dimensions of the vectors
    #[arg(long, default_value_t = 384)]
    dimensions: usize,
    /// Calls at once; several with commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    concurrency: Vec<usize>,
    /// Milliseconds for each row in each round
    #[arg(long, default_value_t = 400)]
    millis: u64,
    /// Rounds; in each every row has its turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Calls to compare: ping, search, hit, miss, exact, raw-store, store; several with commas
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Call::ALL)]
    calls: Vec<Call>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
enum Call {
    Ping,
    Search,
    Hit,
    Miss,
    Exact,
    RawStore,
    Store,
}

impl Call {
    const ALL: [Call; 7] = [Call::Ping, Call::Search, Call::Hit, Call::Miss, Call::Exact, Call::RawStore, Call::Store];

    fn name(self) -> &'static str {
        match self {
            Call::Ping => "PING",
            Call::Search => "floor: FT.SEARCH alone",
            Call::Hit => "lookup, hit by meaning",
            Call::Miss => "lookup, miss",
            Call::Exact => "lookup, exact repeat, no vector",
            Call::RawStore => "floor: HSET and PEXPIRE",
            Call::Store => "store",
        }
    }
}

/// What a row of the table took, over all rounds; processor time in seconds.
#[derive(Default)]
struct Taken {
    times: Vec<Duration>,
    took: Duration,
    server_cpu: f64,
    client_cpu: f64,
}

/// Everything a call needs.
struct Bench {
    cache: RedisSemanticCacheProvider,
    connection: MultiplexedConnection,
    scope: Scope,
    space: Arc<EmbeddingSpace>,
    entries: usize,
    /// The index's name, the prefix of its keys, and the tag of the entries' group, as the provider made them.
    index: String,
    prefix: String,
    group: String,
    effort: String,
    /// Of the hits by meaning: asked, and found.
    asked: AtomicUsize,
    found: AtomicUsize,
}

/// Fills a cache of a Redis of its own, then runs every call in turn.
pub async fn run(args: &Args) -> Result<Report> {
    let Some(server) = services::private(Service::Redis) else { bail!("there is no Redis to measure") };
    let bench = Arc::new(Bench::fill(&server.url(), args).await?);
    let mut taken: BTreeMap<(Call, usize), Taken> = BTreeMap::new();
    for round in 0..args.rounds.max(1) {
        for &concurrency in &args.concurrency {
            for &call in &args.calls {
                let (server_before, client_before) = (bench.server_cpu().await?, client_cpu());
                let started = Instant::now();
                let times = bench.clone().run(call, concurrency, Duration::from_millis(args.millis), round).await?;
                let took = started.elapsed();
                let row = taken.entry((call, concurrency)).or_default();
                row.times.extend(times);
                row.took += took;
                row.server_cpu += bench.server_cpu().await? - server_before;
                row.client_cpu += client_cpu() - client_before;
            }
        }
    }
    let columns = ["", "at once", "p50", "p95", "p99", "per s", "of its floor", "CPU µs, Redis", "CPU µs, client"];
    let title = format!("{} entries of {} dimensions{}", args.entries, args.dimensions, bench.effort);
    let mut table = Table::new(title, &columns);
    let rate = |key: &(Call, usize)| taken.get(key).map(|row| row.times.len() as f64 / row.took.as_secs_f64());
    for (key @ (call, concurrency), Taken { times, server_cpu, client_cpu, .. }) in &taken {
        let calls = times.len() as f64;
        let floor = match call {
            Call::Hit | Call::Miss => rate(&(Call::Search, *concurrency)),
            Call::Store => rate(&(Call::RawStore, *concurrency)),
            _ => None,
        };
        let per_s = rate(key).unwrap_or_default();
        let times = Times::from_times(times.clone());
        table.row([
            call.name().to_owned(),
            concurrency.to_string(),
            micros(times.p50()),
            micros(times.percentile(0.95)),
            micros(times.percentile(0.99)),
            format!("{per_s:.0}"),
            floor.map_or(String::new(), |floor| format!("{:.2}", per_s / floor)),
            format!("{:.0}", server_cpu / calls * 1e6),
            format!("{:.0}", client_cpu / calls * 1e6),
        ]);
    }
    let mut report = Report::default();
    report.table(table);
    let (asked, found) = (bench.asked.load(Ordering::Relaxed), bench.found.load(Ordering::Relaxed));
    if asked > 0 {
        report.note(format!(
            "hits by meaning at a similarity of 0.95: {found} of {asked} found, {:.2} %",
            found as f64 / asked as f64 * 100.0
        ));
    }
    report.note(
        "The floor sends the same search with the same effort to the same index, and reads nothing of the answer.",
    );
    Ok(report)
}

impl Bench {
    async fn fill(url: &str, args: &Args) -> Result<Self> {
        let space = Arc::new(EmbeddingSpace::new("bench", "1", args.dimensions)?);
        let mut config = RedisConfig::new(url, space.clone());
        config.expected_entries = args.entries as u64;
        // What is slow is to be seen, not cut off.
        config.deadline = Duration::from_secs(30);
        config.write_deadline = Duration::from_secs(30);
        let schema = IndexSchema::sized(args.dimensions, config.expected_entries);
        let cache = RedisSemanticCacheProvider::connect(config).await?;
        let scope = Scope::tenant("bench")?;
        let mut filling = JoinSet::new();
        for task in 0..32 {
            let (cache, scope, space) = (cache.clone(), scope.clone(), space.clone());
            let entries = args.entries;
            filling.spawn(async move {
                for at in (task..entries).step_by(32) {
                    cache.store(entry(&scope, &space, at)).await?;
                }
                Ok::<(), memory_core::Error>(())
            });
        }
        while let Some(filled) = filling.join_next().await {
            filled??;
        }
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
        let entries = args.entries;
        Ok(Self { cache, connection, scope, space, entries, index, prefix, group, effort, asked, found })
    }

    /// Makes calls from several tasks for as long, and gives each call's time.
    async fn run(
        self: Arc<Self>,
        call: Call,
        concurrency: usize,
        time: Duration,
        round: usize,
    ) -> Result<Vec<Duration>> {
        let mut tasks = JoinSet::new();
        let started = Instant::now();
        for task in 0..concurrency {
            let bench = self.clone();
            tasks.spawn(async move {
                let mut times = Vec::new();
                let mut connection = bench.connection.clone();
                let mut at = (round * 7919 + task * 104_729) % bench.entries;
                while started.elapsed() < time {
                    at = (at + 1_000_003) % bench.entries;
                    times.push(bench.once(call, at, &mut connection).await?);
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

    /// One call, timed without what it takes to think of it.
    async fn once(&self, call: Call, at: usize, connection: &mut MultiplexedConnection) -> Result<Duration> {
        match call {
            Call::Ping => {
                let command = redis::cmd("PING");
                let start = Instant::now();
                command.exec_async(connection).await?;
                Ok(start.elapsed())
            }
            Call::Search => {
                let embedding = near(&self.space, at);
                let start = Instant::now();
                self.search(&embedding).query_async::<Value>(connection).await?;
                Ok(start.elapsed())
            }
            Call::Hit | Call::Miss => {
                let embedding = match call {
                    Call::Hit => near(&self.space, at),
                    _ => make::embedding(&self.space, u64::MAX - at as u64),
                };
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
            Call::Exact => {
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
                let blob = blob(&make::embedding(&self.space, 1_000_000 + at as u64));
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
                let mut entry = entry(&scope, &self.space, 2_000_000 + at);
                entry.prompt = prompt(at % 500);
                let start = Instant::now();
                self.cache.store(entry).await?;
                Ok(start.elapsed())
            }
        }
    }

    fn search(&self, embedding: &Embedding) -> redis::Cmd {
        let effort = if self.effort == ", FLAT" { "" } else { self.effort.trim_start_matches(',') };
        let now = chrono::Utc::now().timestamp_millis();
        let group = &self.group;
        let query = format!(
            "(@_group:{{{group}}} @_expires:[({now} +inf])=>[KNN 8 @prompt_vector $vector{effort} AS _distance]"
        );
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
    async fn server_cpu(&self) -> Result<f64> {
        let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut self.connection.clone()).await?;
        let seconds = |name: &str| {
            info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<f64>().ok())
        };
        Ok(seconds("used_cpu_user").unwrap_or_default() + seconds("used_cpu_sys").unwrap_or_default())
    }
}

/// Seconds of processor time that this process has used; 0 where the system does not tell.
fn client_cpu() -> f64 {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold spaces: state is the first, user and system ticks are the 12th and 13th.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_A_SECOND
}

fn prompt(at: usize) -> String {
    format!("How do I reset password number {at}?")
}

fn near(space: &Arc<EmbeddingSpace>, at: usize) -> Embedding {
    make::embedding_near(&make::embedding(space, at as u64), 0.95, at as u64)
}

fn blob(embedding: &Embedding) -> Vec<u8> {
    embedding.values().iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn fingerprint() -> Fingerprint {
    Compatibility::default().fingerprint()
}

fn entry(scope: &Scope, space: &Arc<EmbeddingSpace>, at: usize) -> NewCacheEntry {
    NewCacheEntry {
        scope: scope.clone(),
        prompt: prompt(at),
        response: format!("{at}: {}", "an answer of some length. ".repeat(20)),
        fingerprint: fingerprint(),
        embedding: Some(make::embedding(space, at as u64)),
        depends_on: Vec::new(),
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: Duration::from_secs(3600),
        sliding: false,
    }
}
