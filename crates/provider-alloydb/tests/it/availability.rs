//! A primary and its replicas: searches outlive the loss of any, writes go on with the promoted one, and nobody misses
//! what was written before.

mod failover;
mod proxy;

use std::time::{Duration, Instant};

use memory_core::{
    Error, ForgetRequest, InsertReceipt, MemoryId, MemoryPatch, MemoryStore, Scope, Selection, WriteToken,
};
use memory_testkit::make;
use memory_testkit::services::{self, PostgresCluster};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, ReplicaLag};

use self::proxy::Proxy;
use crate::durability::passing;
use crate::support::{Home, wait_until};

/// A replica is asked again within this, on a machine that has other things to do as well.
const BACK: Duration = Duration::from_secs(20);
const LAG: Duration = Duration::from_secs(600);

/// A store whose primary is reached through the proxy, and whose read pool are all replicas.
fn config(home: &Home, proxy: &Proxy, cluster: &PostgresCluster) -> AlloyDbConfig {
    let mut config = home.config();
    config.port = proxy.port;
    config.high_availability = true;
    config.read_hosts = cluster.replicas.iter().map(|replica| format!("127.0.0.1:{}", replica.port())).collect();
    config
}

async fn write(store: &AlloyDbMemoryProvider, home: &Home, scope: &Scope, text: &str) -> InsertReceipt {
    let memory = make::memory(scope, text, memory_core::Clock::now(&home.clock));
    store.insert(make::batch([memory])).await.expect("a receipt")
}

/// Which memories a search finds that must see what a token names.
async fn found(
    store: &AlloyDbMemoryProvider,
    scope: &Scope,
    token: Option<&WriteToken>,
) -> memory_core::Result<Vec<MemoryId>> {
    let mut search = make::search(scope, None, Some("note"));
    search.at_least = token.cloned();
    Ok(store.search(&search).await?.candidates.iter().map(|candidate| candidate.memory.id).collect())
}

/// The token of the transaction that many later.
fn later(token: &WriteToken, by: i64) -> WriteToken {
    let (instance, transaction) = token.0.rsplit_once(':').expect("a token");
    WriteToken(format!("{instance}:{}", transaction.parse::<i64>().expect("a number") + by))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_sees_the_write_that_it_asks_for_however_far_behind_the_replicas_are() {
    let Some(cluster) = services::cluster(2, &[]) else { return };
    let home = Home::at(cluster.primary.url());
    home.prepare().await;
    let proxy = Proxy::to(cluster.primary.port()).await;
    let store = AlloyDbMemoryProvider::connect(config(&home, &proxy, &cluster)).await.unwrap();
    let scope = make::user("acme", "ann");
    let first = write(&store, &home, &scope, "a first note").await.items[0].id;
    wait_until("each replica has it", BACK, async || {
        let both = [found(&store, &scope, None).await, found(&store, &scope, None).await];
        both.iter().all(|found| found.as_ref().is_ok_and(|found| found == &[first]))
    })
    .await;
    for at in 0..2 {
        cluster.delay(at, LAG).unwrap();
    }
    let second = write(&store, &home, &scope, "a second note").await;
    for _ in 0..4 {
        let seen = found(&store, &scope, Some(&second.token)).await.unwrap();
        assert!(seen.contains(&second.items[0].id) && seen.contains(&first), "the primary answers");
        assert_eq!(found(&store, &scope, None).await.unwrap(), [first], "a replica answers");
    }
    let never = later(&second.token, 1_000_000);
    let error = found(&store, &scope, Some(&never)).await.unwrap_err();
    assert!(matches!(&error, Error::NotYetVisible(token) if *token == never), "{error:?}");
    // What was told to be behind is not taken to be away.
    cluster.delay(0, Duration::ZERO).unwrap();
    wait_until("a replica has caught up", BACK, async || found(&store, &scope, None).await.unwrap().len() == 2).await;
}

/// It has not come to the migrations yet, nor to the very database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_answers_while_a_replica_lacks_the_schema() {
    let Some(cluster) = services::cluster(1, &[]) else { return };
    cluster.delay(0, LAG).unwrap();
    let home = Home::at(cluster.primary.url());
    home.prepare().await;
    let proxy = Proxy::to(cluster.primary.port()).await;
    let store = AlloyDbMemoryProvider::connect(config(&home, &proxy, &cluster)).await.unwrap();
    let scope = make::user("acme", "ann");
    let note = write(&store, &home, &scope, "a note").await.items[0].id;
    assert_eq!(found(&store, &scope, None).await.unwrap(), [note]);
    cluster.delay(0, Duration::ZERO).unwrap();
    proxy.point_to(None);
    wait_until("the replica answers", BACK, async || {
        found(&store, &scope, None).await.is_ok_and(|found| found == [note])
    })
    .await;
}

/// A transaction that is under way while a younger one has ended already: a snapshot of a standby alone does not tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_does_not_take_a_write_for_there_because_a_later_one_is() {
    let Some(cluster) = services::cluster(1, &[]) else { return };
    let home = Home::at(cluster.primary.url());
    home.prepare().await;
    let proxy = Proxy::to(cluster.primary.port()).await;
    let store = AlloyDbMemoryProvider::connect(config(&home, &proxy, &cluster)).await.unwrap();
    let scope = make::user("acme", "ann");
    let mut direct = home.direct().await;
    let mut transaction = sqlx::Connection::begin(&mut direct).await.unwrap();
    let under_way: String =
        sqlx::query_scalar("SELECT pg_current_xact_id()::text").fetch_one(&mut *transaction).await.unwrap();
    let ended = write(&store, &home, &scope, "a note").await;
    wait_until("the replica has it", BACK, async || found(&store, &scope, None).await.unwrap().len() == 1).await;
    let (instance, _) = ended.token.0.rsplit_once(':').unwrap();
    let under_way = WriteToken(format!("{instance}:{under_way}"));
    let error = found(&store, &scope, Some(&under_way)).await.unwrap_err();
    assert!(matches!(error, Error::NotYetVisible(_)), "{error:?}");
    // The replica alone knows enough to see that what has ended is there.
    proxy.point_to(None);
    assert_eq!(found(&store, &scope, Some(&ended.token)).await.unwrap().len(), 1);
    proxy.point_to(Some(cluster.primary.port()));
    transaction.commit().await.unwrap();
    assert_eq!(found(&store, &scope, Some(&under_way)).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn searches_outlive_the_loss_of_any_server_and_wait_for_none_twice() {
    let Some(mut cluster) = services::cluster(2, &[]) else { return };
    let home = Home::at(cluster.primary.url());
    home.prepare().await;
    let proxy = Proxy::to(cluster.primary.port()).await;
    let config = config(&home, &proxy, &cluster);
    let longest = 2 * config.acquire_timeout;
    let store = AlloyDbMemoryProvider::connect(config).await.unwrap();
    let scope = make::user("acme", "ann");
    let token = write(&store, &home, &scope, "a note").await.token;
    let search = async || found(&store, &scope, Some(&token)).await.map(|found| assert_eq!(found.len(), 1));

    // A storm, with one replica dead, and then one silent: none fails, none waits for long.
    cluster.replicas[0].kill().unwrap();
    storm(&store, &scope, &token, longest).await;
    assert_none_waits(search, BACK / 8).await;
    cluster.replicas[0].restart().unwrap();
    cluster.replicas[1].pause().unwrap();
    storm(&store, &scope, &token, longest).await;
    assert_none_waits(search, BACK / 8).await;

    // All replicas are gone, and come back.
    cluster.replicas[0].kill().unwrap();
    storm(&store, &scope, &token, longest).await;
    cluster.replicas[0].restart().unwrap();
    cluster.replicas[1].resume().unwrap();

    // The primary is gone: the replicas answer once they are known to be there again.
    cluster.primary.kill().unwrap();
    wait_until("the replicas answer", BACK, async || match search().await {
        Ok(()) => true,
        Err(error) => {
            passing(&error);
            false
        }
    })
    .await;
    assert_none_waits(search, Duration::from_millis(200)).await;
    passing(&found(&store, &scope, Some(&later(&token, 1_000_000))).await.unwrap_err());
    passing(&store.stats(&scope).await.unwrap_err());
    cluster.primary.restart().unwrap();
    wait_until("it writes", BACK, async || store.stats(&scope).await.is_ok()).await;
    write(&store, &home, &scope, "another note").await;
}

/// Searches, many more at once than there are connections.
async fn storm(store: &AlloyDbMemoryProvider, scope: &Scope, token: &WriteToken, longest: Duration) {
    let searches: Vec<_> = (0..200)
        .map(|_| {
            let (store, scope, token) = (store.clone(), scope.clone(), token.clone());
            tokio::spawn(async move {
                let began = Instant::now();
                assert_eq!(found(&store, &scope, Some(&token)).await.expect("an answer").len(), 1);
                began.elapsed()
            })
        })
        .collect();
    for search in searches {
        let took = search.await.expect("an answer");
        assert!(took < longest, "{took:?}");
    }
}

/// For so long, which is long enough for a replica that is away to be asked again, no search waits for it.
async fn assert_none_waits(search: impl AsyncFn() -> memory_core::Result<()>, time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        let asked = Instant::now();
        search().await.expect("an answer");
        let took = asked.elapsed();
        assert!(took < Duration::from_millis(900), "a second is what a connection is waited for: {took:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Connections stay with a server that takes no writes, while new ones reach one that does: no call fails for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_a_server_that_takes_no_writes_are_left() {
    let Some(cluster) = services::cluster(1, &[]) else { return };
    let home = Home::at(cluster.primary.url());
    home.prepare().await;
    let (standby, primary) = (cluster.replicas[0].port(), cluster.primary.port());
    wait_until("the standby has the schema", BACK, async || {
        let mut config = home.config();
        config.port = standby;
        AlloyDbMemoryProvider::connect(config).await.is_ok()
    })
    .await;
    let scope = make::user("acme", "ann");
    let kept = {
        let store = home.open().await;
        let receipt = write(&store, &home, &scope, "a note").await;
        receipt.items[0].id
    };
    for call in 0..3 {
        let proxy = Proxy::to(standby).await;
        let mut config = home.config();
        config.port = proxy.port;
        let store = AlloyDbMemoryProvider::connect(config).await.unwrap();
        // Every connection leads to the standby.
        let reads: Vec<_> = (0..16)
            .map(|_| {
                let (store, scope) = (store.clone(), scope.clone());
                tokio::spawn(async move { store.stats(&scope).await })
            })
            .collect();
        for read in reads {
            read.await.unwrap().unwrap();
        }
        wait_until("the standby has the note", BACK, async || store.get(&scope, kept).await.unwrap().is_some()).await;
        if call == 0 {
            let memory = make::memory(&scope, "refused", memory_core::Clock::now(&home.clock));
            passing(&store.insert(make::batch([memory])).await.unwrap_err());
        }
        proxy.point_to(Some(primary));
        let before = proxy.made();
        match call {
            0 => drop(write(&store, &home, &scope, "another note").await),
            1 => {
                let patch = MemoryPatch { importance: Some(0.9), ..MemoryPatch::default() };
                store.update(&scope, kept, patch).await.expect("an update");
            }
            _ => {
                let selection = Selection::Ids(vec![kept]);
                store.forget(&ForgetRequest { scope: scope.clone(), selection, dry_run: false }).await.expect("gone");
            }
        }
        for _ in 0..8 {
            write(&store, &home, &scope, &format!("more {call}")).await;
        }
        assert!(proxy.made() > before);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_far_behind_a_replica_is_and_how_the_pools_are_is_told() {
    let Some(mut cluster) = services::cluster(2, &[]) else { return };
    let home = Home::at(cluster.primary.url());
    home.prepare().await;
    let proxy = Proxy::to(cluster.primary.port()).await;
    let store = AlloyDbMemoryProvider::connect(config(&home, &proxy, &cluster)).await.unwrap();
    let scope = make::user("acme", "ann");
    write(&store, &home, &scope, "a first note").await;
    let caught_up = Some(ReplicaLag::default());
    wait_until("both have caught up", BACK, async || store.replica_lags().await.unwrap() == [caught_up; 2]).await;

    cluster.delay(0, LAG).unwrap();
    write(&store, &home, &scope, "a second note").await;
    wait_until("the second has caught up", BACK, async || store.replica_lags().await.unwrap()[1] == caught_up).await;
    let behind = store.replica_lags().await.unwrap()[0].unwrap();
    assert!(behind.bytes > 0 && behind.age > Duration::ZERO, "{behind:?}");
    let later = store.replica_lags().await.unwrap()[0].unwrap();
    assert!(later.age > behind.age, "it grows older: {behind:?} {later:?}");

    cluster.replicas[1].kill().unwrap();
    let lags = store.replica_lags().await.unwrap();
    assert!(lags[0].is_some() && lags[1].is_none(), "{lags:?}");
    let pools = store.pools();
    assert_eq!((pools.len(), pools[0].most, pools[0].waiting), (3, home.config().max_connections, 0));
    assert!(pools[0].busy == 0 && pools[0].idle > 0, "{pools:?}");
}
