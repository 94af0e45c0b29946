//! The primary is killed under load and a replica takes its place, again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use memory_core::{Error, MemoryStore as _, Scope, Timestamp};
use memory_testkit::make;
use memory_testkit::services::{self, SYNCHRONOUS};
use provider_alloydb::AlloyDbMemoryProvider;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::config;
use super::proxy::Proxy;
use crate::durability::{Told, WRITERS, assert_each_once, compare, write};
use crate::support::{Home, is_full_campaign, wait_until};

/// From when the address leads to the promoted one to the first acknowledged write.
const RECOVERY: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_the_primary_and_is_there_once() {
    // A killed primary does not come back, and the last one left could not acknowledge anything.
    let rounds: &[usize] = if is_full_campaign() { &[4, 4, 2] } else { &[1] };
    for rounds in rounds {
        if !campaign(*rounds).await {
            return;
        }
    }
}

async fn campaign(rounds: usize) -> bool {
    let Some(mut cluster) = services::cluster(rounds + 1, SYNCHRONOUS) else { return false };
    let home = Home::at(cluster.primary.url());
    home.prepare().await;
    let proxy = Proxy::to(cluster.primary.port()).await;
    let mut config = config(&home, &proxy, &cluster);
    config.max_connections = 8;
    let store = AlloyDbMemoryProvider::connect(config).await.expect("connect");
    let now = memory_core::Clock::now(&home.clock);
    let is_done = Arc::new(AtomicBool::new(false));
    let written = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let scope = make::session("acme", &format!("user-{writer}"), "monday");
            tokio::spawn(write(store.clone(), scope, now, is_done.clone(), written.clone()))
        })
        .collect();
    let reader = tokio::spawn(read(store.clone(), make::user("acme", "reader"), now, is_done.clone()));
    let mut primary: Option<usize> = None;
    for _ in 0..rounds {
        let before = written.load(Ordering::Relaxed);
        wait_until("they write", 2 * RECOVERY, async || written.load(Ordering::Relaxed) >= before + 100).await;
        match primary {
            None => cluster.primary.kill().expect("killed"),
            Some(at) => cluster.replicas[at].kill().expect("killed"),
        }
        let killed = Instant::now();
        proxy.point_to(None);
        let at = cluster.furthest().expect("a replica");
        cluster.promote(at).expect("promoted");
        let others = (0..cluster.replicas.len()).filter(|other| *other != at);
        for other in others.filter(|other| is_up(cluster.replicas[*other].port())) {
            cluster.follow(other, at).expect("it follows");
        }
        let before = written.load(Ordering::Relaxed);
        proxy.point_to(Some(cluster.replicas[at].port()));
        let recovery =
            wait_until("they write again", RECOVERY, async || written.load(Ordering::Relaxed) > before).await;
        eprintln!("promoted {at} after {:?}; writes {recovery:?} later", killed.elapsed() - recovery);
        primary = Some(at);
    }
    is_done.store(true, Ordering::Relaxed);
    let url = cluster.replicas[primary.expect("a round")].url();
    let options: PgConnectOptions = url.parse().expect("a URL");
    let mut direct = PgConnection::connect_with(&options.database(&home.name)).await.expect("connect");
    let mut all = vec![reader.await.expect("what it saw")];
    for (number, writer) in writers.into_iter().enumerate() {
        let told = writer.await.expect("what it was told");
        compare(&store, &make::session("acme", &format!("user-{number}"), "monday"), &told).await;
        all.push(told);
    }
    assert_each_once(&mut direct, &all).await;
    direct.close().await.expect("close");
    let batches = all.iter().map(|told| told.batches).sum::<u64>();
    eprintln!("{rounds} promotions, {batches} batches acknowledged");
    true
}

/// Whether somebody listens there.
fn is_up(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

/// Writes and searches what was written, now and from before, until it is done.
async fn read(store: AlloyDbMemoryProvider, scope: Scope, now: Timestamp, is_done: Arc<AtomicBool>) -> Told {
    let mut tokens = Vec::new();
    while !is_done.load(Ordering::Relaxed) {
        let number = tokens.len();
        let mut batch = make::batch([make::memory(&scope, &format!("note{number}"), now)]);
        batch.idempotency = crate::support::key(&format!("reader {number}"));
        let id = batch.memories[0].memory.id;
        let token = loop {
            match store.insert(batch.clone()).await {
                Ok(receipt) => break receipt.token,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
        };
        tokens.push((id, token));
        // The first one's token is of the first primary.
        for at in [0, number] {
            let (id, token) = &tokens[at];
            let mut search = make::search(&scope, None, Some(&format!("note{at}")));
            search.at_least = Some(token.clone());
            let seen = loop {
                match store.search(&search).await {
                    Ok(seen) => break seen.candidates,
                    Err(Error::NotYetVisible(token)) => panic!("{token:?} was acknowledged"),
                    Err(error) => assert!(error.is_retryable(), "{error:?}"),
                }
            };
            assert!(seen.iter().any(|candidate| candidate.memory.id == *id), "{at} of {number}");
        }
    }
    let writes = tokens.len() as u64;
    Told { batches: writes, memories: writes, ..Told::default() }
}
