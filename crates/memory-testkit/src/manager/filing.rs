//! An answer that is filed while its memory is changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use memory_core::{
    CacheEntryId, CacheLookup, CacheMark, CacheRequest, CacheStats, Draft, Filled, InvalidateRequest, MemoryId,
    MemoryPatch, NewCacheEntry, Result, Scope, SemanticCache, TieredMemoryManager,
};

use super::{ManagerFixture, answer, build, is_hit, remember};
use crate::make;

/// A real cache before which a memory is changed at the worst time: when it was looked at and is about to be filed upon.
#[derive(Debug)]
struct Outrun {
    inner: Arc<dyn SemanticCache>,
    other: TieredMemoryManager,
    memory: MemoryId,
    is_armed: AtomicBool,
}

#[async_trait]
impl SemanticCache for Outrun {
    async fn lookup(&self, request: &CacheRequest) -> Result<CacheLookup> {
        self.inner.lookup(request).await
    }

    async fn mark(&self, scope: &Scope) -> Result<CacheMark> {
        self.inner.mark(scope).await
    }

    async fn store_since(&self, entry: NewCacheEntry, since: &CacheMark) -> Result<Option<CacheEntryId>> {
        if self.is_armed.swap(false, Ordering::SeqCst) {
            let patch = MemoryPatch { text: Some("The launch is in June".into()), ..MemoryPatch::default() };
            self.other.update(&entry.scope, self.memory, patch).await?;
        }
        self.inner.store_since(entry, since).await
    }

    async fn invalidate(&self, request: &InvalidateRequest) -> Result<u64> {
        self.inner.invalidate(request).await
    }

    async fn stats(&self, scope: &Scope) -> Result<CacheStats> {
        self.inner.stats(scope).await
    }
}

/// An answer whose memory is changed when it was looked at, before the answer is filed, is not filed; one that does not
/// depend on that memory is, though it comes from the same tenant at the same time.
pub async fn an_answer_that_is_outrun_while_it_is_filed_is_not_kept(fixture: &dyn ManagerFixture) {
    let (store, cache) = fixture.open().await;
    let (other, _) = build(fixture, store.clone(), cache.clone(), true);
    let scope = make::user("acme", "ann");
    let drafts = ["The launch is in May", "Bob runs it"].map(|text| Draft::new(scope.clone(), text));
    let ids: Vec<MemoryId> = remember(&other, drafts.to_vec()).await.iter().map(|(id, _)| *id).collect();
    for (prompt, of, is_kept) in [("When is the launch?", ids[0], false), ("Who runs it?", ids[1], true)] {
        let version = other.get(&scope, of).await.expect("get").expect("it is there").version;
        let is_armed = AtomicBool::new(true);
        let outrun = Outrun { inner: cache.clone(), other: other.clone(), memory: ids[0], is_armed };
        let (manager, _) = build(fixture, store.clone(), Arc::new(outrun), true);
        let filed = manager.cache_store_of(answer(&scope, prompt, vec![]), &[(of, version)]).await.expect("no failure");
        assert_eq!(matches!(filed, Filled::Filed(_)), is_kept, "{prompt}: {filed:?}");
        assert_eq!(is_hit(&other, &scope, prompt).await, is_kept, "{prompt}");
    }
}
