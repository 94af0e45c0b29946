//! Single writes that meet are written together, and each is answered as if it had been alone.

use std::collections::BTreeSet;
use std::time::Duration;

use memory_core::{
    Clock as _, Error, IdempotencyKey, InsertBatch, InsertReceipt, InsertStatus, Memory, MemoryStore as _, Result,
    Scope, Selection,
};
use memory_testkit::make;
use provider_alloydb::AlloyDbMemoryProvider;
use sqlx::{Connection as _, Executor as _};

use crate::support::{Home, everything, forget, wait_until};

/// As forgetting does: every write of the tenant waits.
const HOLD: &str = "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('orchestra:acme', 0))";

fn keyed(memory: &Memory, key: &str, body: u8) -> InsertBatch {
    let idempotency = IdempotencyKey { key: key.into(), body_hash: [body; 32] };
    InsertBatch { idempotency: Some(idempotency), ..make::batch([memory.clone()]) }
}

/// Sends all of them while another write of the same tenant is held up, so that they meet, and gives what each was answered.
async fn send_at_once(
    home: &Home,
    store: &AlloyDbMemoryProvider,
    batches: Vec<InsertBatch>,
) -> Vec<Result<InsertReceipt>> {
    let mut holder = home.direct().await;
    holder.execute(HOLD).await.expect("an answer");
    let scope = make::user("acme", "first");
    let spawn = |batch: InsertBatch| {
        let store = store.clone();
        tokio::spawn(async move { store.insert(batch).await })
    };
    let first = spawn(make::batch([make::memory(&scope, "held up", home.clock.now())]));
    let mut watcher = home.direct().await;
    let waiting = "SELECT count(*) = 1 FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
                   WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted";
    let it_waits = async || sqlx::query_scalar(waiting).fetch_one(&mut watcher).await.expect("an answer");
    wait_until("it waits", Duration::from_secs(60), it_waits).await;
    let tasks: Vec<_> = batches.into_iter().map(spawn).collect();
    // The runtime of the tests has one thread: by then each has come to its place in the line.
    for _ in 0..tasks.len() {
        tokio::task::yield_now().await;
    }
    holder.execute("COMMIT").await.expect("an answer");
    first.await.expect("an answer").expect("an answer");
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.expect("an answer"));
    }
    answers
}

async fn texts(store: &AlloyDbMemoryProvider, scope: &Scope) -> Vec<String> {
    let page = store.list(&everything(scope)).await.expect("an answer");
    page.memories.into_iter().map(|(memory, _)| memory.text.clone()).collect()
}

fn tokens(answers: &[Result<InsertReceipt>]) -> BTreeSet<&str> {
    answers.iter().flatten().map(|receipt| &*receipt.token.0).collect()
}

#[tokio::test]
async fn writes_that_meet_are_one_transaction() {
    const WRITES: usize = 60;
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::session("acme", "ann", "monday");
    let turn = make::memory(&scope, "the first turn", home.clock.now());
    store.insert(make::batch([turn])).await.unwrap();
    let memories: Vec<_> =
        (0..WRITES).map(|at| make::memory(&scope, &format!("entry {at}"), home.clock.now())).collect();
    let batches = memories.iter().enumerate().map(|(at, memory)| match at % 2 {
        0 => make::batch([memory.clone()]),
        _ => keyed(memory, &format!("key {at}"), 1),
    });
    let answers = send_at_once(&home, &store, batches.collect()).await;
    for (answer, memory) in answers.iter().zip(&memories) {
        let receipt = answer.as_ref().unwrap();
        assert_eq!((receipt.items.len(), receipt.replayed), (1, false));
        assert_eq!((receipt.items[0].id, receipt.items[0].status), (memory.id, InsertStatus::Created));
    }
    assert_eq!(tokens(&answers).len(), 1);
    let texts = texts(&store, &scope).await;
    let sent: Vec<_> = memories.iter().map(|memory| memory.text.clone()).collect();
    assert_eq!(&texts[1..], sent, "in the order in which they came");
    let again = store.insert(keyed(&memories[1], "key 1", 1)).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.token, answers[1].as_ref().unwrap().token);
    let found = store.turn_before(&scope, memories[7].id).await.unwrap().expect("a turn");
    assert_eq!(found.id, memories[6].id, "they are turns of their session");
    store.close().await;
}

#[tokio::test]
async fn each_is_answered_as_if_it_had_been_alone() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let new = |text: &str| make::memory(&scope, text, home.clock.now());
    let (known, gone, keyed_before) = (new("known"), new("gone"), new("with a key"));
    store.insert(make::batch([known.clone(), gone.clone()])).await.unwrap();
    store.insert(keyed(&keyed_before, "used", 1)).await.unwrap();
    store.forget(&forget(&scope, Selection::Ids(vec![gone.id]))).await.unwrap();
    let other_tenants = make::memory(&make::user("globex", "bob"), "theirs", home.clock.now());
    store.insert(make::batch([other_tenants.clone()])).await.unwrap();

    let changed = Memory { text: "another text".into(), ..known.clone() };
    let stolen = Memory { id: other_tenants.id, ..new("ours") };
    let twice = new("sent twice");
    let first_of_session = make::memory(&make::session("acme", "ann", "new"), "hello", home.clock.now());
    let mut batches = vec![
        make::batch([known.clone()]),
        make::batch([changed]),
        make::batch([gone.clone()]),
        make::batch([stolen]),
        keyed(&keyed_before, "used", 1),
        keyed(&new("another body"), "used", 2),
        make::batch([twice.clone()]),
        make::batch([twice.clone()]),
        make::batch([first_of_session.clone()]),
    ];
    let simple = batches.len();
    batches.extend((0..20).map(|at| make::batch([new(&format!("simple {at}"))])));
    let answers = send_at_once(&home, &store, batches).await;
    let status = |at: usize| answers[at].as_ref().unwrap().items[0].status;
    assert_eq!(status(0), InsertStatus::Unchanged);
    assert!(matches!(&answers[1], Err(Error::IdTaken(id)) if *id == known.id), "{:?}", answers[1]);
    assert!(matches!(&answers[2], Err(Error::Forgotten(id)) if *id == gone.id), "{:?}", answers[2]);
    assert!(matches!(&answers[3], Err(Error::IdTaken(id)) if *id == other_tenants.id), "{:?}", answers[3]);
    assert!(answers[4].as_ref().unwrap().replayed);
    assert!(matches!(&answers[5], Err(Error::IdempotencyConflict { key }) if key == "used"), "{:?}", answers[5]);
    let both = BTreeSet::from([format!("{:?}", status(6)), format!("{:?}", status(7))]);
    assert_eq!(both, BTreeSet::from(["Created".to_owned(), "Unchanged".to_owned()]), "one of the two wrote it");
    assert_eq!(status(8), InsertStatus::Created);
    assert!(answers[simple..].iter().all(|answer| answer.is_ok()));
    assert_eq!(texts(&store, &scope).await.len(), 4 + 20, "known, with a key, sent twice, hello, and what is simple");
    store.close().await;
}

#[tokio::test]
async fn who_gives_up_holds_up_nobody() {
    let Some(home) = Home::new() else { return };
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let mut holder = home.direct().await;
    holder.execute(HOLD).await.unwrap();
    let write = |text: &str| {
        let (store, batch) = (store.clone(), make::batch([make::memory(&scope, text, home.clock.now())]));
        tokio::spawn(async move { store.insert(batch).await })
    };
    let given_up: Vec<_> = (0..8).map(|at| write(&format!("given up {at}"))).collect();
    tokio::task::yield_now().await;
    for task in &given_up {
        task.abort();
    }
    let waits = write("waits");
    holder.execute("COMMIT").await.unwrap();
    waits.await.unwrap().unwrap();
    holder.close().await.unwrap();
    store.close().await;
}
