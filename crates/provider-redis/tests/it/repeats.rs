//! Repeats served from the process's memory: how often Redis is asked, and that none outlives what it repeats.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memory_core::{InvalidateRequest, InvalidateSelection, NewCacheEntry, Scope, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};

use crate::round_trips::counted;
use crate::support::{HOUR, Home, answer, entry, request};

/// How many lookups the server was asked: each reads the exact entry.
async fn reads(direct: &mut redis::aio::MultiplexedConnection) -> u64 {
    counted(direct).await.get("hget").copied().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_does_not_ask_redis_each_time() {
    const LOOKUPS: u64 = 20_000;
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let cache = home.open().await;
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    for asked in [request(&scope, "one", None), request(&scope, " ONE! ", Some(1))] {
        let before = reads(&mut direct).await;
        for _ in 0..LOOKUPS {
            assert_eq!(answer(&cache, &asked).await.unwrap().as_deref(), Some("1"));
        }
        let read = reads(&mut direct).await - before;
        assert!(read > 0 && read < LOOKUPS / 2, "{read} of {LOOKUPS} lookups asked redis");
    }
    assert_eq!(cache.stats(&scope).await.unwrap().exact_hits, 2 * LOOKUPS);
}

/// Whoever invalidates, here or in another process: a lookup that begins after that was acknowledged is a miss.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_repeat_outlives_its_invalidation() {
    let Some(home) = Home::new() else { return };
    let (here, elsewhere) = (home.open().await, home.open().await);
    let scope = make::user("acme", "ann");
    let memory = make::id();
    let tenant = Scope::tenant("acme").unwrap();
    for round in 0..40 {
        let prompt = format!("prompt {}", round % 3);
        let filed = NewCacheEntry {
            depends_on: vec![memory],
            tags: vec!["label".into()],
            ..entry(&scope, &prompt, "1", Some(1))
        };
        let id = elsewhere.store(filed).await.unwrap();
        let (done, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let asking: Vec<_> = [&here, &elsewhere]
            .map(|cache| {
                let (cache, done, served) = (cache.clone(), done.clone(), served.clone());
                let asked = request(&scope, &prompt, None);
                tokio::spawn(async move {
                    loop {
                        let is_done = done.load(Ordering::SeqCst);
                        let found = answer(&cache, &asked).await.unwrap();
                        assert!(found.is_none() || !is_done, "served after its invalidation");
                        served.fetch_add(usize::from(found.is_some()), Ordering::SeqCst);
                        if is_done {
                            return;
                        }
                    }
                })
            })
            .into();
        let deadline = Instant::now() + Duration::from_secs(10);
        while served.load(Ordering::SeqCst) < 100 {
            assert!(Instant::now() < deadline, "nothing is served");
            tokio::task::yield_now().await;
        }
        let selection = match round % 5 {
            0 => InvalidateSelection::Entry(id),
            1 => InvalidateSelection::DependsOn(vec![memory]),
            2 => InvalidateSelection::Tag("label".into()),
            _ => InvalidateSelection::All,
        };
        // Both ways of removing all: from a part of the tenant, and the whole tenant by its epoch.
        let scope = if round % 5 == 3 { scope.clone() } else { tenant.clone() };
        let request = InvalidateRequest { scope, selection, dry_run: false };
        assert_eq!(here.invalidate(&request).await.unwrap(), 1, "{request:?}");
        done.store(true, Ordering::SeqCst);
        for asking in asking {
            asking.await.expect("nothing served after its invalidation");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_repeat_outlives_its_time() {
    let Some(home) = Home::new() else { return };
    let cache = home.open().await;
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    for _ in 0..1000 {
        assert!(answer(&cache, &request(&scope, "one", None)).await.unwrap().is_some());
    }
    home.clock.advance(HOUR);
    assert_eq!(answer(&cache, &request(&scope, "one", None)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_answer_reaches_every_process() {
    let Some(home) = Home::new() else { return };
    let (here, elsewhere) = (home.open().await, home.open().await);
    let scope = make::user("acme", "ann");
    let asked = request(&scope, "one", None);
    for number in 0..20 {
        let response = number.to_string();
        here.store(entry(&scope, "one", &response, Some(1))).await.unwrap();
        assert_eq!(answer(&here, &asked).await.unwrap(), Some(response.clone()), "here at once");
        let deadline = Instant::now() + Duration::from_secs(5);
        while answer(&elsewhere, &asked).await.unwrap().as_ref() != Some(&response) {
            assert!(Instant::now() < deadline, "the former answer stays");
        }
    }
}
