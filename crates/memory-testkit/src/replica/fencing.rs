//! Who may write, and since when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memory_core::{
    Clock as _, Error, ForgetRequest, Gate, IdempotencyKey, InsertBatch, InsertStatus, Item, ListRequest, MemoryId,
    MemoryPatch, Scope, Selection, ValueKeys, Writers,
};

use super::goods::{answered_key, assert_same, key_of, memory_item, rejection, whole};
use super::{Home, ReplicaFixture};
use crate::make;

/// No way to write is open, whether it began before or after, until the store is opened; what is read is read as before.
pub async fn a_closed_store_takes_no_writes(fixture: &dyn ReplicaFixture) {
    let home = fixture.open().await;
    let ann = make::user("acme", "ann");
    assert_eq!(home.replica.gate().await.expect("a gate"), Gate { epoch: 0, writers: Writers::Clients });
    let acknowledged = close_while_clients_write(fixture, &home, &ann).await;
    let memory = make::memory(&ann, "it was there", fixture.clock().now());
    home.open_to_clients(2).await;
    home.store.insert(make::batch([memory.clone()])).await.expect("it is open again");
    let reads = ValueKeys::of(&ann, "rejected before").reads;
    home.rejections().reject(&[rejection(&ann, "rejected before", fixture.clock().now())]).await.expect("reject");
    home.close_to_clients(3).await;
    let before = home.scan_all().await;
    every_way_is_closed(fixture, &home, &ann, memory.id).await;
    assert_fenced(home.rejections().lift(&ann, &reads).await, 3);
    assert_same(&home.scan_all().await, &before, "nothing was written");
    assert_eq!(home.store.get(&ann, memory.id).await.expect("get").map(|got| got.id), Some(memory.id));
    fixture.close(home).await;

    let home = fixture.open().await;
    assert_eq!(home.replica.gate().await.expect("a gate"), Gate { epoch: 3, writers: Writers::Mover });
    every_way_is_closed(fixture, &home, &ann, memory.id).await;
    home.open_to_clients(4).await;
    let patch = MemoryPatch { importance: Some(0.7), ..MemoryPatch::default() };
    home.store.update(&ann, memory.id, patch).await.expect("it is open again");
    let there: BTreeSet<MemoryId> = list(&home, &ann).await.into_iter().collect();
    assert!(acknowledged.is_subset(&there), "what was acknowledged is there");
}

/// Closes the store while clients write, and gives what they wrote. What is acknowledged is there when the gate is set.
async fn close_while_clients_write(fixture: &dyn ReplicaFixture, home: &Home, scope: &Scope) -> BTreeSet<MemoryId> {
    const CLIENTS: usize = 4;
    let written = Arc::new(AtomicUsize::new(0));
    let closed = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (home, scope, written, closed) = (home.clone(), scope.clone(), written.clone(), closed.clone());
            let now = fixture.clock().now();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                loop {
                    let memory = make::memory(&scope, &format!("client {client}, {}", acknowledged.len()), now);
                    let id = memory.id;
                    let is_late = closed.load(Ordering::SeqCst);
                    match home.store.insert(make::batch([memory])).await {
                        Ok(_) if is_late => panic!("client {client}: a write that began after the gate was set"),
                        Ok(_) => acknowledged.push(id),
                        Err(Error::Fenced { epoch: 1 }) => return acknowledged,
                        Err(error) => panic!("client {client}: {error}"),
                    }
                    written.fetch_add(1, Ordering::SeqCst);
                    // A store in memory gives no other task a turn by itself.
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let began = Instant::now();
    while written.load(Ordering::SeqCst) < 3 * CLIENTS {
        assert!(began.elapsed() < fixture.patience(), "clients write");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    home.close_to_clients(1).await;
    closed.store(true, Ordering::SeqCst);
    let there: BTreeSet<MemoryId> = list(home, scope).await.into_iter().collect();
    let mut acknowledged = BTreeSet::new();
    for client in clients {
        acknowledged.extend(client.await.expect("no panic"));
    }
    assert!(acknowledged.is_subset(&there), "something was acknowledged after the gate was set");
    assert!(acknowledged.len() >= 3 * CLIENTS);
    acknowledged
}

async fn every_way_is_closed(fixture: &dyn ReplicaFixture, home: &Home, scope: &Scope, id: MemoryId) {
    let now = fixture.clock().now();
    let store = &home.store;
    assert_fenced(store.insert(make::batch([make::memory(scope, "x", now)])).await, 3);
    let patch = MemoryPatch { text: Some("y".into()), ..MemoryPatch::default() };
    assert_fenced(store.update(scope, id, patch).await, 3);
    let request = |selection| ForgetRequest { scope: scope.clone(), selection, dry_run: false };
    assert_fenced(store.forget(&request(Selection::Ids(vec![id]))).await, 3);
    assert_fenced(store.forget(&request(Selection::All)).await, 3);
    assert_fenced(home.rejections().reject(&[rejection(scope, "z", now)]).await, 3);
    // What is not there may be in the store that is in use.
    let (absent, elsewhere) = (make::id(), make::user("acme", "nobody"));
    assert_fenced(store.update(scope, absent, MemoryPatch::default()).await, 3);
    assert_fenced(
        store.update(scope, id, MemoryPatch { expected_version: Some(9), ..MemoryPatch::default() }).await,
        3,
    );
    assert_fenced(store.forget(&request(Selection::Ids(vec![absent]))).await, 3);
    let nothing = ForgetRequest { scope: elsewhere.clone(), selection: Selection::All, dry_run: false };
    assert_fenced(store.forget(&nothing).await, 3);
    assert_fenced(home.rejections().lift(scope, &ValueKeys::of(scope, "never rejected").reads).await, 3);
    let there = store.get(scope, id).await.expect("get").expect("it is there");
    assert_fenced(store.insert(make::batch([(*there).clone()])).await, 3);
    let waiting = home.backlog().without_vector(None, 1000).await.expect("a list");
    let unembedded = waiting.iter().find(|one| one.id == id).expect("it has no vector");
    assert_fenced(home.backlog().add_vector(unembedded, make::embedding(&fixture.space(), 1)).await, 3);
}

/// Whatever is of an older epoch, or of none that there was, changes neither the gate nor an item.
pub async fn an_older_epoch_changes_nothing(fixture: &dyn ReplicaFixture) {
    let home = fixture.open().await;
    let (now, space, ann) = (fixture.clock().now(), fixture.space(), make::user("acme", "ann"));
    let item = |ordinal| memory_item(&whole(&ann, &space, ordinal, 2, now));
    assert_fenced(home.replica.write(0, vec![item(1)]).await, 0);
    let closed = Gate { epoch: 5, writers: Writers::Mover };
    for _ in 0..2 {
        home.replica.set_gate(closed).await.expect("the gate that stands changes nothing");
    }
    let there = item(2);
    home.replica.write(5, vec![there.clone()]).await.expect("write");
    for epoch in [0, 4, 6] {
        assert_fenced(home.replica.write(epoch, vec![item(3), Item::Absent(there.key())]).await, 5);
    }
    for gate in [
        Gate { epoch: 4, writers: Writers::Mover },
        Gate { epoch: 4, writers: Writers::Clients },
        Gate { epoch: 5, writers: Writers::Clients },
    ] {
        assert_fenced(home.replica.set_gate(gate).await, 5);
        assert_eq!(home.replica.gate().await.expect("a gate"), closed, "{gate:?}");
    }
    assert_same(&home.scan_all().await, std::slice::from_ref(&there), "nothing else was written");
    home.open_to_clients(6).await;
    for epoch in [5, 6, 7] {
        assert_fenced(home.replica.write(epoch, vec![item(4)]).await, 6);
    }
    assert_fenced(home.replica.set_gate(closed).await, 6);
    assert_fenced(home.replica.set_gate(Gate { epoch: 6, writers: Writers::Mover }).await, 6);
    assert_same(&home.scan_all().await, &[there], "nothing else was written");
}

/// What clients write after is behind all that the mover wrote, also behind what is there no more; keys that were answered
/// before are answered the same.
pub async fn an_opened_store_goes_on(fixture: &dyn ReplicaFixture) {
    let home = fixture.open().await;
    let (now, space, ann) = (fixture.clock().now(), fixture.space(), make::user("acme", "ann"));
    home.close_to_clients(1).await;
    let moved = [40, 9000, 7].map(|ordinal| whole(&ann, &space, ordinal, 1, now));
    let answered = answered_key("acme", "k1", now);
    let mut items: Vec<Item> = moved.iter().map(memory_item).collect();
    items.push(Item::IdempotencyKey(answered.clone()));
    home.replica.write(1, items).await.expect("write");
    let last = whole(&ann, &space, 10_000, 1, now);
    home.replica.write(1, vec![memory_item(&last)]).await.expect("write");
    home.replica.write(1, vec![Item::Absent(key_of(&last.current.memory))]).await.expect("write");
    fixture.close(home).await;

    let home = fixture.open().await;
    home.open_to_clients(2).await;
    let mut expected: Vec<MemoryId> = [2, 0, 1].map(|at: usize| moved[at].current.memory.id).into();
    for text in ["first", "second"] {
        let memory = make::memory(&ann, text, now);
        expected.push(memory.id);
        home.store.insert(make::batch([memory])).await.expect("insert");
    }
    assert_eq!(list(&home, &ann).await, expected);
    let written = home.scan_all().await.into_iter().filter_map(|item| match item {
        Item::Memory(whole) => Some(whole.ordinal),
        _ => None,
    });
    let ordinals: Vec<u64> = written.collect();
    assert_eq!(ordinals[..3], [7, 40, 9000]);
    assert!(ordinals[3] > 10_000 && ordinals[4] > ordinals[3], "behind all that was written: {ordinals:?}");

    let key = IdempotencyKey { key: "k1".into(), body_hash: answered.body_hash };
    let again = InsertBatch { idempotency: Some(key), ..make::batch([make::memory(&ann, "again", now)]) };
    let receipt = home.store.insert(again.clone()).await.expect("insert");
    assert!(receipt.replayed && receipt.items == answered.items, "{receipt:?}");
    let other = IdempotencyKey { key: "k1".into(), body_hash: [8; 32] };
    let conflict = home.store.insert(InsertBatch { idempotency: Some(other), ..again }).await;
    assert!(matches!(conflict, Err(Error::IdempotencyConflict { .. })), "{conflict:?}");
    let created = home.store.insert(make::batch([make::memory(&ann, "third", now)])).await.expect("insert");
    assert_eq!(created.items[0].status, InsertStatus::Created);
}

#[track_caller]
fn assert_fenced<T: std::fmt::Debug>(answer: memory_core::Result<T>, at: u64) {
    assert!(matches!(answer, Err(Error::Fenced { epoch }) if epoch == at), "not fenced at {at}: {answer:?}");
}

async fn list(home: &Home, scope: &Scope) -> Vec<MemoryId> {
    let request = ListRequest {
        scope: scope.clone(),
        filter: None,
        limit: 100_000,
        cursor: None,
        newest_first: false,
        with_embeddings: false,
    };
    home.store.list(&request).await.expect("list").memories.iter().map(|(memory, _)| memory.id).collect()
}
