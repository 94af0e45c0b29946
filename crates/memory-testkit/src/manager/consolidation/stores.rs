//! A store that is watched, and hindered at will.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use memory_core::{
    Candidates, Error, Field, ForgetReceipt, ForgetRequest, InsertBatch, InsertReceipt, ListRequest, Memory, MemoryId,
    MemoryPatch, MemoryStore, Page, Result, Scope, SearchRequest, StoreStats, UpdateReceipt,
};
use tokio::sync::{RwLock, RwLockWriteGuard};

/// What a run did to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Inserted,
    /// A search by what consolidation noted found something.
    ReadBack,
    Closed,
}

/// Another store, watched.
#[derive(Debug)]
pub struct Watched {
    inner: Arc<dyn MemoryStore>,
    events: Mutex<Vec<Event>>,
    /// Successors are not found by searches.
    pub blind: AtomicBool,
    /// How many writes are left until the process is killed; negative is never.
    writes_left: AtomicI64,
    last_write_takes_effect: AtomicBool,
    /// What is corrected, to which text, as soon as a successor is written.
    pub correction: Mutex<Option<(Scope, MemoryId, String)>>,
    gate: RwLock<()>,
    waiting: AtomicUsize,
}

impl Watched {
    pub fn new(inner: Arc<dyn MemoryStore>) -> Self {
        Self {
            inner,
            events: Mutex::default(),
            blind: AtomicBool::new(false),
            writes_left: AtomicI64::new(-1),
            last_write_takes_effect: AtomicBool::new(false),
            correction: Mutex::default(),
            gate: RwLock::new(()),
            waiting: AtomicUsize::new(0),
        }
    }

    /// What happened since this was last asked.
    pub fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().expect("no test panics while it holds this"))
    }

    fn note(&self, event: Event) {
        self.events.lock().expect("no test panics while it holds this").push(event);
    }

    /// After `writes` writes nothing works any more; the next one may still take effect, unheard.
    pub fn kill_at(&self, writes: i64, takes_effect: bool) {
        self.last_write_takes_effect.store(takes_effect, Ordering::SeqCst);
        self.writes_left.store(writes + 1, Ordering::SeqCst);
    }

    pub fn revive(&self) {
        self.writes_left.store(-1, Ordering::SeqCst);
    }

    /// Whether this write takes effect, and whether it is heard of.
    fn write(&self) -> (bool, bool) {
        match self.writes_left.load(Ordering::SeqCst) {
            left if left < 0 => (true, true),
            0 => (false, false),
            left => {
                self.writes_left.store(left - 1, Ordering::SeqCst);
                let last = left == 1;
                (!last || self.last_write_takes_effect.load(Ordering::SeqCst), !last)
            }
        }
    }

    fn alive(&self) -> Result<()> {
        if self.writes_left.load(Ordering::SeqCst) == 0 { Err(killed()) } else { Ok(()) }
    }

    /// Lists wait until the guard is dropped.
    pub async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().await
    }

    pub async fn until_waiting(&self) {
        while self.waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn killed() -> Error {
    Error::Backend { provider: "testkit", operation: "any", retryable: true, source: "killed".into() }
}

#[async_trait]
impl MemoryStore for Watched {
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt> {
        self.alive()?;
        let (takes_effect, heard) = self.write();
        if takes_effect {
            let receipt = self.inner.insert(batch).await?;
            self.note(Event::Inserted);
            let correction = self.correction.lock().expect("no test panics while it holds this").take();
            if let Some((scope, id, text)) = correction {
                self.inner.update(&scope, id, MemoryPatch { text: Some(text), ..MemoryPatch::default() }).await?;
            }
            if heard {
                return Ok(receipt);
            }
        }
        Err(killed())
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.alive()?;
        self.inner.get(scope, id).await
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.alive()?;
        self.inner.turn_before(scope, id).await
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<UpdateReceipt> {
        self.alive()?;
        let (takes_effect, heard) = self.write();
        if takes_effect {
            let receipt = self.inner.update(scope, id, patch).await?;
            if receipt.memory.valid_to.is_some() {
                self.note(Event::Closed);
            }
            if heard {
                return Ok(receipt);
            }
        }
        Err(killed())
    }

    async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>> {
        self.alive()?;
        self.inner.history(scope, id).await
    }

    async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        self.alive()?;
        self.inner.forget(request).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        self.alive()?;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _open = self.gate.read().await;
        self.inner.list(request).await
    }

    async fn search(&self, request: &SearchRequest) -> Result<Candidates> {
        self.alive()?;
        let path = vec![memory_core::consolidation::METADATA_KEY.to_owned(), "key".to_owned()];
        let reads_back = request.filter.as_ref().is_some_and(|filter| filter.names(&Field::Metadata(path)));
        if reads_back && self.blind.load(Ordering::SeqCst) {
            return Ok(Candidates::default());
        }
        let found = self.inner.search(request).await?;
        if reads_back && !found.candidates.is_empty() {
            self.note(Event::ReadBack);
        }
        Ok(found)
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        self.alive()?;
        self.inner.stats(scope).await
    }

    async fn health(&self) -> Result<()> {
        self.alive()?;
        self.inner.health().await
    }
}
