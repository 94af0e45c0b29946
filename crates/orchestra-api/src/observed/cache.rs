//! The semantic cache, seen from outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memory_core::{
    CacheEntryId, CacheLookup, CacheMark, CacheRequest, CacheStats, HitKind, InvalidateRequest, NewCacheEntry, Refused,
    Result, Scope, SemanticCache,
};
use metrics::Counter;

use super::{CACHE_LOOKUPS, CACHE_REFUSALS, Calls, counters};
use crate::usage;

const TIER: &str = "short_term";
/// The values of `result`.
const RESULTS: [&str; 5] = ["exact_hit", "semantic_hit", "miss", "refused_by_guard", "unavailable"];
/// The values of `check`: the names of the guard's checks, and the last for what is none of these.
const CHECKS: [&str; 9] =
    ["number", "unit", "negation", "name", "antonym", "word_order", "addition", "question", "other"];

/// A semantic cache whose calls are spans, counted and timed.
#[derive(Debug)]
pub struct ObservedCache {
    inner: Arc<dyn SemanticCache>,
    system: &'static str,
    lookup: Calls,
    store: Calls,
    invalidate: Calls,
    stats: Calls,
    begin_fill: Calls,
    end_fill: Calls,
    results: [Counter; RESULTS.len()],
    refusals: [Counter; CHECKS.len()],
}

impl ObservedCache {
    /// `system` is what the cache is on, as OpenTelemetry names database systems: `redis`, `sqlite`.
    #[must_use]
    pub fn new(inner: Arc<dyn SemanticCache>, system: &'static str) -> Self {
        let calls = |operation| Calls::of_tier(TIER, operation);
        Self {
            inner,
            system,
            lookup: calls("lookup"),
            store: calls("store"),
            invalidate: calls("invalidate"),
            stats: calls("stats"),
            begin_fill: calls("begin_fill"),
            end_fill: calls("end_fill"),
            results: counters(CACHE_LOOKUPS, "result", RESULTS),
            refusals: counters(CACHE_REFUSALS, "check", CHECKS),
        }
    }

    /// Counts what a lookup came to. A look for the exact prompt alone that finds nothing is none yet: the one by meaning
    /// is to come.
    fn count(&self, found: &Result<CacheLookup>, by_meaning: bool) {
        let [exact, semantic, miss, refused, unavailable] = &self.results;
        let counter = match found {
            Ok(CacheLookup::Hit(hit)) => match hit.kind {
                HitKind::Exact => exact,
                HitKind::Semantic => semantic,
            },
            Ok(CacheLookup::Miss(_)) if !by_meaning => return,
            Ok(CacheLookup::Miss(Some(near))) => match &near.refused {
                Refused::Guard(refusals) => {
                    let first = refusals.first().map_or("other", |refusal| refusal.check.name());
                    let known = CHECKS.iter().position(|check| *check == first);
                    self.refusals[known.unwrap_or(CHECKS.len() - 1)].increment(1);
                    refused
                }
                Refused::BelowThreshold { .. } => miss,
            },
            Ok(CacheLookup::Miss(None)) => miss,
            Err(error) if error.is_retryable() => unavailable,
            Err(_) => return,
        };
        counter.increment(1);
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl SemanticCache for ObservedCache {
    async fn lookup(&self, request: &CacheRequest) -> Result<CacheLookup> {
        let found = self.lookup.of_database(self.system, self.inner.lookup(request)).await;
        self.count(&found, request.embedding.is_some());
        match &found {
            Ok(CacheLookup::Hit(hit)) => usage::note_hit(&request.prompt, hit),
            Ok(CacheLookup::Miss(_)) if request.embedding.is_some() => usage::note(|usage| usage.misses += 1),
            _ => {}
        }
        found
    }

    async fn mark(&self, scope: &Scope) -> Result<CacheMark> {
        self.inner.mark(scope).await
    }

    async fn store_since(&self, entry: NewCacheEntry, since: &CacheMark) -> Result<Option<CacheEntryId>> {
        self.store.of_database(self.system, self.inner.store_since(entry, since)).await
    }

    async fn store(&self, entry: NewCacheEntry) -> Result<CacheEntryId> {
        self.store.of_database(self.system, self.inner.store(entry)).await
    }

    async fn invalidate(&self, request: &InvalidateRequest) -> Result<u64> {
        self.invalidate.of_database(self.system, self.inner.invalidate(request)).await
    }

    async fn stats(&self, scope: &Scope) -> Result<CacheStats> {
        self.stats.of_database(self.system, self.inner.stats(scope)).await
    }

    async fn begin_fill(&self, request: &CacheRequest, lease: Duration) -> Result<bool> {
        self.begin_fill.of_database(self.system, self.inner.begin_fill(request, lease)).await
    }

    async fn end_fill(&self, request: &CacheRequest) -> Result<()> {
        self.end_fill.of_database(self.system, self.inner.end_fill(request)).await
    }
}
