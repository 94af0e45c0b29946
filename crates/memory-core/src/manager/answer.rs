//! The answer to a prompt: from the cache, or computed once however many ask at once.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use super::{TieredMemoryManager, or_outage};
use crate::{
    CacheEntryId, CacheHit, CacheLookup, CacheMode, CachePolicy, CacheRequest, Error, Fingerprint, MemoryId, Metadata,
    NearMiss, NewCacheEntry, Result, Scope, StoreMark, text,
};

/// For how long one process may compute an answer before another begins the same, unless the builder is told otherwise.
pub const DEFAULT_FILL_LEASE: Duration = Duration::from_secs(30);

/// A prompt that is to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct AnswerRequest {
    /// Whose answer.
    pub scope: Scope,
    /// The prompt.
    pub prompt: String,
    /// What else must be equal for a cached answer to be the answer.
    pub fingerprint: Fingerprint,
    /// What a semantic hit must pass; the manager's policy unless given.
    pub policy: Option<CachePolicy>,
}

/// An answer that was computed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewAnswer {
    /// The answer.
    pub response: String,
    /// The memories it used: when one of them is corrected or forgotten, it is not served again.
    pub depends_on: Vec<MemoryId>,
    /// Labels to invalidate by.
    pub tags: Vec<String>,
    /// Free-form metadata, given back with a hit.
    pub metadata: Metadata,
    /// How long it lives in the cache; as long as the manager's entries unless given.
    pub ttl: Option<Duration>,
}

/// The answer to a question, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The cache had it.
    Cached(Box<CacheHit>),
    /// It was computed.
    Computed(Arc<ComputedAnswer>),
}

impl Answer {
    /// The answer itself.
    #[must_use]
    pub fn response(&self) -> &str {
        match self {
            Self::Cached(hit) => &hit.entry.response,
            Self::Computed(computed) => &computed.answer.response,
        }
    }
}

/// An answer that was computed for this question, or for another who asked the same at the same time.
#[derive(Debug, PartialEq)]
pub struct ComputedAnswer {
    /// The answer.
    pub answer: NewAnswer,
    /// Its entry in the cache; none when there is no cache, it could not take it, or a memory that the answer used was changed
    /// meanwhile.
    pub entry: Option<CacheEntryId>,
    /// The nearest entry that was not served instead, and why.
    pub near: Option<NearMiss>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum AnswerError<E> {
    /// The question is not acceptable, or the memory failed.
    Memory(Error),
    /// The answer could not be computed.
    Compute(E),
}

impl<E: fmt::Display> fmt::Display for AnswerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => error.fmt(f),
            Self::Compute(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for AnswerError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Memory(error) => error.source(),
            Self::Compute(error) => error.source(),
        }
    }
}

impl<E> From<Error> for AnswerError<E> {
    fn from(error: Error) -> Self {
        Self::Memory(error)
    }
}

/// The answers that are being computed in this process.
pub(super) struct Flights {
    running: Cache<Flight, Answer>,
    /// How often something was invalidated: who asks after that waits for no answer that was begun before.
    generation: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Flight {
    generation: u64,
    scope: Scope,
    fingerprint: Fingerprint,
    prompt: String,
    /// Threshold, as its bits, and mode.
    policy: (u32, CacheMode),
}

impl Flights {
    pub(super) fn new() -> Self {
        // What runs is never dropped for room, whatever the capacity; what is done is taken out at once.
        const CAPACITY: usize = 64;
        Self { running: Cache::new(CAPACITY), generation: AtomicU64::new(0) }
    }

    /// From here on nobody joins what runs now.
    pub(super) fn begin_anew(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

impl TieredMemoryManager {
    /// The answer to a question: the cached one, else what `compute` gives, which is filed for the next who asks.
    ///
    /// However many ask the same at once, one computes and the others get its answer, here and, by a lease in the cache, in
    /// other processes. When the one that computes fails or is dropped, the next of them computes. While the cache is
    /// away each process computes for itself.
    ///
    /// # Errors
    /// [`AnswerError::Memory`] for a question that is not acceptable, [`AnswerError::Compute`] with what `compute` gave.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn answer<E, F>(
        &self,
        question: AnswerRequest,
        compute: impl FnOnce() -> F,
    ) -> Result<Answer, AnswerError<E>>
    where
        F: Future<Output = Result<NewAnswer, E>>,
    {
        let generation = self.flights.generation.load(Ordering::SeqCst);
        let AnswerRequest { scope, prompt, fingerprint, policy } = question;
        let policy = policy.unwrap_or(self.cache_policy);
        let mut request = CacheRequest { scope, prompt, fingerprint, embedding: None, policy, filter: None };
        let is_there = match self.look_up_exact(&request).await? {
            Some(CacheLookup::Hit(hit)) => return Ok(Answer::Cached(hit)),
            cache => cache.is_some(),
        };
        let flight = Flight {
            generation,
            scope: request.scope.clone(),
            fingerprint,
            prompt: text::normalize(&request.prompt),
            policy: (policy.threshold.to_bits(), policy.mode),
        };
        let place = match self.flights.running.get_value_or_guard_async(&flight).await {
            Ok(answer) => return Ok(answer),
            Err(place) => place,
        };
        let answer = self.find_or_compute(&mut request, is_there, compute).await?;
        if place.insert(answer.clone()).is_ok() {
            // Those who waited have it; who asks from here on finds it in the cache.
            self.flights.running.remove(&flight);
        }
        Ok(answer)
    }

    async fn find_or_compute<E, F>(
        &self,
        request: &mut CacheRequest,
        cache_is_there: bool,
        compute: impl FnOnce() -> F,
    ) -> Result<Answer, AnswerError<E>>
    where
        F: Future<Output = Result<NewAnswer, E>>,
    {
        let found = if cache_is_there { self.look_up_by_meaning(request).await? } else { CacheLookup::Miss(None) };
        let near = match found {
            CacheLookup::Hit(hit) => return Ok(Answer::Cached(hit)),
            CacheLookup::Miss(near) => near,
        };
        if let Some(hit) = self.wait_for_others(request).await? {
            return Ok(Answer::Cached(hit));
        }
        let since = self.medium_term_provider.mark().await;
        let computed = match compute().await {
            Ok(answer) => self.file(request, answer, near, since).await,
            Err(error) => Err(AnswerError::Compute(error)),
        };
        if let Some(cache) = &self.short_term_provider {
            // What fails here ends by itself.
            let _ = cache.end_fill(request).await;
        }
        Ok(Answer::Computed(Arc::new(computed?)))
    }

    /// Waits until no other process computes this answer: `None` says that it is this one's to compute.
    async fn wait_for_others(&self, request: &CacheRequest) -> Result<Option<Box<CacheHit>>> {
        let Some(cache) = &self.short_term_provider else { return Ok(None) };
        let exact = CacheRequest { embedding: None, ..request.clone() };
        loop {
            // Without the cache everyone computes for themselves.
            let is_ours = or_outage(cache.begin_fill(request, self.fill_lease).await)?.unwrap_or(true);
            // It may have been filed since it was looked for.
            if let Some(CacheLookup::Hit(hit)) = or_outage(cache.lookup(&exact).await)? {
                if is_ours {
                    let _ = cache.end_fill(request).await;
                }
                return Ok(Some(hit));
            }
            if is_ours {
                return Ok(None);
            }
        }
    }

    async fn file<E>(
        &self,
        request: &CacheRequest,
        answer: NewAnswer,
        near: Option<NearMiss>,
        since: Result<Option<StoreMark>>,
    ) -> Result<ComputedAnswer, AnswerError<E>> {
        let tenant = request.scope.whole_tenant();
        let stands = match &since {
            Ok(since) => self.stand(&tenant, &answer.depends_on, since.as_ref()).await,
            // It used what the store gave, and nobody can say whether that still holds.
            Err(_) => answer.depends_on.is_empty(),
        };
        if !stands {
            return Ok(ComputedAnswer { entry: None, answer, near });
        }
        let since = since.unwrap_or_default();
        let entry = NewCacheEntry {
            scope: request.scope.clone(),
            prompt: request.prompt.clone(),
            response: answer.response.clone(),
            fingerprint: request.fingerprint,
            embedding: request.embedding.clone(),
            depends_on: answer.depends_on.clone(),
            tags: answer.tags.clone(),
            metadata: answer.metadata.clone(),
            ttl: answer.ttl.unwrap_or(self.cache_ttl),
            sliding: false,
        };
        Ok(ComputedAnswer { entry: self.cache_store_since(entry, since.as_ref(), &[]).await?, answer, near })
    }
}
