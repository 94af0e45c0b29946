//! Many callers at once, and little memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memory_core::cache::Fingerprint;
use memory_core::{
    CacheLookup, CacheMode, CachePolicy, CacheRequest, Error, IdempotencyKey, InsertBatch, InsertStatus, MemoryPatch,
    MemoryStore, Metadata, NewCacheEntry, Scope, SemanticCache,
};
use memory_testkit::make;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use tokio::task::JoinSet;

use crate::support::{Home, comparable, count, memory};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_writers_at_once_all_get_their_own_answer() {
    let home = Home::new();
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let taken = memory(&scope, "taken");
    store.insert(make::batch([taken.clone()])).await.expect("insert");
    let mut writers = JoinSet::new();
    for writer in 0..64 {
        let (store, scope, taken) = (store.clone(), scope.clone(), taken.clone());
        writers.spawn(async move {
            for at in 0..10 {
                // Every fourth is refused, in the same transactions as the others.
                if (writer + at) % 4 == 0 {
                    let squatter = memory_core::Memory { text: format!("squatter {writer} {at}"), ..taken.clone() };
                    let batch = make::batch([memory(&scope, "swept along"), squatter]);
                    let error = store.insert(batch).await.expect_err("the id is taken");
                    assert!(matches!(error, Error::IdTaken(id) if id == taken.id), "{error}");
                } else {
                    let receipt = store.insert(make::batch([memory(&scope, "kept")])).await.expect("insert");
                    assert_eq!(receipt.items[0].status, InsertStatus::Created);
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(count(&store, &scope, "kept").await, 480);
    assert_eq!(count(&store, &scope, "swept squatter").await, 0, "a refused batch leaves nothing");
    store.close().await.expect("close");
    assert_eq!(count(&home.open().await, &scope, "kept").await, 480);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_thirty_two_at_once_makes_one_row() {
    let home = Home::new();
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let mut calls = JoinSet::new();
    for _ in 0..32 {
        let (store, scope) = (store.clone(), scope.clone());
        calls.spawn(async move {
            let idempotency = Some(IdempotencyKey { key: "once".into(), body_hash: [7; 32] });
            let batch = InsertBatch { idempotency, ..make::batch([memory(&scope, "only one")]) };
            store.insert(batch).await.expect("insert")
        });
    }
    let receipts = calls.join_all().await;
    assert_eq!(receipts.iter().filter(|receipt| !receipt.replayed).count(), 1);
    assert_eq!(receipts.iter().map(|receipt| receipt.items[0].id).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(count(&store, &scope, "only").await, 1);
    home.clock.advance(Duration::from_secs(25 * 3600));
    let idempotency = Some(IdempotencyKey { key: "once".into(), body_hash: [8; 32] });
    let batch = InsertBatch { idempotency, ..make::batch([memory(&scope, "a day later")]) };
    assert!(!store.insert(batch).await.expect("the key is free again").replayed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_while_writing_see_whole_batches_of_several_users() {
    let home = Home::new();
    // So little memory that partitions come and go while they are written and searched.
    for (memory_budget_bytes, rounds) in [(usize::MAX, 150), (1, 30)] {
        let config = EmbeddedConfig { memory_budget_bytes, ..home.config() };
        let store = EmbeddedProvider::open(config).await.expect("open");
        let tenant = Scope::tenant(format!("acme-{memory_budget_bytes}")).expect("a valid name");
        let users = ["ann", "bob", "cid"].map(|user| tenant.clone().with_user(user).expect("a valid name"));
        let done = Arc::new(AtomicBool::new(false));
        let mut readers = JoinSet::new();
        for _ in 0..4 {
            let (store, tenant, done) = (store.clone(), tenant.clone(), done.clone());
            readers.spawn(async move {
                let mut last = 0;
                while !done.load(Ordering::Relaxed) {
                    let found = count(&store, &tenant, "together").await;
                    assert_eq!(found % 3, 0, "a batch of three users is seen whole or not at all");
                    assert!(found >= last, "what was seen once stays");
                    last = found;
                    // A loop of searches that need not wait would keep the writer off this runtime's few threads.
                    tokio::task::yield_now().await;
                }
            });
        }
        for at in 0..rounds {
            let batch = make::batch(users.each_ref().map(|user| memory(user, "together")));
            let token = store.insert(batch).await.expect("insert").token;
            let request = memory_core::SearchRequest {
                at_least: Some(token),
                candidates: 1000,
                ..make::search(&users[at % 3], None, Some("together"))
            };
            assert_eq!(store.search(&request).await.expect("search").candidates.len(), at + 1);
        }
        done.store(true, Ordering::Relaxed);
        readers.join_all().await;
        store.close().await.expect("close");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eviction_and_reload_give_equal_answers() {
    let home = Home::new();
    let space = make::space("testkit");
    let store = home.open().await;
    let scopes: Vec<Scope> = (0..6).map(|user| make::session("acme", &format!("user {user}"), "monday")).collect();
    for at in 0..120_u64 {
        let scope = &scopes[at as usize % scopes.len()];
        let one = memory(scope, &format!("entry {at} about {}", ["tea", "rain", "trains"][at as usize % 3]));
        let id = one.id;
        store.insert(make::embedded(one, make::embedding(&space, at))).await.expect("insert");
        if at % 7 == 0 {
            let patch = MemoryPatch {
                text: Some(format!("changed {at} about tea")),
                embedding: Some(make::embedding(&space, at + 1000)),
                ..MemoryPatch::default()
            };
            store.update(scope, id, patch).await.expect("update");
        }
        if at % 11 == 0 {
            let selection = memory_core::Selection::Ids(vec![id]);
            let request = memory_core::ForgetRequest { scope: scope.clone(), selection, dry_run: false };
            store.forget(&request).await.expect("forget");
        }
    }
    let requests: Vec<_> = scopes
        .iter()
        .cloned()
        .chain([Scope::tenant("acme").expect("a valid name")])
        .map(|scope| memory_core::SearchRequest {
            candidates: 5,
            neighbours: true,
            ..make::search(&scope, Some(make::embedding(&space, 500)), Some("changed tea trains"))
        })
        .collect();
    let mut kept = Vec::new();
    for request in &requests {
        kept.push(store.search(request).await.expect("search"));
    }
    assert!(MemoryStore::stats(&store, &scopes[0]).await.expect("stats").index_bytes > 0);
    store.close().await.expect("close");

    let store = EmbeddedProvider::open(EmbeddedConfig { memory_budget_bytes: 1, ..home.config() }).await.expect("open");
    for round in 0..2 {
        for (request, kept) in requests.iter().zip(&kept) {
            let found = store.search(request).await.expect("search");
            assert_eq!(comparable(&found), comparable(kept), "round {round}, {:?}", request.scope);
            assert_eq!(found.arms, kept.arms);
        }
        let stats = MemoryStore::stats(&store, &scopes[0]).await.expect("stats");
        assert_eq!(stats.index_bytes, 0, "nothing stays in memory beyond the budget");
    }
}

fn answer(scope: &Scope, prompt: &str, ttl_secs: u64) -> NewCacheEntry {
    NewCacheEntry {
        scope: scope.clone(),
        prompt: prompt.into(),
        response: format!("the answer to {prompt}"),
        fingerprint: Fingerprint([1; 32]),
        embedding: None,
        depends_on: Vec::new(),
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: Duration::from_secs(ttl_secs),
        sliding: false,
    }
}

async fn is_hit(store: &EmbeddedProvider, scope: &Scope, prompt: &str) -> bool {
    let request = CacheRequest {
        scope: scope.clone(),
        prompt: prompt.into(),
        fingerprint: Fingerprint([1; 32]),
        embedding: None,
        policy: CachePolicy { threshold: 0.9, mode: CacheMode::Guarded },
        filter: None,
    };
    matches!(store.lookup(&request).await.expect("lookup"), CacheLookup::Hit(_))
}

#[tokio::test]
async fn a_full_cache_gives_up_what_expires_first() {
    let home = Home::new();
    let store = EmbeddedProvider::open(EmbeddedConfig { cache_max_entries: 3, ..home.config() }).await.expect("open");
    let scope = make::user("acme", "ann");
    for (prompt, ttl) in [("long", 9000), ("short", 100), ("middle", 500), ("shortest", 10)] {
        store.store(answer(&scope, prompt, ttl)).await.expect("store");
    }
    assert!(!is_hit(&store, &scope, "short").await, "the one that would expire first has gone");
    for prompt in ["long", "middle", "shortest"] {
        assert!(is_hit(&store, &scope, prompt).await, "{prompt}");
    }
    store.close().await.expect("close");
    let store = EmbeddedProvider::open(EmbeddedConfig { cache_max_entries: 3, ..home.config() }).await.expect("open");
    store.store(answer(&scope, "one more", 9000)).await.expect("store");
    assert_eq!(SemanticCache::stats(&store, &scope).await.expect("stats").entries, 3, "the count holds over a restart");
    assert!(is_hit(&store, &scope, "long").await && !is_hit(&store, &scope, "shortest").await);
}

#[tokio::test]
async fn an_answer_is_not_filed_on_memories_that_do_not_stand() {
    let home = Home::new();
    let scope = make::user("acme", "ann");
    let (standing, forgotten) = (memory(&scope, "standing"), memory(&scope, "forgotten"));
    let unknown = make::id();
    for cache_requires_memories in [true, false] {
        let config = EmbeddedConfig { cache_requires_memories, ..home.config() };
        let store = EmbeddedProvider::open(config).await.expect("open");
        if cache_requires_memories {
            store.insert(make::batch([standing.clone(), forgotten.clone()])).await.expect("insert");
            let selection = memory_core::Selection::Ids(vec![forgotten.id]);
            let request = memory_core::ForgetRequest { scope: scope.clone(), selection, dry_run: false };
            store.forget(&request).await.expect("forget");
        }
        for (id, refused) in [(standing.id, false), (forgotten.id, true), (unknown, cache_requires_memories)] {
            let entry = NewCacheEntry { depends_on: vec![standing.id, id], ..answer(&scope, "what stands?", 60) };
            match store.store(entry).await {
                Ok(_) => assert!(!refused, "{id}"),
                Err(error) => {
                    assert!(refused, "{error}");
                    assert!(error.to_string().starts_with("depends_on[1]: given"), "{error}");
                }
            }
        }
        store.close().await.expect("close");
    }
}
