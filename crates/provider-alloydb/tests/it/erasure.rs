//! A scope that is too large to be forgotten in one transaction.

use std::time::Duration;

use memory_core::{Clock as _, Filter, ForgetReceipt, ForgetRequest, Memory, MemoryId, MemoryStore as _, Selection};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};

use crate::support::{Home, forget, wait_until};

const LONGEST: Duration = Duration::from_secs(20);

/// Turns of two sessions, of which each tenth was derived from the one before it.
fn turns(home: &Home, count: usize) -> Vec<Memory> {
    let now = home.clock.now();
    let days = ["monday", "tuesday"].map(|day| make::session("acme", "ann", day));
    let mut turns: Vec<Memory> = (0..count).map(|at| make::memory(&days[at % 2], &format!("turn {at}"), now)).collect();
    for at in (10..count).step_by(10) {
        turns[at].evidence = vec![turns[at - 1].id];
    }
    turns
}

/// What was written down of each part, in order.
async fn audit(direct: &mut PgConnection) -> Vec<Value> {
    let statement = "SELECT detail FROM orchestra.audit WHERE action = 'forget' ORDER BY sequence";
    sqlx::query_scalar(statement).fetch_all(direct).await.expect("an answer")
}

fn sum(audit: &[Value], name: &str) -> u64 {
    audit.iter().map(|detail| detail[name].as_u64().expect("a count")).sum()
}

fn counts(receipt: &ForgetReceipt) -> [u64; 5] {
    let ForgetReceipt { forgotten, derived, former_versions, embeddings, sessions, .. } = receipt;
    [forgotten.len() as u64, derived.len() as u64, *former_versions, *embeddings, *sessions]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_scope_goes_in_parts_and_the_receipt_counts_them_together() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let turns = turns(&home, 2500);
    let elsewhere = Memory {
        evidence: vec![turns[0].id, turns[2400].id],
        ..make::memory(&make::user("acme", "bob"), "Ann talks much", home.clock.now())
    };
    store.insert(make::batch(turns.iter().cloned().chain([elsewhere.clone()]))).await.unwrap();
    let trial = ForgetRequest { dry_run: true, ..forget(&scope, Selection::All) };
    let trial = store.forget(&trial).await.unwrap();
    assert_eq!(counts(&trial), [2500, 1, 0, 0, 2]);
    let receipt = store.forget(&forget(&scope, Selection::All)).await.unwrap();
    assert_eq!(receipt.forgotten, turns.iter().map(|turn| turn.id).collect::<Vec<_>>(), "each once, oldest first");
    assert_eq!((receipt.derived.as_slice(), counts(&receipt)), (&[elsewhere.id][..], counts(&trial)));
    let parts = audit(&mut home.direct().await).await;
    assert!(parts.iter().all(|part| part["memories"].as_u64() <= Some(1001)), "{parts:?}");
    let written = ["memories", "derived", "former_versions", "embeddings", "sessions"].map(|name| sum(&parts, name));
    assert_eq!((parts.len(), written), (3, counts(&receipt)));
    assert_eq!((&parts[0]["scope"], &parts[0]["selection"]), (&json!({"user": "ann"}), &json!("all")));
    assert!(!format!("{parts:?}").contains("turn"), "nothing of what memories say");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_that_match_or_are_named_go_in_parts_too() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let turns = turns(&home, 3000);
    store.insert(make::batch(turns.clone())).await.unwrap();
    // Turn 999 in the first part, and in the second one turn 1000, which was derived from it: each was asked for.
    let mut ids: Vec<MemoryId> = turns[..2000].iter().map(|turn| turn.id).collect();
    ids.extend([make::id(), turns[0].id]);
    let selection = Selection::Ids(ids.clone());
    let trial = ForgetRequest { dry_run: true, ..forget(&scope, selection.clone()) };
    let trial = store.forget(&trial).await.unwrap();
    let receipt = store.forget(&forget(&scope, selection)).await.unwrap();
    // Turn 1999 is the source of turn 2000, which was not named.
    assert_eq!((counts(&receipt), counts(&trial)), ([2000, 1, 0, 0, 0], [2000, 1, 0, 0, 0]));
    assert_eq!(receipt.derived, [turns[2000].id]);
    let (mut gone, mut asked) = (receipt.forgotten, ids);
    gone.sort_unstable();
    asked.retain(|id| turns.iter().any(|turn| turn.id == *id));
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(gone, asked);
    let filter = Filter::from_json(&json!({"text": {"ne": "turn 2501"}})).unwrap();
    let receipt = store.forget(&forget(&scope, Selection::Matching(filter))).await.unwrap();
    assert_eq!(counts(&receipt), [998, 0, 0, 0, 1], "tuesday's turn 2501 stays");
    let empty = store.forget(&forget(&scope, Selection::Ids(Vec::new()))).await.unwrap();
    assert_eq!((counts(&empty), empty.token.is_some()), ([0; 5], true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_that_is_cut_off_has_done_whole_parts_and_is_taken_up_again() {
    let Some(mut server) = services::private(Service::Postgres) else { return };
    let home = Home::at(server.url());
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let turns = turns(&home, 4500);
    for part in turns.chunks(1500) {
        store.insert(make::batch(part.to_vec())).await.unwrap();
    }
    // It comes to a stop in the third part: somebody has a hand on one of its memories.
    let mut holder = home.direct().await;
    let mut holding = holder.begin().await.unwrap();
    let hold = sqlx::query("SELECT FROM orchestra.memories WHERE id = $1 FOR UPDATE").bind(turns[2500].id.as_uuid());
    hold.execute(&mut *holding).await.unwrap();
    let erasing = tokio::spawn({
        let (store, request) = (store.clone(), forget(&scope, Selection::All));
        async move { store.forget(&request).await }
    });
    let mut direct = home.direct().await;
    wait_until("it waits in its third part", LONGEST, async || {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%forget_memories%'";
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&mut direct).await.expect("an answer");
        waiting == 1 && audit(&mut direct).await.len() == 2
    })
    .await;
    server.kill().unwrap();
    assert!(erasing.await.unwrap().unwrap_err().is_retryable());
    server.restart().unwrap();

    let mut direct = home.direct().await;
    let parts = audit(&mut direct).await;
    // A thousand each, and turn 1000 with the first: it was derived from turn 999.
    assert_eq!((parts.len(), sum(&parts, "memories")), (2, 2001), "two whole parts");
    let held = "SELECT count(*) FROM orchestra.memories";
    let left: i64 = sqlx::query_scalar(held).fetch_one(&mut direct).await.unwrap();
    assert_eq!(left, 4500 - 2001, "and nothing of the third");
    let receipt = store.forget(&forget(&scope, Selection::All)).await.unwrap();
    assert_eq!(receipt.forgotten.len() as i64, left);
    let all = "SELECT (SELECT count(*) FROM orchestra.memories), (SELECT count(*) FROM orchestra.sessions), \
               (SELECT count(*) FROM orchestra.tombstones), \
               (SELECT sum(cardinality(memories))::bigint FROM orchestra.outbox WHERE event = 'forgotten')";
    let all: (i64, i64, i64, i64) = sqlx::query_as(all).fetch_one(&mut direct).await.unwrap();
    assert_eq!(all, (0, 0, 4500, 4500));
    assert_eq!(sum(&audit(&mut direct).await, "memories"), 4500);
}

/// Where the one who migrated could not give the function to its role.
#[tokio::test]
async fn without_the_role_of_the_index_what_was_derived_goes_all_the_same() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let mut turns = turns(&home, 100);
    turns[5].evidence = vec![turns[10].id];
    store.insert(make::batch(turns.clone())).await.unwrap();
    let mut direct = home.direct().await;
    direct.execute("ALTER FUNCTION orchestra.rows_with_derived OWNER TO CURRENT_USER").await.unwrap();
    let selection = Selection::Ids(vec![turns[9].id]);
    let receipt = store.forget(&forget(&make::user("acme", "ann"), selection)).await.unwrap();
    assert_eq!((receipt.forgotten, receipt.derived), (vec![turns[9].id], vec![turns[5].id, turns[10].id]));
}
