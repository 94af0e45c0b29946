//! What the searches of this process find: now and then one is repeated exactly, in the background.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memory_core::{EmbeddingSpace, SearchRequest};
use metrics::gauge;
use tracing::warn;

use super::policy::IndexKind;
use super::state::InUse;
use super::tune::{TuneQuery, recall};
use crate::provider::AlloyDbMemoryProvider;

/// The share of the true nearest that searches through an index find, by `space` and `kind`: of the last tuning, or the
/// mean of the last 100 searches that were repeated.
pub(super) const RECALL: &str = "orchestra_recall_at_k";
/// How many queries, and how many measurements of a space, are remembered.
const REMEMBERED: usize = 100;
/// Of how many nearest is looked how many were found.
const K: usize = 10;

#[derive(Debug, Default)]
pub(crate) struct Live {
    searches: AtomicU64,
    is_measuring: AtomicBool,
    queries: Mutex<VecDeque<TuneQuery>>,
    recalls: Mutex<HashMap<i16, VecDeque<f32>>>,
}

impl AlloyDbMemoryProvider {
    /// The last 100 queries of this process that went through the index of a space, oldest first: to tune it with
    /// ([`TuneOptions::queries`](super::TuneOptions::queries)).
    #[must_use]
    pub fn recorded_queries(&self, space: &EmbeddingSpace) -> Vec<TuneQuery> {
        let queries = lock(&self.inner.live.queries);
        queries.iter().filter(|query| **query.embedding.space() == *space).cloned().collect()
    }

    /// The mean recall at 10 of the last 100 searches of this process that were repeated exactly, 0 to 1; `None` before the
    /// first.
    #[must_use]
    pub fn live_recall(&self, space: &EmbeddingSpace) -> Option<f32> {
        let spaces = self.inner.spaces.read().unwrap_or_else(PoisonError::into_inner);
        let recalls = lock(&self.inner.live.recalls);
        recalls.get(spaces.get(space)?).map(mean)
    }

    /// Takes note of a search that went through an index. Never waits.
    pub(crate) fn observe(&self, request: &SearchRequest, space: i16, index: &InUse) {
        let Some(embedding) = &request.embedding else { return };
        let live = &self.inner.live;
        let query = TuneQuery { scope: request.scope.clone(), embedding: embedding.clone() };
        let every = u64::from(self.inner.config.index.measure_every);
        let is_due = every > 0 && (live.searches.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(every);
        if is_due && !live.is_measuring.swap(true, Ordering::AcqRel) {
            let (provider, query, index) = (self.clone(), query.clone(), index.clone());
            let (filter, also) = (request.filter.clone(), request.also.clone());
            let request = SearchRequest { filter, also, ..query.request(K) };
            tokio::spawn(async move {
                if let Err(error) = provider.repeat(&request, space, &index).await {
                    warn!(%error, "what a search found was not measured");
                }
                provider.inner.live.is_measuring.store(false, Ordering::Release);
            });
        }
        // Tuning is of one scope at a time.
        if request.also.is_empty()
            && let Ok(mut queries) = live.queries.try_lock()
        {
            if queries.len() == REMEMBERED {
                queries.pop_front();
            }
            queries.push_back(query);
        }
    }

    /// Searches once more through the index, and exactly.
    async fn repeat(&self, request: &SearchRequest, space: i16, index: &InUse) -> sqlx::Result<()> {
        let found = self.similarities(request, space, Some(index)).await?;
        let exact = self.similarities(request, space, None).await?;
        let mut recalls = lock(&self.inner.live.recalls);
        let recalls = recalls.entry(space).or_default();
        if recalls.len() == REMEMBERED {
            recalls.pop_front();
        }
        recalls.push_back(recall(&exact.similarities, &found.similarities));
        if let Some(embedding) = &request.embedding {
            export(embedding.space(), index.kind(), mean(recalls));
        }
        Ok(())
    }
}

pub(super) fn export(space: &EmbeddingSpace, kind: IndexKind, recall: f32) {
    gauge!(RECALL, "space" => space.to_string(), "kind" => kind.name()).set(f64::from(recall));
}

fn mean(recalls: &VecDeque<f32>) -> f32 {
    recalls.iter().sum::<f32>() / recalls.len().max(1) as f32
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
