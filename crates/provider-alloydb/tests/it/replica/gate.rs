//! Who may write: the store itself refuses the others, whenever they began.

use std::time::Duration;

use memory_core::{Error, Memory, MemoryStore as _, Replica as _, Selection};
use memory_testkit::make;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{LONGEST, closed, everything, item, open_to_clients, triggers, until_waiting, whole};
use crate::support::{Home, forget, wait_until};

const FENCED: &str = "OM005";

/// Writes a memory as a client does, in the transaction that is open.
async fn write(connection: &mut PgConnection, text: &str) -> sqlx::Result<()> {
    connection.execute("SELECT set_config('orchestra.tenant', 'acme', true)").await?;
    let insert = format!(
        "INSERT INTO orchestra.memories (id, tenant, version, kind, text, metadata, importance, writer, path, evidence, \
         recorded_at, content_hash, words, length) \
         VALUES (gen_random_uuid(), 'acme', 1, 'semantic', '{text}', '{{}}', 0.5, 'user', 'test', '{{}}', now(), '\\x00', '', 0)"
    );
    connection.execute(AssertSqlSafe(insert)).await.map(drop)
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(std::borrow::Cow::into_owned)
}

/// Closes the store while one transaction has written and has not ended, and another comes later: the first is waited for, the
/// second is refused. `is_armed`: whether the triggers are there before.
async fn close_between(is_armed: bool) {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    if is_armed {
        replica.capture("green").await.expect("an answer");
    }
    let mut direct = home.direct().await;
    let [mut first, mut second, mut third] = [home.as_app().await, home.as_app().await, home.as_app().await];
    first.execute("BEGIN").await.expect("an answer");
    write(&mut first, "first").await.expect("an answer");
    // It has begun before, and has written nothing yet.
    second.execute("BEGIN; SELECT count(*) FROM orchestra.memories").await.expect("an answer");
    let mover = replica.clone();
    let closing = tokio::spawn(async move { mover.set_gate(closed(1)).await });
    until_waiting(&mut direct, "set_gate", 1).await;
    let late = tokio::spawn(async move { (write(&mut second, "second").await, second) });
    assert!(!closing.is_finished(), "a write is under way");
    first.execute("COMMIT").await.expect("an answer");
    closing.await.expect("an answer").expect("an answer");
    let (outcome, mut second) = late.await.expect("an answer");
    // It may have come in a pause of the attempts, and then it was waited for.
    let came_first = outcome.is_ok();
    if let Err(error) = outcome {
        assert_eq!(code(&error).as_deref(), Some(FENCED), "{error}");
    }
    second.execute("COMMIT").await.expect("an answer");

    third.execute("BEGIN").await.expect("an answer");
    let refused = write(&mut third, "third").await.expect_err("it is closed");
    assert_eq!(code(&refused).as_deref(), Some(FENCED), "{refused}");
    let written: Vec<String> = sqlx::query_scalar("SELECT text FROM orchestra.memories ORDER BY ordinal")
        .fetch_all(&mut direct)
        .await
        .expect("an answer");
    assert_eq!(written, if came_first { vec!["first", "second"] } else { vec!["first"] });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_began_before_is_waited_for_and_a_later_one_refused() {
    close_between(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_it_is_while_changes_are_captured() {
    close_between(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_waits_while_the_gate_is_closed_is_refused_by_the_gate_that_came() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    replica.capture("green").await.unwrap();
    let mut direct = home.direct().await;
    // Closes the gate as set_gate does, and has not ended yet.
    let mut closer = home.direct().await;
    closer.execute("SET ROLE orchestra_move; BEGIN; SELECT orchestra.set_gate(1, 'mover')").await.unwrap();
    let mut client = home.as_app().await;
    // The snapshot of its statement is older than the gate.
    let waiting = tokio::spawn(async move {
        client.execute("BEGIN").await.unwrap();
        write(&mut client, "late").await
    });
    until_waiting(&mut direct, "INSERT INTO orchestra.memories", 1).await;
    assert!(!waiting.is_finished());
    closer.execute("COMMIT").await.unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(code(&refused).as_deref(), Some(FENCED), "{refused}");
    assert_eq!(everything(&replica).await, []);
}

#[tokio::test]
async fn a_transaction_with_an_old_snapshot_writes_nothing_during_a_move() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    let mut client = home.as_app().await;
    client.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM orchestra.memories").await.unwrap();
    replica.set_gate(closed(1)).await.unwrap();
    let refused = write(&mut client, "late").await.unwrap_err();
    assert_eq!(code(&refused).as_deref(), Some("0A000"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_for_long_holds_up_neither_closing_nor_opening() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    let mut reader = home.as_app().await;
    reader.execute("BEGIN; SELECT count(*) FROM orchestra.memories, orchestra.tombstones").await.unwrap();
    replica.capture("green").await.unwrap();
    replica.set_gate(closed(1)).await.unwrap();
    replica.set_gate(open_to_clients(2)).await.unwrap();
    replica.release("green").await.unwrap();
    let mut direct = home.direct().await;
    assert!(!triggers(&mut direct).await.is_empty(), "they cannot go under those who read");

    // What is written meanwhile is noted for nobody.
    let store = home.open().await;
    let memory = make::memory(&make::user("acme", "ann"), "meanwhile", memory_core::Clock::now(&home.clock));
    store.insert(make::batch([memory])).await.unwrap();
    let noted: i64 =
        sqlx::query_scalar("SELECT count(*) FROM orchestra.item_changes").fetch_one(&mut direct).await.unwrap();
    assert_eq!(noted, 0);
    reader.execute("COMMIT").await.unwrap();
    replica.release("green").await.unwrap();
    assert_eq!(triggers(&mut direct).await, [""; 0]);
}

#[tokio::test]
async fn a_closed_store_is_not_swept_and_says_so_to_nobody() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    let mut config = home.config();
    config.sweep_every = Some(Duration::from_millis(50));
    let store = home.open_with(config).await;
    let scope = make::user("acme", "ann");
    // Long ago by the database's clock too.
    let now = chrono::DateTime::from_timestamp(1_000_000_000, 0).unwrap();
    let expired = Memory { expires_at: Some(now), ..make::memory(&scope, "expired", now) };
    replica.set_gate(closed(1)).await.unwrap();
    replica.write(1, vec![item(&whole(7, expired))]).await.unwrap();
    assert!(matches!(store.remove_expired().await, Err(Error::Fenced { epoch: 1 })));
    let mut direct = home.direct().await;
    let rows = "SELECT count(*) FROM orchestra.memories";
    assert_eq!(sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut direct).await.unwrap(), 1);
    replica.set_gate(open_to_clients(2)).await.unwrap();
    wait_until("it is swept again", LONGEST, async || {
        sqlx::query_scalar::<_, i64>(rows).fetch_one(&mut direct).await.unwrap() == 0
    })
    .await;
}

#[tokio::test]
async fn every_way_to_write_says_that_the_store_is_fenced() {
    let Some(home) = Home::new() else { return };
    let (store, replica) = (home.open().await, home.replica().await);
    let scope = make::session("acme", "ann", "monday");
    let now = memory_core::Clock::now(&home.clock);
    let memory = |text: &str| make::memory(&scope, text, now);
    let there = memory("there");
    store.insert(make::batch([there.clone()])).await.unwrap();
    replica.set_gate(closed(5)).await.unwrap();

    let one = store.insert(make::batch([memory("one")])).await.map(drop);
    let two = store.insert(make::batch([memory("two"), memory("three")])).await.map(drop);
    let together = {
        let writes = (0..8).map(|at| {
            let (store, batch) = (store.clone(), make::batch([memory(&format!("together {at}"))]));
            tokio::spawn(async move { store.insert(batch).await.map(drop) })
        });
        let mut outcomes = Vec::new();
        for write in writes.collect::<Vec<_>>() {
            outcomes.push(write.await.unwrap());
        }
        outcomes
    };
    let gone = store.forget(&forget(&scope, Selection::All)).await.map(drop);
    for outcome in [one, two, gone].into_iter().chain(together) {
        assert!(matches!(outcome, Err(Error::Fenced { epoch: 5 })), "{outcome:?}");
    }
    assert_eq!(everything(&replica).await, [item(&whole(1, there))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_mover_writes_is_waited_for_too() {
    let Some(home) = Home::new() else { return };
    let replica = home.replica().await;
    replica.set_gate(closed(1)).await.unwrap();
    let mut direct = home.direct().await;
    let mut mover = home.direct().await;
    mover.execute("SET ROLE orchestra_move; BEGIN; SELECT orchestra.begin_moved_write(1, false)").await.unwrap();
    let opener = replica.clone();
    let opening = tokio::spawn(async move { opener.set_gate(open_to_clients(2)).await });
    until_waiting(&mut direct, "set_gate", 1).await;
    assert!(!opening.is_finished());
    mover.execute("COMMIT").await.unwrap();
    opening.await.unwrap().unwrap();
    let refused = mover.execute("SELECT orchestra.begin_moved_write(1, false)").await.unwrap_err();
    assert_eq!(code(&refused).as_deref(), Some(FENCED), "{refused}");
    mover.close().await.unwrap();
}
