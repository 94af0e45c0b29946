//! How a manager is put together.

use std::sync::Arc;
use std::time::Duration;

use super::answer::{DEFAULT_FILL_LEASE, Flights};
use super::{DEFAULT_CACHE_THRESHOLD, DEFAULT_CANDIDATES, TieredMemoryManager};
use crate::cache::DEFAULT_TTL;
use crate::{
    CacheMode, CachePolicy, Clock, Embedder, Error, IdSource, MemoryStore, Result, SemanticCache, Timer, WorkingMemory,
};

/// Puts a [`TieredMemoryManager`] together. The medium-term provider and the embedder are required.
#[must_use]
pub struct TieredMemoryManagerBuilder {
    short_term_provider: Option<Arc<dyn SemanticCache>>,
    working_memory: Option<Arc<dyn WorkingMemory>>,
    medium_term_provider: Option<Arc<dyn MemoryStore>>,
    long_term_enabled: bool,
    embedder: Option<Arc<dyn Embedder>>,
    cache_embedder: Option<Arc<dyn Embedder>>,
    cache_policy: CachePolicy,
    cache_ttl: Duration,
    fill_lease: Duration,
    candidates: usize,
    clock: Arc<dyn Clock>,
    timer: Option<Arc<dyn Timer>>,
    embedder_patience: Option<Duration>,
    ids: Arc<dyn IdSource>,
}

impl TieredMemoryManagerBuilder {
    /// The semantic cache. Without one every cache lookup is a miss and nothing is filed.
    pub fn short_term_provider(mut self, provider: Arc<dyn SemanticCache>) -> Self {
        self.short_term_provider = Some(provider);
        self
    }

    /// The messages of the conversations that go on.
    pub fn working_memory(mut self, provider: Arc<dyn WorkingMemory>) -> Self {
        self.working_memory = Some(provider);
        self
    }

    /// The durable store.
    pub fn medium_term_provider(mut self, provider: Arc<dyn MemoryStore>) -> Self {
        self.medium_term_provider = Some(provider);
        self
    }

    /// Whether facts and procedures are kept and recalled; true unless switched off.
    pub fn long_term_enabled(mut self, enabled: bool) -> Self {
        self.long_term_enabled = enabled;
        self
    }

    /// What makes the vectors of memories and questions.
    pub fn embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.embedder = Some(embedder);
        self
    }

    /// What makes the vectors of cached prompts; the memories' embedder unless another is given.
    pub fn cache_embedder(mut self, embedder: Arc<dyn Embedder>) -> Self {
        self.cache_embedder = Some(embedder);
        self
    }

    /// What a semantic hit must pass; [`DEFAULT_CACHE_THRESHOLD`] with the guard unless told otherwise.
    pub fn cache_policy(mut self, policy: CachePolicy) -> Self {
        self.cache_policy = policy;
        self
    }

    /// How long a cache entry lives unless its writer says otherwise; one hour unless told otherwise.
    pub fn cache_ttl(mut self, ttl: Duration) -> Self {
        self.cache_ttl = ttl;
        self
    }

    /// For how long one process may compute an answer before another begins the same; [`DEFAULT_FILL_LEASE`] unless told
    /// otherwise.
    pub fn fill_lease(mut self, lease: Duration) -> Self {
        self.fill_lease = lease;
        self
    }

    /// How many candidates each arm of a recall gives to fusion; [`DEFAULT_CANDIDATES`] unless told otherwise.
    pub fn candidates(mut self, candidates: usize) -> Self {
        self.candidates = candidates;
        self
    }

    /// What measures the [deadline](crate::RecallRequest::deadline) of a recall, usually `tokio::time::sleep`. Without one a
    /// recall with a deadline is refused.
    pub fn timer(mut self, timer: impl Timer + 'static) -> Self {
        self.timer = Some(Arc::new(timer));
        self
    }

    /// How long a call waits for an embedder before it goes on as while that is away; for as long as it takes unless told
    /// otherwise. Needs a [timer](Self::timer). What is [embedded late](TieredMemoryManager::late_embedding) takes its time.
    pub fn embedder_patience(mut self, patience: Duration) -> Self {
        self.embedder_patience = Some(patience);
        self
    }

    /// The manager.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a required part is missing or a number is out of range.
    pub fn build(self) -> Result<TieredMemoryManager> {
        let missing = |field: &str| Error::invalid(field, "nothing", "a provider");
        let embedder = self.embedder.ok_or_else(|| missing("embedder"))?;
        if self.candidates == 0 {
            return Err(Error::invalid("candidates", 0, "at least 1"));
        }
        if self.embedder_patience.is_some() && self.timer.is_none() {
            return Err(Error::invalid("embedder_patience", "a time", "none: this manager has no timer"));
        }
        if self.fill_lease.is_zero() {
            return Err(Error::invalid("fill_lease", "0 s", "more than 0 s"));
        }
        if !(-1.0..=1.0).contains(&self.cache_policy.threshold) {
            return Err(Error::invalid(
                "cache.threshold",
                self.cache_policy.threshold,
                "-1.0 to 1.0, a cosine similarity",
            ));
        }
        Ok(TieredMemoryManager {
            short_term_provider: self.short_term_provider,
            working_memory: self.working_memory,
            medium_term_provider: self.medium_term_provider.ok_or_else(|| missing("medium_term_provider"))?,
            long_term_enabled: self.long_term_enabled,
            cache_embedder: self.cache_embedder.unwrap_or_else(|| embedder.clone()),
            embedder,
            cache_policy: self.cache_policy,
            cache_ttl: self.cache_ttl,
            fill_lease: self.fill_lease,
            flights: Arc::new(Flights::new()),
            consolidations: Arc::default(),
            followed_as: Arc::default(),
            candidates: self.candidates,
            clock: self.clock,
            timer: self.timer,
            embedder_patience: self.embedder_patience,
            ids: self.ids,
        })
    }
}

impl TieredMemoryManager {
    /// Begins a manager that takes the time from `clock` and new ids from `ids`: usually `chrono::Utc::now` and
    /// `|| MemoryId::from(uuid::Uuid::now_v7())`.
    pub fn builder(clock: impl Clock + 'static, ids: impl IdSource + 'static) -> TieredMemoryManagerBuilder {
        TieredMemoryManagerBuilder {
            short_term_provider: None,
            working_memory: None,
            medium_term_provider: None,
            long_term_enabled: true,
            embedder: None,
            cache_embedder: None,
            cache_policy: CachePolicy { threshold: DEFAULT_CACHE_THRESHOLD, mode: CacheMode::default() },
            cache_ttl: DEFAULT_TTL,
            fill_lease: DEFAULT_FILL_LEASE,
            candidates: DEFAULT_CANDIDATES,
            clock: Arc::new(clock),
            timer: None,
            embedder_patience: None,
            ids: Arc::new(ids),
        }
    }
}
