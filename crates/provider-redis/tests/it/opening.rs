//! A cache that is opened before its server is there.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memory_core::{Error, InvalidateRequest, InvalidateSelection, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::{Algorithm, RedisConfig, RedisSemanticCacheProvider};
use secrecy::SecretString;

use crate::peer::Peer;
use crate::support::{Home, answer, command, entry, request, wait_until};

const RECOVERY: Duration = Duration::from_secs(2);

async fn serves(cache: &RedisSemanticCacheProvider) -> bool {
    let scope = make::user("acme", "ann");
    let stored = cache.store(entry(&scope, "one", "1", Some(1))).await;
    stored.is_ok() && matches!(answer(cache, &request(&scope, "two", Some(1))).await, Ok(Some(_)))
}

/// What every kind of call says.
async fn errors(cache: &RedisSemanticCacheProvider) -> Vec<Error> {
    let scope = make::user("acme", "ann");
    let invalidate = InvalidateRequest { scope: scope.clone(), selection: InvalidateSelection::All, dry_run: false };
    vec![
        answer(cache, &request(&scope, "one", None)).await.expect_err("a lookup"),
        answer(cache, &request(&scope, "one", Some(1))).await.expect_err("a lookup"),
        cache.store(entry(&scope, "one", "1", Some(1))).await.expect_err("a store"),
        cache.invalidate(&invalidate).await.expect_err("an invalidation"),
        cache.stats(&scope).await.expect_err("a count"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_opened_without_redis_serves_when_it_comes() {
    let Some(mut server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    server.kill().unwrap();
    let cache = RedisSemanticCacheProvider::connect_lazily(home.config()).unwrap();
    let began = Instant::now();
    for error in errors(&cache).await {
        assert!(error.is_retryable(), "{error:?}");
    }
    assert!(began.elapsed() < Duration::from_millis(500), "nobody waits: {:?}", began.elapsed());
    assert_eq!(cache.capabilities(), None);
    server.restart().unwrap();
    wait_until("serves", RECOVERY, async || serves(&cache).await).await;
    assert!(cache.capabilities().is_some_and(|capabilities| capabilities.vectors));
}

#[tokio::test]
async fn settings_that_are_wrong_by_themselves_fail_at_once() {
    let with = |change: fn(&mut RedisConfig)| {
        let mut config = Home::at("redis://127.0.0.1:1".into()).config();
        change(&mut config);
        RedisSemanticCacheProvider::connect_lazily(config).unwrap_err().to_string()
    };
    insta::assert_snapshot!(
        [
            with(|config| config.url = SecretString::from("http://:hunter2@127.0.0.1")),
            with(|config| config.deadline = Duration::ZERO),
            with(|config| config.ca_file = Some("/nowhere/ca.pem".into())),
            with(|config| config.ca_file = Some("Cargo.toml".into())),
            with(|config| (config.cluster, config.url) = (true, SecretString::from("redis+unix:///tmp/redis"))),
        ].join("\n"),
        @"
    redis: the URL is not one of Redis
    deadline: given 0 s, allowed: more than 0 s
    redis: /nowhere/ca.pem: the certificate authority cannot be read
    redis: TLS cannot be set up with the certificate authority; is it PEM, and the URL rediss://?
    redis: a cluster is reached by TCP, not by a socket of this machine
    "
    );
}

/// Where the log of this thread goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panicked").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One thread, so that what is logged in the background is logged here.
#[tokio::test]
async fn an_index_that_differs_is_said_by_every_call_and_logged_once() {
    let Some(home) = Home::new() else { return };
    home.open().await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    // With one subscriber alone, tracing lets the thread that comes first to an event decide whether anybody wants it,
    // and that may be the thread of a test that has none.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut other = home.config();
    let mut schema = home.schema();
    schema.vector.algorithm = Algorithm::Hnsw { m: 32, ef_construction: 200, ef_runtime: 10 };
    other.index_schema = Some(schema);
    let cache = RedisSemanticCacheProvider::connect_lazily(other).unwrap();
    let scope = make::user("acme", "ann");
    wait_until("refused", RECOVERY, async || {
        matches!(answer(&cache, &request(&scope, "one", None)).await, Err(Error::Unusable { .. }))
    })
    .await;
    for error in errors(&cache).await {
        assert!(error.to_string().contains("prompt_vector.m: 32 in the schema, 16 in the index"), "{error}");
        assert!(!error.is_retryable());
    }
    // Several more attempts, as many as end with the index being dropped.
    let again = Instant::now() + Duration::from_millis(2500);
    wait_until("time", 2 * RECOVERY, async || Instant::now() > again).await;
    command::<()>(&home.url, &["FT.DROPINDEX", &format!("{}:2:{{00}}", home.name)]);
    wait_until("serves", RECOVERY, async || serves(&cache).await).await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("redis cannot be used").count(), 1, "{log}");
    assert_eq!(log.matches("connected to redis").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mock_server_without_vectors_is_said_by_every_call() {
    let peer = Peer::start(|_| "-ERR unknown command\r\n").await;
    let home = Home::at(peer.url);
    let error = RedisSemanticCacheProvider::connect(home.config()).await.unwrap_err();
    assert!(matches!(error, Error::Unusable { .. }), "{error:?}");
    let cache = RedisSemanticCacheProvider::connect_lazily(home.config()).unwrap();
    let scope = make::user("acme", "ann");
    wait_until("refused", RECOVERY, async || {
        matches!(answer(&cache, &request(&scope, "one", None)).await, Err(Error::Unusable { .. }))
    })
    .await;
    for error in errors(&cache).await {
        assert!(error.to_string().contains("no vector search"), "{error}");
    }
    assert_eq!(cache.capabilities(), None);
}
