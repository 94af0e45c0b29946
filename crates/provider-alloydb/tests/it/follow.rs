//! The outbox is followed: nothing is skipped, in whatever order transactions end, and nothing stays for ever.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use memory_core::{Change, ChangeFeed as _, Clock as _, MemoryId, MemoryPatch, MemoryStore as _, Selection};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::support::{Home, forget, wait_until};

const LONGEST: Duration = Duration::from_secs(30);
const NOT_ALLOWED: &str = "42501";

/// Writes a change as an update does, and leaves its transaction open.
async fn change(connection: &mut PgConnection, id: MemoryId) {
    connection.execute("BEGIN; SELECT set_config('orchestra.tenant', 'acme', true)").await.expect("an answer");
    let insert =
        "INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at) VALUES ('acme', 'updated', $1, now())";
    sqlx::query(insert).bind(vec![id.as_uuid()]).execute(connection).await.expect("an answer");
}

fn memories(changes: &[Change]) -> Vec<MemoryId> {
    changes.iter().flat_map(|change| change.memories.clone()).collect()
}

/// What a follower has not passed, once that is so many.
async fn unseen(store: &AlloyDbMemoryProvider, count: usize) -> Vec<Change> {
    let mut told = Vec::new();
    wait_until("the changes are told", LONGEST, async || {
        told = store.unseen("a", 100).await.expect("an answer");
        told.len() >= count
    })
    .await;
    assert_eq!(told.len(), count, "{told:?}");
    told
}

#[tokio::test]
async fn transactions_that_end_out_of_order_are_all_told_in_an_order_without_gaps() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let ids = [make::id(), make::id(), make::id()];
    assert_eq!(store.unseen("a", 10).await.unwrap(), []);
    let [mut first, mut second, mut third] = [home.as_app().await, home.as_app().await, home.as_app().await];
    change(&mut first, ids[0]).await;
    change(&mut second, ids[1]).await;
    change(&mut third, ids[2]).await;
    second.execute("COMMIT").await.unwrap();
    third.execute("ROLLBACK").await.unwrap();
    assert_eq!(store.unseen("a", 10).await.unwrap(), [], "what began before is under way");
    assert_eq!(store.lag("a").await.unwrap().changes, 1, "and is seen to be behind");
    first.execute("COMMIT").await.unwrap();
    let told = unseen(&store, 2).await;
    assert_eq!(memories(&told), ids[..2]);
    store.acknowledge("a", &told[1].position).await.unwrap();

    // One that has its number in the sequence before another, and its transaction after, and the other way round.
    change(&mut first, ids[0]).await;
    change(&mut second, ids[1]).await;
    sqlx::query(
        "INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at) VALUES ('acme', 'updated', $1, now())",
    )
    .bind(vec![ids[2].as_uuid()])
    .execute(&mut first)
    .await
    .unwrap();
    second.execute("COMMIT").await.unwrap();
    first.execute("COMMIT").await.unwrap();
    let told = unseen(&store, 3).await;
    assert_eq!(memories(&told), [ids[0], ids[2], ids[1]]);
    store.acknowledge("a", &told[0].position).await.unwrap();
    assert_eq!(unseen(&store, 2).await, told[1..], "a position within a transaction");
}

/// Many write, and transactions of other lengths run among them; one follows, acknowledges and lets go of what was passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_writers_each_change_is_told_once_to_who_follows() {
    const WRITERS: usize = 6;
    const CHANGES: usize = 40;
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let is_done = Arc::new(AtomicBool::new(false));
    let followers: Vec<_> = ["a", "a", "b"]
        .into_iter()
        .map(|name| {
            let (store, is_done) = (store.clone(), is_done.clone());
            tokio::spawn(async move {
                let mut told = Vec::new();
                loop {
                    let was_done = is_done.load(Ordering::SeqCst);
                    let changes = store.unseen(name, 7).await.expect("an answer");
                    if let Some(last) = changes.last() {
                        store.acknowledge(name, &last.position).await.expect("an answer");
                    }
                    told.extend(changes);
                    store.remove_passed().await.expect("an answer");
                    if was_done && store.lag(name).await.expect("an answer").changes == 0 {
                        return told;
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, now) = (store.clone(), home.clock.now());
            let long = writer % 2 == 0;
            let home = Home { url: home.url.clone(), name: home.name.clone(), clock: home.clock.clone() };
            tokio::spawn(async move {
                let scope = make::user("acme", &format!("user-{writer}"));
                let mut changed = Vec::new();
                let mut direct = home.as_app().await;
                for at in 0..CHANGES {
                    let memory = make::memory(&scope, &format!("{writer} {at}"), now);
                    store.insert(make::batch([memory.clone()])).await.expect("an answer");
                    if long {
                        // It has its place in the order long before it ends.
                        change(&mut direct, memory.id).await;
                        tokio::task::yield_now().await;
                        let patch = MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
                        store.update(&scope, memory.id, patch).await.expect("an answer");
                        direct.execute("COMMIT").await.expect("an answer");
                        changed.push(memory.id);
                    } else {
                        store.forget(&forget(&scope, Selection::Ids(vec![memory.id]))).await.expect("an answer");
                    }
                    changed.push(memory.id);
                }
                changed
            })
        })
        .collect();
    let mut changed = Vec::new();
    for writer in writers {
        changed.extend(writer.await.unwrap());
    }
    is_done.store(true, Ordering::SeqCst);
    let mut told = Vec::new();
    for follower in followers {
        told.push(follower.await.unwrap());
    }
    changed.sort_unstable();
    let mut once = memories(&told[2]);
    once.sort_unstable();
    assert_eq!(once, changed, "who follows alone is told each change once");
    // Two that share a name: each change went by at least one of them.
    let positions = |told: &[Change]| told.iter().map(|change| change.position.0.clone()).collect::<BTreeSet<_>>();
    let together: BTreeSet<_> = positions(&told[0]).union(&positions(&told[1])).cloned().collect();
    assert_eq!(together, positions(&told[2]));
    store.remove_passed().await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orchestra.outbox").fetch_one(&mut home.direct().await).await.unwrap();
    assert_eq!(left, 0, "what all have passed is gone");
}

#[tokio::test]
async fn a_position_that_no_change_can_have_is_refused() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    for position in ["", "1", "a:1", "1:b", "1; DROP TABLE orchestra.outbox:1"] {
        let error = store.acknowledge("a", &memory_core::ChangePosition(position.into())).await.unwrap_err();
        assert!(error.to_string().starts_with("position: given"), "{error}");
    }
    let ahead = memory_core::ChangePosition(format!("{}:1", u64::MAX / 2));
    assert!(!store.acknowledge("a", &ahead).await.unwrap_err().is_retryable());
    // A dump that was restored: transactions are numbered anew.
    let restored = "INSERT INTO orchestra.followers (name, transaction) VALUES ('restored', '9000000000000000000')";
    home.direct().await.execute(restored).await.unwrap();
    let error = store.unseen("restored", 1).await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("ahead of this server"), "{error:?}");
}

/// What the role may do by itself, whatever the functions say.
#[tokio::test]
async fn the_role_of_following_reads_no_memory_and_removes_nothing_that_was_not_passed() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let memory = make::memory(&scope, "the code", home.clock.now());
    store.insert(make::batch([memory.clone()])).await.unwrap();
    store.unseen("a", 1).await.unwrap();
    for importance in [0.1, 0.2] {
        let patch = MemoryPatch { importance: Some(importance), ..MemoryPatch::default() };
        store.update(&scope, memory.id, patch).await.unwrap();
    }
    let told = unseen(&store, 2).await;
    store.acknowledge("a", &told[0].position).await.unwrap();
    let mut app = home.as_app().await;
    for refused in ["SELECT FROM orchestra.followers", "DELETE FROM orchestra.outbox"] {
        let error = app.execute(refused).await.expect_err(refused);
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), NOT_ALLOWED, "{refused}: {error}");
    }
    let mut direct = home.direct().await;
    direct.execute("SET ROLE orchestra_follow").await.unwrap();
    for refused in [
        "SELECT id FROM orchestra.memories",
        "SELECT FROM orchestra.tombstones",
        "UPDATE orchestra.outbox SET event = ''",
        "INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at) VALUES ('acme', 'updated', '{}', now())",
    ] {
        let error = direct.execute(refused).await.expect_err(refused);
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), NOT_ALLOWED, "{refused}: {error}");
    }
    assert_eq!(direct.execute("DELETE FROM orchestra.outbox").await.unwrap().rows_affected(), 1);
    direct.close().await.unwrap();
    assert_eq!(unseen(&store, 1).await, told[1..]);
}

#[tokio::test]
async fn functions_that_are_not_the_roles_say_so() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    home.direct().await.execute("ALTER FUNCTION orchestra.read_changes OWNER TO CURRENT_USER").await.unwrap();
    let error = store.unseen("a", 1).await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("does not belong to the role orchestra_follow") && !error.is_retryable(), "{cause}");
}

/// What the role of the backlog may do by itself.
#[tokio::test]
async fn the_role_of_the_backlog_sees_which_memories_have_no_vector_and_no_text() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let mut batch = make::batch(["with", "without"].map(|text| make::memory(&scope, text, home.clock.now())));
    batch.memories[0].embedding = Some(make::embedding(&make::space("testkit"), 1));
    store.insert(batch.clone()).await.unwrap();
    let mut direct = home.direct().await;
    direct.execute("SET ROLE orchestra_backlog").await.unwrap();
    for refused in [
        "SELECT text FROM orchestra.memories",
        "SELECT metadata FROM orchestra.memories",
        "SELECT user_id FROM orchestra.memories",
        "SELECT FROM orchestra.memory_versions",
        "SELECT FROM orchestra.outbox",
        "UPDATE orchestra.memories SET space = NULL",
        "DELETE FROM orchestra.memories",
    ] {
        let error = direct.execute(refused).await.expect_err(refused);
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), NOT_ALLOWED, "{refused}: {error}");
    }
    let seen: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT id FROM orchestra.memories").fetch_all(&mut direct).await.unwrap();
    assert_eq!(seen, [batch.memories[1].memory.id.as_uuid()]);
}
