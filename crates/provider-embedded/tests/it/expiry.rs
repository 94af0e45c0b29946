//! What has expired: it takes the answers that used it along, and leaves the file.

use std::time::{Duration, Instant};

use memory_core::cache::Fingerprint;
use memory_core::{
    CacheLookup, CacheMode, CachePolicy, CacheRequest, Clock, MemoryStore, Metadata, NewCacheEntry, SemanticCache,
};
use memory_testkit::make;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};

use crate::support::{Home, count, memory};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_expires_with_the_first_memory_it_used() {
    let home = Home::new();
    let store = home.open().await;
    let scope = make::user("acme", "ann");
    let lasting = memory(&scope, "the office is in Lyon");
    let mut passing = memory(&scope, "the door code is 4711 today");
    passing.expires_at = Some(home.clock.now() + Duration::from_secs(60));
    store.insert(make::batch([lasting.clone(), passing.clone()])).await.expect("insert");
    let answer = |prompt: &str, depends_on| NewCacheEntry {
        scope: scope.clone(),
        prompt: prompt.into(),
        response: "answer".into(),
        fingerprint: Fingerprint([0; 32]),
        embedding: None,
        depends_on,
        tags: Vec::new(),
        metadata: Metadata::new(),
        ttl: Duration::from_secs(3600),
    };
    store.store(answer("Where is the office?", vec![lasting.id])).await.expect("store");
    store.store(answer("How do I get into the office?", vec![lasting.id, passing.id])).await.expect("store");
    let is_hit = async |prompt: &str| {
        let policy = CachePolicy { threshold: 0.9, mode: CacheMode::Guarded };
        let fingerprint = Fingerprint([0; 32]);
        let request =
            CacheRequest { scope: scope.clone(), prompt: prompt.into(), fingerprint, embedding: None, policy };
        matches!(store.lookup(&request).await.expect("lookup"), CacheLookup::Hit(_))
    };
    home.clock.advance(Duration::from_secs(59));
    assert!(is_hit("How do I get into the office?").await);
    home.clock.advance(Duration::from_secs(1));
    assert!(!is_hit("How do I get into the office?").await);
    assert!(is_hit("Where is the office?").await);
    let late = store.store(answer("What is the code?", vec![passing.id])).await.expect_err("it has expired");
    assert!(late.to_string().starts_with("depends_on[0]: given"), "{late}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_memories_leave_the_file() {
    let home = Home::new();
    let config = EmbeddedConfig { sweep_every: Duration::from_millis(10), ..home.config() };
    let store = EmbeddedProvider::open(config).await.expect("open");
    let scope = make::user("acme", "ann");
    let passing = (0..20).map(|at| {
        let mut memory = memory(&scope, &format!("xylophone lesson number {at}"));
        memory.expires_at = Some(home.clock.now() + Duration::from_secs(60));
        memory
    });
    store.insert(make::batch(passing)).await.expect("insert");
    store.insert(make::batch([memory(&scope, "a lasting xylophone")])).await.expect("insert");
    assert_eq!(count(&store, &scope, "xylophone").await, 21);
    home.clock.advance(Duration::from_secs(61));
    assert_eq!(count(&store, &scope, "xylophone").await, 1, "hidden at once");
    let holds_text = || {
        let bytes: Vec<u8> = ["", "-wal"]
            .iter()
            .flat_map(|end| std::fs::read(format!("{}{end}", home.path().display())).unwrap_or_default())
            .collect();
        bytes.windows(b"xylophone lesson".len()).any(|window| window == b"xylophone lesson")
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while holds_text() {
        assert!(Instant::now() < deadline, "expired text is still in the file");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(count(&store, &scope, "xylophone").await, 1);
    store.close().await.expect("close");
    let store = home.open().await;
    assert_eq!(count(&store, &scope, "xylophone").await, 1, "the lasting one is there");
}
