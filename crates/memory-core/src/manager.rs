//! The tiers as one memory.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::memory::check_text;
use crate::store::validate_batch;
use crate::{
    CachePolicy, CacheStats, Clock, Degradation, EmbeddedMemory, Embedder, Embedding, Error, ForgetReceipt,
    ForgetRequest, IdSource, InsertBatch, InsertReceipt, InvalidateRequest, InvalidateSelection, ListRequest, Memory,
    MemoryId, MemoryPatch, MemoryStore, Origin, Page, Purpose, Result, Scope, SemanticCache, StoreStats, Tier, Timer,
    Timestamp, UpdateReceipt, WorkingMemory,
};

/// How many candidates each arm of a recall gives to fusion.
pub const DEFAULT_CANDIDATES: usize = 400;
/// The threshold of the semantic cache, a cosine similarity.
pub const DEFAULT_CACHE_THRESHOLD: f32 = 0.85;
/// How much of the turn before goes into a turn's embedding, in characters from its end.
const CONTEXT_CHARS: usize = 512;

mod answer;
mod ask;
mod builder;
mod cache;
mod consolidate;
mod draft;
mod follow;
mod gone;
mod late;
mod pace;
mod patience;
mod recall;
mod reject;
mod working;

use patience::Patience;

pub use answer::{Answer, AnswerError, AnswerRequest, ComputedAnswer, DEFAULT_FILL_LEASE, NewAnswer};
pub use ask::{Asked, Fill, Filled, OpenQuestion};
pub use builder::TieredMemoryManagerBuilder;
pub use consolidate::{
    ConsolidateReport, ConsolidateRequest, DEFAULT_CONSOLIDATION_LIMIT, DoneStep, MAX_CONSOLIDATION_LIMIT, StepOutcome,
};
pub use draft::{Draft, RememberRequest};
pub use follow::{CacheFollower, FollowerLag};
pub use late::LateEmbedding;
pub use reject::RejectReceipt;
pub use working::{PROMOTION_PATH, PromoteReceipt, PromoteRequest, PromotedMessage, Promotion};

/// The tiers as one memory: a short-term provider (the semantic cache), a medium-term provider (the durable store) and,
/// in the same store, the long-term memory of facts and procedures.
#[derive(Clone)]
pub struct TieredMemoryManager {
    short_term_provider: Option<Arc<dyn SemanticCache>>,
    working_memory: Option<Arc<dyn WorkingMemory>>,
    medium_term_provider: Arc<dyn MemoryStore>,
    long_term_enabled: bool,
    embedder: Arc<dyn Embedder>,
    cache_embedder: Arc<dyn Embedder>,
    cache_policy: CachePolicy,
    cache_ttl: Duration,
    fill_lease: Duration,
    flights: Arc<answer::Flights>,
    consolidations: Arc<consolidate::Runs>,
    followed_as: Arc<OnceLock<String>>,
    candidates: usize,
    clock: Arc<dyn Clock>,
    timer: Option<Arc<dyn Timer>>,
    embedder_patience: Option<Duration>,
    ids: Arc<dyn IdSource>,
}

impl std::fmt::Debug for TieredMemoryManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TieredMemoryManager")
            .field("short_term_provider", &self.short_term_provider)
            .field("working_memory", &self.working_memory)
            .field("medium_term_provider", &self.medium_term_provider)
            .field("long_term_enabled", &self.long_term_enabled)
            .field("embedder", &self.embedder)
            .finish_non_exhaustive()
    }
}

impl TieredMemoryManager {
    /// The messages of the conversations that go on, where there is a provider for them.
    #[must_use]
    pub fn working_memory(&self) -> Option<&Arc<dyn WorkingMemory>> {
        self.working_memory.as_ref()
    }

    /// The store of memories itself, for whoever moves it and compares what two stores find.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn MemoryStore> {
        &self.medium_term_provider
    }

    /// The whole of the store of memories, for whoever moves it; `None` where it cannot be moved.
    #[must_use]
    pub fn replica(&self) -> Option<&dyn crate::Replica> {
        self.medium_term_provider.replica()
    }

    /// The embedder of memories and questions.
    #[must_use]
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.embedder
    }

    /// The embedder of cached prompts.
    #[must_use]
    pub fn cache_embedder(&self) -> &Arc<dyn Embedder> {
        &self.cache_embedder
    }

    /// What a semantic cache hit must pass unless a lookup says otherwise.
    #[must_use]
    pub fn cache_policy(&self) -> CachePolicy {
        self.cache_policy
    }

    /// How long a cache entry lives unless its writer says otherwise.
    #[must_use]
    pub fn cache_ttl(&self) -> Duration {
        self.cache_ttl
    }

    /// Writes memories. When this returns they are durable and a recall finds them.
    ///
    /// A turn of a session is embedded together with the turn before it, which is what gives "yes, the blue one" a
    /// meaning. While the embedder is away memories are stored without a vector, which the receipt says, and
    /// [`late_embedding`](Self::late_embedding) gives them one later.
    ///
    /// # Errors
    /// As [`MemoryStore::insert`], and as [`Embedder::embed`] where trying again would not help; nothing is written then.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn remember(&self, request: RememberRequest) -> Result<InsertReceipt> {
        let RememberRequest { drafts, origin, idempotency } = request;
        let now = self.clock.now();
        let mut embeddings = Vec::with_capacity(drafts.len());
        let mut memories = Vec::with_capacity(drafts.len());
        for (at, mut draft) in drafts.into_iter().enumerate() {
            let within = |error: Error| error.within(&format!("memories[{at}]"));
            if draft.kind.tier() == Tier::LongTerm && !self.long_term_enabled {
                let error =
                    Error::invalid("kind", draft.kind.name(), "message or episodic, while long_term_enabled is false");
                return Err(within(error));
            }
            if let Some(embedding) = &draft.embedding {
                self.embedder.space().expect(embedding.space())?;
            }
            embeddings.push(draft.embedding.take());
            let memory = self.memory_of(draft, &origin, now);
            memories.push(EmbeddedMemory { memory, embedding: None });
        }
        // Before the embedder is paid for what would be refused.
        let mut batch = InsertBatch { memories, idempotency };
        validate_batch(&batch)?;
        let degraded = match self.embed_missing(&batch.memories, &mut embeddings).await {
            Err(Error::Embedder { retryable: true, .. }) => vec![Degradation::EmbedderUnavailable],
            done => done.map(|()| Vec::new())?,
        };
        for (item, embedding) in batch.memories.iter_mut().zip(embeddings) {
            item.embedding = embedding;
        }
        let mut receipt = self.medium_term_provider.insert(batch).await?;
        if !receipt.replayed {
            receipt.degraded = degraded;
        }
        Ok(receipt)
    }

    fn memory_of(&self, draft: Draft, origin: &Origin, now: Timestamp) -> Memory {
        Memory {
            id: draft.id.unwrap_or_else(|| self.ids.next_id()),
            version: 1,
            scope: draft.scope,
            kind: draft.kind,
            text: draft.text,
            actor: draft.actor,
            metadata: draft.metadata,
            importance: draft.importance,
            origin: origin.clone(),
            evidence: draft.evidence,
            valid_from: draft.valid_from,
            valid_to: draft.valid_to,
            recorded_at: now,
            superseded_at: None,
            expires_at: draft.expires_at,
        }
    }

    /// Embeds the memories that came without a vector, turns of a session with the turn before them.
    async fn embed_missing(&self, memories: &[EmbeddedMemory], embeddings: &mut [Option<Embedding>]) -> Result<()> {
        let mut before: HashMap<&Scope, String> = HashMap::new();
        let mut texts = Vec::with_capacity(memories.len());
        for (EmbeddedMemory { memory, .. }, embedding) in memories.iter().zip(&*embeddings) {
            if memory.scope.session().is_none() {
                if embedding.is_none() {
                    texts.push(memory.text.clone());
                }
                continue;
            }
            if embedding.is_none() {
                let context = match before.get(&memory.scope) {
                    Some(text) => Some(text.clone()),
                    None => self.last_turn(&memory.scope).await?,
                };
                texts.push(in_context(context.as_deref(), &memory.text));
            }
            before.insert(&memory.scope, memory.text.clone());
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        if texts.is_empty() {
            return Ok(());
        }
        let mut made = self.embed(&self.embedder, &texts, Purpose::Document).await?.into_iter();
        for embedding in embeddings.iter_mut().filter(|embedding| embedding.is_none()) {
            *embedding = made.next();
        }
        Ok(())
    }

    /// What an embedder gives, or that it is away where it takes longer than there is patience.
    async fn embed(&self, embedder: &Arc<dyn Embedder>, texts: &[&str], purpose: Purpose) -> Result<Vec<Embedding>> {
        let patience = match (&self.timer, self.embedder_patience) {
            (Some(timer), Some(limit)) => Patience::new(&**timer, limit),
            _ => Patience::ENDLESS,
        };
        patience.wait(embedder.embed(texts, purpose)).await.unwrap_or_else(|| {
            Err(Error::Embedder {
                model: embedder.space().model.clone(),
                reason: format!("no answer in {:?}", self.embedder_patience.unwrap_or_default()),
                retryable: true,
                source: None,
            })
        })
    }

    async fn last_turn(&self, scope: &Scope) -> Result<Option<String>> {
        let request = ListRequest {
            scope: scope.clone(),
            filter: None,
            limit: 1,
            cursor: None,
            newest_first: true,
            with_embeddings: false,
        };
        let page = self.medium_term_provider.list(&request).await?;
        Ok(page.memories.first().map(|(memory, _)| memory.text.clone()))
    }

    /// The current version of a memory.
    ///
    /// # Errors
    /// As [`MemoryStore::get`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.medium_term_provider.get(scope, id).await
    }

    /// Every version of a memory, oldest first.
    ///
    /// # Errors
    /// As [`MemoryStore::history`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>> {
        self.medium_term_provider.history(scope, id).await
    }

    /// A page of memories.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a limit out of range, else as [`MemoryStore::list`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn list(&self, request: &ListRequest) -> Result<Page> {
        crate::recall::check_limit(request.limit)?;
        self.medium_term_provider.list(request).await
    }

    /// Changes a memory. Cached answers that used it are gone when this returns, unless the cache is away: the change stands
    /// all the same, the receipt says so, and a [`cache_follower`](Self::cache_follower) brings it to the cache later. A new text
    /// is embedded as the former one was, a turn of a session together with the turn before it; while the embedder is away it
    /// has no vector, as in [`remember`](Self::remember).
    ///
    /// # Errors
    /// As [`MemoryStore::update`], and as [`Embedder::embed`] where trying again would not help.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn update(&self, scope: &Scope, id: MemoryId, mut patch: MemoryPatch) -> Result<UpdateReceipt> {
        let mut degraded = Vec::new();
        if let Some(text) = &patch.text {
            check_text("text", text, crate::memory::MAX_TEXT_BYTES)?;
            match &patch.embedding {
                Some(embedding) => self.embedder.space().expect(embedding.space())?,
                None => {
                    let before = self.medium_term_provider.turn_before(scope, id).await?;
                    let text = in_context(before.as_ref().map(|before| before.text.as_str()), text);
                    patch.embedding = match self.embed(&self.embedder, &[&text], Purpose::Document).await {
                        Err(Error::Embedder { retryable: true, .. }) => {
                            degraded.push(Degradation::EmbedderUnavailable);
                            None
                        }
                        made => made?.into_iter().next(),
                    };
                }
            }
        }
        let mut receipt = self.medium_term_provider.update(scope, id, patch).await?;
        self.invalidate_dependents(scope, vec![id], &mut degraded).await;
        receipt.degraded = degraded;
        Ok(receipt)
    }

    /// Forgets memories for good, with what was derived from them and the cached answers that used them. While the cache is
    /// away they are forgotten all the same, as in [`update`](Self::update).
    ///
    /// Forgetting all of a scope ends the sessions within it too. While the working memory is away the memories are
    /// forgotten all the same and the receipt says so: forgetting the scope again, once it is back, ends the sessions.
    ///
    /// # Errors
    /// As [`MemoryStore::forget`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        let (working_messages, degraded) = self.forget_sessions(request).await;
        let mut receipt = self.medium_term_provider.forget(request).await?;
        receipt.working_messages = working_messages;
        receipt.degraded.extend(degraded);
        if !request.dry_run {
            let mut gone: Vec<MemoryId> = receipt.forgotten.iter().chain(&receipt.derived).copied().collect();
            let before = self.gone_before(request, &gone).await;
            if !before.are_all_known {
                receipt.degraded.push(Degradation::InvalidationPending);
            }
            gone.extend(before.memories);
            receipt.cache_entries += self.invalidate_dependents(&request.scope, gone, &mut receipt.degraded).await;
        }
        Ok(receipt)
    }

    /// Removes the cached answers of the whole tenant that used one of these memories: an answer in another session of
    /// the tenant is as wrong as one in this. What they depend on was changed for good, so that a failure is no error here.
    async fn invalidate_dependents(
        &self,
        scope: &Scope,
        memories: Vec<MemoryId>,
        degraded: &mut Vec<Degradation>,
    ) -> u64 {
        let Some(cache) = &self.short_term_provider else { return 0 };
        if memories.is_empty() {
            return 0;
        }
        self.flights.begin_anew();
        let selection = InvalidateSelection::DependsOn(memories);
        let request = InvalidateRequest { scope: scope.whole_tenant(), selection, dry_run: false };
        cache.invalidate(&request).await.unwrap_or_else(|_| {
            if !degraded.contains(&Degradation::InvalidationPending) {
                degraded.push(Degradation::InvalidationPending);
            }
            0
        })
    }

    /// What the tiers hold of a scope; `None` for a cache that is away. Both are asked at once.
    ///
    /// # Errors
    /// As [`MemoryStore::stats`], and as [`SemanticCache::stats`] where trying again would not help.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn stats(&self, scope: &Scope) -> Result<(StoreStats, Option<CacheStats>)> {
        let of_cache = async {
            match &self.short_term_provider {
                Some(cache) => or_outage(cache.stats(scope).await),
                None => Ok(Some(CacheStats::default())),
            }
        };
        let (store, cache) = patience::both(self.medium_term_provider.stats(scope), of_cache).await;
        Ok((store?, cache?))
    }

    /// Whether the durable store can answer now.
    ///
    /// # Errors
    /// As [`MemoryStore::health`].
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn health(&self) -> Result<()> {
        self.medium_term_provider.health().await
    }
}

/// What the cache answered, or `None` while it is away. A cache saves work; it is never a reason to fail.
fn or_outage<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.is_retryable() => Ok(None),
        answer => answer.map(Some),
    }
}

/// What a turn of a session is embedded as: its text after the end of the turn before it.
#[must_use]
pub fn in_context(before: Option<&str>, text: &str) -> String {
    match before {
        None => text.to_owned(),
        Some(before) => {
            let skip = before.chars().count().saturating_sub(CONTEXT_CHARS);
            let tail: String = before.chars().skip(skip).collect();
            format!("{tail} {text}")
        }
    }
}
