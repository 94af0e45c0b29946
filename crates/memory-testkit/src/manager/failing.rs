//! Doubles that fail when they are told to, around providers that are real.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use memory_core::{
    AppendReceipt, AppendRequest, CacheEntryId, CacheLookup, CacheMark, CacheRequest, CacheStats, Candidates,
    ChangeFeed, Error, ForgetReceipt, ForgetRequest, InsertBatch, InsertReceipt, InvalidateRequest, ListRequest,
    Memory, MemoryId, MemoryPatch, MemoryStore, NewCacheEntry, Page, Result, Scope, SearchRequest, SemanticCache,
    StoreMark, StoreStats, Turn, UpdateReceipt, VectorBacklog, Window, WindowRequest, WorkingMemory,
};

/// Whether a double is away, or takes a call and never answers. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Outage {
    away: Arc<AtomicBool>,
    stuck: Arc<AtomicBool>,
}

impl Outage {
    pub fn begin(&self) {
        self.away.store(true, Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.away.store(false, Ordering::SeqCst);
        self.stuck.store(false, Ordering::SeqCst);
    }

    /// From now on what is read never comes, until the next call after [`end`](Self::end).
    pub fn get_stuck(&self) {
        self.stuck.store(true, Ordering::SeqCst);
    }

    /// As [`check`](Self::check), for a read.
    pub(super) async fn check_read(&self, operation: &'static str) -> Result<()> {
        if self.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.check(operation)
    }

    pub(super) fn check(&self, operation: &'static str) -> Result<()> {
        if !self.away.load(Ordering::SeqCst) {
            return Ok(());
        }
        let source = "a double that fails because the test said so".into();
        Err(Error::Backend { provider: "testkit", operation, retryable: true, source })
    }
}

/// A real cache that can be away.
#[derive(Debug)]
pub struct FailingCache {
    pub inner: Arc<dyn SemanticCache>,
    pub outage: Outage,
}

#[async_trait]
impl SemanticCache for FailingCache {
    async fn lookup(&self, request: &CacheRequest) -> Result<CacheLookup> {
        self.outage.check("lookup")?;
        self.inner.lookup(request).await
    }

    async fn mark(&self, scope: &Scope) -> Result<CacheMark> {
        self.outage.check("mark")?;
        self.inner.mark(scope).await
    }

    async fn store_since(&self, entry: NewCacheEntry, since: &CacheMark) -> Result<Option<CacheEntryId>> {
        self.outage.check("store")?;
        self.inner.store_since(entry, since).await
    }

    async fn invalidate(&self, request: &InvalidateRequest) -> Result<u64> {
        self.outage.check("invalidate")?;
        self.inner.invalidate(request).await
    }

    async fn stats(&self, scope: &Scope) -> Result<CacheStats> {
        self.outage.check("stats")?;
        self.inner.stats(scope).await
    }

    async fn begin_fill(&self, request: &CacheRequest, lease: Duration) -> Result<bool> {
        self.outage.check("begin fill")?;
        self.inner.begin_fill(request, lease).await
    }

    async fn end_fill(&self, request: &CacheRequest) -> Result<()> {
        self.outage.check("end fill")?;
        self.inner.end_fill(request).await
    }
}

/// A real store that can be away.
#[derive(Debug)]
pub struct FailingStore {
    pub inner: Arc<dyn MemoryStore>,
    pub outage: Outage,
}

#[async_trait]
impl MemoryStore for FailingStore {
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt> {
        self.outage.check("insert")?;
        self.inner.insert(batch).await
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.outage.check("get")?;
        self.inner.get(scope, id).await
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.outage.check("turn before")?;
        self.inner.turn_before(scope, id).await
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<UpdateReceipt> {
        self.outage.check("update")?;
        self.inner.update(scope, id, patch).await
    }

    async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>> {
        self.outage.check("history")?;
        self.inner.history(scope, id).await
    }

    async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        self.outage.check("forget")?;
        self.inner.forget(request).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        self.outage.check("list")?;
        self.inner.list(request).await
    }

    async fn search(&self, request: &SearchRequest) -> Result<Candidates> {
        self.outage.check_read("search").await?;
        self.inner.search(request).await
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        self.outage.check("stats")?;
        self.inner.stats(scope).await
    }

    async fn health(&self) -> Result<()> {
        self.outage.check("health")?;
        self.inner.health().await
    }

    fn changes(&self) -> Option<&dyn ChangeFeed> {
        self.inner.changes()
    }

    fn backlog(&self) -> Option<&dyn VectorBacklog> {
        self.inner.backlog()
    }

    fn rejections(&self) -> Option<&dyn memory_core::Rejections> {
        self.inner.rejections()
    }

    fn replica(&self) -> Option<&dyn memory_core::Replica> {
        self.inner.replica()
    }

    async fn mark(&self) -> Result<Option<StoreMark>> {
        self.outage.check("mark")?;
        self.inner.mark().await
    }

    async fn take_turn(&self, scope: &Scope) -> Result<Option<Turn>> {
        self.outage.check("take a turn")?;
        self.inner.take_turn(scope).await
    }

    async fn stand(&self, scope: &Scope, memories: &[MemoryId], since: Option<&StoreMark>) -> Result<bool> {
        self.outage.check("stand")?;
        self.inner.stand(scope, memories, since).await
    }
}

/// A real working memory that can be away.
#[derive(Debug)]
pub struct FailingWorking {
    pub inner: Arc<dyn WorkingMemory>,
    pub outage: Outage,
}

#[async_trait]
impl WorkingMemory for FailingWorking {
    async fn append(&self, request: AppendRequest) -> Result<AppendReceipt> {
        self.outage.check("append")?;
        self.inner.append(request).await
    }

    async fn window(&self, request: &WindowRequest) -> Result<Window> {
        self.outage.check("window")?;
        self.inner.window(request).await
    }

    async fn clear(&self, scope: &Scope) -> Result<u64> {
        self.outage.check("clear")?;
        self.inner.clear(scope).await
    }

    async fn forget_within(&self, scope: &Scope, dry_run: bool) -> Result<u64> {
        self.outage.check("forget")?;
        self.inner.forget_within(scope, dry_run).await
    }
}
