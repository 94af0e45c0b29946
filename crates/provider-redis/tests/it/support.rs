//! What the tests share: a server, an index of their own, and a connection beside the provider's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_core::{
    CacheLookup, CacheMode, CachePolicy, CacheRequest, Compatibility, Embedding, Fingerprint, Metadata, NewCacheEntry,
    Scope, SemanticCache,
};
use memory_testkit::services::{self, Server, Service};
use memory_testkit::{TestClock, make};
use provider_redis::{IndexSchema, RedisConfig, RedisSemanticCacheProvider};

/// A place of its own on a shared server.
#[derive(Clone)]
pub struct Home {
    pub url: String,
    pub name: String,
    pub clock: TestClock,
}

impl Home {
    /// `None` where there is no server, which was said.
    pub fn new() -> Option<Self> {
        services::url(Service::Redis).map(Self::at)
    }

    pub fn at(url: String) -> Self {
        Self { url, name: format!("test-{}", make::id().as_uuid().simple()), clock: TestClock::new() }
    }

    pub fn schema(&self) -> IndexSchema {
        let mut schema = IndexSchema::sized(make::DIMENSIONS, 100_000);
        (schema.name, schema.prefix) = (self.name.clone(), self.name.clone());
        schema
    }

    pub fn config(&self) -> RedisConfig {
        let mut config = RedisConfig::new(&self.url, make::space("testkit")).with_clock(Arc::new(self.clock.clone()));
        config.index_schema = Some(self.schema());
        // Tests share the processor with others; those of the deadline set it themselves.
        config.deadline = Duration::from_secs(5);
        config.write_deadline = Duration::from_secs(5);
        config
    }

    pub async fn open(&self) -> RedisSemanticCacheProvider {
        RedisSemanticCacheProvider::connect(self.config()).await.expect("connect")
    }

    /// A provider that asks Redis each time, repeats too.
    pub async fn open_without_repeats(&self) -> RedisSemanticCacheProvider {
        let mut config = self.config();
        config.repeat_bytes = 0;
        RedisSemanticCacheProvider::connect(config).await.expect("connect")
    }

    /// The keys of entries and of long responses.
    pub async fn keys(&self, direct: &mut redis::aio::MultiplexedConnection) -> Vec<String> {
        let pattern = format!("{}:*:[er]:*", self.name);
        redis::cmd("KEYS").arg(pattern).query_async(direct).await.expect("KEYS")
    }

    pub async fn direct(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url.as_str()).expect("a URL");
        client.get_multiplexed_async_connection().await.expect("a connection")
    }
}

pub const HOUR: Duration = Duration::from_secs(3600);
pub const THRESHOLD_ONLY: CachePolicy = CachePolicy { threshold: 0.85, mode: CacheMode::Threshold };

pub fn fingerprint() -> Fingerprint {
    Compatibility::default().fingerprint()
}

pub fn vector(seed: u64) -> Embedding {
    make::embedding(&make::space("testkit"), seed)
}

pub fn entry(scope: &Scope, prompt: &str, response: &str, seed: Option<u64>) -> NewCacheEntry {
    NewCacheEntry {
        scope: scope.clone(),
        prompt: prompt.into(),
        response: response.into(),
        fingerprint: fingerprint(),
        embedding: seed.map(vector),
        depends_on: Vec::new(),
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: HOUR,
        sliding: false,
    }
}

/// A request by the exact prompt and, with a seed, by a vector at 0.95 to that seed's.
pub fn request(scope: &Scope, prompt: &str, near: Option<u64>) -> CacheRequest {
    CacheRequest {
        scope: scope.clone(),
        prompt: prompt.into(),
        fingerprint: fingerprint(),
        embedding: near.map(|seed| make::embedding_near(&vector(seed), 0.95, 7)),
        policy: THRESHOLD_ONLY,
        filter: None,
    }
}

/// The response, if it is a hit.
pub async fn answer(cache: &RedisSemanticCacheProvider, request: &CacheRequest) -> memory_core::Result<Option<String>> {
    Ok(match cache.lookup(request).await? {
        CacheLookup::Hit(hit) => Some(hit.entry.response),
        CacheLookup::Miss(_) => None,
    })
}

/// Whether `MEMORY_TEST_FULL` asks for the campaigns at their full length.
pub fn is_full_campaign() -> bool {
    std::env::var_os("MEMORY_TEST_FULL").is_some_and(|value| value == "1")
}

/// Private servers that reach each other at 127.0.0.1, which those in containers do not. `None` as for
/// [`services::private`].
///
/// # Panics
/// As [`services::private`].
pub fn neighbours<const N: usize>(settings: &[&str]) -> Option<[Server; N]> {
    let mut servers = Vec::new();
    for _ in 0..N {
        let server = services::private_with(Service::Redis, settings)?;
        let folder: Vec<String> = command(&server.url(), &["CONFIG", "GET", "dir"]);
        if folder.get(1).map(String::as_str) != server.folder().to_str() {
            let required = std::env::var(services::REQUIRE_VARIABLE).is_ok_and(|list| list.contains("redis"));
            assert!(
                !required,
                "servers in containers do not reach each other; stop the engine, for those of the wheels"
            );
            eprintln!("SKIPPED: servers in containers do not reach each other at 127.0.0.1");
            return None;
        }
        servers.push(server);
    }
    servers.try_into().ok()
}

/// Sends one command over a connection of its own.
pub fn command<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> T {
    try_command(url, words).expect("an answer")
}

pub fn try_command<T: redis::FromRedisValue>(url: &str, words: &[&str]) -> redis::RedisResult<T> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
}

/// Waits until something is so, and fails when it is not within the time.
pub async fn wait_until(what: &str, time: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < time, "not within {time:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
