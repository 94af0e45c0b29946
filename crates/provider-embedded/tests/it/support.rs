//! What the tests share: stores in temporary folders.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use memory_core::{Arm, Candidates, Memory, MemoryId, MemoryStore, Scope, SearchRequest};
use memory_testkit::{TestClock, make};
use provider_embedded::{EmbeddedConfig, EmbeddedProvider};
use tempfile::TempDir;

/// A folder for one store, and the clock that the store is opened with.
pub struct Home {
    pub folder: TempDir,
    pub clock: TestClock,
}

impl Home {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder"), clock: TestClock::new() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("memory.db")
    }

    pub fn config(&self) -> EmbeddedConfig {
        EmbeddedConfig::new(self.path()).with_clock(Arc::new(self.clock.clone()))
    }

    pub async fn open(&self) -> EmbeddedProvider {
        EmbeddedProvider::open(self.config()).await.expect("the store opens")
    }

    /// The same, where what has expired leaves the file at once.
    pub async fn open_swept(&self) -> EmbeddedProvider {
        let config = EmbeddedConfig { sweep_every: Duration::from_millis(20), ..self.config() };
        EmbeddedProvider::open(config).await.expect("the store opens")
    }
}

/// A memory of `scope` that says `text`, at the test's noon.
pub fn memory(scope: &Scope, text: &str) -> Memory {
    make::memory(scope, text, memory_core::Clock::now(&TestClock::new()))
}

/// A candidate's id, similarity, BM25 and neighbours; the numbers to the bit.
pub type Comparable = (MemoryId, Option<u32>, u32, Option<MemoryId>, Option<MemoryId>);

/// What a search found, in an order that does not depend on where it was held.
pub fn comparable(found: &Candidates) -> Vec<Comparable> {
    let mut rows: Vec<_> = found
        .candidates
        .iter()
        .map(|one| (one.memory.id, one.similarity.map(f32::to_bits), one.bm25.to_bits(), one.previous, one.next))
        .collect();
    rows.sort_unstable();
    rows
}

pub fn returned(found: &Candidates, arm: Arm) -> u64 {
    found.arms.iter().filter(|report| report.arm == arm).map(|report| report.returned).sum()
}

/// How many memories a search by words finds.
pub async fn count(store: &dyn MemoryStore, scope: &Scope, words: &str) -> usize {
    let request = SearchRequest { candidates: 100_000, ..make::search(scope, None, Some(words)) };
    store.search(&request).await.expect("search").candidates.len()
}
