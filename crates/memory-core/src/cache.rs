//! The semantic cache: answers that were paid for once, served again only to the same question.

mod compatibility;

use std::cell::OnceCell;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::guard::{GuardRefusal, Prepared};
use crate::{Embedding, Error, Filter, MemoryId, Metadata, Result, Scope, Timestamp};

pub use compatibility::{Compatibility, Fingerprint};

/// The longest prompt, in bytes.
pub const MAX_PROMPT_BYTES: usize = 64 * 1024;
/// The longest response, in bytes.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
/// How long an entry lives unless its writer says otherwise: one hour.
pub const DEFAULT_TTL: Duration = Duration::from_secs(3600);
/// The longest time to live: ten years.
pub const MAX_TTL: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How far off a store's similarities may be: so much under the threshold still passes.
pub const STORE_ROUNDING: f32 = 1e-6;

/// How many of the nearest entries a lookup tries: the guard may refuse the first and let the second pass.
pub const TRIED: usize = 8;
/// The least similarity of an entry that a miss names as near.
pub const NEAR: f32 = 0.5;

/// A cache of answers, found by the exact prompt or by a prompt of the same meaning.
///
/// # Contract
/// Each promise has a test of its name in `memory_testkit::cache`.
/// - `cache_answers_only_its_question`: a hit has the request's scope (all four parts equal), fingerprint and space,
///   passed [`Question::decide`], is unexpired, and the memories it depends on still stand.
/// - `corrections_reach_the_cache`: `invalidate` by memory removes exactly the entries that depend on it, for good.
/// - A time to live is absolute: hits do not prolong it, unless the writer asked for that ([`NewCacheEntry::sliding`]). An
///   expired entry is never returned.
/// - One entry for each (scope, fingerprint, space, normalised prompt): a later `store` takes the former's place.
/// - An answer does not outlive a memory it depends on: it expires with the first of them, where the cache knows them.
/// - `a_filter_narrows_what_answers`: an exact or semantic hit, and an entry named as near, matches the request's filter.
/// - `a_late_answer_is_not_filed`: what was invalidated is not filed by a `store_since` of before.
/// - `lookup` never changes an answer. An outage of the cache is a [retryable](Error::is_retryable) error, which
///   [`TieredMemoryManager`](crate::TieredMemoryManager) treats as a miss.
#[async_trait]
pub trait SemanticCache: fmt::Debug + Send + Sync {
    /// The answer to this prompt, or why there is none. Without an embedding in the request only an exact hit is found, and
    /// not finding one is not counted as a miss: the lookup by meaning is still to come.
    async fn lookup(&self, request: &CacheRequest) -> Result<CacheLookup>;

    /// Where the invalidations of the scope's tenant are. What an answer is made of is looked at after this and before
    /// [`store_since`](Self::store_since).
    async fn mark(&self, scope: &Scope) -> Result<CacheMark>;

    /// Files an answer and gives its entry id, or `None` when something of its tenant was invalidated since the mark, whether
    /// or not that would have removed the answer: take another mark and look again at what the answer is made of.
    ///
    /// The step that files decides it. So a request that is delayed, and one whose caller is gone, is not filed behind the
    /// invalidation that should have removed its answer.
    async fn store_since(&self, entry: NewCacheEntry, since: &CacheMark) -> Result<Option<CacheEntryId>>;

    /// Files an answer, for those who need not look at anything after the mark: what it is made of cannot have changed.
    /// Gives its entry id.
    async fn store(&self, entry: NewCacheEntry) -> Result<CacheEntryId> {
        loop {
            let mark = self.mark(&entry.scope).await?;
            if let Some(id) = self.store_since(entry.clone(), &mark).await? {
                return Ok(id);
            }
        }
    }

    /// Removes entries, and gives how many it removed, or would in a dry run.
    async fn invalidate(&self, request: &InvalidateRequest) -> Result<u64>;

    /// What the cache holds and how it did, for a tenant.
    async fn stats(&self, scope: &Scope) -> Result<CacheStats>;

    /// Asks for the right to compute the answer to this very prompt, so that one process computes it. True says that this
    /// process has it, for at most `lease`; false that another had it, and is done or has had its time: look again.
    ///
    /// A process that has the right gets it again: within a process the caller sees to it that one computes. A cache of one
    /// process need not do more than this default.
    async fn begin_fill(&self, request: &CacheRequest, lease: Duration) -> Result<bool> {
        let _ = (request, lease);
        Ok(true)
    }

    /// Gives back the right that [`begin_fill`](Self::begin_fill) gave, and no other's.
    async fn end_fill(&self, request: &CacheRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }
}

/// The identity of a cache entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct CacheEntryId(#[cfg_attr(feature = "schema", schemars(with = "String", extend("format" = "uuid")))] pub Uuid);

impl fmt::Display for CacheEntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Up to where the invalidations of a tenant had come. Opaque to callers, and of use for as long as an answer is filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMark(pub String);

/// A question to the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheRequest {
    /// Whose answer: all four parts must be equal.
    pub scope: Scope,
    /// The prompt, 1 to [`MAX_PROMPT_BYTES`] bytes.
    pub prompt: String,
    /// What else must be equal.
    pub fingerprint: Fingerprint,
    /// The prompt's vector; without it only an exact hit is found.
    pub embedding: Option<Embedding>,
    /// What a semantic hit must pass.
    pub policy: CachePolicy,
    /// What the entry's metadata must match, of an exact hit too. Only `metadata.<key>` can be asked for.
    pub filter: Option<Filter>,
}

impl CacheRequest {
    /// Whether an entry with this metadata may answer.
    #[must_use]
    pub fn admits(&self, metadata: &Metadata) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.matches_metadata(metadata))
    }
}

/// What a semantic hit must pass.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CachePolicy {
    /// The least cosine similarity, `-1.0..=1.0`. It belongs to the embedding space: models differ.
    pub threshold: f32,
    /// What else is checked.
    pub mode: CacheMode,
}

/// What is checked beside the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// Nothing.
    Threshold,
    /// The [guard](crate::guard): numbers, negation, names, opposites, word order, additions.
    #[default]
    Guarded,
}

/// An answer to file.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCacheEntry {
    /// Whose answer.
    pub scope: Scope,
    /// The prompt it answers.
    pub prompt: String,
    /// The answer, 1 to [`MAX_RESPONSE_BYTES`] bytes.
    pub response: String,
    /// What else must be equal for a hit.
    pub fingerprint: Fingerprint,
    /// The prompt's vector; without it the entry is found by the exact prompt only.
    pub embedding: Option<Embedding>,
    /// The memories the answer used: when one of them is corrected or forgotten, the entry goes.
    pub depends_on: Vec<MemoryId>,
    /// Labels to invalidate by.
    pub tags: Vec<String>,
    /// Free-form metadata, given back with a hit.
    pub metadata: Metadata,
    /// How long it lives.
    pub ttl: Duration,
    /// Whether it lives on while it is used: a hit in the second half of its time gives it `ttl` from then on.
    pub sliding: bool,
}

impl NewCacheEntry {
    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::TooLarge`], naming the first field that is not acceptable.
    pub fn validate(&self) -> Result<()> {
        crate::memory::check_text("prompt", &self.prompt, MAX_PROMPT_BYTES)?;
        crate::memory::check_text("response", &self.response, MAX_RESPONSE_BYTES)?;
        if self.ttl.is_zero() || self.ttl > MAX_TTL {
            let allowed = format!("more than 0 s, at most {} s", MAX_TTL.as_secs());
            return Err(Error::invalid("ttl", format!("{} s", self.ttl.as_secs_f64()), allowed));
        }
        if self.depends_on.len() > crate::memory::MAX_EVIDENCE {
            let allowed = format!("at most {} ids", crate::memory::MAX_EVIDENCE);
            return Err(Error::invalid("depends_on", self.depends_on.len(), allowed));
        }
        if let Some(at) = self.tags.iter().position(|tag| tag.is_empty() || tag.len() > 128) {
            return Err(Error::invalid(format!("tags[{at}]"), &self.tags[at], "1 to 128 bytes"));
        }
        Ok(())
    }
}

/// An answer on file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CacheEntry {
    /// Its identity.
    pub id: CacheEntryId,
    /// The prompt it answers.
    pub prompt: String,
    /// The answer.
    pub response: String,
    /// The memories the answer used.
    pub depends_on: Vec<MemoryId>,
    /// Labels to invalidate by.
    pub tags: Vec<String>,
    /// Free-form metadata.
    pub metadata: Metadata,
    /// When it was filed.
    pub created_at: Timestamp,
    /// When it stops being served.
    pub expires_at: Timestamp,
    /// How long it lives on after a hit; none for a fixed time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sliding_ttl: Option<Duration>,
}

impl CacheEntry {
    /// Whether a hit at `now` gives it more time: it slides, and half of its time or more is over.
    #[must_use]
    pub fn is_due_to_slide(&self, now: Timestamp) -> bool {
        self.sliding_ttl.is_some_and(|ttl| (self.expires_at - now).to_std().unwrap_or_default() <= ttl / 2)
    }
}

/// What a lookup found.
#[derive(Debug, Clone, PartialEq)]
pub enum CacheLookup {
    /// The answer.
    Hit(Box<CacheHit>),
    /// None, and the nearest entry that was not served, if one was near.
    Miss(Option<NearMiss>),
}

/// A served answer.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheHit {
    /// The entry.
    pub entry: CacheEntry,
    /// How it was found.
    pub kind: HitKind,
    /// Cosine similarity of the two prompts; 1 for an exact hit.
    pub similarity: f32,
    /// How long ago it was filed.
    pub age: Duration,
}

/// How an answer was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HitKind {
    /// By the normalised prompt.
    Exact,
    /// By meaning.
    Semantic,
}

/// The nearest entry that was not served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearMiss {
    /// The entry.
    pub entry: CacheEntryId,
    /// The prompt it answers.
    pub prompt: String,
    /// Cosine similarity of the two prompts.
    pub similarity: f32,
    /// Why it was not served.
    pub refused: Refused,
}

/// Why an entry was not served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    /// Its similarity is below the threshold.
    #[cfg_attr(feature = "schema", schemars(with = "BelowThreshold"))]
    BelowThreshold {
        /// The threshold.
        threshold: f32,
    },
    /// The guard found a difference of meaning.
    Guard(Vec<GuardRefusal>),
}

/// The members of [`Refused::BelowThreshold`]: programs that make clients want every object to have a name.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[expect(dead_code, reason = "for its schema")]
struct BelowThreshold {
    /// The threshold.
    threshold: f32,
}

/// Which entries to remove. Always inside the scope.
#[derive(Debug, Clone, PartialEq)]
pub struct InvalidateRequest {
    /// Entries outside it ([`Scope::covers`]) are not touched.
    pub scope: Scope,
    /// Which entries of the scope.
    pub selection: InvalidateSelection,
    /// Count only, change nothing.
    pub dry_run: bool,
}

/// Which cache entries of a scope.
#[derive(Debug, Clone, PartialEq)]
pub enum InvalidateSelection {
    /// This one.
    Entry(CacheEntryId),
    /// Those whose answer used one of these memories.
    DependsOn(Vec<MemoryId>),
    /// Those with this label.
    Tag(String),
    /// All.
    All,
}

/// What a cache holds and how it did, since the process began for the counters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CacheStats {
    /// Entries that are not expired.
    pub entries: u64,
    /// Hits by the exact prompt.
    pub exact_hits: u64,
    /// Hits by meaning.
    pub semantic_hits: u64,
    /// Misses, after the lookup by meaning.
    pub misses: u64,
    /// Misses in which the guard refused an entry over the threshold.
    pub refused: u64,
}

/// Whether to serve the answer of `cached` to the prompt `asked`: [`Question::decide`] for a single entry.
///
/// # Errors
/// Why it is refused.
pub fn decide(asked: &str, cached: &str, similarity: f32, policy: CachePolicy) -> std::result::Result<(), Refused> {
    Question::new(asked, policy).decide(cached, similarity)
}

/// An asked prompt with what an entry must pass. The prompt is read once, and only when the guard has to look at it.
#[derive(Debug)]
pub struct Question<'a> {
    prompt: &'a str,
    policy: CachePolicy,
    prepared: OnceCell<Prepared>,
}

impl<'a> Question<'a> {
    /// A question that no entry was put to yet.
    pub fn new(prompt: &'a str, policy: CachePolicy) -> Self {
        Self { prompt, policy, prepared: OnceCell::new() }
    }

    /// Whether to serve the answer of `cached`, by the similarity of the two prompts. Pure: this is the whole decision,
    /// for every provider.
    ///
    /// `similarity` is a cosine. Stores give it with an error of up to 1e-6, so that much under the threshold still passes.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn decide(&self, cached: &str, similarity: f32) -> std::result::Result<(), Refused> {
        let threshold = self.policy.threshold;
        if similarity.is_nan() || similarity < threshold - STORE_ROUNDING {
            return Err(Refused::BelowThreshold { threshold });
        }
        match self.policy.mode {
            CacheMode::Threshold => Ok(()),
            CacheMode::Guarded => {
                let refusals = self.prepared.get_or_init(|| Prepared::new(self.prompt)).compare(cached);
                if refusals.is_empty() { Ok(()) } else { Err(Refused::Guard(refusals)) }
            }
        }
    }
}

/// Checks a request before any I/O.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::TooLarge`], naming the field.
pub fn validate_request(request: &CacheRequest) -> Result<()> {
    crate::memory::check_text("prompt", &request.prompt, MAX_PROMPT_BYTES)?;
    if !(-1.0..=1.0).contains(&request.policy.threshold) {
        return Err(Error::invalid("threshold", request.policy.threshold, "-1.0 to 1.0, a cosine similarity"));
    }
    request.filter.as_ref().map_or(Ok(()), Filter::expect_metadata_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_every_part_apart() {
        let with = |model: Option<&str>, system: Option<&str>| Compatibility {
            model: model.map(Into::into),
            system: system.map(Into::into),
            ..Compatibility::default()
        };
        let all = [
            with(None, None),
            with(Some(""), None),
            with(Some("a"), Some("b")),
            with(Some("ab"), None),
            with(None, Some("ab")),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(one.fingerprint(), other.fingerprint());
            }
        }
        let a: Compatibility = serde_json::from_str(r#"{"parameters":{"b":1,"a":2}}"#).unwrap();
        let b: Compatibility = serde_json::from_str(r#"{"parameters":{"a":2,"b":1}}"#).unwrap();
        assert_eq!(a.fingerprint(), b.fingerprint(), "the order of keys means nothing");
    }

    #[test]
    fn the_guard_refuses_over_the_threshold() {
        let policy = CachePolicy { threshold: 0.85, mode: CacheMode::Guarded };
        let asked = "Is the store open on 5 May?";
        assert!(decide(asked, "Is the store open on 5 May", 0.99, policy).is_ok());
        assert!(matches!(decide(asked, "Is the store open on 6 May?", 0.99, policy), Err(Refused::Guard(_))));
        assert!(matches!(decide(asked, asked, 0.84, policy), Err(Refused::BelowThreshold { .. })));
        assert!(matches!(decide(asked, asked, f32::NAN, policy), Err(Refused::BelowThreshold { .. })));
        let threshold_only = CachePolicy { mode: CacheMode::Threshold, ..policy };
        assert!(decide(asked, "Is the store open on 6 May?", 0.99, threshold_only).is_ok());
    }
}
