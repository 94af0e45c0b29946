//! The suites of `memory-testkit`.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::{MemoryId, MemoryStore, Scope, SemanticCache, WorkingMemory};
use memory_testkit::manager::ManagerFixture;
use memory_testkit::{CacheFixture, TestClock, WorkingFixture, make};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use tempfile::TempDir;

use crate::support::Home;

struct Fixture {
    home: Home,
    folder: TempDir,
}

impl Fixture {
    fn new() -> Option<Self> {
        Some(Self { home: Home::new()?, folder: tempfile::tempdir().expect("a temporary folder") })
    }
}

#[async_trait]
impl CacheFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> Arc<dyn SemanticCache> {
        Arc::new(self.home.open().await)
    }

    async fn memory(&self, _: &Scope) -> MemoryId {
        make::id()
    }
}

#[async_trait]
impl WorkingFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> Arc<dyn WorkingMemory> {
        Arc::new(self.home.open().await.working_memory())
    }
}

/// The durable store of the pair is the embedded one.
#[async_trait]
impl ManagerFixture for Fixture {
    fn clock(&self) -> TestClock {
        self.home.clock.clone()
    }

    async fn open(&self) -> (Arc<dyn MemoryStore>, Arc<dyn SemanticCache>) {
        let config = EmbeddedConfig::new(self.folder.path().join("memory.db"));
        let config = config.with_clock(Arc::new(self.home.clock.clone()));
        let store = EmbeddedProvider::open(config).await.expect("the store opens");
        (Arc::new(store), Arc::new(self.home.open().await))
    }
}

// A test that finds no server ends here: `Fixture::new` has said so, or failed where the server is required.
macro_rules! fixture {
    () => {
        match super::Fixture::new() {
            Some(fixture) => fixture,
            None => return,
        }
    };
}

mod cache {
    memory_testkit::cache_suite!(fixture!());
}

mod manager {
    memory_testkit::manager_suite!(fixture!());
}

mod working {
    memory_testkit::working_suite!(fixture!());
}

mod sessions {
    memory_testkit::sessions_suite!(fixture!());
}
