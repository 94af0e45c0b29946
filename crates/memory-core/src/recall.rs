//! A recall: what is asked, what comes back, and why.

mod conversation;
mod missing;
mod selection;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::store::ArmReport;
use crate::{Embedding, Error, Filter, FusionStrategy, Memory, Result, Scope, Tier, Timestamp, WriteToken};

pub(crate) use conversation::{Conversation, without_copies};
pub(crate) use missing::Counts;
pub use missing::Missing;
pub(crate) use selection::{Selected, select};

/// The longest query, in bytes.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;
/// The most memories one recall gives.
pub const MAX_LIMIT: usize = 1000;
/// The longest deadline.
pub const MAX_DEADLINE: Duration = Duration::from_secs(60);

/// What is asked of the memory.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallRequest {
    /// Whose memory.
    pub scope: Scope,
    /// Other scopes of the same tenant, recalled from with it as one ([`SearchRequest::also`](crate::SearchRequest::also)).
    pub also: Vec<Scope>,
    /// The question, 1 to [`MAX_QUERY_BYTES`] bytes.
    pub query: String,
    /// The question's vector, where the caller has it; else the manager's embedder makes it.
    pub embedding: Option<Embedding>,
    /// Only memories that match.
    pub filter: Option<Filter>,
    /// At most this many, 1 to [`MAX_LIMIT`].
    pub limit: usize,
    /// At most so many tokens of text together, at least 1, as [`estimate_tokens`](crate::working::estimate_tokens) counts
    /// them; `None` for any number. The best come first, one that does not fit into what is left is passed over, and smaller
    /// ones after it still get their place: never more than `limit` nor than these tokens.
    pub max_tokens: Option<u64>,
    /// How long to wait, up to [`MAX_DEADLINE`]; `None` for as long as it takes. Then what is there is the answer, and it says
    /// which part is missing. The embedder gets the first half: when it has not answered by then, words alone are compared
    /// while there is still time to.
    pub deadline: Option<Duration>,
    /// How the arms are put together.
    pub strategy: FusionStrategy,
    /// A write that must be visible.
    pub at_least: Option<WriteToken>,
    /// Recalls what the store knew at this time ([`SearchRequest::as_of`](crate::SearchRequest::as_of)).
    pub as_of: Option<Timestamp>,
    /// Whether working memory is searched too, where a scope names a session.
    pub conversation: bool,
    /// Whether to say why there are no more where there are fewer than `limit` ([`RecallReport::missing`]). It may cost a
    /// count of the scope.
    pub explain: bool,
}

impl RecallRequest {
    /// A recall with the defaults: ten memories by [`FusionStrategy::default`].
    #[must_use]
    pub fn new(scope: Scope, query: impl Into<String>) -> Self {
        let query = query.into();
        Self {
            scope,
            also: Vec::new(),
            query,
            embedding: None,
            filter: None,
            limit: 10,
            max_tokens: None,
            deadline: None,
            strategy: FusionStrategy::default(),
            at_least: None,
            as_of: None,
            conversation: true,
            explain: false,
        }
    }

    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::TooLarge`], naming the field.
    pub fn validate(&self) -> Result<()> {
        crate::memory::check_text("query", &self.query, MAX_QUERY_BYTES)?;
        check_limit(self.limit)?;
        if self.max_tokens == Some(0) {
            return Err(Error::invalid("max_tokens", 0, "at least 1"));
        }
        if let Some(deadline) = self.deadline.filter(|deadline| deadline.is_zero() || *deadline > MAX_DEADLINE) {
            let allowed = format!("1 to {}, in milliseconds", MAX_DEADLINE.as_millis());
            return Err(Error::invalid("deadline", deadline.as_millis(), allowed));
        }
        crate::store::check_also(&self.scope, &self.also)?;
        self.strategy.validate()
    }
}

/// Refuses a limit outside 1 to [`MAX_LIMIT`].
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_limit(limit: usize) -> Result<()> {
    if (1..=MAX_LIMIT).contains(&limit) {
        return Ok(());
    }
    Err(Error::invalid("limit", limit, format!("1 to {MAX_LIMIT}")))
}

/// What a recall gives.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallReport {
    /// The memories, best first, ties by id.
    pub memories: Vec<Recalled>,
    /// How they were put together.
    pub strategy: FusionStrategy,
    /// What each arm did.
    pub arms: Vec<ArmReport>,
    /// What is missing from this answer and why; empty when nothing is.
    pub degraded: Vec<Degradation>,
    /// The tokens of all texts together.
    pub tokens: u64,
    /// How many of the best `limit` are not among them because of `max_tokens`.
    pub left_out: u64,
    /// Why there are no more, where that was asked for and there are fewer than `limit`.
    pub missing: Vec<Missing>,
}

/// Something that an answer or a receipt lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Degradation {
    /// The embedder was away: only words were compared, or what was written has no vector yet and is found by its words
    /// until it has.
    EmbedderUnavailable,
    /// The cache was away: until it is back and was told, it may serve answers that used what was changed.
    InvalidationPending,
    /// The working memory was away: the sessions of what was forgotten can still be read until they end by themselves. To
    /// forget the same scope again ends them at once.
    WorkingMemoryPending,
    /// An arm gave fewer candidates than there are; its report says how many.
    Shortfall,
    /// An arm was approximate; its report says which.
    Approximate,
    /// The durable store was away or too late: only working memory was searched.
    PersistentUnavailable,
    /// Working memory was away or too late: only the durable store was searched.
    WorkingMemoryUnavailable,
    /// The cache was away: what it holds is not known.
    CacheUnavailable,
    /// The deadline cut something off, which another entry names.
    DeadlineExceeded,
}

/// One recalled memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Recalled {
    /// The memory.
    pub memory: Arc<Memory>,
    /// The fused score. It orders the memories of one answer; scores of two answers do not compare.
    pub score: f32,
    /// The tier it came from.
    pub tier: Tier,
    /// Which part of the memory gave it.
    pub from: RecalledFrom,
    /// Where the score comes from.
    pub why: Explanation,
}

/// Which part of the memory gave a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RecalledFrom {
    /// The working memory: a message of the conversation that goes on. Its id orders it and names nothing that could be got.
    Working,
    /// The durable store.
    Persistent,
}

/// Where a fused score comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Explanation {
    /// Cosine similarity to the query.
    pub similarity: Option<f32>,
    /// Its place by similarity among the candidates, from 1. Without [`RecallRequest::explain`] a store may give fewer of them,
    /// and those it left out are not counted.
    pub dense_rank: Option<u32>,
    /// BM25 of the memory's own words.
    pub bm25: f32,
    /// BM25 with what its neighbours in the session lent it.
    pub bm25_in_context: f32,
    /// Its place by that among the candidates, from 1.
    pub lexical_rank: Option<u32>,
    /// What it got because the query names its actor.
    pub actor_bonus: f32,
    /// What it got for being new.
    pub recency: f32,
    /// What it got for its importance.
    pub importance: f32,
}
