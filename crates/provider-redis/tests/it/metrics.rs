//! What a recorder sees of an outage.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memory_core::SemanticCache;
use memory_testkit::make;
use memory_testkit::services::{self, Service};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
};
use provider_redis::RedisSemanticCacheProvider;

use crate::support::{Home, answer, entry, request, wait_until};

const RECOVERY: Duration = Duration::from_secs(2);

/// Keeps everything; a histogram as how many values it got.
#[derive(Default)]
struct Kept(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Kept {
    fn place(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(|label| format!(" {}", label.value())).collect();
        let name = format!("{}{}", key.name(), labels.concat());
        self.0.lock().expect("nobody panicked").entry(name).or_default().clone()
    }

    fn counter(&self, name: &str) -> u64 {
        let places = self.0.lock().expect("nobody panicked");
        places.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", places.keys())).load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &str) -> f64 {
        f64::from_bits(self.counter(name))
    }
}

struct Values(Arc<AtomicU64>);

impl HistogramFn for Values {
    fn record(&self, seconds: f64) {
        assert!((0.0..10.0).contains(&seconds), "{seconds}");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder for Kept {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.place(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.place(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Values(self.place(key))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_seen_from_its_beginning_to_its_end() {
    let Some(mut server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let recorder = Kept::default();
    let mut config = home.config();
    config.deadline = Duration::from_millis(200);
    config.repeat_bytes = 0;
    let failures = u64::from(config.breaker_failures);
    let cache = with_local_recorder(&recorder, || RedisSemanticCacheProvider::connect_lazily(config)).unwrap();
    wait_until("connected", RECOVERY, async || cache.health().connected).await;
    let scope = make::user("acme", "ann");
    cache.store(entry(&scope, "one", "1", Some(1))).await.unwrap();
    for (prompt, seed) in [("one", None), ("two", None), ("two", Some(1)), ("two", Some(2))] {
        answer(&cache, &request(&scope, prompt, seed)).await.unwrap();
    }
    let lookups = |result: &str| recorder.counter(&format!("memory_cache_lookups_total {result}"));
    let calls = |outcome: &str| recorder.counter(&format!("memory_redis_calls_total lookup {outcome}"));
    assert_eq!(["exact_hit", "semantic_hit", "miss", "refused_by_guard", "unavailable"].map(lookups), [1, 1, 1, 0, 0]);
    assert_eq!((calls("ok"), recorder.counter("memory_redis_call_seconds lookup")), (4, 4));
    // The first of a tenant begins its cache.
    assert_eq!(recorder.counter("memory_redis_calls_total store ok"), 2);
    assert_eq!(recorder.counter("memory_redis_reconnects_total"), 0);

    server.pause().unwrap();
    for _ in 0..failures + 3 {
        answer(&cache, &request(&scope, "one", Some(1))).await.unwrap_err();
    }
    assert!(cache.health().breaker_open);
    assert!(calls("timeout") >= failures && calls("breaker_open") > 0);
    assert_eq!(calls("timeout") + calls("breaker_open"), failures + 3);
    assert_eq!(lookups("unavailable"), failures + 3);
    assert_eq!(recorder.counter("memory_redis_breaker_openings_total"), 1);
    assert!((recorder.gauge("memory_redis_breakers_open") - 1.0).abs() < f64::EPSILON);

    server.kill().unwrap();
    wait_until("it is noticed", RECOVERY, async || {
        let _ = answer(&cache, &request(&scope, "one", Some(1))).await;
        calls("not_connected") > 0
    })
    .await;
    assert!(calls("lost") + calls("timeout") > failures);
    wait_until("why is known", RECOVERY, async || cache.health().last_error.is_some()).await;
    let health = cache.health();
    assert!(!health.connected && health.last_error.unwrap().contains("refused"));

    server.restart().unwrap();
    wait_until("recovered", RECOVERY, async || answer(&cache, &request(&scope, "one", Some(1))).await.is_ok()).await;
    assert_eq!(recorder.counter("memory_redis_reconnects_total"), 1);
    assert!(recorder.gauge("memory_redis_breakers_open").abs() < f64::EPSILON);
    let health = cache.health();
    assert!(health.connected && !health.breaker_open && health.last_error.is_none(), "{health:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_is_gone_has_no_open_breaker() {
    let Some(mut server) = services::private(Service::Redis) else { return };
    let home = Home::at(server.url());
    let recorder = Kept::default();
    let mut config = home.config();
    (config.deadline, config.breaker_failures) = (Duration::from_millis(50), 1);
    let cache = with_local_recorder(&recorder, || RedisSemanticCacheProvider::connect_lazily(config)).unwrap();
    wait_until("connected", RECOVERY, async || cache.health().connected).await;
    server.pause().unwrap();
    answer(&cache, &request(&make::user("acme", "ann"), "one", None)).await.unwrap_err();
    let open = || recorder.gauge("memory_redis_breakers_open");
    assert!((open() - 1.0).abs() < f64::EPSILON);
    drop(cache);
    // An attempt to connect that is under way holds on to it until it ends.
    server.resume().unwrap();
    wait_until("closed", 5 * RECOVERY, async || open().abs() < f64::EPSILON).await;
}
