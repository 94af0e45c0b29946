//! `/v1/replica`: the whole store over a socket, for whoever moves it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use embedders::StaticEmbedder;
use memory_core::{Embedder as _, Error, Item, MemoryId, Purpose, Replica, TieredMemoryManager};
use memory_testkit::replica::Home;
use memory_testkit::{ReplicaFixture, TestClock, make};
use migrate::http::HttpReplica;
use migrate::probe::{Direct, Search};
use orchestra_api::config::Settings;
use orchestra_api::http::router;
use orchestra_api::state::AppState;
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::AbortHandle;

use crate::Api;

/// A file that a server owns: who uses it calls the store, whoever moves it calls the server.
struct Fixture {
    folder: TempDir,
    clock: TestClock,
    server: std::sync::Mutex<Option<AbortHandle>>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, clock: TestClock::new(), server: std::sync::Mutex::default() }
    }

    async fn store(&self) -> memory_core::Result<EmbeddedProvider> {
        let config = EmbeddedConfig {
            sweep_every: Duration::from_millis(20),
            ..EmbeddedConfig::new(self.folder.path().join("memory.db")).with_clock(Arc::new(self.clock.clone()))
        };
        EmbeddedProvider::open(config).await
    }
}

#[async_trait]
impl ReplicaFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.clock.clone()
    }

    async fn open(&self) -> Home {
        let store = self.store().await.unwrap();
        let clock = self.clock.clone();
        let manager = TieredMemoryManager::builder(move || memory_core::Clock::now(&clock), || MemoryId::from(uuid()))
            .medium_term_provider(Arc::new(store.clone()))
            .embedder(Arc::new(StaticEmbedder::built_in()))
            .build()
            .unwrap();
        let state = AppState::new(manager, Settings::for_data(self.folder.path())).unwrap();
        let (address, server) = serve(state).await;
        *self.server.lock().unwrap() = Some(server);
        let replica = HttpReplica::new(&format!("http://{address}"), None).unwrap();
        Home { store: Arc::new(store), replica: Arc::new(replica) }
    }

    async fn close(&self, home: Home) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.abort();
        }
        drop(home);
        // The last handle goes with the server's last connection; then the file is free.
        let began = std::time::Instant::now();
        loop {
            match self.store().await {
                Ok(store) => return store.close().await.unwrap(),
                Err(error) => assert!(began.elapsed() < self.patience(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// It sweeps all the time.
    async fn sweep(&self, _: &Home) {}
}

fn uuid() -> uuid::Uuid {
    make::id().as_uuid()
}

/// A server of the state on a free port.
async fn serve(state: AppState) -> (SocketAddr, AbortHandle) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, router(state)).await.unwrap() });
    (address, server.abort_handle())
}

memory_testkit::replica_suite!(Fixture::new());

/// A page with large items ends before its limit, and the next one goes on behind it.
#[tokio::test]
async fn a_page_of_large_items_ends_early() {
    let fixture = Fixture::new();
    let home = fixture.open().await;
    let scope = make::user("acme", "ann");
    let now = memory_core::Clock::now(&fixture.clock);
    let large = (0..300).map(|at| make::memory(&scope, &format!("{at} {}", "x".repeat(60_000)), now));
    let ids: Vec<MemoryId> = {
        let memories: Vec<_> = large.collect();
        let ids = memories.iter().map(|memory| memory.id).collect();
        home.store.insert(make::batch(memories)).await.unwrap();
        ids
    };
    let (mut found, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = home.replica.scan(after.as_ref(), 1000).await.unwrap();
        pages += 1;
        found.extend(page.items.iter().map(|item| match item {
            Item::Memory(whole) => whole.current.memory.id,
            other => panic!("{other:?}"),
        }));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, ids);
    assert!(pages >= 3, "{pages} pages");
    // More than a usual body may have: the items of a write come in one.
    let keys: Vec<_> = found.iter().map(|&id| memory_core::ItemKey::Memory { tenant: "acme".into(), id }).collect();
    let items = home.replica.read(&keys).await.unwrap();
    home.replica.set_gate(memory_core::Gate { epoch: 1, writers: memory_core::Writers::Mover }).await.unwrap();
    home.replica.write(1, items).await.unwrap();
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let api = Api::new().await;
    let mut problems = Vec::new();
    for path in [
        "/v1/replica/items?limit=0",
        "/v1/replica/items?after=nowhere",
        "/v1/replica/streams/none",
        "/v1/replica/streams/none/changes",
        "/v1/replica/size?tenant=acme",
    ] {
        problems.push(api.get(path).await.problem());
    }
    for (path, body) in [
        ("/v1/replica/gate", json!({"epoch": 1, "writers": "nobody"})),
        ("/v1/replica/gate", json!({"epoch": 0, "writers": "mover"})),
        ("/v1/replica/items", json!({"epoch": 3, "items": []})),
        ("/v1/replica/items", json!({"epoch": 3, "items": [{"item": "memory"}]})),
        ("/v1/replica/items/read", json!({"keys": [{"memory": {"tenant": "a"}}]})),
        ("/v1/replica/streams", json!({"stream": ""})),
        ("/v1/replica/streams/none/acknowledge", json!({"position": "1"})),
    ] {
        problems.push(api.post(path, &body).await.problem());
    }
    insta::assert_snapshot!(problems.join("\n"));
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_error_that_may_pass() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gone = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let error = HttpReplica::new(&url, None).unwrap().gate().await.unwrap_err();
    assert!(matches!(error, Error::Backend { retryable: true, .. }), "{error:?}");
    gone.abort();
}

/// What a mover measures both sides by is the same over a socket as in the process.
#[tokio::test]
async fn a_server_answers_the_probes_of_a_mover() {
    let fixture = Fixture::new();
    let home = fixture.open().await;
    let address = {
        let manager = TieredMemoryManager::builder(chrono::Utc::now, || MemoryId::from(uuid()))
            .medium_term_provider(home.store.clone())
            .embedder(Arc::new(StaticEmbedder::built_in()))
            .build()
            .unwrap();
        serve(AppState::new(manager, Settings::for_data(fixture.folder.path())).unwrap()).await.0
    };
    let server = HttpReplica::new(&format!("http://{address}"), None).unwrap();
    let embedder = server.embedder().await.unwrap();
    assert_eq!(embedder.space(), StaticEmbedder::built_in().space());
    let monday = make::user("acme", "ann").with_session("monday").unwrap();
    let texts = ["Ann sits by the window", "Bob drinks tea", "Ann flies to Porto"];
    let vectors = embedder.embed(&texts, Purpose::Document).await.unwrap();
    let mut ids = Vec::new();
    for (text, vector) in texts.iter().zip(&vectors) {
        let memory = make::memory(&monday, text, memory_core::Clock::now(&fixture.clock));
        ids.push(memory.id);
        home.store.insert(make::embedded(memory, vector.clone())).await.unwrap();
    }
    let direct = Direct(home.store.clone());
    let (ann, stranger) = (make::user("acme", "ann"), make::user("globex", "ann"));
    for scope in [&ann, &stranger] {
        let [there, here] =
            [&server as &dyn Search, &direct].map(|store| store.search(scope, Some(&vectors[0]), texts[0]));
        let (there, here) = (there.await.unwrap(), here.await.unwrap());
        assert_eq!((there.hits, there.took.is_some()), (here.hits, true));
        for id in &ids {
            assert_eq!(server.shows(scope, *id).await.unwrap(), direct.shows(scope, *id).await.unwrap());
        }
    }
    let nearest = server.nearest(&ann, &vectors[2]).await.unwrap().unwrap();
    assert_eq!((nearest.len(), nearest[0]), (3, ids[2]));
    assert_eq!(server.turn_before(&monday, ids[1]).await.unwrap().as_deref(), Some(texts[0]));
    assert!(server.shows(&ann, ids[0]).await.unwrap() && !server.shows(&stranger, ids[0]).await.unwrap());
}
