//! The index over its life.

use std::time::{Duration, Instant};

use memory_core::{CacheLookup, Error, Metadata, NewCacheEntry, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::{Algorithm, DataType, FieldKind, IndexField, RedisConfig, RedisSemanticCacheProvider};
use redis::Value;
use secrecy::SecretString;
use serde_json::json;

use crate::support::{Home, answer, entry, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_differs_is_refused_with_the_difference() {
    let Some(home) = Home::new() else { return };
    let first = home.open().await;
    let capabilities = first.capabilities().expect("a server was reached");
    assert!(capabilities.vectors && capabilities.text && capabilities.aliases, "{capabilities:?}");
    home.open().await;
    let mut other = home.config();
    let mut schema = home.schema();
    schema.vector.algorithm = Algorithm::Hnsw { m: 32, ef_construction: 200, ef_runtime: 10 };
    schema.fields.push(IndexField { name: "topic".into(), kind: FieldKind::Numeric });
    other.index_schema = Some(schema);
    let error = RedisSemanticCacheProvider::connect(other).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }));
    insta::assert_snapshot!(error.to_string().replace(&home.name, "NAME"), @"
    redis: index NAME:2:{00} differs from the schema; rebuild it, which keeps the entries and is done while it is used, or name another:
      prompt_vector.m: 32 in the schema, 16 in the index
      topic.type: numeric in the schema, absent in the index
    ");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_cache_compares_all_and_indexes_metadata() {
    let Some(home) = Home::new() else { return };
    let mut config = home.config();
    let mut schema = home.schema();
    schema.vector.algorithm = Algorithm::Flat;
    let tag = FieldKind::Tag { separator: '|', case_sensitive: false };
    schema.fields = [("topic", tag), ("price", FieldKind::Numeric), ("response", FieldKind::Text)]
        .map(|(name, kind)| IndexField { name: name.into(), kind })
        .into();
    config.index_schema = Some(schema);
    let cache = RedisSemanticCacheProvider::connect(config).await.unwrap();
    let scope = make::user("acme", "ann");
    let metadata = Metadata::from_iter([("topic".into(), json!(["a", "b"])), ("price".into(), json!(2.5))]);
    cache.store(NewCacheEntry { metadata, ..entry(&scope, "one", "an elephant", Some(1)) }).await.unwrap();
    assert!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().is_some());
    let mut direct = home.direct().await;
    for query in ["@topic:{b}", "@price:[2 3]", "elephants"] {
        let mut search = redis::cmd("FT.SEARCH");
        search.arg(format!("{}:2:{{00}}", home.name)).arg(query).arg("LIMIT").arg(0).arg(0).arg("DIALECT").arg(2);
        let found: Value = search.query_async(&mut direct).await.unwrap();
        assert_eq!(found, Value::Array(vec![Value::Int(1)]), "{query}");
    }
}

/// Half the memory, and similarities that are off by what rounding costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_precision_finds_the_same_at_nearly_the_same_similarity() {
    let Some(home) = Home::new() else { return };
    let mut config = home.config();
    let mut schema = home.schema();
    schema.vector.data_type = DataType::Float16;
    config.index_schema = Some(schema);
    let cache = RedisSemanticCacheProvider::connect(config).await.unwrap();
    assert!(cache.capabilities().is_some_and(|can| can.float16));
    let mut worst = 0_f32;
    for seed in 0..50 {
        let scope = make::user("acme", &format!("user {seed}"));
        cache.store(entry(&scope, "one", "1", Some(seed))).await.unwrap();
        let CacheLookup::Hit(hit) = cache.lookup(&request(&scope, "two", Some(seed))).await.unwrap() else {
            panic!("{seed} is not found")
        };
        worst = worst.max((hit.similarity - 0.95).abs());
    }
    println!("similarities are off by up to {worst:e}");
    assert!(worst < 1e-3, "{worst:e}");
    let mut direct = home.direct().await;
    let keys = home.keys(&mut direct).await;
    let sizes: (Option<usize>, usize) = redis::pipe()
        .cmd("HGET")
        .arg(&keys[0])
        .arg("prompt_vector")
        .cmd("HSTRLEN")
        .arg(&keys[0])
        .arg("_prompt_vector_float16")
        .query_async(&mut direct)
        .await
        .unwrap();
    assert_eq!(sizes, (None, 2 * make::DIMENSIONS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cleared_cache_is_empty_and_goes_on() {
    let Some(home) = Home::new() else { return };
    let cache = home.open().await;
    let scope = make::user("acme", "ann");
    for number in 0..600 {
        cache.store(entry(&scope, &format!("prompt {number}"), "x", None)).await.unwrap();
    }
    assert_eq!(cache.stats(&scope).await.unwrap().entries, 600);
    cache.clear().await.unwrap();
    assert_eq!(cache.stats(&scope).await.unwrap().entries, 0);
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    assert!(answer(&cache, &request(&scope, "two", Some(1))).await.unwrap().is_some());
    cache.drop_index().await.unwrap();
    let mut direct = home.direct().await;
    let indexes: Vec<String> = redis::cmd("FT._LIST").query_async(&mut direct).await.unwrap();
    assert!(!indexes.iter().any(|index| index.starts_with(&home.name)), "{indexes:?}");
    let marks: Vec<String> =
        redis::cmd("KEYS").arg(format!("{}:*:index", home.name)).query_async(&mut direct).await.unwrap();
    assert!(marks.is_empty(), "{marks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_was_dropped_is_made_again() {
    let Some(home) = Home::new() else { return };
    let cache = home.open().await;
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    let mut direct = home.direct().await;
    redis::cmd("FT.DROPINDEX").arg(format!("{}:2:{{00}}", home.name)).exec_async(&mut direct).await.unwrap();
    assert!(
        answer(&cache, &request(&scope, "one", Some(1))).await.unwrap().is_some(),
        "what the key alone answers needs no index"
    );
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        match answer(&cache, &request(&scope, "two", Some(1))).await {
            Ok(Some(_)) => break,
            Ok(None) => {}
            Err(error) => assert!(error.is_retryable(), "{error:?}"),
        }
        assert!(Instant::now() < deadline);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_enter_is_told() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let mut direct = home.direct().await;
    redis::cmd("ACL")
        .arg(&["SETUSER", "cache", "on", ">right", "~*", "&*", "+@all"])
        .exec_async(&mut direct)
        .await
        .unwrap();
    let with = |password: &str| -> RedisConfig {
        let mut config = home.config();
        (config.username, config.password) = (Some("cache".into()), Some(SecretString::from(password)));
        config
    };
    assert!(RedisSemanticCacheProvider::connect(with("right")).await.is_ok());
    let refused = RedisSemanticCacheProvider::connect(with("wrong")).await.unwrap_err();
    assert!(!refused.is_retryable(), "{refused:?}");
    let mut nobody = home.config();
    nobody.url = SecretString::from("redis://127.0.0.1:1");
    let absent = RedisSemanticCacheProvider::connect(nobody).await.unwrap_err();
    assert!(absent.is_retryable(), "{absent:?}");
    let mut nonsense = home.config();
    nonsense.url = SecretString::from("http://:secret@127.0.0.1");
    let error = RedisSemanticCacheProvider::connect(nonsense).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }) && !format!("{error:?}").contains("secret"), "{error:?}");
}
