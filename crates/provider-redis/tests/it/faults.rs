//! What happens to Redis does not happen to callers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memory_core::{Error, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::RedisSemanticCacheProvider;

use crate::support::{Home, answer, entry, is_full_campaign, request};

const RECOVERY: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_redis_is_a_miss_and_comes_back() {
    killed_under_load(if is_full_campaign() { 20 } else { 4 }).await;
}

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    hits: AtomicU64,
    misses: AtomicU64,
    outages: AtomicU64,
}

async fn killed_under_load(rounds: usize) {
    let Some(mut server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let mut config = home.config();
    config.deadline = Duration::from_millis(50);
    config.write_deadline = Duration::from_secs(1);
    let cache = RedisSemanticCacheProvider::connect(config).await.expect("connect");
    let tally = Arc::new(Tally::default());
    let load: Vec<_> = (0..8).map(|number| tokio::spawn(load(cache.clone(), tally.clone(), number))).collect();
    let mut recoveries = Vec::new();
    for round in 0..rounds {
        let until = tally.hits.load(Ordering::Relaxed) + 200;
        let patience = Instant::now() + Duration::from_secs(30);
        while tally.hits.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < patience, "round {round}: no hits");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.kill().expect("kill");
        tokio::time::sleep(Duration::from_millis(200)).await;
        server.restart().expect("restart");
        let back = Instant::now();
        let scope = make::user("probe", "probe");
        loop {
            let stored = cache.store(entry(&scope, "one", "1", Some(1))).await;
            if stored.is_ok() && matches!(answer(&cache, &request(&scope, "two", Some(1))).await, Ok(Some(_))) {
                break;
            }
            assert!(back.elapsed() < RECOVERY, "round {round}: not back after {RECOVERY:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        recoveries.push(back.elapsed());
    }
    tally.stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("a right answer");
    }
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "rounds {rounds}, recovered within {:?}; hits {}, misses {}, calls during outages {}",
        recoveries.iter().max(),
        read(&tally.hits),
        read(&tally.misses),
        read(&tally.outages)
    );
    assert!(read(&tally.outages) > 0);
}

/// Files and looks up; every answer must be the one that was filed for the question.
async fn load(cache: RedisSemanticCacheProvider, tally: Arc<Tally>, number: usize) {
    let scope = make::user(&format!("tenant-{number}"), "ann");
    let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    for turn in 0.. {
        if tally.stop.load(Ordering::Relaxed) {
            return;
        }
        let seed = turn % 50;
        let prompt = format!("question {seed}");
        let began = Instant::now();
        let by_meaning = request(&scope, &format!("{prompt}, please"), Some(seed));
        let asked = if turn % 2 == 0 { request(&scope, &prompt, None) } else { by_meaning };
        match answer(&cache, &asked).await {
            Ok(Some(answer)) => {
                assert_eq!(answer, format!("{number} answers {seed}"));
                add(&tally.hits);
            }
            Ok(None) => {
                add(&tally.misses);
                let stored = cache.store(entry(&scope, &prompt, &format!("{number} answers {seed}"), Some(seed))).await;
                assert!(stored.as_ref().is_ok() || stored.as_ref().is_err_and(Error::is_retryable), "{stored:?}");
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                // Generous, for a machine that does other things too; the deadline itself is 50 ms.
                assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
                add(&tally.outages);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_redis_costs_the_deadline_and_then_nothing() {
    let Some(mut server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let mut config = home.config();
    config.deadline = Duration::from_millis(50);
    config.breaker_pause = Duration::from_millis(100);
    config.repeat_bytes = 0;
    let failures = config.breaker_failures;
    let cache = RedisSemanticCacheProvider::connect(config).await.unwrap();
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    server.pause().unwrap();
    for _ in 0..failures {
        let began = Instant::now();
        let error = answer(&cache, &request(&scope, "one", Some(1))).await.unwrap_err();
        assert!(error.is_retryable());
        assert!(began.elapsed() < Duration::from_millis(150), "{:?}", began.elapsed());
    }
    let began = Instant::now();
    cache.stats(&scope).await.unwrap_err();
    for _ in 0..100 {
        answer(&cache, &request(&scope, "one", Some(1))).await.unwrap_err();
    }
    assert!(began.elapsed() < Duration::from_millis(100), "the breaker is open: {:?}", began.elapsed());
    server.resume().unwrap();
    let back = Instant::now();
    while !matches!(answer(&cache, &request(&scope, "two", Some(1))).await, Ok(Some(_))) {
        assert!(back.elapsed() < RECOVERY);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stats = cache.stats(&scope).await.unwrap();
    assert!(stats.misses >= 100 && stats.semantic_hits == 1, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_or_read_only_redis_still_answers() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let cache = home.open().await;
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    let is_hit = async || answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().is_some();
    let mut set = async |name: &str, value: &str| {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec_async(&mut direct).await.unwrap();
    };
    set("maxmemory", "1mb").await;
    let full = cache.store(entry(&scope, "full", "x", Some(2))).await.unwrap_err();
    assert!(matches!(full, Error::StorageFull { .. }), "{full:?}");
    assert!(is_hit().await);
    set("maxmemory", "0").await;
    cache.store(entry(&scope, "room", "x", Some(2))).await.unwrap();

    let replica_of = |host: &'static str, port: &'static str| {
        let mut command = redis::cmd("REPLICAOF");
        command.arg(host).arg(port);
        command
    };
    replica_of("127.0.0.1", "1").exec_async(&mut direct).await.unwrap();
    let read_only = cache.store(entry(&scope, "replica", "x", Some(3))).await.unwrap_err();
    assert!(read_only.is_retryable(), "{read_only:?}");
    replica_of("NO", "ONE").exec_async(&mut direct).await.unwrap();
    let back = Instant::now();
    while cache.store(entry(&scope, "master", "x", Some(3))).await.is_err() {
        assert!(back.elapsed() < RECOVERY);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(is_hit().await);
}

/// Everything in memory is lost with the process; nothing of what was forgotten comes back with the index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flushing_redis_empties_the_cache_and_nothing_else() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let cache = home.open_without_repeats().await;
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    let mut filed = HashMap::new();
    for seed in 0..3 {
        filed.insert(seed, cache.store(entry(&scope, &format!("{seed}"), "x", Some(seed))).await.unwrap());
    }
    redis::cmd("FLUSHALL").exec_async(&mut direct).await.unwrap();
    let back = Instant::now();
    loop {
        match answer(&cache, &request(&scope, "1", Some(1))).await {
            Ok(None) => break,
            Ok(Some(_)) => panic!("served what was flushed"),
            Err(error) => assert!(error.is_retryable() && back.elapsed() < RECOVERY, "{error:?}"),
        }
    }
    cache.store(entry(&scope, "1", "again", Some(1))).await.unwrap();
    // The first search finds that the index is gone too, and has it made again.
    loop {
        match answer(&cache, &request(&scope, "two", Some(1))).await {
            Ok(Some(found)) => break assert_eq!(found, "again"),
            Ok(None) => assert!(back.elapsed() < RECOVERY),
            Err(error) => assert!(error.is_retryable() && back.elapsed() < RECOVERY, "{error:?}"),
        }
    }
}
