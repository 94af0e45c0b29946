//! Many at once on the same memories: nothing is lost, nothing is half, and nobody waits for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use memory_core::{
    Error, InsertStatus, Memory, MemoryId, MemoryPatch, MemoryStore, Scope, Selection, Timestamp, Writer,
};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;
use sqlx::{Connection as _, Executor as _};
use tokio::sync::Barrier;

use crate::support::{Home, everything, forget, wait_until};

async fn open(home: &Home, connections: u32) -> AlloyDbMemoryProvider {
    home.prepare().await;
    let mut config = home.config();
    config.max_connections = connections;
    // Tests share the processor with others.
    config.acquire_timeout = Duration::from_secs(30);
    AlloyDbMemoryProvider::connect(config).await.expect("an answer")
}

fn now(home: &Home) -> Timestamp {
    memory_core::Clock::now(&home.clock)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_at_once_are_versions_one_after_the_other() {
    const TASKS: u64 = 32;
    let Some(home) = Home::new() else { return };
    let store = open(&home, 8).await;
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "version 1", now(&home));
    store.insert(make::batch([memory.clone()])).await.unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (store, scope, id) = (store.clone(), scope.clone(), memory.id);
            tokio::spawn(async move {
                let patch = MemoryPatch { text: Some(format!("by task {task}")), ..MemoryPatch::default() };
                store.update(&scope, id, patch).await.unwrap().memory.as_ref().clone()
            })
        })
        .collect();
    let mut acknowledged = vec![memory.clone()];
    for task in tasks {
        acknowledged.push(task.await.unwrap());
    }
    acknowledged.sort_by_key(|memory| memory.version);
    let told: Vec<_> = acknowledged.iter().map(|memory| (memory.version, memory.text.clone())).collect();
    let history = store.history(&scope, memory.id).await.unwrap();
    let kept: Vec<_> = history.iter().map(|memory| (memory.version, memory.text.clone())).collect();
    assert_eq!(kept, told, "each is there as it was acknowledged");
    assert_eq!(kept.iter().map(|(version, _)| *version).collect::<Vec<_>>(), (1..=TASKS + 1).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_the_updates_that_expect_a_version_wins() {
    let Some(home) = Home::new() else { return };
    let store = open(&home, 8).await;
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "version 1", now(&home));
    store.insert(make::batch([memory.clone()])).await.unwrap();
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, scope, id) = (store.clone(), scope.clone(), memory.id);
            let text = Some(format!("by task {task}"));
            let patch = MemoryPatch { text, expected_version: Some(1), ..MemoryPatch::default() };
            tokio::spawn(async move { store.update(&scope, id, patch).await })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(receipt) => {
                assert_eq!(receipt.memory.version, 2);
                done += 1;
            }
            Err(error) => assert!(matches!(error, Error::VersionConflict { expected: 1, .. }), "{error:?}"),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(store.history(&scope, memory.id).await.unwrap().len(), 2);
}

/// A former version that was being kept when its memory was forgotten would hold the text for ever, where nobody finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_beside_a_forget_leaves_nothing_behind() {
    let Some(home) = Home::new() else { return };
    let store = open(&home, 8).await;
    let scope = make::user("acme", "ann");
    for round in 0..60 {
        let memory = make::memory(&scope, &format!("text {round}"), now(&home));
        store.insert(make::batch([memory.clone()])).await.unwrap();
        let barrier = Arc::new(Barrier::new(4));
        let updates: Vec<_> = (0..3)
            .map(|task| {
                let (store, scope, id, barrier) = (store.clone(), scope.clone(), memory.id, barrier.clone());
                let patch = MemoryPatch { text: Some(format!("text {round} by {task}")), ..MemoryPatch::default() };
                tokio::spawn(async move {
                    barrier.wait().await;
                    (task, store.update(&scope, id, patch).await)
                })
            })
            .collect();
        barrier.wait().await;
        store.forget(&forget(&scope, Selection::Ids(vec![memory.id]))).await.unwrap();
        // What was acknowledged came before the forgetting, whose texts do not come back.
        let mut texts = vec![memory.text.clone()];
        for update in updates {
            match update.await.unwrap() {
                (task, Ok(_)) => texts.push(format!("text {round} by {task}")),
                (_, Err(error)) => assert!(matches!(error, Error::NotFound(_)), "{error:?}"),
            }
        }
        let again = texts.iter().map(|text| {
            let mut memory = make::memory(&scope, text, now(&home));
            memory.origin.writer = Writer::Import;
            memory
        });
        let receipt = store.insert(make::batch(again)).await.unwrap();
        assert!(
            receipt.items.iter().all(|item| item.status == InsertStatus::RefusedForgotten),
            "{texts:?} are forgotten: {receipt:?}"
        );
    }
    let mut direct = home.direct().await;
    let left: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM orchestra.memories), (SELECT count(*) FROM orchestra.memory_versions)",
    )
    .fetch_one(&mut direct)
    .await
    .unwrap();
    assert_eq!(left, (0, 0), "memories and former versions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_beside_the_forgetting_of_its_tenant_is_there_whole_or_not_at_all() {
    let Some(home) = Home::new() else { return };
    let store = open(&home, 8).await;
    let scope = make::session("acme", "ann", "monday");
    let tenant = Scope::tenant("acme").unwrap();
    let writers: Vec<_> = (0..6)
        .map(|writer| {
            let (store, scope, now) = (store.clone(), scope.clone(), now(&home));
            tokio::spawn(async move {
                let mut batches = Vec::new();
                for round in 0..20 {
                    let texts = (0..5).map(|at| make::memory(&scope, &format!("{writer} {round} {at}"), now));
                    let batch = make::batch(texts);
                    batches.push(batch.memories.iter().map(|item| item.memory.id).collect::<Vec<MemoryId>>());
                    store.insert(batch).await.unwrap();
                }
                batches
            })
        })
        .collect();
    let mut forgotten = BTreeSet::new();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        let receipt = store.forget(&forget(&tenant, Selection::All)).await.unwrap();
        forgotten.extend(receipt.forgotten);
    }
    let there = store.list(&everything(&tenant)).await.unwrap();
    let there: BTreeSet<MemoryId> = there.memories.iter().map(|(memory, _)| memory.id).collect();
    let mut kept = 0;
    for writer in writers {
        for batch in writer.await.unwrap() {
            let here = batch.iter().filter(|id| there.contains(id)).count();
            let gone = batch.iter().filter(|id| forgotten.contains(id)).count();
            assert!((here, gone) == (0, 5) || (here, gone) == (5, 0), "{here} here, {gone} gone");
            kept += here;
        }
    }
    assert_eq!(kept, there.len());
    assert!(!forgotten.is_empty());
    // The session's own row is there as long as it has turns, and every turn names it.
    let mut direct = home.direct().await;
    let lost: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM orchestra.memories m \
         WHERE NOT EXISTS (SELECT FROM orchestra.sessions s WHERE s.session = m.session)",
    )
    .fetch_one(&mut direct)
    .await
    .unwrap();
    assert_eq!(lost, 0, "turns without their session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_derived_never_outlives_its_source() {
    let Some(home) = Home::new() else { return };
    let store = open(&home, 8).await;
    let scope = make::user("acme", "ann");
    let (mut before, mut after) = (0, 0);
    for round in 0..60 {
        let source = make::memory(&scope, &format!("source {round}"), now(&home));
        store.insert(make::batch([source.clone()])).await.unwrap();
        let mut derived = make::memory(&scope, &format!("derived {round}"), now(&home));
        derived.evidence = vec![source.id];
        derived.origin.writer = Writer::Consolidation;
        let barrier = Arc::new(Barrier::new(2));
        let deriving = tokio::spawn({
            let (store, barrier, derived) = (store.clone(), barrier.clone(), derived.clone());
            async move {
                barrier.wait().await;
                store.insert(make::batch([derived])).await.unwrap().items[0].status
            }
        });
        barrier.wait().await;
        let receipt = store.forget(&forget(&scope, Selection::Ids(vec![source.id]))).await.unwrap();
        match deriving.await.unwrap() {
            InsertStatus::Created => {
                assert_eq!(receipt.derived, [derived.id]);
                before += 1;
            }
            InsertStatus::RefusedForgotten => after += 1,
            InsertStatus::Unchanged | InsertStatus::RefusedRejected => panic!("it is new"),
        }
        assert_eq!(store.get(&scope, derived.id).await.unwrap(), None);
    }
    eprintln!("derived before the forgetting: {before}, after: {after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_of_the_same_memories_in_opposite_orders_create_each_once() {
    let Some(home) = Home::new() else { return };
    let store = open(&home, 4).await;
    let scope = make::session("acme", "ann", "monday");
    for round in 0..4 {
        let memories: Vec<Memory> =
            (0..300).map(|at| make::memory(&scope, &format!("{round} {at}"), now(&home))).collect();
        let backwards: Vec<Memory> = memories.iter().rev().cloned().collect();
        let other = tokio::spawn({
            let store = store.clone();
            async move { store.insert(make::batch(backwards)).await }
        });
        let one = store.insert(make::batch(memories)).await;
        let created = [one.unwrap(), other.await.unwrap().unwrap()]
            .map(|receipt| receipt.items.iter().filter(|item| item.status == InsertStatus::Created).count());
        assert_eq!(created.iter().sum::<usize>(), 300, "each is created once: {created:?}");
    }
    assert_eq!(store.stats(&scope).await.unwrap().memories, 4 * 300);
}

/// Each of two waits for the other: the server rolls one of them back, and it is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_gives_way_in_a_deadlock_is_written_after_it() {
    let Some(home) = Home::new() else { return };
    let store = open(&home, 2).await;
    let scope = make::user("acme", "ann");
    let first = make::memory(&scope, "first", now(&home));
    let second = make::memory(&scope, "second", now(&home));
    let mut other = home.direct().await;
    // The other never gives way: it does not look for deadlocks as long as the test takes.
    other.execute("SET deadlock_timeout = '10min'").await.unwrap();
    let take = "INSERT INTO orchestra.memories (id, tenant, version, kind, text, metadata, importance, writer, path, \
                evidence, recorded_at, content_hash, words, length) \
                VALUES ($1, 'acme', 1, 'episodic', '', '{}', 0, 'agent', '', '{}', now(), '', '', 0)";
    let mut transaction = other.begin().await.unwrap();
    sqlx::query(take).bind(second.id.as_uuid()).execute(&mut *transaction).await.unwrap();
    let writing = tokio::spawn({
        let (store, batch) = (store.clone(), make::batch([first.clone(), second.clone()]));
        async move { store.insert(batch).await }
    });
    let mut direct = home.direct().await;
    wait_until("the batch waits", Duration::from_secs(10), async || {
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event = 'transactionid'";
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut direct).await.unwrap()
    })
    .await;
    sqlx::query(take).bind(first.id.as_uuid()).execute(&mut *transaction).await.expect("the batch gave way");
    transaction.rollback().await.unwrap();
    let receipt = writing.await.unwrap().unwrap();
    assert!(receipt.items.iter().all(|item| item.status == InsertStatus::Created));
    assert_eq!(store.get(&scope, second.id).await.unwrap().as_deref(), Some(&second));
    wait_until("a deadlock is counted", Duration::from_secs(10), async || {
        let counted = "SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = current_database()";
        sqlx::query_scalar::<_, bool>(counted).fetch_one(&mut direct).await.unwrap()
    })
    .await;
}

/// Somebody holds the table, so that whoever needs it waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_too_long_is_told_that_later_may_do() {
    let Some(home) = Home::new() else { return };
    home.prepare().await;
    let mut config = home.config();
    config.max_connections = 1;
    config.acquire_timeout = Duration::from_millis(200);
    config.statement_timeout = Duration::from_millis(1500);
    let store = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let mut direct = home.direct().await;
    let mut transaction = direct.begin().await.unwrap();
    transaction.execute("LOCK TABLE orchestra.memories IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let scope = make::user("acme", "ann");
    let waiting = tokio::spawn({
        let (store, scope) = (store.clone(), scope.clone());
        async move { store.stats(&scope).await }
    });
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity \
                 WHERE datname = current_database() AND application_name = 'orchestra' AND wait_event_type = 'Lock'";
    wait_until("the only connection is busy", Duration::from_secs(10), async || {
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *transaction).await.unwrap()
    })
    .await;
    let told = [store.health().await.map(drop), waiting.await.unwrap().map(drop)].map(|result| {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Backend { retryable: true, .. }), "{error:?}");
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    });
    assert_eq!(told[0], "alloydb: health failed: pool timed out while waiting for an open connection");
    assert!(told[1].contains("canceling statement due to statement timeout"), "{}", told[1]);
    transaction.rollback().await.unwrap();
    store.stats(&scope).await.expect("nobody is in the way any more");
}

/// What was derived is looked for once for all that is forgotten together, not once for each.
#[tokio::test]
async fn forgetting_much_of_a_tenant_with_much_that_is_derived_ends() {
    let Some(home) = Home::new() else { return };
    home.prepare().await;
    let mut config = home.config();
    // Looking for each of them took longer.
    config.statement_timeout = Duration::from_secs(5);
    let store = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let mut direct = home.direct().await;
    let fill = "INSERT INTO orchestra.memories (id, tenant, version, kind, text, metadata, importance, writer, path, \
                evidence, recorded_at, content_hash, words, length) \
                SELECT md5(g::text)::uuid, 'acme', 1, 'episodic', g, '{}', 0, 'agent', '', \
                CASE WHEN g > 1000 THEN ARRAY[md5((g - 5000)::text)::uuid] ELSE '{}' END, now(), g::text::bytea, '', 0 \
                FROM generate_series(1, 25000) g";
    direct.execute(fill).await.unwrap();
    let tenant = Scope::tenant("acme").unwrap();
    let first = store.list(&memory_core::ListRequest { limit: 1000, ..everything(&tenant) }).await.unwrap();
    let ids = first.memories.iter().map(|(memory, _)| memory.id).collect();
    let receipt = store.forget(&forget(&tenant, Selection::Ids(ids))).await.unwrap();
    assert_eq!((receipt.forgotten.len(), receipt.derived.len()), (1000, 4000));
}
