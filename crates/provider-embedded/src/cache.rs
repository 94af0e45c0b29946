//! [`SemanticCache`]: prompts are compared in memory, answers come from the file.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use memory_core::cache::validate_request;
use memory_core::{
    CacheEntry, CacheEntryId, CacheHit, CacheLookup, CacheMark, CacheRequest, CacheStats, Error, HitKind,
    InvalidateRequest, NewCacheEntry, Refused, Result, Scope, SemanticCache, Timestamp,
};
use tracing::debug;

use crate::error::{PROVIDER, backend, closed, damaged};
use crate::provider::EmbeddedProvider;
use crate::rows::{micros, read_entry};
use crate::shelf::{Found, ShelfKey};
use crate::sql;
use crate::writer::{Answer, Task};

/// From how many entries of one scope and fingerprint on a lookup runs beside the runtime, not in it.
const BIG_SHELF: usize = 20_000;

#[async_trait]
impl SemanticCache for EmbeddedProvider {
    async fn lookup(&self, request: &CacheRequest) -> Result<CacheLookup> {
        validate_request(request)?;
        if !self.writer_is_alive() {
            return Err(closed("lookup"));
        }
        let tenant = self.inner.shelves.tenant(request.scope.tenant_name());
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        // An entry that was found in memory may be gone from the file: its removal is committed and about to be applied.
        let mut gone = HashSet::new();
        loop {
            let found = self.find(request, now, &gone).await?;
            let Some((id, kind, similarity)) = found.serve else {
                if request.embedding.is_none() {
                    return Ok(CacheLookup::Miss(None));
                }
                count(&tenant.counters.misses);
                if matches!(&found.near, Some(near) if matches!(near.refused, Refused::Guard(_))) {
                    count(&tenant.counters.refused);
                }
                return Ok(CacheLookup::Miss(found.near));
            };
            let Some(entry) = self.read_answer(id).await? else {
                gone.insert(id);
                continue;
            };
            count(match kind {
                HitKind::Exact => &tenant.counters.exact_hits,
                HitKind::Semantic => &tenant.counters.semantic_hits,
            });
            if entry.is_due_to_slide(now)
                && let Err(error) = self.write("prolong", Task::Prolong(id)).await
            {
                // It is served all the same; a full disk only lets it end at its former time.
                debug!(error = &error as &dyn std::error::Error, "a sliding answer is not given more time");
            }
            let age = (now - entry.created_at).to_std().unwrap_or_default();
            return Ok(CacheLookup::Hit(Box::new(CacheHit { entry, kind, similarity, age })));
        }
    }

    async fn mark(&self, _: &Scope) -> Result<CacheMark> {
        Ok(CacheMark(self.visible().to_string()))
    }

    async fn store_since(&self, entry: NewCacheEntry, since: &CacheMark) -> Result<Option<CacheEntryId>> {
        entry.validate()?;
        let since = since.0.parse().map_err(|_| Error::invalid("mark", &since.0, "a mark that this cache gave"))?;
        match self.write("store", Task::FileAnswer(Box::new(entry), since)).await? {
            Answer::Filed(id) => Ok(id),
            other => Err(unexpected("store", &other)),
        }
    }

    async fn invalidate(&self, request: &InvalidateRequest) -> Result<u64> {
        match self.write("invalidate", Task::Invalidate(request.clone())).await? {
            Answer::Invalidated(removed) => Ok(removed),
            other => Err(unexpected("invalidate", &other)),
        }
    }

    async fn stats(&self, scope: &Scope) -> Result<CacheStats> {
        let query = sqlx::query_scalar(sql::COUNT_ENTRIES).bind(scope.tenant_name()).bind(micros(self.now()));
        let entries: i64 = query.fetch_one(&self.inner.readers).await.map_err(|error| backend("stats", error))?;
        Ok(self.inner.shelves.tenant(scope.tenant_name()).counters.stats(entries.cast_unsigned()))
    }
}

impl EmbeddedProvider {
    async fn find(&self, request: &CacheRequest, now: Timestamp, gone: &HashSet<CacheEntryId>) -> Result<Found> {
        let shelves = self.inner.shelves.open(request.scope.tenant_name(), now).await?;
        let key = ShelfKey { scope: request.scope.clone(), fingerprint: request.fingerprint };
        let Some(shelf) = shelves.shelf(&key) else { return Ok(Found::default()) };
        if shelf.len() < BIG_SHELF || request.embedding.is_none() {
            return Ok(shelf.find(request, now, gone));
        }
        let (request, gone) = (request.clone(), gone.clone());
        let run = move || shelves.shelf(&key).map(|shelf| shelf.find(&request, now, &gone)).unwrap_or_default();
        tokio::task::spawn_blocking(run).await.map_err(|error| damaged("lookup", error))
    }

    async fn read_answer(&self, id: CacheEntryId) -> Result<Option<CacheEntry>> {
        let query = sqlx::query(sql::ENTRY_BY_ID).bind(id.0);
        let row = query.fetch_optional(&self.inner.readers).await.map_err(|error| backend("lookup", error))?;
        row.map(|row| read_entry(id, &row).map_err(|error| damaged("lookup", error))).transpose()
    }
}

/// The writer answers each task in its own kind; anything else is a bug in it.
fn unexpected(operation: &'static str, answer: &Answer) -> Error {
    let source = format!("the writer answered {answer:?}").into();
    Error::Backend { provider: PROVIDER, operation, retryable: false, source }
}
