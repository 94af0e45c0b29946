//! Responses too long to come with a search.

use memory_core::{InvalidateRequest, InvalidateSelection, SemanticCache};
use memory_testkit::make;

use crate::support::{Home, answer, entry, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_response_comes_back_whole_and_goes_whole() {
    let Some(home) = Home::new() else { return };
    let cache = home.open().await;
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    let long = "ein langer Text, \"quoted\" ".repeat(40_000);
    cache.store(entry(&scope, "one", &long, Some(1))).await.unwrap();
    assert_eq!(home.keys(&mut direct).await.len(), 2);
    assert_eq!(answer(&cache, &request(&scope, "one", None)).await.unwrap().as_ref(), Some(&long));
    assert_eq!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().as_ref(), Some(&long));
    cache.store(entry(&scope, "one", "short", Some(1))).await.unwrap();
    assert_eq!(home.keys(&mut direct).await.len(), 1, "the long one went with its entry");
    assert_eq!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().as_deref(), Some("short"));
    cache.store(entry(&scope, "one", &long, Some(1))).await.unwrap();
    let all = InvalidateRequest { scope: scope.clone(), selection: InvalidateSelection::All, dry_run: false };
    assert_eq!(cache.invalidate(&all).await.unwrap(), 1);
    assert_eq!(home.keys(&mut direct).await.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_without_its_response_is_a_miss() {
    let Some(home) = Home::new() else { return };
    let cache = home.open_without_repeats().await;
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", &"x".repeat(100_000), Some(1))).await.unwrap();
    let apart: Vec<String> =
        redis::cmd("KEYS").arg(format!("{}:*:r:*", home.name)).query_async(&mut direct).await.unwrap();
    redis::cmd("DEL").arg(apart).exec_async(&mut direct).await.unwrap();
    assert_eq!(answer(&cache, &request(&scope, "one", None)).await.unwrap(), None);
}
