//! How lookups went, by tenant, since the process began.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use memory_core::{CacheLookup, CacheStats, HitKind, Refused};

#[derive(Debug, Default)]
pub(crate) struct Counters(RwLock<HashMap<String, Arc<TenantCounters>>>);

#[derive(Debug, Default)]
pub(crate) struct TenantCounters {
    exact_hits: AtomicU64,
    semantic_hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    pub(crate) fn tenant(&self, name: &str) -> Arc<TenantCounters> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        known.unwrap_or_else(|| {
            self.0.write().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
        })
    }
}

impl TenantCounters {
    /// Counts a lookup; `None` is one that Redis did not answer. The look for the exact prompt alone that finds nothing is
    /// not a miss: the look by meaning is still to come.
    pub(crate) fn count(&self, found: Option<&CacheLookup>, by_meaning: bool) {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match found {
            Some(CacheLookup::Hit(hit)) => {
                add(match hit.kind {
                    HitKind::Exact => &self.exact_hits,
                    HitKind::Semantic => &self.semantic_hits,
                });
            }
            Some(CacheLookup::Miss(_)) if !by_meaning => {}
            Some(CacheLookup::Miss(near)) => {
                add(&self.misses);
                if matches!(near, Some(near) if matches!(near.refused, Refused::Guard(_))) {
                    add(&self.refused);
                }
            }
            None => {
                add(&self.misses);
            }
        }
    }

    pub(crate) fn stats(&self, entries: u64) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            entries,
            exact_hits: read(&self.exact_hits),
            semantic_hits: read(&self.semantic_hits),
            misses: read(&self.misses),
            refused: read(&self.refused),
        }
    }
}
