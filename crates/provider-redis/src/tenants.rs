//! What a process knows of each tenant: the epoch of its cache, until when its repeats may be served from memory, and how
//! its lookups went.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use memory_core::{CacheLookup, CacheStats, HitKind, Refused};

use crate::keys::Epoch;

/// For how long after Redis was asked for a tenant's state its answer still counts: so long may a repeat be served from
/// memory, and a search be made in the epoch, without asking again, and so long does an invalidation wait before it
/// returns: what is asked after that is asked in the new state. It is not a setting, because every process has to
/// wait as long as any other serves.
pub(crate) const REPEAT_LEASE: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
pub(crate) struct Tenants(RwLock<HashMap<String, Arc<Tenant>>>);

#[derive(Debug, Default)]
pub(crate) struct Tenant {
    known: Mutex<Option<Known>>,
    exact_hits: AtomicU64,
    semantic_hits: AtomicU64,
    misses: AtomicU64,
    refused: AtomicU64,
}

/// A tenant's cache as Redis described it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub epoch: Epoch,
    /// How often something was removed or replaced in this epoch. What was read at another count may be gone.
    pub changes: u64,
    /// How often a removal began in this epoch. What was looked at before the last one is not filed.
    pub removals: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    state: State,
    /// Before Redis was asked: it was so at some time after.
    asked: Instant,
}

impl Tenants {
    pub(crate) fn get(&self, name: &str) -> Arc<Tenant> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        known.unwrap_or_else(|| {
            self.0.write().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
        })
    }

    /// Forgets every epoch.
    pub(crate) fn forget(&self) {
        for tenant in self.0.read().unwrap_or_else(PoisonError::into_inner).values() {
            tenant.forget();
        }
    }
}

impl Tenant {
    /// Forgets the state: the next lookup asks for it.
    pub(crate) fn forget(&self) {
        *self.known() = None;
    }

    /// The epoch, as far as this process knows.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.state().map(|state| state.epoch)
    }

    /// The state as it was when Redis was asked last.
    pub(crate) fn state(&self) -> Option<State> {
        self.known().map(|known| known.state)
    }

    /// The state, if it was asked for so short a time ago. Within [`REPEAT_LEASE`], what was read from Redis in this state may
    /// still be served.
    pub(crate) fn confirmed(&self, now: Instant, within: Duration) -> Option<State> {
        let known = (*self.known())?;
        (now.saturating_duration_since(known.asked) < within).then_some(known.state)
    }

    /// Takes in what Redis answered to a question of that time. An older question's answer does not undo a newer one's.
    pub(crate) fn learn(&self, asked: Instant, state: Option<State>) {
        let mut known = self.known();
        if known.is_none_or(|known| known.asked <= asked) {
            *known = state.map(|state| Known { state, asked });
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        // Every change is a single assignment: a panic elsewhere leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_redis_said_counts_for_a_moment_only() {
        let tenant = Tenant::default();
        let (start, state) = (Instant::now(), State { epoch: Epoch::new(), changes: 3, removals: 0 });
        assert_eq!(tenant.confirmed(start, REPEAT_LEASE), None);
        tenant.learn(start, Some(state));
        assert_eq!(tenant.confirmed(start + REPEAT_LEASE - Duration::from_nanos(1), REPEAT_LEASE), Some(state));
        assert_eq!(tenant.confirmed(start + REPEAT_LEASE, REPEAT_LEASE), None);
        assert_eq!(tenant.epoch(), Some(state.epoch), "the epoch is tried until Redis names another");
    }

    #[test]
    fn an_older_answer_does_not_undo_a_newer_one() {
        let tenant = Tenant::default();
        let (start, former) = (Instant::now(), State { epoch: Epoch::new(), changes: 3, removals: 0 });
        let now = start + Duration::from_millis(1);
        let latter = State { changes: 4, ..former };
        tenant.learn(now, Some(latter));
        tenant.learn(start, Some(former));
        assert_eq!(tenant.confirmed(now, REPEAT_LEASE), Some(latter));
        tenant.learn(now, None);
        assert_eq!(tenant.confirmed(now, REPEAT_LEASE), None);
    }
}
