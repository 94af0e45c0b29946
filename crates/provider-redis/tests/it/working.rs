//! Working memory: what a call costs, and what happens to the server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use memory_core::{
    AppendRequest, Error, IdempotencyKey, NewMessage, Role, Scope, SemanticCache as _, Timestamp, WindowRequest,
    WorkingMemory as _,
};
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use provider_redis::{RedisSemanticCacheProvider, RedisWorkingMemory};

use crate::round_trips::counted;
use crate::support::Home;

const RECOVERY: Duration = Duration::from_secs(2);

fn monday() -> Scope {
    make::session("acme", "ann", "monday")
}

fn hello(scope: &Scope) -> AppendRequest {
    let messages = vec![NewMessage::new(Role::User, "hello"), NewMessage::new(Role::Assistant, "good morning")];
    AppendRequest::new(scope.clone(), messages)
}

async fn total(memory: &RedisWorkingMemory, scope: &Scope) -> u64 {
    memory.window(&WindowRequest::new(scope.clone())).await.expect("window").total
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn append_window_and_clear_are_one_round_trip_each() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let memory = home.open().await.working_memory();
    let mut direct = home.direct().await;
    let scope = monday();
    let keyed =
        AppendRequest { idempotency: Some(IdempotencyKey { key: "key".into(), body_hash: [1; 32] }), ..hello(&scope) };
    memory.append(hello(&scope)).await.unwrap();
    memory.window(&WindowRequest::new(scope.clone())).await.unwrap();
    memory.clear(&scope).await.unwrap();
    let mut table = Vec::new();
    for what in ["append", "append under a key", "replay", "window", "window of one", "clear", "window of none"] {
        let before = counted(&mut direct).await;
        match what {
            "append" => drop(memory.append(hello(&scope)).await.unwrap()),
            "append under a key" => assert!(!memory.append(keyed.clone()).await.unwrap().replayed),
            "replay" => assert!(memory.append(keyed.clone()).await.unwrap().replayed),
            "window" => assert_eq!(total(&memory, &scope).await, 4),
            "window of one" => {
                let request = WindowRequest { max_messages: 1, ..WindowRequest::new(scope.clone()) };
                assert_eq!(memory.window(&request).await.unwrap().messages.len(), 1);
            }
            "clear" => assert_eq!(memory.clear(&scope).await.unwrap(), 4),
            _ => assert_eq!(total(&memory, &scope).await, 0),
        }
        let mut calls: BTreeMap<_, _> = counted(&mut direct)
            .await
            .into_iter()
            .map(|(name, count)| (name.clone(), count - before.get(&name).unwrap_or(&0)))
            .filter(|(name, count)| *count > 0 && name != "info")
            .collect();
        // The first of the two looks at the counters is not in itself, the second is in neither.
        let reads = calls.remove("reads").unwrap() - 1;
        let calls: Vec<_> = calls.iter().map(|(name, count)| format!("{name} {count}")).collect();
        table.push(format!("{what}: round trips {reads}; {}", calls.join(", ")));
    }
    insta::assert_snapshot!(table.join("\n"), @"
    append: round trips 1; evalsha 1, hmget 1, hset 1, pexpire 2, pttl 1, zadd 1, zremrangebyscore 1
    append under a key: round trips 1; evalsha 1, hget 1, hmget 1, hset 1, pexpire 2, pttl 1, zadd 1, zremrangebyscore 1, zscore 1
    replay: round trips 1; evalsha 1, hget 1, hmget 1, zscore 1
    window: round trips 1; evalsha 1, hget 4, hmget 1, zscore 1
    window of one: round trips 1; evalsha 1, hget 1, hmget 1, zscore 1
    clear: round trips 1; evalsha 1, hmget 1, unlink 1, zrem 1, zscore 1
    window of none: round trips 1; evalsha 1, hmget 1
    ");
}

/// A restarted Redis knows neither the scripts nor, without persistence, the sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_redis_is_told_the_scripts_again() {
    let Some(mut server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let memory = home.open().await.working_memory();
    let mut direct = home.direct().await;
    let scope = monday();
    memory.append(hello(&scope)).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut direct).await.unwrap();
    assert_eq!(memory.append(hello(&scope)).await.unwrap().first, 3);
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut direct).await.unwrap();
    assert_eq!(total(&memory, &scope).await, 4);

    server.kill().unwrap();
    let outage = memory.append(hello(&scope)).await.unwrap_err();
    assert!(outage.is_retryable(), "{outage:?}");
    let outage = memory.window(&WindowRequest::new(scope.clone())).await.unwrap_err();
    assert!(outage.is_retryable(), "{outage:?}");
    let outage = memory.clear(&scope).await.unwrap_err();
    assert!(outage.is_retryable(), "{outage:?}");
    server.restart().unwrap();
    let back = Instant::now();
    let anew = loop {
        match memory.append(hello(&scope)).await {
            Ok(receipt) => break receipt,
            Err(error) => assert!(error.is_retryable() && back.elapsed() < RECOVERY, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((anew.first, anew.total), (1, 2), "a session that is lost begins anew");
}

/// What forgetting would not find is not there: a Redis that evicts the register has ended the tenant's sessions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_register_does_not_name_has_ended() {
    let Some(home) = Home::new() else { return };
    let memory = home.open().await.working_memory();
    let mut direct = home.direct().await;
    let elsewhere = make::session("globex", "ann", "monday");
    for scope in [&monday(), &elsewhere] {
        memory.append(hello(scope)).await.unwrap();
    }
    let registers: Vec<String> =
        redis::cmd("KEYS").arg(format!("{}:*:o:*", home.name)).query_async(&mut direct).await.unwrap();
    assert_eq!(registers.len(), 2, "one for each tenant: {registers:?}");
    for register in &registers {
        let lives_ms: i64 = redis::cmd("PTTL").arg(register).query_async(&mut direct).await.unwrap();
        assert!(lives_ms > 3_000_000, "as long as its sessions, and not for ever: {lives_ms}");
        redis::cmd("DEL").arg(register).exec_async(&mut direct).await.unwrap();
    }
    assert_eq!(total(&memory, &monday()).await, 0);
    assert_eq!(memory.clear(&elsewhere).await.unwrap(), 0);
    let anew = memory.append(hello(&monday())).await.unwrap();
    assert_eq!((anew.first, anew.total), (1, 2), "it begins anew");
    assert_eq!(memory.forget_within(&make::user("acme", "ann"), false).await.unwrap(), 2);

    for session in ["tuesday", "wednesday"] {
        memory.append(hello(&make::session("acme", "ann", session))).await.unwrap();
        home.clock.advance(memory_core::working::DEFAULT_SESSION_TTL);
    }
    memory.append(hello(&monday())).await.unwrap();
    let mut names = Vec::new();
    for register in &registers {
        let held: Vec<String> =
            redis::cmd("ZRANGE").arg(register).arg(0).arg(-1).query_async(&mut direct).await.unwrap();
        names.extend(held);
    }
    assert_eq!(names.len(), 1, "what has ended leaves the register: {names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_redis_takes_nothing_of_an_append() {
    let Some(server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let memory = home.open().await.working_memory();
    let mut direct = home.direct().await;
    let scope = monday();
    let before = memory.append(hello(&scope)).await.unwrap();
    let mut set = async |name: &str, value: &str| {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec_async(&mut direct).await.unwrap();
    };
    set("maxmemory", "1mb").await;
    home.clock.advance(Duration::from_secs(1));
    let full = memory.append(hello(&scope)).await.unwrap_err();
    assert!(matches!(full, Error::StorageFull { .. }), "{full:?}");
    let window = memory.window(&WindowRequest::new(scope.clone())).await.unwrap();
    assert_eq!((window.total, window.expires_at), (2, Some(before.expires_at)));
    set("maxmemory", "0").await;
    assert_eq!(memory.append(hello(&scope)).await.unwrap().first, 3);
}

/// A session is one key, apart from the index; Redis takes it away by its own clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_drops_a_session_as_one_key() {
    let Some(home) = Home::new() else { return };
    let config = home.config().with_clock(Arc::new(|| Timestamp::from(SystemTime::now())));
    let cache = RedisSemanticCacheProvider::connect(config).await.unwrap();
    let memory = cache.working_memory();
    let mut direct = home.direct().await;
    let scope = monday();
    let ttl = Duration::from_millis(400);
    let keyed = IdempotencyKey { key: "key".into(), body_hash: [1; 32] };
    memory.append(AppendRequest { ttl, idempotency: Some(keyed), ..hello(&scope) }).await.unwrap();
    let mut keys = async || -> Vec<String> {
        redis::cmd("KEYS").arg(format!("{}:*:w:*", home.name)).query_async(&mut direct).await.unwrap()
    };
    let held = keys().await;
    assert_eq!(held.len(), 1, "{held:?}");
    assert!(held[0].starts_with(&format!("{}:2:{{00}}:w:", home.name)), "{held:?}");
    assert_eq!(cache.stats(&scope).await.unwrap().entries, 0);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !keys().await.is_empty() {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(total(&memory, &scope).await, 0);
}
