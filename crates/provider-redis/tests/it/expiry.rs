//! Time as the server sees it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use memory_core::{NewCacheEntry, SemanticCache, Timestamp};
use memory_testkit::make;
use provider_redis::RedisSemanticCacheProvider;

use crate::support::{Home, answer, entry, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hits_do_not_keep_an_entry_and_redis_drops_it() {
    let Some(home) = Home::new() else { return };
    let config = home.config().with_clock(Arc::new(|| Timestamp::from(SystemTime::now())));
    let cache = RedisSemanticCacheProvider::connect(config).await.unwrap();
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    let ttl = Duration::from_millis(300);
    let long = "x".repeat(20_000);
    let before = Instant::now();
    cache.store(NewCacheEntry { ttl, ..entry(&scope, "one", &long, Some(1)) }).await.unwrap();
    let stored = Instant::now();
    let mut hits = 0;
    loop {
        let asked = Instant::now();
        let (exact, near) = (request(&scope, "one", None), request(&scope, "two", Some(1)));
        let found = (answer(&cache, &exact).await.unwrap(), answer(&cache, &near).await.unwrap());
        if asked >= stored + ttl {
            assert_eq!(found, (None, None), "past its time");
            break;
        }
        if Instant::now() < before + ttl {
            assert!(found.0.is_some() && found.1.is_some(), "within its time");
            hits += 1;
        }
    }
    assert!(hits > 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let keys = home.keys(&mut direct).await;
        if keys.is_empty() {
            break;
        }
        assert!(Instant::now() < deadline, "{keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_still_has_is_not_served_past_its_time() {
    let Some(home) = Home::new() else { return };
    let cache = home.open().await;
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    let ttl = Duration::from_micros(1_000_500);
    cache.store(NewCacheEntry { ttl, ..entry(&scope, "one", "1", Some(1)) }).await.unwrap();
    // The server's clock goes on by itself: hold the key there.
    let keys = home.keys(&mut direct).await;
    redis::cmd("PERSIST").arg(&keys[0]).exec_async(&mut direct).await.unwrap();
    home.clock.advance(ttl - Duration::from_micros(1));
    assert!(answer(&cache, &request(&scope, "one", None)).await.unwrap().is_some());
    assert!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().is_some());
    home.clock.advance(Duration::from_micros(1));
    assert!(answer(&cache, &request(&scope, "one", None)).await.unwrap().is_none());
    assert!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_entries_hide_nothing_that_stands() {
    let Some(home) = Home::new() else { return };
    let cache = home.open_without_repeats().await;
    let scope = make::user("acme", "ann");
    let (hour, asked) = (Duration::from_secs(3600), request(&scope, "asked", Some(1)));
    // Nearer than the one that stands, and as many as a search finds at most.
    for number in 0..12 {
        let nearest = asked.embedding.clone();
        let filed = entry(&scope, &format!("nearer {number}"), "expired", None);
        cache.store(NewCacheEntry { ttl: hour, embedding: nearest, ..filed }).await.unwrap();
    }
    cache.store(NewCacheEntry { ttl: 3 * hour, ..entry(&scope, "stands", "stands", Some(1)) }).await.unwrap();
    assert_eq!(answer(&cache, &asked).await.unwrap().as_deref(), Some("expired"));
    home.clock.advance(2 * hour);
    assert_eq!(answer(&cache, &asked).await.unwrap().as_deref(), Some("stands"));
    home.clock.advance(2 * hour);
    assert_eq!(answer(&cache, &asked).await.unwrap(), None);
}
