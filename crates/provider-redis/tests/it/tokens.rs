//! Credentials that change while the cache runs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use memory_core::{BoxError, SemanticCache};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::{Credentials, CredentialsProvider, RedisConfig, RedisSemanticCacheProvider};
use secrecy::SecretString;

use crate::cluster::Cluster;
use crate::support::{Home, answer, command, entry, request, wait_until};

const RECOVERY: Duration = Duration::from_secs(2);

/// Gives the failures first, and then the token of the moment.
#[derive(Debug, Default)]
struct Tokens {
    failures: Mutex<VecDeque<&'static str>>,
    token: Mutex<String>,
    asked: AtomicU64,
}

impl Tokens {
    fn new(token: &str) -> Arc<Self> {
        Arc::new(Self { token: Mutex::new(token.into()), ..Self::default() })
    }

    fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl CredentialsProvider for Tokens {
    async fn credentials(&self) -> Result<Credentials, BoxError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = self.failures.lock().expect("nobody panicked").pop_front() {
            return Err(failure.into());
        }
        let password = SecretString::from(self.token.lock().expect("nobody panicked").clone());
        Ok(Credentials { username: Some("cache".into()), password })
    }
}

fn allow(url: &str, token: &str) {
    let token = format!(">{token}");
    command::<()>(url, &["ACL", "SETUSER", "cache", "on", "resetpass", &token, "~*", "&*", "+@all"]);
}

fn with(config: RedisConfig, tokens: &Arc<Tokens>) -> RedisConfig {
    let mut config = config;
    config.credentials = Some(tokens.clone());
    config
}

async fn is_hit(cache: &RedisSemanticCacheProvider) -> bool {
    matches!(answer(cache, &request(&make::user("acme", "ann"), "two", Some(1))).await, Ok(Some(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_new_connection_shows_the_token_of_the_moment() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    allow(&home.url, "first");
    let tokens = Tokens::new("first");
    let cache = RedisSemanticCacheProvider::connect(with(home.config(), &tokens)).await.unwrap();
    cache.store(entry(&make::user("acme", "ann"), "one", "1", Some(1))).await.unwrap();
    assert_eq!(tokens.asked(), 1);
    for token in ["second", "third"] {
        allow(&home.url, token);
        assert!(is_hit(&cache).await, "a connection goes on when its token has expired");
        let asked = tokens.asked();
        // The provider still has the former token when the connection is lost: what it shows is refused.
        command::<()>(&home.url, &["CLIENT", "KILL", "USER", "cache"]);
        wait_until("it is refused", RECOVERY, async || {
            assert!(!is_hit(&cache).await);
            tokens.asked() > asked + 1
        })
        .await;
        *tokens.token.lock().unwrap() = token.into();
        wait_until("it is let in", RECOVERY, async || is_hit(&cache).await).await;
    }
    let who: String = command(&home.url, &["CLIENT", "LIST"]);
    assert_eq!(who.matches("user=cache").count(), 1, "{who}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_no_token_at_first_is_asked_again() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    allow(&home.url, "token");
    let failures = || Mutex::new(VecDeque::from(["metadata server: 503", "metadata server: 503"]));
    let tokens = Arc::new(Tokens { failures: failures(), token: Mutex::new("token".into()), ..Tokens::default() });
    let error = RedisSemanticCacheProvider::connect(with(home.config(), &tokens)).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(format!("{error:?}").contains("503"), "{error:?}");
    *tokens.failures.lock().unwrap() = failures().into_inner().unwrap();
    let cache = RedisSemanticCacheProvider::connect_lazily(with(home.config(), &tokens)).unwrap();
    let scope = make::user("acme", "ann");
    wait_until("it is let in", RECOVERY, async || cache.store(entry(&scope, "one", "1", Some(1))).await.is_ok()).await;
    assert_eq!(tokens.asked(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_token_is_told_without_the_token() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    allow(&home.url, "right");
    let tokens = Tokens::new("hunter2");
    let config = with(home.config(), &tokens);
    assert!(!format!("{config:?}").contains("hunter2"));
    let error = RedisSemanticCacheProvider::connect(config.clone()).await.unwrap_err();
    assert!(!error.is_retryable() && !format!("{error:?}").contains("hunter2"), "{error:?}");
    insta::assert_snapshot!(std::error::Error::source(&error).unwrap(), @"Password authentication failed - AuthenticationFailed");
    let cache = RedisSemanticCacheProvider::connect_lazily(config).unwrap();
    let scope = make::user("acme", "ann");
    wait_until("it is refused", RECOVERY, async || {
        let error = answer(&cache, &request(&scope, "one", None)).await.unwrap_err();
        let told = format!("{error:?} {cache:?}");
        assert!(!told.contains("hunter2"), "{told}");
        told.contains("authentication failed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_of_a_cluster_is_shown_the_token() {
    let Some(cluster) = Cluster::start() else { return };
    let home = cluster.home();
    for node in &cluster.0 {
        allow(&node.url(), "first");
    }
    let tokens = Tokens::new("first");
    let cache = RedisSemanticCacheProvider::connect(with(cluster.config(&home), &tokens)).await.unwrap();
    assert_eq!(tokens.asked(), 3, "once for each node, whatever the number of shards");
    for node in &cluster.0 {
        allow(&node.url(), "second");
    }
    *tokens.token.lock().unwrap() = "second".into();
    for node in &cluster.0 {
        command::<()>(&node.url(), &["CLIENT", "KILL", "USER", "cache"]);
    }
    for tenant in 0..30 {
        let scope = make::user(&format!("tenant-{tenant}"), "ann");
        wait_until("let in", RECOVERY, async || cache.store(entry(&scope, "one", "1", Some(1))).await.is_ok()).await;
    }
    assert!(tokens.asked() <= 3 + 6, "{}", tokens.asked());
}
