//! What changes is noted while somebody wants to know, and only then.

use std::collections::BTreeSet;

use memory_core::{ItemKey, MemoryPatch, MemoryStore as _, Replica as _};
use memory_testkit::make;
use sqlx::{Executor as _, PgConnection};

use super::{closed, everything, key_of, open_to_clients, told, triggers, until_waiting};
use crate::support::Home;

const INSERT: &str = "SELECT set_config('orchestra.tenant', 'acme', true); \
    INSERT INTO orchestra.memories (id, tenant, version, kind, text, metadata, importance, writer, path, evidence, recorded_at, \
    content_hash, words, length) \
    VALUES ('01900000-0000-7000-8000-000000000001', 'acme', 1, 'semantic', 'long', '{}', 0.5, 'user', 'test', '{}', now(), \
    '\\x00', '', 0)";

async fn noted(connection: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM orchestra.item_changes").fetch_one(connection).await.expect("an answer")
}

#[tokio::test]
async fn outside_of_a_move_nothing_is_there_that_a_write_could_cost_more_for() {
    let Some(home) = Home::new() else { return };
    let (store, replica) = (home.open().await, home.replica().await);
    let mut direct = home.direct().await;
    assert_eq!(triggers(&mut direct).await, [""; 0], "before");
    let (ann, now) = (make::user("acme", "ann"), memory_core::Clock::now(&home.clock));
    replica.capture("green").await.unwrap();
    replica.capture("mirror").await.unwrap();
    insta::assert_snapshot!(triggers(&mut direct).await.join("\n"), @r"
    forgotten_texts.fence
    forgotten_texts.note_delete
    forgotten_texts.note_insert
    forgotten_texts.note_update
    idempotency_keys.fence
    idempotency_keys.note_delete
    idempotency_keys.note_insert
    idempotency_keys.note_update
    memories.fence
    memories.note_delete
    memories.note_insert
    memories.note_update
    memory_versions.fence
    memory_versions.note_delete
    memory_versions.note_insert
    memory_versions.note_update
    rejections.fence
    rejections.note_delete
    rejections.note_insert
    rejections.note_update
    sessions.fence
    tombstones.fence
    tombstones.note_delete
    tombstones.note_insert
    tombstones.note_update
    ");
    replica.set_gate(closed(1)).await.unwrap();
    replica.set_gate(open_to_clients(2)).await.unwrap();
    store.insert(make::batch([make::memory(&ann, "noted", now)])).await.unwrap();
    assert_eq!(noted(&mut direct).await, 1);

    replica.release("green").await.unwrap();
    assert_eq!((noted(&mut direct).await, triggers(&mut direct).await.is_empty()), (1, false), "there is another");
    replica.release("mirror").await.unwrap();
    assert_eq!((noted(&mut direct).await, triggers(&mut direct).await.len()), (0, 0), "after");
    store.insert(make::batch([make::memory(&ann, "not noted", now)])).await.unwrap();
    assert_eq!(noted(&mut direct).await, 0);

    // A store that follows another one stays closed.
    replica.set_gate(closed(3)).await.unwrap();
    replica.capture("green").await.unwrap();
    replica.release("green").await.unwrap();
    insta::assert_snapshot!(triggers(&mut direct).await.join("\n"), @r"
    forgotten_texts.fence
    idempotency_keys.fence
    memories.fence
    memory_versions.fence
    rejections.fence
    sessions.fence
    tombstones.fence
    ");
    replica.set_gate(open_to_clients(4)).await.unwrap();
    assert_eq!(triggers(&mut direct).await, [""; 0], "it is open, and nothing is captured");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capturing_waits_for_long_writes_and_the_scan_after_sees_them() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    let mut direct = home.direct().await;
    for stream in ["first", "second"] {
        let mut writer = home.as_app().await;
        writer.execute("BEGIN").await.unwrap();
        if stream == "first" {
            writer.execute(INSERT).await.unwrap();
        } else {
            writer
                .execute(
                    "SELECT set_config('orchestra.tenant', 'acme', true); \
                     UPDATE orchestra.memories SET text = 'longer', version = 2",
                )
                .await
                .unwrap();
        }
        let mover = replica.clone();
        let capturing = tokio::spawn(async move { mover.capture(stream).await });
        until_waiting(&mut direct, "capture_changes", 1).await;
        assert!(!capturing.is_finished(), "{stream}: a write is under way");
        writer.execute("COMMIT").await.unwrap();
        capturing.await.unwrap().unwrap();
        assert_eq!(replica.changed(stream, 10).await.unwrap(), [], "{stream}: nothing came after");
        assert_eq!(everything(&replica).await.len(), 1, "{stream}");
    }
    assert_eq!(told(&replica, "first").await.len(), 1, "the update is told to who was there");
}

#[tokio::test]
async fn transactions_that_end_out_of_order_are_all_told() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    replica.capture("green").await.unwrap();
    let [mut first, mut second] = [home.as_app().await, home.as_app().await];
    first.execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    second.execute("BEGIN").await.unwrap();
    second.execute(INSERT).await.unwrap();
    second.execute("COMMIT").await.unwrap();
    assert_eq!(replica.changed("green", 10).await.unwrap(), [], "what began before may come yet");
    assert_eq!(replica.lag("green").await.unwrap().changes, 1, "and is seen to be behind");
    first
        .execute(
            "SELECT set_config('orchestra.tenant', 'acme', true); \
             INSERT INTO orchestra.forgotten_texts VALUES ('acme', decode(repeat('ab', 32), 'hex'), 'ann'); COMMIT",
        )
        .await
        .unwrap();
    let told = told(&replica, "green").await;
    assert!(matches!(told[0].key, ItemKey::ForgottenText { .. }), "{told:?}");
    assert_eq!(told.len(), 2);
    replica.acknowledge("green", &told[0].position).await.unwrap();
    let mut direct = home.direct().await;
    assert_eq!(noted(&mut direct).await, 1, "what was acknowledged goes");
    replica.acknowledge("green", &told[1].position).await.unwrap();
    assert_eq!(noted(&mut direct).await, 0);
}

/// Of many at once, each change is told after it, to a stream that was captured in their midst, or is in the scan.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn capturing_in_the_midst_of_writes_misses_nothing() {
    const WRITERS: usize = 4;
    const EACH: usize = 30;
    let Some(home) = Home::new() else { return };
    let (store, replica) = (home.open().await, home.replica().await);
    let now = memory_core::Clock::now(&home.clock);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, scope) = (store.clone(), make::session("acme", &format!("user {writer}"), "monday"));
            tokio::spawn(async move {
                let mut ids = BTreeSet::new();
                for at in 0..EACH {
                    let memory = make::memory(&scope, &format!("{at}"), now);
                    store.insert(make::batch([memory.clone()])).await.unwrap();
                    let patch = MemoryPatch { text: Some(format!("{at} changed")), ..MemoryPatch::default() };
                    store.update(&scope, memory.id, patch).await.unwrap();
                    ids.insert(memory.id);
                }
                (scope, ids)
            })
        })
        .collect();
    replica.capture("green").await.unwrap();
    let scanned = everything(&replica).await;
    let mut is_current: BTreeSet<ItemKey> = scanned
        .iter()
        .filter(|item| matches!(item, memory_core::Item::Memory(whole) if whole.current.memory.version == 2))
        .map(memory_core::Item::key)
        .collect();
    let mut written = BTreeSet::new();
    for writer in writers {
        let (scope, ids) = writer.await.unwrap();
        written.extend(ids.into_iter().map(|id| key_of(&scope, id)));
    }
    is_current.extend(told(&replica, "green").await.into_iter().map(|change| change.key));
    assert_eq!(is_current, written);
}
