//! A question in two steps, for those who compute the answer elsewhere: what the cache or the memory has to it, and later the
//! answer, bound to the memories it was made of.

use super::TieredMemoryManager;
use crate::memory::MAX_EVIDENCE;
use crate::{
    AnswerRequest, CacheEntryId, CacheHit, CacheLookup, Degradation, Error, Fingerprint, MemoryId, NearMiss, NewAnswer,
    NewCacheEntry, RecallReport, RecallRequest, Result, Scope, StoreMark,
};

/// What there is to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// The cached answer.
    Answered(Box<CacheHit>),
    /// No answer, and what is known of it.
    Open(Box<OpenQuestion>),
}

/// A question without a cached answer.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenQuestion {
    /// The memories to answer it from.
    pub recalled: RecallReport,
    /// The nearest entry that was not served, and why.
    pub near: Option<NearMiss>,
    /// What files the answer; `None` where it should not be kept, since a part of the memory was away.
    pub fill: Option<Fill>,
}

/// Where an answer belongs, and what it is made of: it is filed when all of that still stands. It is a note of the one who
/// asks and opens nothing: whoever can file an answer could name the same memories.
#[derive(Debug, Clone, PartialEq)]
pub struct Fill {
    /// Whose answer.
    pub scope: Scope,
    /// The prompt.
    pub prompt: String,
    /// What else must be equal for the answer to be served.
    pub fingerprint: Fingerprint,
    /// The memories that were recalled to it.
    pub memories: Vec<MemoryId>,
    /// Where the store was before they were recalled, if it can tell.
    pub since: Option<StoreMark>,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// It is on file.
    Filed(CacheEntryId),
    /// A memory it was made of was changed or forgotten since it was recalled: it is not kept.
    Changed,
    /// There is no cache, or it cannot take the answer now.
    NoCache,
}

impl TieredMemoryManager {
    /// The cached answer to a question, or the memories to answer it from with what [files](Self::fill) the answer.
    ///
    /// `recall` is a recall of the question's own scope and text, of which the rest is taken. Working memory is left out: what
    /// was said in the conversation is no memory that an answer could be bound to.
    ///
    /// # Errors
    /// As [`cache_lookup`](Self::cache_lookup) and [`recall`](Self::recall), and [`Error::Invalid`] for a limit over
    /// [`MAX_EVIDENCE`], the most that an answer can be bound to.
    pub async fn ask(&self, question: AnswerRequest, recall: RecallRequest) -> Result<Asked> {
        let AnswerRequest { scope, prompt, fingerprint, policy } = question;
        let recall = RecallRequest { scope: scope.clone(), query: prompt, conversation: false, ..recall };
        recall.validate()?;
        if recall.limit > MAX_EVIDENCE {
            return Err(Error::invalid("limit", recall.limit, format!("1 to {MAX_EVIDENCE}")));
        }
        let near = match self.cache_lookup(&scope, &recall.query, fingerprint, policy).await? {
            CacheLookup::Hit(hit) => return Ok(Asked::Answered(hit)),
            CacheLookup::Miss(near) => near,
        };
        // Before what is recalled, so that no change falls between.
        let since = self.medium_term_provider.mark().await;
        let prompt = recall.query.clone();
        let recalled = self.recall(recall).await?;
        let memories = recalled.memories.iter().map(|recalled| recalled.memory.id).collect();
        let fill = match since {
            Ok(since) if is_whole(&recalled) => Some(Fill { scope, prompt, fingerprint, memories, since }),
            _ => None,
        };
        Ok(Asked::Open(Box::new(OpenQuestion { recalled, near, fill })))
    }

    /// Files the answer to a question that was [asked](Self::ask), unless a memory it was made of was changed since. It is
    /// bound to what was recalled; what the answer itself says it depends on counts beside.
    ///
    /// # Errors
    /// As [`cache_store`](Self::cache_store), and as [`MemoryStore::stand`](crate::MemoryStore::stand) where the same call may
    /// succeed later.
    pub async fn fill(&self, fill: Fill, answer: NewAnswer) -> Result<Filled> {
        let Fill { scope, prompt, fingerprint, memories: mut depends_on, since } = fill;
        depends_on.extend(answer.depends_on.iter().filter(|id| !depends_on.contains(id)).copied().collect::<Vec<_>>());
        let entry = NewCacheEntry {
            prompt,
            response: answer.response,
            fingerprint,
            embedding: None,
            depends_on,
            tags: answer.tags,
            metadata: answer.metadata,
            ttl: answer.ttl.unwrap_or(self.cache_ttl),
            sliding: false,
            scope,
        };
        entry.validate()?;
        if self.short_term_provider.is_none() {
            return Ok(Filled::NoCache);
        }
        let (tenant, memories) = (entry.scope.whole_tenant(), entry.depends_on.clone());
        if !memories.is_empty() {
            match self.medium_term_provider.stand(&tenant, &memories, since.as_ref()).await {
                Ok(true) => {}
                Err(error) if error.is_retryable() => return Err(error),
                // What is no mark of this store says nothing of what was changed since.
                Ok(false) | Err(_) => return Ok(Filled::Changed),
            }
        }
        if let Some(id) = self.cache_store_since(entry, since.as_ref(), &[]).await? {
            return Ok(Filled::Filed(id));
        }
        // The change may have come in between.
        let stands = self.stand(&tenant, &memories, since.as_ref()).await;
        Ok(if stands { Filled::NoCache } else { Filled::Changed })
    }
}

/// Whether nothing was away that could have made for another answer.
fn is_whole(recalled: &RecallReport) -> bool {
    use Degradation::{DeadlineExceeded, EmbedderUnavailable, PersistentUnavailable};
    let lost = [DeadlineExceeded, EmbedderUnavailable, PersistentUnavailable];
    !recalled.degraded.iter().any(|degradation| lost.contains(degradation))
}
