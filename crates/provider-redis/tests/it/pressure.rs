//! A Redis without memory, and one that is not ready.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use memory_core::{Error, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::RedisSemanticCacheProvider;

use crate::peer::Peer;
use crate::support::{Home, answer, command, entry, neighbours, request, wait_until};

const RECOVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// The number after a name in `INFO`.
fn stat(url: &str, section: &str, name: &str) -> u64 {
    let info: String = command(url, &["INFO", section]);
    info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok()).unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_evicts_gives_right_answers_or_misses() {
    let settings = ["--maxmemory", "12mb", "--maxmemory-policy", "allkeys-lru"];
    let Some(server) = services::private_with(Service::Redis, &settings) else { return };
    let home = Home::at(server.url());
    // Repeats that the process itself answers would hide what Redis has evicted.
    let cache = home.open_without_repeats().await;
    let scope = make::user("acme", "ann");
    // One in three is over the size that lies apart from its entry, so that one of the two can be evicted alone.
    let response = |seed: u64| format!("{seed}:{}", "x".repeat(if seed.is_multiple_of(3) { 20_000 } else { 2_000 }));
    let (mut hits, mut misses) = (0, 0);
    let mut ask = async |seed: u64, by_meaning: bool| {
        let asked = request(&scope, &format!("question {seed}"), by_meaning.then_some(seed));
        match answer(&cache, &asked).await.unwrap() {
            Some(found) => {
                assert_eq!(found, response(seed));
                hits += 1;
            }
            None => misses += 1,
        }
    };
    for seed in 0..1500 {
        cache.store(entry(&scope, &format!("question {seed}"), &response(seed), Some(seed))).await.unwrap();
        // One that was just stored, and one that is asked again and again.
        ask(seed, seed.is_multiple_of(2)).await;
        ask(seed / 8, seed.is_multiple_of(2)).await;
    }
    // All of them, of which some have gone: which ones is up to Redis and to how fast this went.
    for seed in 0..1500 {
        ask(seed, seed.is_multiple_of(2)).await;
    }
    let evicted = stat(&home.url, "stats", "evicted_keys:");
    println!("hits {hits}, misses {misses}, evicted {evicted}");
    assert!(evicted > 500 && hits > 1000 && misses > 100, "hits {hits}, misses {misses}, evicted {evicted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_out_of_memory_says_so_and_serves_on() {
    let settings = ["--maxmemory", "20mb", "--maxmemory-policy", "noeviction"];
    let Some(server) = services::private_with(Service::Redis, &settings) else { return };
    let home = Home::at(server.url());
    let cache = home.open().await;
    let scope = make::user("acme", "ann");
    let mut stored = 0;
    let full = loop {
        let filed = entry(&scope, &format!("question {stored}"), &"x".repeat(10_000), Some(stored));
        match cache.store(filed).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!(stored > 100, "{stored}");
    assert!(matches!(full, Error::StorageFull { .. }), "{full:?}");
    let mut refused = 0;
    for seed in 0..stored.min(100) {
        assert!(answer(&cache, &request(&scope, "other words", Some(seed))).await.unwrap().is_some());
        // Another one may fit between, when the server takes less for its connections.
        match cache.store(entry(&scope, &format!("one more, {seed}"), &"x".repeat(10_000), None)).await {
            Err(Error::StorageFull { .. }) => refused += 1,
            other => drop(other.expect("filed, or said to be full")),
        }
    }
    assert!(refused > 50, "{refused}");
    // A cache whose index cannot be made for want of memory is one that cannot be made yet.
    let absent = Home::at(server.url());
    let error = RedisSemanticCacheProvider::connect(absent.config()).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    let waiting = RedisSemanticCacheProvider::connect_lazily(absent.config()).unwrap();
    command::<()>(&home.url, &["CONFIG", "SET", "maxmemory", "0"]);
    wait_until("it can be made", RECOVERY, async || waiting.store(entry(&scope, "one", "1", None)).await.is_ok()).await;
    cache.store(entry(&scope, "one more", "x", None)).await.unwrap();
}

/// A replica that takes long to load what it was sent answers nothing but LOADING, as a server does that was restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_loads_is_a_miss_until_it_has_loaded() {
    let settings = ["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"];
    let Some([primary, replica]) = neighbours(&settings) else { return };
    let home = Home::at(primary.url());
    let scope = make::user("acme", "ann");
    let source = home.open().await;
    for seed in 0..500 {
        source.store(entry(&scope, &format!("question {seed}"), &"x".repeat(1000), Some(seed))).await.unwrap();
    }
    let mut home = home;
    home.url = replica.url();
    let cache = home.open().await;
    assert!(answer(&cache, &request(&scope, "question 1", None)).await.unwrap().is_none());
    for (name, value) in [("key-load-delay", "3000"), ("loading-process-events-interval-bytes", "1024")] {
        command::<()>(&home.url, &["CONFIG", "SET", name, value]);
    }
    command::<()>(&home.url, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    wait_until("it loads", PATIENCE, async || stat(&home.url, "persistence", "loading:") == 1).await;
    let (mut refused, began) = (0, Instant::now());
    wait_until("it has loaded", PATIENCE, async || {
        let asked = Instant::now();
        match answer(&cache, &request(&scope, "other words", Some(7))).await {
            Ok(Some(_)) => true,
            Ok(None) => false,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
                refused += 1;
                false
            }
        }
    })
    .await;
    let reached = stat(&home.url, "errorstats", "errorstat_LOADING:count=");
    assert!(refused > 100 && reached < refused / 2, "{refused} calls refused, {reached} by the server itself");
    println!("served {:?} after it began to load; {refused} calls refused", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mock_redis_that_only_loads_is_left_alone() {
    let peer = Peer::start(|_| "-LOADING Redis is loading the dataset in memory\r\n").await;
    let cache = RedisSemanticCacheProvider::connect_lazily(Home::at(peer.url.clone()).config()).unwrap();
    let scope = make::user("acme", "ann");
    wait_until("it was tried", RECOVERY, async || peer.commands.load(Ordering::Relaxed) > 0).await;
    let (began, before) = (Instant::now(), peer.commands.load(Ordering::Relaxed));
    for _ in 0..10_000 {
        let error = answer(&cache, &request(&scope, "one", Some(1))).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
    }
    wait_until("a second", RECOVERY, async || began.elapsed() > Duration::from_secs(1)).await;
    let sent = peer.commands.load(Ordering::Relaxed) - before;
    assert!(sent < 20, "{sent} commands in {:?}", began.elapsed());
}
