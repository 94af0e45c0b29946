//! What has expired: it takes the answers that used it along, and leaves the file.

use std::time::{Duration, Instant};

use memory_core::cache::Fingerprint;
use memory_core::{
    AppendRequest, CacheLookup, CacheMode, CachePolicy, CacheRequest, Clock, MemoryStore, Metadata, NewCacheEntry,
    NewMessage, Role, SemanticCache, WindowRequest, WorkingMemory,
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
        sliding: false,
    };
    store.store(answer("Where is the office?", vec![lasting.id])).await.expect("store");
    store.store(answer("How do I get into the office?", vec![lasting.id, passing.id])).await.expect("store");
    let is_hit = async |prompt: &str| {
        let policy = CachePolicy { threshold: 0.9, mode: CacheMode::Guarded };
        let fingerprint = Fingerprint([0; 32]);
        let request = CacheRequest {
            scope: scope.clone(),
            prompt: prompt.into(),
            fingerprint,
            embedding: None,
            policy,
            filter: None,
        };
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
    leaves_the_file(&home, "xylophone lesson").await;
    assert_eq!(count(&store, &scope, "xylophone").await, 1);
    store.close().await.expect("close");
    let store = home.open().await;
    assert_eq!(count(&store, &scope, "xylophone").await, 1, "the lasting one is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_and_cleared_sessions_leave_the_file() {
    let home = Home::new();
    let config = EmbeddedConfig { sweep_every: Duration::from_millis(10), ..home.config() };
    let store = EmbeddedProvider::open(config).await.expect("open");
    let append = async |session: &str, text: &str, ttl: Duration| {
        let scope = make::session("acme", "ann", session);
        let request = AppendRequest { ttl, ..AppendRequest::new(scope, vec![NewMessage::new(Role::User, text)]) };
        store.append(request).await.expect("append");
    };
    // More than are taken out at once.
    for number in 0..25 {
        append(&format!("short {number}"), "a marimba lesson", Duration::from_secs(60)).await;
    }
    append("cleared", "a vibraphone lesson", Duration::from_secs(3600)).await;
    append("long", "a glockenspiel lesson", Duration::from_secs(3600)).await;
    assert!(holds_text(&home, "marimba") && holds_text(&home, "vibraphone"), "the test looks in the right place");
    assert_eq!(store.clear(&make::session("acme", "ann", "cleared")).await.expect("clear"), 1);
    leaves_the_file(&home, "vibraphone").await;
    home.clock.advance(Duration::from_secs(60));
    leaves_the_file(&home, "marimba").await;
    let lasting = WindowRequest::new(make::session("acme", "ann", "long"));
    assert_eq!(store.window(&lasting).await.expect("window").total, 1);
}

fn holds_text(home: &Home, text: &str) -> bool {
    let bytes: Vec<u8> = ["", "-wal"]
        .iter()
        .flat_map(|end| std::fs::read(format!("{}{end}", home.path().display())).unwrap_or_default())
        .collect();
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

async fn leaves_the_file(home: &Home, text: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while holds_text(home, text) {
        assert!(Instant::now() < deadline, "{text:?} is still in the file");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
