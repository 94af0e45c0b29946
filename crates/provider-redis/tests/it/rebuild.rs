//! Making the index again while it is used.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memory_core::{Error, Filter, Metadata, NewCacheEntry, Scope, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::{
    Algorithm, DataType, FieldKind, IndexField, IndexSchema, RebuildProgress, RedisConfig, RedisSemanticCacheProvider,
};
use redis::aio::MultiplexedConnection;
use secrecy::SecretString;
use serde_json::json;

use crate::support::{Home, answer, entry, is_full_campaign, request};

const HNSW: Algorithm = Algorithm::Hnsw { m: 8, ef_construction: 100, ef_runtime: 50 };
const TASKS: usize = 4;
const KNOWN: usize = 200;

fn config(home: &Home, change: impl FnOnce(&mut IndexSchema)) -> RedisConfig {
    let mut config = home.config();
    // Repeats from memory would hide what the index finds.
    config.repeat_bytes = 0;
    let mut schema = home.schema();
    schema.vector.algorithm = Algorithm::Flat;
    change(&mut schema);
    config.index_schema = Some(schema);
    config
}

async fn connect(config: RedisConfig) -> RedisSemanticCacheProvider {
    RedisSemanticCacheProvider::connect(config).await.expect("connect")
}

async fn rebuild(config: RedisConfig) -> memory_core::Result<RedisSemanticCacheProvider> {
    RedisSemanticCacheProvider::rebuild(config, |_| {}).await
}

/// Each entry is alone in its scope, so that it is found by meaning exactly if it is in the index.
fn scope(name: &str) -> Scope {
    make::user("acme", name)
}

async fn file(cache: &RedisSemanticCacheProvider, name: &str) {
    let metadata = Metadata::from_iter([("topic".to_owned(), json!(name)), ("price".to_owned(), json!(2.5))]);
    let filed = NewCacheEntry { metadata, ..entry(&scope(name), "one", name, Some(1)) };
    cache.store(filed).await.expect("store");
}

async fn is_found(cache: &RedisSemanticCacheProvider, name: &str) -> bool {
    let found = answer(cache, &request(&scope(name), "another", Some(1))).await.expect("lookup");
    assert!(found.as_deref().is_none_or(|found| found == name), "{found:?} for {name}");
    found.is_some()
}

async fn indexes(home: &Home, direct: &mut MultiplexedConnection) -> Vec<String> {
    let names: Vec<String> = redis::cmd("FT._LIST").query_async(direct).await.expect("FT._LIST");
    names.into_iter().filter(|name| name.starts_with(&home.name)).collect()
}

/// Files and looks up until it is told to stop; gives what it filed.
async fn load(
    cache: RedisSemanticCacheProvider,
    task: usize,
    stop: Arc<AtomicBool>,
    turns: Arc<AtomicUsize>,
) -> Vec<String> {
    let mut filed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let name = format!("task {task}, {}", filed.len());
        file(&cache, &name).await;
        filed.push(name);
        let known = format!("known {}", (filed.len() * 7 + task) % KNOWN);
        let earlier = &filed[filed.len() / 2];
        for name in [&known, earlier] {
            assert!(is_found(&cache, name).await, "{name}");
        }
        turns.fetch_add(1, Ordering::Relaxed);
    }
    filed
}

async fn rebuilt_under_load(from: RedisConfig, to: RedisConfig, home: &Home) {
    let cache = connect(from.clone()).await;
    let other = connect(from.clone()).await;
    for number in 0..KNOWN {
        file(&cache, &format!("known {number}")).await;
    }
    let (stop, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let running: Vec<_> = (0..TASKS)
        .map(|task| {
            let cache = if task % 2 == 0 { cache.clone() } else { other.clone() };
            tokio::spawn(load(cache, task, stop.clone(), turns.clone()))
        })
        .collect();
    let wait = async |until: usize| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while turns.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < deadline, "the load stands still");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    wait(4 * TASKS).await;
    let mut told: Vec<RebuildProgress> = Vec::new();
    let rebuilt =
        RedisSemanticCacheProvider::rebuild(to.clone(), |progress| told.push(progress)).await.expect("rebuild");
    wait(turns.load(Ordering::Relaxed) + 4 * TASKS).await;
    stop.store(true, Ordering::Relaxed);
    let mut names: Vec<String> = (0..KNOWN).map(|number| format!("known {number}")).collect();
    for task in running {
        names.extend(task.await.expect("no lookup fails"));
    }
    assert_eq!(told.last().map(|progress| progress.filled), Some(1.0));
    let fresh = connect(to.clone()).await;
    for name in &names {
        for cache in [&cache, &other, &rebuilt, &fresh] {
            assert!(is_found(cache, name).await, "{name} of {} is not found", names.len());
        }
    }
    let mut direct = home.direct().await;
    assert_eq!(indexes(home, &mut direct).await.len(), 1);
    let stored = |config: &RedisConfig| match config.index_schema.as_ref().expect("given").vector.data_type {
        DataType::Float16 => "_prompt_vector_float16",
        _ => "prompt_vector",
    };
    for key in home.keys(&mut direct).await {
        let ttl: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut direct).await.expect("PTTL");
        assert!(ttl > 0, "{key} lives for ever");
        let has: (Option<Vec<u8>>, Option<Vec<u8>>) = redis::cmd("HMGET")
            .arg(&key)
            .arg(stored(&from))
            .arg(stored(&to))
            .query_async(&mut direct)
            .await
            .expect("HMGET");
        assert!(has.1.is_some() && (stored(&from) == stored(&to) || has.0.is_none()), "{key}");
    }
    let refused = RedisSemanticCacheProvider::connect(from).await.expect_err("it is another by now");
    assert!(matches!(refused, Error::Unusable { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_cache_becomes_a_graph_while_it_is_used() {
    let Some(home) = Home::new() else { return };
    let hnsw = config(&home, |schema| schema.vector.algorithm = HNSW);
    rebuilt_under_load(config(&home, |_| {}), hnsw, &home).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vectors_become_half_as_large_while_they_are_used() {
    let Some(home) = Home::new() else { return };
    let half = config(&home, |schema| {
        schema.vector.algorithm = HNSW;
        schema.vector.data_type = DataType::Float16;
    });
    let whole = config(&home, |schema| schema.vector.algorithm = HNSW);
    rebuilt_under_load(whole.clone(), half.clone(), &home).await;
    // And back: the numbers stay rounded.
    rebuild(whole).await.unwrap();
    assert!(is_found(&connect(config(&home, |schema| schema.vector.algorithm = HNSW)).await, "known 0").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fields_that_are_added_hold_what_entries_said_before() {
    let Some(home) = Home::new() else { return };
    let former = connect(config(&home, |_| {})).await;
    let crowd = scope("crowd");
    // More than a search brings are nearer, and do not match.
    for number in 0..20 {
        let metadata = Metadata::from_iter([("topic".into(), json!(["many"])), ("price".into(), json!(number))]);
        let near = make::embedding_near(&crate::support::vector(1), 0.99, number);
        let filed = entry(&crowd, &format!("many {number}"), "many", None);
        former.store(NewCacheEntry { metadata, embedding: Some(near), ..filed }).await.unwrap();
    }
    let metadata = Metadata::from_iter([("topic".into(), json!(["rare, ONE", "x"])), ("price".into(), json!(100))]);
    let far = make::embedding_near(&crate::support::vector(1), 0.93, 99);
    let rare = entry(&crowd, "rare", "rare", None);
    former.store(NewCacheEntry { metadata, embedding: Some(far), ..rare }).await.unwrap();
    let with = |filter: serde_json::Value| {
        let mut asked = request(&crowd, "asked", None);
        asked.embedding = Some(crate::support::vector(1));
        asked.filter = Some(Filter::from_json(&filter).unwrap());
        asked
    };
    let filters = [json!({"metadata.topic": {"contains": "rare, ONE"}}), json!({"metadata.price": {"gt": 50}})];
    for filter in &filters {
        assert_eq!(answer(&former, &with(filter.clone())).await.unwrap(), None, "no index, no prefilter");
    }
    let latter = rebuild(config(&home, |schema| {
        let tag = FieldKind::Tag { separator: ',', case_sensitive: false };
        schema.fields = [("topic", tag), ("price", FieldKind::Numeric)]
            .map(|(name, kind)| IndexField { name: name.into(), kind })
            .into();
    }))
    .await
    .unwrap();
    for filter in &filters {
        assert_eq!(answer(&latter, &with(filter.clone())).await.unwrap().as_deref(), Some("rare"), "{filter}");
    }
    let bare = rebuild(config(&home, |_| {})).await.unwrap();
    assert_eq!(
        answer(&bare, &with(json!({"metadata.topic": {"contains": "many"}}))).await.unwrap().as_deref(),
        Some("many")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_that_was_broken_off_is_gone_on_with() {
    let Some(home) = Home::new() else { return };
    let whole = config(&home, |_| {});
    let half = config(&home, |schema| {
        schema.vector.algorithm = HNSW;
        schema.vector.data_type = DataType::Float16;
    });
    let cache = connect(whole.clone()).await;
    for number in 0..KNOWN {
        file(&cache, &format!("known {number}")).await;
    }
    let mut direct = home.direct().await;
    let began = Instant::now();
    rebuild(half.clone()).await.unwrap();
    let all = began.elapsed();
    rebuild(whole.clone()).await.unwrap();
    let rounds: u32 = if is_full_campaign() { 60 } else { 10 };
    for round in 0..rounds {
        let (from, to) = if round % 2 == 0 { (&whole, &half) } else { (&half, &whole) };
        let broken = tokio::time::timeout(all * (round + 1) / rounds, rebuild(to.clone())).await;
        // Nobody is heard of any more: the lease of the lock runs out.
        redis::cmd("DEL").arg(format!("{}:2:{{00}}:rebuilding", home.name)).exec_async(&mut direct).await.unwrap();
        let name = format!("meanwhile {round}");
        file(&cache, &name).await;
        for name in [name.as_str(), "known 3", "known 150"] {
            assert!(is_found(&cache, name).await, "round {round}, {name}");
        }
        let former = RedisSemanticCacheProvider::connect(from.clone()).await;
        let latter = RedisSemanticCacheProvider::connect(to.clone()).await;
        assert!(former.is_ok() != latter.is_ok(), "one of the two it is");
        assert!(broken.is_err() || latter.is_ok());
        if let Ok(connected) = former.or(latter) {
            assert!(is_found(&connected, &name).await, "round {round}");
        }
        let rebuilt = rebuild(to.clone()).await.unwrap();
        let names = (0..KNOWN).map(|number| format!("known {number}"));
        for name in names.chain((0..=round).map(|round| format!("meanwhile {round}"))) {
            assert!(is_found(&rebuilt, &name).await, "round {round}, {name}");
        }
        assert_eq!(indexes(&home, &mut direct).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_rebuilds_at_once_do_no_harm() {
    let Some(home) = Home::new() else { return };
    let cache = connect(config(&home, |_| {})).await;
    for number in 0..KNOWN {
        file(&cache, &format!("known {number}")).await;
    }
    let hnsw = || config(&home, |schema| schema.vector.algorithm = HNSW);
    let (one, two) = tokio::join!(rebuild(hnsw()), rebuild(hnsw()));
    one.and(two).unwrap();
    let half = || config(&home, |schema| schema.vector.data_type = DataType::Float16);
    let (one, two) = tokio::join!(rebuild(hnsw()), rebuild(half()));
    // Whoever was first may find that the other has been there by the time it connects.
    let last = one.or(two).unwrap();
    let mut direct = home.direct().await;
    assert_eq!(indexes(&home, &mut direct).await.len(), 1);
    for number in 0..KNOWN {
        assert!(
            is_found(&last, &format!("known {number}")).await && is_found(&cache, &format!("known {number}")).await
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_dimensions_are_no_rebuild() {
    let Some(home) = Home::new() else { return };
    let cache = connect(config(&home, |_| {})).await;
    file(&cache, "known").await;
    let mut wider = config(&home, |schema| schema.vector.dimensions = 8);
    wider.space = Arc::new(memory_core::EmbeddingSpace::new("wider", "1", 8).unwrap());
    let error = rebuild(wider).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }));
    insta::assert_snapshot!(error.to_string().replace(&home.name, "NAME"), @"
    redis: index NAME:2:{00} differs from the schema; other vectors or keys are needed, so drop it (the cache begins empty) or name another:
      prompt_vector.dims: 8 in the schema, 64 in the index
    ");
    assert!(is_found(&cache, "known").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_with_the_name_of_the_alias_makes_way() {
    let Some(home) = Home::new() else { return };
    let mut direct = home.direct().await;
    let name = format!("{}:2:{{00}}", home.name);
    let mut create = redis::cmd("FT.CREATE");
    create.arg(&name).arg("PREFIX").arg(1).arg(format!("{name}:e:")).arg("SCHEMA").arg("_group").arg("TAG");
    create.exec_async(&mut direct).await.unwrap();
    let cache = home.open().await;
    file(&cache, "known").await;
    assert!(is_found(&cache, "known").await);
    let indexes = indexes(&home, &mut direct).await;
    assert!(indexes.len() == 1 && indexes[0].starts_with(&format!("{name}:")), "{indexes:?}");
}

/// As on Valkey and Memorystore, which have no aliases: here, the user may not use them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_aliases_it_works_and_says_that_it_cannot_be_rebuilt() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let mut direct = home.direct().await;
    let rules = ["SETUSER", "cache", "on", ">right", "~*", "&*", "+@all", "-ft.aliasadd", "-ft.aliasupdate"];
    redis::cmd("ACL").arg(&rules).exec_async(&mut direct).await.unwrap();
    let with = |algorithm: Algorithm| {
        let mut config = config(&home, |schema| schema.vector.algorithm = algorithm);
        (config.username, config.password) = (Some("cache".into()), Some(SecretString::from("right")));
        config
    };
    let cache = connect(with(Algorithm::Flat)).await;
    assert!(cache.capabilities().is_some_and(|can| !can.aliases));
    file(&cache, "known").await;
    assert!(is_found(&cache, "known").await);
    let refused = RedisSemanticCacheProvider::connect(with(HNSW)).await.unwrap_err();
    let error = rebuild(with(HNSW)).await.unwrap_err();
    assert_eq!(indexes(&home, &mut direct).await, [format!("{}:2:{{00}}", home.name)]);
    insta::assert_snapshot!(format!("{refused}\n{error}").replace(&home.name, "NAME"), @"
    redis: index NAME:2:{00} differs from the schema; this server cannot rebuild an index while it is used, so drop it (the cache begins empty) or name another:
      prompt_vector.algorithm: hnsw in the schema, flat in the index
    redis: the server has no aliases of indexes, which rebuilding one while it is used needs; drop the index, and the cache begins empty
    ");
}
