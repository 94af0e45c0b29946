//! The semantic cache in front of the memory: answers looked up, filed and removed.

use super::{Filled, TieredMemoryManager, or_outage};
use crate::cache;
use crate::recall::MAX_QUERY_BYTES;
use crate::{
    CacheEntryId, CacheLookup, CachePolicy, CacheRequest, Embedding, Error, Fingerprint, InvalidateRequest, MemoryId,
    NewCacheEntry, Purpose, Result, Scope, StoreMark,
};

/// How often it is tried to file an answer while its tenant's memories change.
const FILING_ATTEMPTS: usize = 8;

impl TieredMemoryManager {
    /// The cached answer to a prompt, or why there is none. The exact prompt is looked for first; only when it is not
    /// there is the prompt embedded and looked for by meaning. While the cache is away every lookup is a miss, while the
    /// embedder is away every one but that of the exact prompt.
    ///
    /// # Errors
    /// As [`Embedder::embed`](crate::Embedder::embed) and [`SemanticCache::lookup`](crate::SemanticCache::lookup) where trying again would not help.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn cache_lookup(
        &self,
        scope: &Scope,
        prompt: &str,
        fingerprint: Fingerprint,
        policy: Option<CachePolicy>,
    ) -> Result<CacheLookup> {
        let policy = policy.unwrap_or(self.cache_policy);
        let mut request = CacheRequest {
            scope: scope.clone(),
            prompt: prompt.to_owned(),
            fingerprint,
            embedding: None,
            policy,
            filter: None,
        };
        match self.look_up_exact(&request).await? {
            Some(CacheLookup::Miss(_)) => self.look_up_by_meaning(&mut request).await,
            Some(hit) => Ok(hit),
            // Nobody is there to compare with: the embedder need not be paid.
            None => Ok(CacheLookup::Miss(None)),
        }
    }

    /// Looks for the exact prompt; `None` while there is no cache.
    pub(super) async fn look_up_exact(&self, request: &CacheRequest) -> Result<Option<CacheLookup>> {
        cache::validate_request(request)?;
        match &self.short_term_provider {
            Some(cache) => or_outage(cache.lookup(request).await),
            None => Ok(None),
        }
    }

    /// Looks for a prompt of the same meaning; the prompt's vector stays in the request.
    pub(super) async fn look_up_by_meaning(&self, request: &mut CacheRequest) -> Result<CacheLookup> {
        let Some(cache) = &self.short_term_provider else { return Ok(CacheLookup::Miss(None)) };
        request.embedding = self.cache_embedding(&request.prompt).await?;
        Ok(or_outage(cache.lookup(request).await)?.unwrap_or(CacheLookup::Miss(None)))
    }

    /// Files an answer. `None` when there is no cache, or it cannot take the answer now: then the next one who asks
    /// finds no answer, which is all that is lost.
    ///
    /// Nor is an answer kept when a memory it depends on is not there by then, or the store cannot say.
    ///
    /// # Errors
    /// As [`NewCacheEntry::validate`], and as [`Embedder::embed`](crate::Embedder::embed) and [`SemanticCache::store`](crate::SemanticCache::store) where trying again would not help.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn cache_store(&self, entry: NewCacheEntry) -> Result<Option<CacheEntryId>> {
        self.cache_store_since(entry, None, &[]).await
    }

    /// Files an answer that was made of these versions of memories, unless one of them is another version by now, however
    /// long the request was under way. It depends on them beside what it names itself.
    ///
    /// # Errors
    /// As [`cache_store`](Self::cache_store).
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn cache_store_of(&self, mut entry: NewCacheEntry, versions: &[(MemoryId, u64)]) -> Result<Filled> {
        for (id, _) in versions {
            if !entry.depends_on.contains(id) {
                entry.depends_on.push(*id);
            }
        }
        let (tenant, memories) = (entry.scope.whole_tenant(), entry.depends_on.clone());
        if let Some(id) = self.cache_store_since(entry, None, versions).await? {
            return Ok(Filled::Filed(id));
        }
        let stands = self.stand(&tenant, &memories, None).await && self.are_current(&tenant, versions).await;
        Ok(if stands { Filled::NoCache } else { Filled::Changed })
    }

    /// Files an answer that was computed since a mark of the store, or of these versions, unless a memory it depends on was
    /// changed since. Each change is seen: one that is committed by the time the memories are looked at there, a later one
    /// by its invalidation, which comes after the mark of the cache.
    pub(super) async fn cache_store_since(
        &self,
        mut entry: NewCacheEntry,
        since: Option<&StoreMark>,
        versions: &[(MemoryId, u64)],
    ) -> Result<Option<CacheEntryId>> {
        entry.validate()?;
        let Some(cache) = &self.short_term_provider else { return Ok(None) };
        match &entry.embedding {
            Some(embedding) => self.cache_embedder.space().expect(embedding.space())?,
            None => entry.embedding = self.cache_embedding(&entry.prompt).await?,
        }
        let (tenant, memories) = (entry.scope.whole_tenant(), entry.depends_on.clone());
        // Where a tenant's memories change all the time the answer is not kept: the next who asks computes it again.
        for _ in 0..FILING_ATTEMPTS {
            let Some(mark) = or_outage(cache.mark(&tenant).await)? else { return Ok(None) };
            if !self.stand(&tenant, &memories, since).await || !self.are_current(&tenant, versions).await {
                return Ok(None);
            }
            match or_outage(cache.store_since(entry.clone(), &mark).await)? {
                Some(None) => {}
                filed => return Ok(filed.flatten()),
            }
        }
        Ok(None)
    }

    /// Whether each of these memories is of this version by now.
    pub(super) async fn are_current(&self, tenant: &Scope, versions: &[(MemoryId, u64)]) -> bool {
        for &(id, version) in versions {
            match self.medium_term_provider.get(tenant, id).await {
                Ok(Some(memory)) if memory.version == version => {}
                _ => return false,
            }
        }
        true
    }

    /// Whether an answer may be kept that depends on these memories; not when nobody can say.
    pub(super) async fn stand(&self, tenant: &Scope, memories: &[MemoryId], since: Option<&StoreMark>) -> bool {
        memories.is_empty() || matches!(self.medium_term_provider.stand(tenant, memories, since).await, Ok(true))
    }

    /// The prompt's vector. A prompt that is longer than a query is found by its exact text only: what a mean over
    /// pages of text is near to says little about the question in it. So is every prompt while the embedder is away.
    pub(super) async fn cache_embedding(&self, prompt: &str) -> Result<Option<Embedding>> {
        if prompt.len() > MAX_QUERY_BYTES {
            return Ok(None);
        }
        // Symmetric: both sides of the comparison are questions.
        match self.embed(&self.cache_embedder, &[prompt], Purpose::Query).await {
            Err(Error::Embedder { retryable: true, .. }) => Ok(None),
            made => Ok(made?.into_iter().next()),
        }
    }

    /// Removes cache entries, and gives how many.
    ///
    /// # Errors
    /// As [`SemanticCache::invalidate`](crate::SemanticCache::invalidate).
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn cache_invalidate(&self, request: &InvalidateRequest) -> Result<u64> {
        if !request.dry_run {
            self.flights.begin_anew();
        }
        match &self.short_term_provider {
            Some(cache) => cache.invalidate(request).await,
            None => Ok(0),
        }
    }
}
