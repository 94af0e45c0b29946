//! What a call costs, counted by the server.

use std::collections::BTreeMap;

use memory_core::SemanticCache;
use memory_testkit::make;
use memory_testkit::services::{self, Service};

use crate::support::{Home, answer, entry, request};

/// What the server counted: commands by name, and how often it read from a connection. A pipeline that is written at once
/// and fits the server's buffer is one read.
pub async fn counted(direct: &mut redis::aio::MultiplexedConnection) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    let info: String = redis::cmd("INFO").arg("commandstats").arg("stats").query_async(direct).await.expect("INFO");
    for line in info.lines() {
        if let Some((name, rest)) = line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls=")) {
            let calls = rest.split(',').next().unwrap_or_default().parse().expect("a number");
            counted.insert(name.to_lowercase(), calls);
        }
        if let Some(reads) = line.strip_prefix("total_reads_processed:") {
            counted.insert("reads".into(), reads.parse().expect("a number"));
        }
    }
    counted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hit_miss_and_store_are_one_round_trip_each() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let cache = home.open_without_repeats().await;
    let mut direct = home.direct().await;
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    let mut table = Vec::new();
    for what in ["exact hit", "exact miss", "hit by meaning", "miss by meaning", "exact hit with a vector", "store"] {
        let before = counted(&mut direct).await;
        match what {
            "exact hit" => assert!(answer(&cache, &request(&scope, "one", None)).await.unwrap().is_some()),
            "exact miss" => assert!(answer(&cache, &request(&scope, "two", None)).await.unwrap().is_none()),
            "hit by meaning" => assert!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().is_some()),
            "miss by meaning" => assert!(answer(&cache, &request(&scope, "two", Some(2))).await.unwrap().is_none()),
            "exact hit with a vector" => {
                assert!(answer(&cache, &request(&scope, "one", Some(2))).await.unwrap().is_some());
            }
            _ => drop(cache.store(entry(&scope, "two", "2", Some(2))).await.unwrap()),
        }
        let after = counted(&mut direct).await;
        let mut calls: BTreeMap<_, _> = after
            .into_iter()
            .map(|(name, count)| (name.clone(), count - before.get(&name).unwrap_or(&0)))
            .filter(|(name, count)| *count > 0 && name != "info")
            .collect();
        // A tenant's state is asked for only where it was not a moment ago.
        calls.remove("hmget");
        // The first of the two looks at the counters is not in itself, the second is in neither.
        let reads = calls.remove("reads").unwrap() - 1;
        let calls: Vec<_> = calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
        table.push(format!("{what}: round trips {reads}; {}", calls.join(", ")));
    }
    insta::assert_snapshot!(table.join("\n"), @"
    exact hit: round trips 1; hget 1
    exact miss: round trips 1; hget 1
    hit by meaning: round trips 1; ft.search 1, hget 1
    miss by meaning: round trips 1; ft.search 1, hget 1
    exact hit with a vector: round trips 1; ft.search 1, hget 1
    store: round trips 1; evalsha 1, exists 1, get 1, hincrby 1, hset 1, pexpire 1, unlink 1
    ");
}
