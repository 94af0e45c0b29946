//! What a write does, whole or not at all, and what it leaves.

use std::collections::BTreeSet;
use std::time::Duration;

use memory_core::{
    Clock as _, EmbeddedMemory, Error, IdempotencyKey, InsertBatch, InsertStatus, Memory, MemoryPatch, Metadata,
};
use serde_json::json;

use super::{forget_ids, get, insert, list_ids, search_ids};
use crate::StoreFixture;
use crate::make;

/// What `insert`, `update` and `forget` acknowledged is there after the store is opened again.
pub async fn acknowledged_is_durable(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::session("acme", "ann", "monday");
    let mut kept = make::memory(&scope, "Ann's flight leaves at 9:40", fixture.clock().now());
    kept.actor = Some("Ann".into());
    kept.metadata = Metadata::from_iter([("gate".to_owned(), json!({"letter": "B", "number": 12}))]);
    kept.evidence = vec![make::id()];
    kept.valid_from = Some(fixture.clock().now());
    let vector = make::embedding(&fixture.space(), 1);
    let changed = make::memory(&scope, "Ann likes tea", fixture.clock().now());
    let gone = make::memory(&scope, "Ann's old phone number", fixture.clock().now());
    insert(&*store, make::embedded(kept.clone(), vector.clone())).await;
    insert(&*store, make::batch([changed.clone(), gone.clone()])).await;
    let patch = MemoryPatch { text: Some("Ann likes coffee".into()), ..MemoryPatch::default() };
    store.update(&scope, changed.id, patch).await.expect("update");
    forget_ids(&*store, &scope, [gone.id]).await;
    fixture.close(store).await;

    let store = fixture.open().await;
    assert_eq!(*get(&*store, &scope, kept.id).await.expect("kept"), kept, "every field comes back as it was");
    assert_eq!(get(&*store, &scope, changed.id).await.expect("changed").text, "Ann likes coffee");
    assert_eq!(store.history(&scope, changed.id).await.expect("history").len(), 2);
    assert!(get(&*store, &scope, gone.id).await.is_none());
    let found = store.search(&make::search(&scope, Some(vector), None)).await.expect("search");
    let nearest =
        found.candidates.iter().max_by(|a, b| a.similarity.unwrap_or(-1.0).total_cmp(&b.similarity.unwrap_or(-1.0)));
    let nearest = nearest.expect("a candidate");
    assert_eq!(nearest.memory.id, kept.id);
    assert!(nearest.similarity.expect("a similarity") > 0.9999, "the vector comes back as it was");
}

/// A read that carries a write's token sees the write; a token from nowhere is not taken for one.
pub async fn read_your_writes(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    for round in 0..50 {
        let memory = make::memory(&scope, &format!("note number {round}"), fixture.clock().now());
        let id = memory.id;
        let token = insert(&*store, make::batch([memory])).await.token;
        let mut request = make::search(&scope, None, Some(&format!("number {round}")));
        request.at_least = Some(token);
        assert!(search_ids(&*store, &request).await.contains(&id), "round {round}");
    }
    let mut request = make::search(&scope, None, Some("note"));
    request.at_least = Some(memory_core::WriteToken("not a token".into()));
    assert!(matches!(store.search(&request).await, Err(Error::Invalid { .. } | Error::NotYetVisible(_))));
}

/// A batch whose last memory is refused leaves nothing behind.
pub async fn a_batch_is_atomic(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = fixture.clock().now();
    let taken = make::memory(&scope, "first come", now);
    insert(&*store, make::batch([taken.clone()])).await;
    let mut clash = make::memory(&scope, "another text under the same id", now);
    clash.id = taken.id;
    let fresh: Vec<Memory> = (0..5).map(|at| make::memory(&scope, &format!("fresh {at}"), now)).collect();
    let refused = store.insert(make::batch(fresh.iter().cloned().chain([clash]))).await;
    assert!(matches!(refused, Err(Error::IdTaken(id)) if id == taken.id));
    assert_eq!(list_ids(&*store, &scope).await, BTreeSet::from([taken.id]));
    assert!(search_ids(&*store, &make::search(&scope, None, Some("fresh"))).await.is_empty());
    let receipt = insert(&*store, make::batch(fresh.clone())).await;
    assert_eq!(
        receipt.items.iter().map(|item| item.id).collect::<Vec<_>>(),
        fresh.iter().map(|memory| memory.id).collect::<Vec<_>>()
    );
}

/// Writing the same memory again changes nothing; the same id for another text or scope is refused.
pub async fn an_id_is_written_once(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "once", fixture.clock().now());
    insert(&*store, make::batch([memory.clone()])).await;
    fixture.clock().advance(Duration::from_secs(60));
    let again = Memory { recorded_at: fixture.clock().now(), ..memory.clone() };
    assert_eq!(insert(&*store, make::batch([again.clone()])).await.items[0].status, InsertStatus::Unchanged);
    assert_eq!(*get(&*store, &scope, memory.id).await.expect("there"), memory);
    let other_text = Memory { text: "twice".into(), ..again.clone() };
    assert!(matches!(store.insert(make::batch([other_text])).await, Err(Error::IdTaken(_))));
    let other_scope = Memory { scope: make::user("acme", "bob"), ..again };
    assert!(matches!(store.insert(make::batch([other_scope])).await, Err(Error::IdTaken(_))));
}

/// An empty batch, a blank text, a text over the limit, two tenants in a batch and an id twice are refused, and named.
pub async fn bad_batches_are_refused(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let good = make::memory(&scope, "good", fixture.clock().now());
    let with = |change: &dyn Fn(&mut Memory)| {
        let mut memory = make::memory(&scope, "bad", good.recorded_at);
        change(&mut memory);
        make::batch([good.clone(), memory])
    };
    for (batch, field) in [
        (make::batch([]), "memories"),
        (with(&|memory| memory.text = "  \n".into()), "memories[1].text"),
        (with(&|memory| memory.text = "x".repeat(memory_core::memory::MAX_TEXT_BYTES + 1)), "memories[1].text"),
        (with(&|memory| memory.importance = f32::NAN), "memories[1].importance"),
        (with(&|memory| memory.scope = make::user("globex", "ann")), "memories[1].scope.tenant"),
        (with(&|memory| memory.id = good.id), "memories[1].id"),
    ] {
        let error = store.insert(batch).await.expect_err(field);
        assert!(error.to_string().starts_with(&format!("{field}: given")), "{error}");
    }
    assert!(list_ids(&*store, &scope).await.is_empty());
}

/// A replay gives the first receipt and changes nothing; another body under the key is a conflict.
pub async fn one_key_one_effect(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let keyed = |body: u8, text: &str| InsertBatch {
        memories: vec![EmbeddedMemory { memory: make::memory(&scope, text, fixture.clock().now()), embedding: None }],
        idempotency: Some(IdempotencyKey { key: "order-17".into(), body_hash: [body; 32] }),
    };
    let first = insert(&*store, keyed(1, "one")).await;
    let replay = insert(&*store, keyed(1, "one")).await;
    assert!(!first.replayed && replay.replayed);
    assert_eq!((&first.items, &first.token), (&replay.items, &replay.token));
    assert!(matches!(store.insert(keyed(2, "two")).await, Err(Error::IdempotencyConflict { .. })));
    assert_eq!(list_ids(&*store, &scope).await.len(), 1);
    let mut of_another = keyed(2, "two");
    of_another.memories[0].memory.scope = make::user("globex", "ann");
    assert!(!insert(&*store, of_another).await.replayed, "a key holds within its tenant");
    fixture.close(store).await;
    let store = fixture.open().await;
    assert_eq!(insert(&*store, keyed(1, "one")).await.items, first.items, "also after a restart");
}

/// N writes under one key at once make one memory, and all get its receipt.
pub async fn one_key_at_once_has_one_effect(fixture: &dyn StoreFixture) {
    let store = fixture.open().await;
    let scope = make::user("acme", "ann");
    let writes: Vec<_> = (0..32)
        .map(|_| {
            let (store, memory) = (store.clone(), make::memory(&scope, "once", fixture.clock().now()));
            let batch = InsertBatch {
                memories: vec![EmbeddedMemory { memory, embedding: None }],
                idempotency: Some(IdempotencyKey { key: "k".into(), body_hash: [7; 32] }),
            };
            tokio::spawn(async move { store.insert(batch).await.expect("insert") })
        })
        .collect();
    let mut first = 0;
    let mut ids = BTreeSet::new();
    for write in writes {
        let receipt = write.await.expect("a task that does not panic");
        first += usize::from(!receipt.replayed);
        ids.insert(receipt.items[0].id);
    }
    assert_eq!((first, ids.len()), (1, 1));
    assert_eq!(list_ids(&*store, &scope).await, ids);
}
