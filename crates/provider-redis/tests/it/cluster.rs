//! A cluster of three nodes: each tenant is on one of them, and a node that is gone takes nothing but its own with it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use memory_core::{Error, MemoryId, Scope, SemanticCache};
use memory_testkit::services::Server;
use memory_testkit::{CacheFixture, TestClock, make};
use provider_redis::{RedisConfig, RedisSemanticCacheProvider};

use crate::support::{Home, answer, command, entry, neighbours, request, try_command, wait_until};

const SHARDS: u16 = 16;
const RECOVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Cluster(pub [Server; 3]);

impl Cluster {
    /// `None` where there are no servers, which was said.
    pub fn start() -> Option<Self> {
        // Without the last setting the loss of one node is that of all: a cluster that has no replicas wants it.
        let cluster = Self(neighbours(&[
            "--cluster-enabled",
            "yes",
            "--cluster-node-timeout",
            "1000",
            "--cluster-require-full-coverage",
            "no",
        ])?);
        let port = cluster.0[0].port().to_string();
        for (node, (first, last)) in cluster.0.iter().zip([("0", "5460"), ("5461", "10922"), ("10923", "16383")]) {
            command::<()>(&node.url(), &["CLUSTER", "ADDSLOTSRANGE", first, last]);
            command::<()>(&node.url(), &["CLUSTER", "MEET", "127.0.0.1", &port]);
        }
        let deadline = Instant::now() + PATIENCE;
        while !cluster.0.iter().all(|node| is_ready(&node.url())) {
            assert!(Instant::now() < deadline, "the nodes do not find each other");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(cluster)
    }

    pub fn config(&self, home: &Home) -> RedisConfig {
        let mut config = home.config();
        config.cluster = true;
        config.nodes = self.0[1..].iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        config.shards = SHARDS;
        config
    }

    pub fn home(&self) -> Home {
        Home::at(self.0[0].url())
    }

    /// Which node has a tenant, by whose keys it has after something was stored for it.
    fn node_of(&self, home: &Home, tenant: &str) -> usize {
        let pattern = format!("{}:2:{{{:02}}}:e:*", home.name, shard_of(tenant));
        let holds = |node: &Server| !command::<Vec<String>>(&node.url(), &["KEYS", &pattern]).is_empty();
        self.0.iter().position(holds).expect("the tenant has an entry")
    }
}

fn shard_of(tenant: &str) -> u16 {
    let hash = blake3::hash(tenant.as_bytes());
    u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]) % SHARDS
}

/// Whether a node serves its slots and knows who has the others.
fn is_ready(url: &str) -> bool {
    let info = try_command::<String>(url, &["CLUSTER", "INFO"]).unwrap_or_default();
    ["cluster_state:ok", "cluster_slots_assigned:16384", "cluster_known_nodes:3"].iter().all(|line| info.contains(line))
}

/// One cluster for the whole suite.
struct Fixture {
    cluster: &'static Cluster,
    home: Home,
}

impl Fixture {
    fn new() -> Option<Self> {
        static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
        let cluster = CLUSTER.get_or_init(Cluster::start).as_ref()?;
        Some(Self { cluster, home: cluster.home() })
    }
}

#[async_trait]
impl CacheFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> Arc<dyn SemanticCache> {
        let config = self.cluster.config(&self.home);
        Arc::new(RedisSemanticCacheProvider::connect(config).await.expect("connect"))
    }

    async fn memory(&self, _: &Scope) -> MemoryId {
        make::id()
    }
}

mod contract {
    memory_testkit::cache_suite!(match super::Fixture::new() {
        Some(fixture) => fixture,
        None => return,
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_are_spread_over_all_shards_and_each_index_is_where_its_entries_are() {
    let Some(cluster) = Cluster::start() else { return };
    let home = cluster.home();
    let cache = RedisSemanticCacheProvider::connect(cluster.config(&home)).await.unwrap();
    for number in 0..100 {
        let scope = make::user(&format!("tenant-{number}"), "ann");
        cache.store(entry(&scope, "one", &format!("{number}"), Some(1))).await.unwrap();
    }
    for number in 0..100 {
        let scope = make::user(&format!("tenant-{number}"), "ann");
        let found = answer(&cache, &request(&scope, "two", Some(1))).await.unwrap();
        assert_eq!(found, Some(format!("{number}")));
    }
    let mut shards = BTreeSet::new();
    for node in &cluster.0 {
        let indexes: Vec<String> = command(&node.url(), &["FT._LIST"]);
        let keys: Vec<String> = command(&node.url(), &["KEYS", &format!("{}:2:*", home.name)]);
        let shard = |name: &String| name[name.find('{').unwrap()..=name.find('}').unwrap()].to_owned();
        let indexes: BTreeSet<String> = indexes.iter().map(shard).collect();
        assert_eq!(indexes, keys.iter().map(shard).collect::<BTreeSet<_>>());
        assert!(!indexes.is_empty(), "a node is not used");
        shards.extend(indexes);
        // The provider's shared one, and the one this is asked over.
        let clients: String = command(&node.url(), &["CLIENT", "LIST", "TYPE", "normal"]);
        assert_eq!(clients.lines().count(), 2, "{clients}");
    }
    assert_eq!(shards.len(), usize::from(SHARDS));
    cache.drop_index().await.unwrap();
    for node in &cluster.0 {
        assert!(command::<Vec<String>>(&node.url(), &["FT._LIST"]).is_empty());
        assert!(command::<Vec<String>>(&node.url(), &["KEYS", "*"]).is_empty());
    }
}

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    hits: AtomicU64,
    failures: AtomicU64,
}

/// Files and looks up until it is told to stop; every answer must be the one that was filed for the question.
async fn load(cache: RedisSemanticCacheProvider, tally: Arc<Tally>, tenant: String) {
    let scope = make::user(&tenant, "ann");
    for turn in 0.. {
        if tally.stop.load(Ordering::Relaxed) {
            return;
        }
        let (seed, began) = (turn % 20, Instant::now());
        let prompt = format!("question {seed}");
        let asked = format!("{prompt}, please");
        match answer(&cache, &request(&scope, &asked, Some(seed))).await {
            Ok(Some(found)) => {
                assert_eq!(found, format!("{tenant} answers {seed}"));
                tally.hits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(None) => {
                let filed = entry(&scope, &prompt, &format!("{tenant} answers {seed}"), Some(seed));
                if let Err(error) = cache.store(filed).await {
                    assert!(error.is_retryable(), "{error:?}");
                    tally.failures.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
                tally.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_takes_only_its_own_tenants_with_it_and_comes_back() {
    let Some(mut cluster) = Cluster::start() else { return };
    let home = cluster.home();
    let cache = RedisSemanticCacheProvider::connect(cluster.config(&home)).await.unwrap();
    let mut tenants = BTreeMap::new();
    for number in 0..12 {
        let tenant = format!("tenant-{number}");
        cache.store(entry(&make::user(&tenant, "probe"), "one", "1", Some(1))).await.unwrap();
        tenants.insert(tenant.clone(), cluster.node_of(&home, &tenant));
    }
    let killed = tenants["tenant-0"];
    let tallies: BTreeMap<_, Arc<Tally>> = tenants.keys().map(|tenant| (tenant.clone(), Arc::default())).collect();
    let tasks: Vec<_> = tallies
        .iter()
        .map(|(tenant, tally)| tokio::spawn(load(cache.clone(), tally.clone(), tenant.clone())))
        .collect();
    let hits = || -> BTreeMap<String, u64> {
        tallies.iter().map(|(tenant, tally)| (tenant.clone(), tally.hits.load(Ordering::Relaxed))).collect()
    };
    let more_hits = async |of: &dyn Fn(usize) -> bool| {
        let before = hits();
        wait_until("hits", PATIENCE, async || {
            let now = hits();
            tenants.iter().filter(|(_, node)| of(**node)).all(|(tenant, _)| now[tenant] >= before[tenant] + 20)
        })
        .await
    };
    more_hits(&|_| true).await;
    cluster.0[killed].kill().unwrap();
    more_hits(&|node| node != killed).await;
    for (tenant, node) in &tenants {
        let failures = tallies[tenant].failures.load(Ordering::Relaxed);
        assert_eq!(failures > 0, *node == killed, "{tenant}: {failures} failures");
    }
    // A node that returns serves after two seconds; it has its slots then, and nothing in them.
    cluster.0[killed].restart().unwrap();
    let url = cluster.0[killed].url();
    wait_until("the node is in the cluster", PATIENCE, async || is_ready(&url)).await;
    let took = wait_until("back", RECOVERY, async || {
        let mut back = true;
        for tenant in tenants.iter().filter(|(_, node)| **node == killed).map(|(tenant, _)| tenant) {
            let scope = make::user(tenant, "probe");
            let stored = cache.store(entry(&scope, "one", "1", Some(1))).await;
            back &= stored.is_ok() && matches!(answer(&cache, &request(&scope, "two", Some(1))).await, Ok(Some(_)));
        }
        back
    })
    .await;
    println!("the node's tenants were served {took:?} after it was");
    more_hits(&|_| true).await;
    for (tenant, tally) in &tallies {
        tally.stop.store(true, Ordering::Relaxed);
        if tenants[tenant] != killed {
            assert_eq!(tally.failures.load(Ordering::Relaxed), 0, "{tenant}");
        }
    }
    for task in tasks {
        task.await.expect("a right answer");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_followed() {
    let Some(cluster) = Cluster::start() else { return };
    let home = cluster.home();
    let cache = RedisSemanticCacheProvider::connect(cluster.config(&home)).await.unwrap();
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "old", Some(1))).await.unwrap();
    let from = cluster.node_of(&home, "acme");
    let to = (from + 1) % 3;
    let pattern = format!("{}:2:{{{:02}}}:*", home.name, shard_of("acme"));
    let keys: Vec<String> = command(&cluster.0[from].url(), &["KEYS", &pattern]);
    let slot: u64 = command(&cluster.0[from].url(), &["CLUSTER", "KEYSLOT", &keys[0]]);
    let id: String = command(&cluster.0[to].url(), &["CLUSTER", "MYID"]);
    for key in &keys {
        command::<()>(&cluster.0[from].url(), &["DEL", key]);
    }
    for node in [to, from, (from + 2) % 3] {
        command::<()>(&cluster.0[node].url(), &["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]);
    }
    wait_until("stores reach the other node", RECOVERY, async || {
        match cache.store(entry(&scope, "one", "new", Some(1))).await {
            Ok(_) => true,
            Err(error) => {
                assert!(error.is_retryable(), "{error:?}");
                false
            }
        }
    })
    .await;
    assert_eq!(cluster.node_of(&home, "acme"), to);
    assert_eq!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_and_a_single_server_are_not_taken_for_each_other() {
    let Some(cluster) = Cluster::start() else { return };
    let home = cluster.home();
    let mut single = cluster.config(&home);
    (single.cluster, single.nodes) = (false, Vec::new());
    let error = RedisSemanticCacheProvider::connect(single).await.unwrap_err();
    insta::assert_snapshot!(error, @"redis: the server is a node of a cluster; set `cluster`");
    let Some(home) = Home::new() else { return };
    let mut config = home.config();
    config.cluster = true;
    let error = RedisSemanticCacheProvider::connect(config).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
    insta::assert_snapshot!(error, @"redis: the server does not say what nodes its cluster has; is it one? Else leave `cluster` off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_found_by_any_of_its_nodes() {
    let Some(cluster) = Cluster::start() else { return };
    let home = cluster.home();
    let mut config = cluster.config(&home);
    config.url = secrecy::SecretString::from("redis://127.0.0.1:1");
    let cache = RedisSemanticCacheProvider::connect(config).await.unwrap();
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    assert!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().is_some());
}

/// A node that hangs is found out by waiting; nobody waits who asks another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_keeps_nobody_waiting_but_its_own_tenants() {
    let Some(mut cluster) = Cluster::start() else { return };
    let home = cluster.home();
    let mut config = cluster.config(&home);
    config.deadline = Duration::from_millis(400);
    config.breaker_failures = 2;
    let cache = RedisSemanticCacheProvider::connect(config).await.unwrap();
    let mut tenants = BTreeMap::new();
    for number in 0..12 {
        let tenant = format!("tenant-{number}");
        cache.store(entry(&make::user(&tenant, "ann"), "one", "1", Some(1))).await.unwrap();
        tenants.insert(tenant.clone(), cluster.node_of(&home, &tenant));
    }
    let ask = async |tenant: &str| answer(&cache, &request(&make::user(tenant, "ann"), "two", Some(1))).await;
    let paused = tenants["tenant-0"];
    cluster.0[paused].pause().unwrap();
    let until = Instant::now() + Duration::from_secs(2);
    // Both at once: the one's waiting is not to be the other's.
    let of_the_paused = async {
        let mut refused = 0;
        while Instant::now() < until {
            for (tenant, _) in tenants.iter().filter(|(_, node)| **node == paused) {
                let error = ask(tenant).await.unwrap_err();
                assert!(error.is_retryable(), "{error:?}");
                refused += 1;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        refused
    };
    let of_the_others = async {
        let mut served = 0;
        while Instant::now() < until {
            for (tenant, _) in tenants.iter().filter(|(_, node)| **node != paused) {
                assert!(ask(tenant).await.unwrap().is_some(), "{tenant}");
                served += 1;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        served
    };
    let (refused, served) = tokio::join!(of_the_paused, of_the_others);
    assert!(refused > 5 && served > 200, "{refused} refused, {served} served");
    cluster.0[paused].resume().unwrap();
    let url = cluster.0[paused].url();
    wait_until("the node is in the cluster", PATIENCE, async || is_ready(&url)).await;
    wait_until("served", RECOVERY, async || {
        let mut served = true;
        for tenant in tenants.keys() {
            served &= ask(tenant).await.is_ok_and(|found| found.is_some());
        }
        served
    })
    .await;
}
