//! What a search of a store asks for, and what it gives.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::WriteToken;
use crate::{Embedding, Filter, Memory, MemoryId, Scope, Timestamp};

/// A request for the candidates of a recall.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    /// Whose memories.
    pub scope: Scope,
    /// Other scopes of the same tenant, searched with it as one: each memory once, by the statistics of all together. With
    /// `scope` at most [`MAX_SCOPES`](crate::MAX_SCOPES).
    pub also: Vec<Scope>,
    /// The query's vector; `None` leaves the dense arm out.
    pub embedding: Option<Embedding>,
    /// The query's words; `None` leaves the lexical arm out.
    pub text: Option<String>,
    /// Only those that match, in both arms.
    pub filter: Option<Filter>,
    /// How many candidates each arm gives, at least 1.
    pub candidates: usize,
    /// Whether to add the turns next to each lexical candidate in its session.
    pub neighbours: bool,
    /// A write that must be visible.
    pub at_least: Option<WriteToken>,
    /// Searches what the store knew at this time (record time): of each memory the last version recorded by then, by its
    /// own words and vector, and as if nothing else had been written. What has expired or was forgotten since does not come
    /// back; what a filter says is of the former version. Exact, and slower than a search of now. Neighbours are the turns
    /// that were there then. A time that has not passed yet is now; before the first memory there is nothing.
    ///
    /// What was true in the world at a time (valid time) is a filter: [`Filter::valid_at`].
    pub as_of: Option<Timestamp>,
    /// What of the candidates the caller can use; all of them without. A store may give the others too.
    pub best: Option<Best>,
}

/// The candidates that can be among the best of a [weighted sum](crate::Weights) of meaning and words.
///
/// A memory without a word of the query, not next to one in its session either, is one of them only where fewer than `count`
/// others are nearer. What has ended is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Best {
    /// How many are best, at least 1.
    pub count: usize,
    /// The time that nothing may have ended by, as its `valid_to` says.
    pub at: Timestamp,
}

/// The candidates of a recall, in no particular order, each once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Candidates {
    /// The candidates.
    pub candidates: Vec<Candidate>,
    /// What each arm did.
    pub arms: Vec<ArmReport>,
    /// The least similarity of all that has not ended, where some of it was left out because of [`SearchRequest::best`]. What
    /// was left out for that has no part in the words of the query.
    pub least_left_out: Option<f32>,
}

/// A memory that may be an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The memory.
    pub memory: Arc<Memory>,
    /// Cosine similarity to the query, `-1.0..=1.0`; `None` when either has no vector.
    pub similarity: Option<f32>,
    /// BM25 of the query's words over the lexical text, 0 when none matches. The statistics are those of what is searched.
    pub bm25: f32,
    /// The turn before it in its session.
    pub previous: Option<MemoryId>,
    /// The turn after it in its session.
    pub next: Option<MemoryId>,
}

/// What one arm of a search did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ArmReport {
    /// Which arm.
    pub arm: Arm,
    /// Whether its candidates are surely the best there are.
    pub exact: bool,
    /// How many memories of the scope it compared, after the filter.
    pub considered: u64,
    /// How many candidates it gave.
    pub returned: u64,
    /// How many candidates are missing that should be there, where the arm can tell.
    pub shortfall: u64,
    /// The vector index that was searched; `None` when everything was compared from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<IndexUse>,
}

/// How a vector index was searched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct IndexUse {
    /// Its kind: `ivfflat`, `hnsw` or `scann`.
    pub kind: String,
    /// The lists that were probed, or the length of the list of candidates: more finds more, and takes longer.
    pub effort: u32,
    /// Whether it gave too few, so that everything was compared after all.
    pub repaired: bool,
}

/// An arm of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// By vector.
    Dense,
    /// By words.
    Lexical,
    /// By words, the newest messages of a session's [working memory](crate::WorkingMemory). No store gives it.
    Working,
}
