//! The tiers over a real Postgres and a real Redis: what the manager promises, and that a correction reaches the cache when the
//! process that made it is killed.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memory_core::{
    CacheEntryId, CacheLookup, CacheMark, CacheRequest, CacheStats, Compatibility, Draft, Embedding, EmbeddingSpace,
    HitKind, InvalidateRequest, MemoryId, MemoryPatch, MemoryStore, Metadata, NewCacheEntry, Origin, Purpose,
    RememberRequest, Result, Scope, SemanticCache, TieredMemoryManager, Writer,
};
use memory_testkit::manager::ManagerFixture;
use memory_testkit::services::{self, Service};
use memory_testkit::{TestClock, make};
use provider_redis::{IndexSchema, RedisConfig, RedisSemanticCacheProvider};

use crate::support::{Home, wait_until};

/// Set for the child: the servers' URLs, the database, the index and the memory to correct, a line each.
const CHILD: &str = "PROVIDER_ALLOYDB_TEST_CHILD";
const LONGEST: Duration = Duration::from_secs(60);

struct Fixture {
    home: Home,
    redis: String,
    index: String,
}

impl Fixture {
    /// `None` where a server is missing, which was said.
    fn new() -> Option<Self> {
        let index = format!("test-{}", make::id().as_uuid().simple());
        Some(Self { home: Home::new()?, redis: services::url(Service::Redis)?, index })
    }

    async fn cache(&self) -> Arc<dyn SemanticCache> {
        let mut schema = IndexSchema::sized(make::DIMENSIONS, 100_000);
        (schema.name, schema.prefix) = (self.index.clone(), self.index.clone());
        let clock = Arc::new(self.home.clock.clone());
        let mut config = RedisConfig::new(&self.redis, make::space("testkit")).with_clock(clock);
        config.index_schema = Some(schema);
        // Tests share the processor with others.
        config.deadline = Duration::from_secs(5);
        config.write_deadline = Duration::from_secs(5);
        Arc::new(RedisSemanticCacheProvider::connect(config).await.expect("connect"))
    }

    async fn manager(&self, cache: Arc<dyn SemanticCache>) -> TieredMemoryManager {
        let clock = self.home.clock.clone();
        TieredMemoryManager::builder(move || memory_core::Clock::now(&clock), make::id)
            .short_term_provider(cache)
            .medium_term_provider(Arc::new(self.home.open().await))
            .embedder(Arc::new(OneVector(make::space("testkit"))))
            .build()
            .expect("every part is there")
    }
}

#[async_trait]
impl ManagerFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> (Arc<dyn MemoryStore>, Arc<dyn SemanticCache>) {
        (Arc::new(self.home.open().await), self.cache().await)
    }
}

// A test that finds no server ends here.
macro_rules! fixture {
    () => {
        match super::Fixture::new() {
            Some(fixture) => fixture,
            None => return,
        }
    };
}

mod manager {
    memory_testkit::manager_suite!(fixture!());
}

/// Not a test of its own: what the child of the test below runs. Corrects a memory, and is killed once that is committed, when it
/// turns to the cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let told: Vec<&str> = told.lines().collect();
    let home = Home { url: told[0].to_owned(), name: told[1].to_owned(), clock: TestClock::new() };
    let fixture = Fixture { home, redis: told[2].to_owned(), index: told[3].to_owned() };
    let manager = fixture.manager(Arc::new(NeverAnswers)).await;
    let patch = MemoryPatch { text: Some("The launch is in June".into()), ..MemoryPatch::default() };
    let id: MemoryId = told[4].parse().expect("an id");
    manager.update(&make::user("acme", "ann"), id, patch).await.expect("it is killed before this");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_correction_reaches_the_cache_when_its_process_is_killed_before_it_told() {
    let Some(fixture) = Fixture::new() else { return };
    let manager = fixture.manager(fixture.cache().await).await;
    let scope = make::user("acme", "ann");
    // A server that ran before has followed.
    manager.cache_follower("cache").expect("a follower").step().await.expect("nothing to do");
    let drafts = ["The launch is in May", "Bob runs it"].map(|text| Draft::new(scope.clone(), text)).to_vec();
    let request = RememberRequest { drafts, origin: Origin::new(Writer::Agent, "test"), idempotency: None };
    let ids: Vec<MemoryId> = manager.remember(request).await.unwrap().items.iter().map(|item| item.id).collect();
    for (prompt, id) in [("When is the launch?", ids[0]), ("Who runs the launch?", ids[1])] {
        manager.cache_store(entry(&scope, prompt, id)).await.unwrap().expect("an entry");
    }

    let mut child = spawn(&fixture, ids[0]);
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let is_committed = lines.any(|line| line.is_ok_and(|line| line.contains("turns to the cache")));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_committed);
    assert_eq!(manager.get(&scope, ids[0]).await.unwrap().unwrap().text, "The launch is in June");
    assert!(is_hit(&manager, &scope, "When is the launch?").await, "nobody has told the cache");

    // As the next process does.
    let manager = fixture.manager(fixture.cache().await).await;
    let mut follower = manager.cache_follower("cache").unwrap();
    wait_until("the correction is brought to the cache", LONGEST, async || {
        follower.step().await.expect("a step");
        follower.lag().await.expect("a lag").changes == 0
    })
    .await;
    assert!(!is_hit(&manager, &scope, "When is the launch?").await);
    assert!(is_hit(&manager, &scope, "Who runs the launch?").await, "and nothing else");
}

fn spawn(fixture: &Fixture, id: MemoryId) -> Child {
    let Fixture { home, redis, index } = fixture;
    Command::new(std::env::current_exe().expect("the test's own binary"))
        .args(["tiers::child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, [&home.url, &home.name, redis, index, &id.to_string()].map(String::as_str).join("\n"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts")
}

fn entry(scope: &Scope, prompt: &str, id: MemoryId) -> NewCacheEntry {
    NewCacheEntry {
        scope: scope.clone(),
        prompt: prompt.into(),
        response: "answer".into(),
        fingerprint: Compatibility::default().fingerprint(),
        embedding: None,
        depends_on: vec![id],
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: Duration::from_secs(3600),
        sliding: false,
    }
}

async fn is_hit(manager: &TieredMemoryManager, scope: &Scope, prompt: &str) -> bool {
    let found = manager.cache_lookup(scope, prompt, Compatibility::default().fingerprint(), None).await;
    // By meaning every prompt is near to every other.
    matches!(found.expect("an answer"), CacheLookup::Hit(hit) if hit.kind == HitKind::Exact)
}

/// A double in the cache's place: says that it was asked, and never answers.
#[derive(Debug)]
struct NeverAnswers;

#[async_trait]
impl SemanticCache for NeverAnswers {
    async fn lookup(&self, _: &CacheRequest) -> Result<CacheLookup> {
        std::future::pending().await
    }

    async fn mark(&self, _: &Scope) -> Result<CacheMark> {
        std::future::pending().await
    }

    async fn store_since(&self, _: NewCacheEntry, _: &CacheMark) -> Result<Option<CacheEntryId>> {
        std::future::pending().await
    }

    async fn invalidate(&self, _: &InvalidateRequest) -> Result<u64> {
        println!("turns to the cache");
        std::io::stdout().flush().expect("a pipe");
        std::future::pending().await
    }

    async fn stats(&self, _: &Scope) -> Result<CacheStats> {
        std::future::pending().await
    }
}

/// An embedder for which everything means the same.
#[derive(Debug)]
pub struct OneVector(pub Arc<EmbeddingSpace>);

#[async_trait]
impl memory_core::Embedder for OneVector {
    fn space(&self) -> &Arc<EmbeddingSpace> {
        &self.0
    }

    async fn embed(&self, texts: &[&str], _: Purpose) -> Result<Vec<Embedding>> {
        Ok(texts.iter().map(|_| make::embedding(&self.0, 1)).collect())
    }
}
