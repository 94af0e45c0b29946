//! A replica: what it serves, and what happens when it takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memory_core::SemanticCache;
use memory_testkit::make;
use memory_testkit::services::Server;
use provider_redis::RedisSemanticCacheProvider;

use crate::proxy::Proxy;
use crate::support::{Home, answer, command, entry, neighbours, request, wait_until};

const RECOVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a server the replica of another and waits until it has what that has.
async fn replicate(replica: &Server, primary: &Server) {
    command::<()>(&replica.url(), &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    wait_until("the replica is in step", PATIENCE, async || {
        let offset = |url: &str, name: &str| -> Option<u64> {
            let info: String = command(url, &["INFO", "replication"]);
            info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        let info: String = command(&replica.url(), &["INFO", "replication"]);
        info.contains("master_link_status:up")
            && offset(&primary.url(), "master_repl_offset:") == offset(&replica.url(), "slave_repl_offset:")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_serves_lookups_and_refuses_stores_until_it_takes_over() {
    let Some([primary, replica]) = neighbours(&["--repl-diskless-sync-delay", "0"]) else { return };
    let mut home = Home::at(primary.url());
    let scope = make::user("acme", "ann");
    home.open().await.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    replicate(&replica, &primary).await;
    let proxy = Proxy::to(replica.port()).await;
    home.url = proxy.url.clone();
    let cache = home.open().await;
    let before = proxy.connections();
    for _ in 0..100 {
        let error = cache.store(entry(&scope, "two", "2", Some(2))).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert_eq!(answer(&cache, &request(&scope, "other", Some(1))).await.unwrap().as_deref(), Some("1"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let tried = proxy.connections() - before;
    assert!((1..=10).contains(&tried), "a better server is looked for, with pauses: {tried}");
    command::<()>(&replica.url(), &["REPLICAOF", "NO", "ONE"]);
    wait_until("stores are taken", RECOVERY, async || cache.store(entry(&scope, "two", "2", Some(2))).await.is_ok())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_survived_within_two_seconds() {
    let Some([mut primary, replica]) = neighbours(&["--repl-diskless-sync-delay", "0"]) else { return };
    let proxy = Proxy::to(primary.port()).await;
    let home = Home::at(proxy.url.clone());
    let cache = home.open().await;
    let scope = make::user("acme", "ann");
    for seed in 0..20 {
        cache.store(entry(&scope, &format!("question {seed}"), &format!("answer {seed}"), Some(seed))).await.unwrap();
    }
    replicate(&replica, &primary).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let task = tokio::spawn(load(cache.clone(), stop.clone(), served.clone()));
    wait_until("served", PATIENCE, async || served.load(Ordering::Relaxed) > 100).await;
    let before = proxy.connections();
    primary.kill().unwrap();
    wait_until("noticed", RECOVERY, async || proxy.connections() > before + 2).await;
    command::<()>(&replica.url(), &["REPLICAOF", "NO", "ONE"]);
    proxy.lead_to(replica.port());
    let took = wait_until("stores are taken", RECOVERY, async || {
        cache.store(entry(&scope, "new", "new", Some(50))).await.is_ok()
    })
    .await;
    let found = answer(&cache, &request(&scope, "question three", Some(3))).await.unwrap();
    assert_eq!(found.as_deref(), Some("answer 3"), "what was replicated is served");
    println!("recovered {took:?} after the replica took over");
    let so_far = served.load(Ordering::Relaxed);
    wait_until("served", PATIENCE, async || served.load(Ordering::Relaxed) > so_far + 100).await;
    stop.store(true, Ordering::Relaxed);
    task.await.expect("a right answer");
    // Twenty milliseconds, then doubling to 250: some ten in the two seconds that this may take.
    assert!(proxy.connections() - before < 20, "{} connections", proxy.connections() - before);
}

async fn load(cache: RedisSemanticCacheProvider, stop: Arc<AtomicBool>, served: Arc<AtomicU64>) {
    let scope = make::user("acme", "ann");
    while !stop.load(Ordering::Relaxed) {
        for seed in 0..20 {
            let began = Instant::now();
            match answer(&cache, &request(&scope, "some other words", Some(seed))).await {
                Ok(Some(found)) => {
                    assert_eq!(found, format!("answer {seed}"));
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Ok(None) => {}
                Err(error) => {
                    assert!(error.is_retryable(), "{error:?}");
                    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
