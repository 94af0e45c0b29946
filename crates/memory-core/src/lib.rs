//! The domain, the traits and the policy of Orchestra Memory.
//!
//! This crate does no I/O: no driver, no network, no environment, no clock of its own. Providers implement its traits,
//! binaries choose providers, and every decision (which memories answer, which cached answer may be served) is a pure
//! function here. In reading order:
//!
//! - [`Scope`] says whose memory it is, [`Memory`] is one remembered thing, [`Embedding`] is a vector in its
//!   [`EmbeddingSpace`].
//! - [`MemoryStore`], [`SemanticCache`], [`WorkingMemory`] and [`Embedder`] are the traits; their docs are the contract,
//!   which `memory-testkit` tests for every provider.
//! - [`fusion`] ranks the candidates of a recall, [`cache::Question`] and [`guard`] decide whether a cached answer is
//!   served, [`Filter`] is a condition on a memory.
//! - [`consolidation`] plans what a memory may say once in place of many times.
//! - [`TieredMemoryManager`] puts the tiers together.
//! - [`Replica`] is a store as whoever moves it sees it.
//! - [`usage`] is what bills and budgets are made from.
//! - [`arena`] searches vectors and words in memory, exactly.

pub mod arena;
pub mod brake;
pub mod cache;
pub mod consolidation;
mod embedding;
mod error;
mod filter;
pub mod fusion;
pub mod guard;
pub mod manager;
pub mod memory;
pub mod recall;
pub mod replica;
mod scope;
mod source;
pub mod store;
pub mod text;
pub mod usage;
pub mod value_key;
pub mod working;

pub use cache::{
    CacheEntry, CacheEntryId, CacheHit, CacheLookup, CacheMark, CacheMode, CachePolicy, CacheRequest, CacheStats,
    Compatibility, Fingerprint, HitKind, InvalidateRequest, InvalidateSelection, NearMiss, NewCacheEntry, Refused,
    SemanticCache,
};
pub use embedding::{Embedder, Embedding, EmbeddingSpace, MAX_DIMENSIONS, Purpose};
pub use error::{BoxError, Error, Result};
pub use filter::{Condition, Field, Filter, MAX_FILTER_CONDITIONS, MAX_FILTER_DEPTH, MAX_IN_VALUES};
pub use fusion::{FusionStrategy, Weights};
pub use manager::{
    Answer, AnswerError, AnswerRequest, Asked, CacheFollower, ComputedAnswer, ConsolidateReport, ConsolidateRequest,
    Draft, Fill, Filled, FollowerLag, LateEmbedding, NewAnswer, OpenQuestion, PromoteReceipt, PromoteRequest,
    PromotedMessage, Promotion, RejectReceipt, RememberRequest, TieredMemoryManager,
};
pub use memory::{ContentHash, EmbeddedMemory, Memory, MemoryId, MemoryKind, Metadata, Origin, Tier, Writer};
pub use recall::{Degradation, Explanation, Missing, RecallReport, RecallRequest, Recalled, RecalledFrom};
pub use replica::{
    AnsweredKey, FormerVersion, Gate, Item, ItemChange, ItemKey, Replica, ReplicaSize, ScanPage, ScanPosition,
    StoredVersion, WholeMemory, Writers,
};
pub use scope::{MAX_SCOPE_NAME_BYTES, Scope};
pub use source::{Clock, IdSource, Timer, Timestamp};
pub use store::{
    Arm, ArmReport, Best, Candidate, Candidates, Change, ChangeEvent, ChangeFeed, ChangeLag, ChangePosition, Cursor,
    ForgetReceipt, ForgetRequest, IdempotencyKey, IndexUse, InsertBatch, InsertReceipt, InsertStatus, InsertedItem,
    ListRequest, MAX_SCOPES, MemoryPatch, MemoryStore, Page, Rejection, RejectionPage, Rejections, SearchRequest,
    Selection, StoreMark, StoreStats, Turn, Unembedded, UpdateReceipt, VectorBacklog, WriteToken,
};
pub use value_key::{ValueKey, ValueKeys};
pub use working::{
    AppendReceipt, AppendRequest, NewMessage, Role, SessionMessage, Window, WindowRequest, WorkingMemory,
};
