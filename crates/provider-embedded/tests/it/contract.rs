//! The suites of `memory-testkit`.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::{MemoryId, MemoryStore, Scope, SemanticCache, WorkingMemory};
use memory_testkit::manager::ManagerFixture;
use memory_testkit::{CacheFixture, ReplicaFixture, StoreFixture, TestClock, WorkingFixture, make, replica};
use provider_embedded::EmbeddedProvider;
use tokio::sync::OnceCell;

use crate::support::{Home, memory};

struct Fixture {
    home: Home,
    open: OnceCell<EmbeddedProvider>,
}

impl Fixture {
    fn new() -> Self {
        Self { home: Home::new(), open: OnceCell::new() }
    }

    async fn provider(&self) -> EmbeddedProvider {
        self.open.get_or_init(|| self.home.open()).await.clone()
    }
}

#[async_trait]
impl StoreFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> Arc<dyn MemoryStore> {
        Arc::new(self.home.open().await)
    }

    async fn close(&self, store: Arc<dyn MemoryStore>) {
        drop(store);
        // The store was the last handle, so its writer ends by itself; then the lock is free.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            match EmbeddedProvider::open(self.home.config()).await {
                Ok(store) => return store.close().await.expect("close"),
                Err(error) if std::time::Instant::now() > deadline => panic!("{error}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
}

#[async_trait]
impl CacheFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> Arc<dyn SemanticCache> {
        Arc::new(self.provider().await)
    }

    async fn memory(&self, scope: &Scope) -> MemoryId {
        let memory = memory(scope, "something an answer can depend on");
        let id = memory.id;
        self.provider().await.insert(make::batch([memory])).await.expect("insert");
        id
    }
}

#[async_trait]
impl ManagerFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    fn is_one(&self) -> bool {
        true
    }

    async fn open(&self) -> (Arc<dyn MemoryStore>, Arc<dyn SemanticCache>) {
        let provider = self.provider().await;
        (Arc::new(provider.clone()), Arc::new(provider))
    }
}

#[async_trait]
impl WorkingFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> Arc<dyn WorkingMemory> {
        Arc::new(self.provider().await)
    }
}

mod store {
    memory_testkit::store_suite!(super::Fixture::new());
}

mod changes {
    memory_testkit::changes_suite!(super::Fixture::new());
}

mod cache {
    memory_testkit::cache_suite!(super::Fixture::new());
}

mod manager {
    memory_testkit::manager_suite!(super::Fixture::new());
}

mod working {
    memory_testkit::working_suite!(super::Fixture::new());
}

mod consolidation {
    memory_testkit::consolidation_suite!(super::Fixture::new());
}

mod sessions {
    memory_testkit::sessions_suite!(super::Fixture::new());
}

#[async_trait]
impl ReplicaFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> replica::Home {
        replica::Home::of(self.home.open_swept().await)
    }

    async fn close(&self, home: replica::Home) {
        let replica::Home { store, replica } = home;
        drop(replica);
        StoreFixture::close(self, store).await;
    }

    /// It sweeps all the time.
    async fn sweep(&self, _: &replica::Home) {}
}

mod replica_of {
    memory_testkit::replica_suite!(super::Fixture::new());
}
