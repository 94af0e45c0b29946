//! A server that is killed and comes back: what was acknowledged is there, once, and the provider goes on by itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memory_core::{Error, InsertBatch, Memory, MemoryId, MemoryPatch, MemoryStore, Scope, Selection};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_alloydb::AlloyDbMemoryProvider;
use sqlx::{Connection as _, PgConnection};

use crate::support::{Home, everything, forget, is_full_campaign, key, wait_until};

pub const WRITERS: usize = 8;
/// No call takes longer: it waits for a connection twice at most, and a killed server takes its connections with it.
const LONGEST: Duration = Duration::from_secs(10);
/// From the server's restart to the first acknowledged write. A fraction of it on a machine that has nothing else to do.
const RECOVERY: Duration = Duration::from_secs(10);

async fn open(home: &Home, connections: u32) -> AlloyDbMemoryProvider {
    home.prepare().await;
    let mut config = home.config();
    config.max_connections = connections;
    AlloyDbMemoryProvider::connect(config).await.expect("an answer")
}

/// What a writer was told, of its own user.
#[derive(Default)]
pub struct Told {
    /// The text of each memory that is there.
    pub there: BTreeMap<MemoryId, String>,
    /// Those whose last change was not acknowledged: either text may be there, or none where they were being forgotten.
    pub open: BTreeMap<MemoryId, Option<String>>,
    pub forgotten: Vec<MemoryId>,
    pub batches: u64,
    /// Memories that were inserted.
    pub memories: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_death_of_the_server_and_is_there_once() {
    let rounds = if is_full_campaign() { 50 } else { 3 };
    let Some(mut server) = services::private(Service::Postgres) else { return };
    let home = Home::at(server.url());
    let store = open(&home, 8).await;
    let is_done = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let now = memory_core::Clock::now(&home.clock);
            tokio::spawn(write(
                store.clone(),
                make::session("acme", &format!("user-{writer}"), "monday"),
                now,
                is_done.clone(),
                written.clone(),
            ))
        })
        .collect();
    let mut recoveries = Vec::new();
    for round in 0..rounds {
        let before = written.load(Ordering::Relaxed);
        wait_until("they write", LONGEST * 2, async || written.load(Ordering::Relaxed) >= before + 40 + round % 7)
            .await;
        server.kill().unwrap();
        server.restart().unwrap();
        let before = written.load(Ordering::Relaxed);
        let recovery =
            wait_until("they write again", RECOVERY, async || written.load(Ordering::Relaxed) > before).await;
        recoveries.push(recovery);
    }
    is_done.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    let mut direct = home.direct().await;
    for (number, writer) in writers.into_iter().enumerate() {
        let told = writer.await.unwrap();
        let scope = make::session("acme", &format!("user-{number}"), "monday");
        compare(&store, &scope, &told).await;
        all.push(told);
    }
    assert_each_once(&mut direct, &all).await;
    direct.close().await.unwrap();
    recoveries.sort();
    eprintln!(
        "{rounds} rounds, {} changes acknowledged, {} batches, {} forgotten; recovery {:?} to {:?}",
        written.load(Ordering::Relaxed),
        all.iter().map(|told| told.batches).sum::<u64>(),
        all.iter().map(|told| told.forgotten.len()).sum::<usize>(),
        recoveries[0],
        recoveries[recoveries.len() - 1]
    );
}

/// Inserts, updates and forgets until it is done. An insertion is sent again, with its key, until it is acknowledged.
pub async fn write(
    store: AlloyDbMemoryProvider,
    scope: Scope,
    now: memory_core::Timestamp,
    is_done: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
) -> Told {
    let user = scope.user().expect("a valid name").to_owned();
    let mut told = Told::default();
    while !is_done.load(Ordering::Relaxed) {
        let number = told.batches;
        let count = if number.is_multiple_of(3) { 5 } else { 1 };
        let memories: Vec<Memory> =
            (0..count).map(|at| make::memory(&scope, &format!("{user} {number} {at}"), now)).collect();
        let batch = InsertBatch { idempotency: key(&format!("{user} {number}")), ..make::batch(memories.clone()) };
        until_acknowledged(&store, &batch).await;
        told.batches += 1;
        told.memories += count;
        written.fetch_add(1, Ordering::Relaxed);
        told.there.extend(memories.iter().map(|memory| (memory.id, memory.text.clone())));
        let id = memories[0].id;
        if number % 3 == 1 {
            let text = format!("{} changed", memories[0].text);
            let patch = MemoryPatch { text: Some(text.clone()), ..MemoryPatch::default() };
            match in_time(store.update(&scope, id, patch)).await {
                Ok(_) => {
                    told.there.insert(id, text);
                    written.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    passing(&error);
                    told.open.insert(id, Some(text));
                }
            }
        }
        if number % 3 == 2 {
            match in_time(store.forget(&forget(&scope, Selection::Ids(vec![id])))).await {
                Ok(_) => {
                    told.there.remove(&id);
                    told.forgotten.push(id);
                    written.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    passing(&error);
                    told.open.insert(id, None);
                }
            }
        }
    }
    told
}

async fn until_acknowledged(store: &AlloyDbMemoryProvider, batch: &InsertBatch) {
    loop {
        match in_time(store.insert(batch.clone())).await {
            Ok(receipt) => {
                assert_eq!(receipt.items.len(), batch.memories.len());
                return;
            }
            Err(error) => passing(&error),
        }
    }
}

async fn in_time<T>(call: impl Future<Output = memory_core::Result<T>>) -> memory_core::Result<T> {
    let began = Instant::now();
    let result = call.await;
    assert!(began.elapsed() < LONGEST, "it took {:?}", began.elapsed());
    result
}

pub fn passing(error: &Error) {
    assert!(matches!(error, Error::Backend { .. }) && error.is_retryable(), "{error:?}");
}

/// One key, one effect: each key has its receipt, and each memory is in one of them.
pub async fn assert_each_once(direct: &mut PgConnection, told: &[Told]) {
    let counts: (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(id), count(DISTINCT id), count(DISTINCT key) FILTER (WHERE receipt IS NOT NULL), \
         count(DISTINCT key) FILTER (WHERE receipt IS NULL) \
         FROM orchestra.idempotency_keys LEFT JOIN LATERAL jsonb_array_elements_text(receipt -> 'ids') AS id ON true",
    )
    .fetch_one(direct)
    .await
    .expect("counts");
    let memories = told.iter().map(|told| told.memories).sum::<u64>() as i64;
    let batches = told.iter().map(|told| told.batches).sum::<u64>() as i64;
    assert_eq!(counts, (memories, memories, batches, 0));
}

pub async fn compare(store: &AlloyDbMemoryProvider, scope: &Scope, told: &Told) {
    let page = store.list(&everything(scope)).await.expect("an answer");
    let there: BTreeMap<MemoryId, &str> = page.memories.iter().map(|(memory, _)| (memory.id, &*memory.text)).collect();
    assert_eq!(there.len(), page.memories.len(), "each once");
    for (id, text) in &told.there {
        match (there.get(id), told.open.get(id)) {
            (Some(kept), None) => assert_eq!(kept, text),
            (Some(kept), Some(other)) => assert!(kept == text || Some(*kept) == other.as_deref(), "{kept}: {text}"),
            (None, Some(None)) => {}
            (None, _) => panic!("{text} was acknowledged and is not there"),
        }
    }
    for id in there.keys() {
        assert!(told.there.contains_key(id), "{id} was never told, or is forgotten");
    }
    for id in &told.forgotten {
        assert_eq!(store.history(scope, *id).await.expect("an answer"), []);
        let mut again = make::memory(scope, "again", page.memories[0].0.recorded_at);
        again.id = *id;
        assert!(matches!(store.insert(make::batch([again])).await, Err(Error::Forgotten(_))));
    }
}

/// Every connection of the pool is dead and does not know it: neither a read nor a write without a key fails for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_died_while_idle_fail_no_call() {
    let Some(mut server) = services::private(Service::Postgres) else { return };
    let home = Home::at(server.url());
    let store = open(&home, 4).await;
    let scope = make::user("acme", "ann");
    let now = memory_core::Clock::now(&home.clock);
    for round in 0..3 {
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let (store, scope) = (store.clone(), scope.clone());
                tokio::spawn(async move { store.list(&everything(&scope)).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        // Trusted for so long after they were used.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        server.kill().unwrap();
        server.restart().unwrap();
        let memory = make::memory(&scope, &format!("round {round}"), now);
        match round {
            0 => drop(store.insert(make::batch([memory])).await.expect("the first write")),
            1 => drop(store.list(&everything(&scope)).await.expect("the first read")),
            _ => drop(store.forget(&forget(&scope, Selection::All)).await.expect("the first forgetting")),
        }
    }
}

/// Right after they were used connections are trusted: a read and a write with a key are then sent a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_with_a_key_outlive_the_loss_of_a_connection() {
    let Some(home) = Home::new() else { return };
    let store = open(&home, 4).await;
    let scope = make::user("acme", "ann");
    let now = memory_core::Clock::now(&home.clock);
    let mut direct = home.direct().await;
    let end = "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let mut ended = 0;
    for round in 0..20 {
        store.stats(&scope).await.unwrap();
        ended += sqlx::query_scalar::<_, i64>(end).fetch_one(&mut direct).await.unwrap();
        let memory = make::memory(&scope, &format!("round {round}"), now);
        let id = memory.id;
        match round % 3 {
            0 => drop(store.get(&scope, id).await.expect("a read")),
            1 => drop(store.search(&make::search(&scope, None, Some("round"))).await.expect("a search")),
            _ => {
                let batch = InsertBatch { idempotency: key(&format!("{round}")), ..make::batch([memory]) };
                store.insert(batch).await.expect("a write with a key");
                assert!(store.get(&scope, id).await.unwrap().is_some());
            }
        }
    }
    assert!(ended >= 20, "{ended}");
}

/// A server that is there and says nothing: a call ends, and with it its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_says_nothing_is_waited_for_so_long_and_no_longer() {
    let Some(mut server) = services::private(Service::Postgres) else { return };
    let home = Home::at(server.url());
    home.prepare().await;
    let mut config = home.config();
    config.statement_timeout = Duration::from_millis(200);
    config.acquire_timeout = Duration::from_millis(500);
    let store = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let scope = make::user("acme", "ann");
    store.stats(&scope).await.unwrap();
    server.pause().unwrap();
    for _ in 0..3 {
        passing(&in_time(store.stats(&scope)).await.unwrap_err());
    }
    server.resume().unwrap();
    wait_until("it goes on", RECOVERY, async || store.stats(&scope).await.is_ok()).await;
}
