//! A tenant's whole cache, emptied at once.

use std::time::{Duration, Instant};

use memory_core::{InvalidateRequest, InvalidateSelection, Scope, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};

use crate::support::{Home, answer, entry, request};

fn all_of(tenant: &str) -> InvalidateRequest {
    InvalidateRequest {
        scope: Scope::tenant(tenant).expect("a name"),
        selection: InvalidateSelection::All,
        dry_run: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_is_emptied_by_one_write_whatever_it_holds() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let (here, elsewhere) = (home.open().await, home.open().await);
    let mut direct = home.direct().await;
    let (acme, globex) = (make::user("acme", "ann"), make::user("globex", "ann"));
    for number in 0..1200 {
        here.store(entry(&acme, &format!("prompt {number}"), "1", Some(number))).await.unwrap();
    }
    here.store(entry(&globex, "prompt 0", "2", Some(1))).await.unwrap();
    assert!(answer(&elsewhere, &request(&acme, "prompt 7", None)).await.unwrap().is_some());
    let dry = InvalidateRequest { dry_run: true, ..all_of("acme") };
    assert_eq!(here.invalidate(&dry).await.unwrap(), 1200);
    assert_eq!(here.invalidate(&all_of("acme")).await.unwrap(), 1200);
    for cache in [&here, &elsewhere] {
        assert_eq!(answer(cache, &request(&acme, "prompt 7", None)).await.unwrap(), None);
        assert_eq!(answer(cache, &request(&acme, "like it", Some(7))).await.unwrap(), None);
        assert_eq!(cache.stats(&acme).await.unwrap().entries, 0);
        assert!(answer(cache, &request(&globex, "prompt 0", None)).await.unwrap().is_some());
    }
    // The other process knows no epoch but the former: what it stores is found all the same.
    elsewhere.store(entry(&acme, "prompt 7", "new", Some(7))).await.unwrap();
    for cache in [&here, &elsewhere] {
        assert_eq!(answer(cache, &request(&acme, "prompt 7", None)).await.unwrap().as_deref(), Some("new"));
        assert_eq!(answer(cache, &request(&acme, "like it", Some(7))).await.unwrap().as_deref(), Some("new"));
    }
    assert_eq!(here.stats(&acme).await.unwrap().entries, 1);
    // The room of what nobody finds any more is given back behind the scenes.
    let deadline = Instant::now() + Duration::from_secs(20);
    while home.keys(&mut direct).await.len() > 2 {
        assert!(Instant::now() < deadline, "the entries of the former epoch stay");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_redis_lost_brings_nothing_back() {
    let Some(home) = Home::new() else { return };
    let cache = home.open().await;
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    let entries = home.keys(&mut direct).await;
    let tenants: Vec<String> =
        redis::cmd("KEYS").arg(format!("{}:*:t:*", home.name)).query_async(&mut direct).await.unwrap();
    assert_eq!((entries.len(), tenants.len()), (1, 1));
    redis::cmd("DEL").arg(tenants).exec_async(&mut direct).await.unwrap();
    // From memory it may be served as long as a repeat may.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(answer(&cache, &request(&scope, "one", None)).await.unwrap(), None);
    cache.store(entry(&scope, "two", "2", Some(2))).await.unwrap();
    assert_eq!(answer(&cache, &request(&scope, "one", Some(1))).await.unwrap(), None);
    assert_eq!(answer(&cache, &request(&scope, "two", None)).await.unwrap().as_deref(), Some("2"));
}
