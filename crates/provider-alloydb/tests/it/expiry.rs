//! What has expired leaves the disk: of every tenant, by both clocks, and nothing else.

use std::time::Duration;

use chrono::Utc;
use memory_core::{
    Clock as _, Embedding, InsertStatus, Memory, MemoryPatch, MemoryStore as _, Scope, Selection, Timestamp,
};
use memory_testkit::make;
use provider_alloydb::{AlloyDbMemoryProvider, Removed};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::support::{Home, everything, forget, key, wait_until};

const MINUTE: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(20);

/// A memory that expires within a minute.
fn passing(home: &Home, scope: &Scope, text: &str) -> Memory {
    Memory { expires_at: Some(home.clock.now() + MINUTE), ..make::memory(scope, text, home.clock.now()) }
}

fn vector(seed: u64) -> Embedding {
    make::embedding(&make::space("testkit"), seed)
}

async fn count(connection: &mut PgConnection, table: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM orchestra.{table}");
    sqlx::query_scalar(AssertSqlSafe(statement)).fetch_one(connection).await.expect("an answer")
}

/// Rows of memories, former versions, sessions and tombstones.
async fn counts(connection: &mut PgConnection) -> [i64; 4] {
    let mut counts = [0; 4];
    for (at, table) in ["memories", "memory_versions", "sessions", "tombstones"].into_iter().enumerate() {
        counts[at] = count(connection, table).await;
    }
    counts
}

async fn sweep(store: &AlloyDbMemoryProvider) -> [u64; 4] {
    let Removed { memories, former_versions, sessions, idempotency_keys, .. } =
        store.remove_expired().await.expect("an answer");
    [memories, former_versions, sessions, idempotency_keys]
}

#[tokio::test]
async fn what_has_expired_leaves_the_disk_of_every_tenant() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let (monday, tuesday) = (make::session("acme", "ann", "monday"), make::session("acme", "ann", "tuesday"));
    let code = passing(&home, &monday, "the door code is 1234");
    let noted = Memory { evidence: vec![code.id], ..make::memory(&tuesday, "Ann was at the office", home.clock.now()) };
    let turn = passing(&home, &tuesday, "see you later");
    let other = passing(&home, &make::session("globex", "bob", "monday"), "the code of another");
    store.insert(make::embedded(code.clone(), vector(1))).await.unwrap();
    store.insert(make::batch([noted.clone(), turn.clone()])).await.unwrap();
    store.insert(make::batch([other])).await.unwrap();
    let patch = MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
    store.update(&monday, code.id, patch).await.unwrap();
    let mut direct = home.direct().await;

    home.clock.advance(MINUTE - Duration::from_secs(1));
    assert_eq!(sweep(&store).await, [0; 4]);
    home.clock.advance(Duration::from_secs(1));
    assert_eq!(counts(&mut direct).await, [4, 1, 3, 0], "hidden, and still on the disk");
    assert_eq!(sweep(&store).await, [3, 1, 2, 0], "of ann's tuesday a turn is left");
    assert_eq!(counts(&mut direct).await, [1, 0, 1, 0]);
    assert_eq!(sweep(&store).await, [0; 4]);

    assert_eq!(store.get(&tuesday, noted.id).await.unwrap().as_deref(), Some(&noted), "what was derived stays");
    let told: Vec<(String, i32)> = sqlx::query_as(
        "SELECT tenant, cardinality(memories) FROM orchestra.outbox WHERE event = 'expired' ORDER BY tenant",
    )
    .fetch_all(&mut direct)
    .await
    .unwrap();
    assert_eq!(told, [("acme".to_owned(), 2), ("globex".to_owned(), 1)]);
    let again = Memory { expires_at: None, ..code };
    let receipt = store.insert(make::batch([again])).await.unwrap();
    assert_eq!(receipt.items[0].status, InsertStatus::Created, "an expired id is no forgotten one");
}

#[tokio::test]
async fn a_session_that_goes_on_keeps_its_name() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::session("acme", "ann", "monday");
    store.insert(make::batch([passing(&home, &scope, "first")])).await.unwrap();
    let mut direct = home.direct().await;
    home.clock.advance(MINUTE);
    // The one half of a sweep: the session's only turn is gone, and it is not yet examined.
    let now = home.clock.now();
    let half = "SELECT memories FROM orchestra.remove_expired($1, $1, 10)";
    let removed: i64 = sqlx::query_scalar(half).bind(now).fetch_one(&mut direct).await.unwrap();
    assert_eq!((removed, count(&mut direct, "sessions WHERE may_be_empty").await), (1, 1));
    let [before, after] = ["second", "third"].map(|text| make::memory(&scope, text, now));
    store.insert(make::batch([before.clone()])).await.unwrap();
    assert_eq!(sweep(&store).await, [0; 4]);
    assert_eq!(count(&mut direct, "sessions WHERE NOT may_be_empty").await, 1);
    store.insert(make::batch([after.clone()])).await.unwrap();
    let found = store.turn_before(&scope, after.id).await.unwrap();
    assert_eq!(found.as_deref(), Some(&before), "both are turns of one session");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_is_being_written_keeps_the_name_of_its_session() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::session("acme", "ann", "monday");
    store.insert(make::batch([passing(&home, &scope, "first")])).await.unwrap();
    let mut direct = home.direct().await;
    // What an insertion does that has found the session, and has not come to its end.
    let mut writing = direct.begin().await.unwrap();
    let lock = "SELECT pg_advisory_xact_lock_shared(hashtextextended('orchestra:acme', 0))";
    writing.execute(lock).await.unwrap();
    let turn = "INSERT INTO orchestra.memories (id, tenant, user_id, session_id, session, version, kind, text, metadata, \
                importance, writer, path, evidence, recorded_at, content_hash, words, length) \
                SELECT gen_random_uuid(), tenant, user_id, session_id, session, 1, kind, 'second', '{}', 0, writer, '', '{}', \
                now(), '', '', 0 FROM orchestra.memories";
    writing.execute(turn).await.unwrap();

    home.clock.advance(MINUTE);
    let sweeping = tokio::spawn(async move { sweep(&store).await });
    let mut watching = home.direct().await;
    wait_until("it waits for the turn", LONGEST, async || {
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";
        sqlx::query_scalar::<_, i64>(waits).fetch_one(&mut watching).await.expect("an answer") == 1
    })
    .await;
    writing.commit().await.unwrap();
    assert_eq!(sweeping.await.unwrap(), [1, 0, 0, 0], "the memory, and not its session");
    assert_eq!(count(&mut direct, "sessions").await, 1);
}

#[tokio::test]
async fn something_has_expired_once_it_has_by_both_clocks() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let real = |seconds: i64| Timestamp::from(Utc::now()) + chrono::TimeDelta::seconds(seconds);
    let [past, future] = [real(-60), real(3600)].map(|expires_at| Memory {
        expires_at: Some(expires_at),
        ..make::memory(&scope, &expires_at.to_string(), home.clock.now())
    });
    let mut keyed = make::batch([past.clone(), future.clone()]);
    keyed.idempotency = key("a key");
    store.insert(keyed).await.unwrap();
    assert_eq!(sweep(&store).await, [0; 4], "the program's clock is slow");
    let years = (real(0) - home.clock.now()).to_std().unwrap() + Duration::from_secs(10 * 365 * 24 * 3600);
    home.clock.advance(years);
    let mut late = make::batch([make::memory(&scope, "of the future", home.clock.now())]);
    late.idempotency = key("a key of the future");
    store.insert(late).await.unwrap();
    home.clock.advance(Duration::from_secs(25 * 3600));
    assert_eq!(sweep(&store).await, [1, 0, 0, 1], "the program's clock is fast");
    let mut direct = home.direct().await;
    let left: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT id FROM orchestra.memories WHERE expires_at IS NOT NULL")
        .fetch_all(&mut direct)
        .await
        .unwrap();
    assert_eq!(left, [future.id.as_uuid()]);
    assert_eq!(count(&mut direct, "idempotency_keys WHERE key = 'a key of the future'").await, 1);
}

#[tokio::test]
async fn keys_that_no_longer_hold_go() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let insert = async |text: &str| {
        let mut batch = make::batch([make::memory(&scope, text, home.clock.now())]);
        batch.idempotency = key(text);
        store.insert(batch).await.unwrap();
    };
    insert("old").await;
    home.clock.advance(Duration::from_secs(24 * 3600 - 1));
    insert("young").await;
    assert_eq!(sweep(&store).await, [0; 4]);
    home.clock.advance(Duration::from_secs(1));
    assert_eq!(sweep(&store).await, [0, 0, 0, 1]);
    assert_eq!(count(&mut home.direct().await, "idempotency_keys WHERE key = 'young'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_share_the_work_and_wait_for_nobody() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scopes: Vec<Scope> = (0..10).map(|at| make::session("acme", "ann", &format!("day {at}"))).collect();
    let memories: Vec<Memory> = (0..2500).map(|at| passing(&home, &scopes[at % 10], &format!("number {at}"))).collect();
    store.insert(make::batch(memories.clone())).await.unwrap();
    home.clock.advance(MINUTE);
    // Somebody has a hand on one, and does not let go.
    let mut direct = home.direct().await;
    let mut holding = direct.begin().await.unwrap();
    let hold = sqlx::query("SELECT FROM orchestra.memories WHERE id = $1 FOR UPDATE").bind(memories[7].id.as_uuid());
    hold.execute(&mut *holding).await.unwrap();

    let others = [home.open().await, home.open().await];
    let (a, b, c) = tokio::join!(sweep(&store), sweep(&others[0]), sweep(&others[1]));
    assert_eq!(a[0] + b[0] + c[0], 2499, "{a:?} {b:?} {c:?}");
    holding.rollback().await.unwrap();
    assert_eq!(sweep(&store).await[0], 1);
    assert_eq!(counts(&mut direct).await, [0; 4]);
    let told: i64 =
        sqlx::query_scalar("SELECT sum(cardinality(memories)) FROM orchestra.outbox WHERE event = 'expired'")
            .fetch_one(&mut direct)
            .await
            .unwrap();
    assert_eq!(told, 2500, "each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_done_in_the_background_beside_writers() {
    let Some(home) = Home::new() else { return };
    let mut config = home.config();
    config.sweep_every = Some(Duration::from_millis(5));
    let store = home.open_with(config).await;
    let mut direct = home.direct().await;
    // Turns that expire as they are written, turns that stay, and forgetting, all in the same sessions.
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (store, clock) = (store.clone(), home.clock.clone());
            tokio::spawn(async move {
                let scope = make::session("acme", "ann", &format!("day {}", writer % 2));
                let mut stays = Vec::new();
                for turn in 0..50 {
                    let now = clock.now();
                    let expired = (0..4).map(|at| Memory {
                        expires_at: Some(now),
                        ..make::memory(&scope, &format!("expired {writer} {turn} {at}"), now)
                    });
                    store.insert(make::batch(expired)).await.expect("an answer");
                    let kept = make::memory(&scope, &format!("kept {writer} {turn}"), now);
                    store.insert(make::batch([kept.clone()])).await.expect("an answer");
                    if turn % 2 == 0 {
                        let selection = Selection::Ids(vec![kept.id]);
                        store.forget(&forget(&scope, selection)).await.expect("an answer");
                    } else {
                        stays.push(kept.id);
                    }
                }
                stays
            })
        })
        .collect();
    let mut stays = Vec::new();
    for writer in writers {
        stays.extend(writer.await.unwrap());
    }
    let gone = async || count(&mut direct, "memories WHERE expires_at IS NOT NULL").await == 0;
    wait_until("what expired is gone", LONGEST, gone).await;
    let page = store.list(&everything(&make::user("acme", "ann"))).await.unwrap();
    let mut found: Vec<_> = page.memories.iter().map(|(memory, _)| memory.id).collect();
    found.sort_unstable();
    stays.sort_unstable();
    assert_eq!(found, stays);
    let lost = "memories m WHERE NOT EXISTS (SELECT FROM orchestra.sessions s WHERE s.session = m.session)";
    assert_eq!(count(&mut direct, lost).await, 0, "no turn has lost its session");
    assert_eq!(count(&mut direct, "sessions").await, 2);
    store.close().await;
}

/// What the role may do by itself, whatever the functions say.
#[tokio::test]
async fn the_role_of_the_sweep_can_remove_nothing_else_and_read_no_text() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::session("acme", "ann", "monday");
    let (code, stays) = (passing(&home, &scope, "the code"), make::memory(&scope, "it stays", home.clock.now()));
    let mut batch = make::batch([code.clone(), stays.clone()]);
    batch.idempotency = key("a key");
    store.insert(batch).await.unwrap();
    for id in [code.id, stays.id] {
        let patch = MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
        store.update(&scope, id, patch).await.unwrap();
    }
    let mut direct = home.direct().await;
    // The database's clock is what counts: one that has expired by it, one that has not.
    direct.execute("UPDATE orchestra.memories SET expires_at = now() + '1 h' WHERE text = 'it stays'").await.unwrap();
    direct.execute("UPDATE orchestra.idempotency_keys SET created_at = now() - interval '23 h'").await.unwrap();
    direct.execute("SET ROLE orchestra_sweep").await.unwrap();
    for refused in [
        "SELECT text FROM orchestra.memories",
        "SELECT metadata FROM orchestra.memory_versions",
        "SELECT embedding FROM orchestra.memories",
        "SELECT user_id FROM orchestra.sessions",
        "SELECT receipt FROM orchestra.idempotency_keys",
        "SELECT FROM orchestra.tombstones",
        "UPDATE orchestra.memories SET expires_at = now() - interval '1 h'",
        "UPDATE orchestra.memories SET text = ''",
        "INSERT INTO orchestra.outbox (tenant, event, memories, occurred_at) VALUES ('acme', 'forgotten', '{}', now())",
    ] {
        let error = direct.execute(refused).await.expect_err(refused);
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501", "{refused}: {error}");
    }
    let mut removed = async |statement: &str| direct.execute(AssertSqlSafe(statement)).await.unwrap().rows_affected();
    assert_eq!(removed("DELETE FROM orchestra.memory_versions").await, 0, "their memories are there");
    assert_eq!(removed("DELETE FROM orchestra.memories").await, 1);
    assert_eq!(removed("DELETE FROM orchestra.memory_versions").await, 1, "that of the one which went");
    assert_eq!(removed("DELETE FROM orchestra.idempotency_keys").await, 0);
    let left = home.direct().await.fetch_one("SELECT FROM orchestra.memories WHERE text = 'it stays'").await;
    left.expect("it stays");
}

#[tokio::test]
async fn functions_that_are_not_the_roles_say_so_and_remove_nothing() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    store.insert(make::batch([passing(&home, &scope, "the code")])).await.unwrap();
    home.clock.advance(MINUTE);
    let mut direct = home.direct().await;
    direct.execute("ALTER FUNCTION orchestra.remove_expired OWNER TO CURRENT_USER").await.unwrap();
    let error = store.remove_expired().await.unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("does not belong to the role orchestra_sweep") && !error.is_retryable(), "{cause}");
    assert_eq!(count(&mut direct, "memories").await, 1);
}
