//! The persistent side: the trait of a durable store of memories, and the values that go in and out of it.

mod backlog;
mod changes;
mod rejections;
mod scopes;
mod search;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Degradation, EmbeddedMemory, Embedding, Error, Filter, Memory, MemoryId, Metadata, Replica, Result, Scope,
    Timestamp,
};

pub use backlog::{Unembedded, VectorBacklog};
pub use changes::{Change, ChangeEvent, ChangeFeed, ChangeLag, ChangePosition};
pub use rejections::{Rejection, RejectionPage, Rejections};
pub use scopes::{MAX_SCOPES, check_also};
pub use search::{Arm, ArmReport, Best, Candidate, Candidates, IndexUse, SearchRequest};

/// A durable store of memories, searched by vector and by text.
///
/// # Contract
/// Each promise has a test of its name in `memory_testkit::store`.
/// - `acknowledged_is_durable`: when `insert`, `update` or `forget` returns `Ok`, its effect survives SIGKILL.
/// - `tenant_from_identity`: no call with scope A reads or changes anything that [`Scope::covers`] does not put inside A.
/// - `spaces_never_mix`: vectors are compared within one [`EmbeddingSpace`](crate::EmbeddingSpace) only.
/// - `read_your_writes`: a read that carries a [`WriteToken`] sees that write, or fails with [`Error::NotYetVisible`].
/// - `no_silent_shortfall`: an arm that answers with fewer candidates than there are, or not exactly, says so.
/// - `forgotten_stays_forgotten`: a forgotten id is never written or returned again, and an import or consolidation
///   does not bring its text back into its scope.
/// - `one_key_one_effect`: a replayed [`IdempotencyKey`] gives the first receipt, another body is a conflict, and N at
///   once have one effect.
/// - `derived_keeps_evidence`: evidence ids are kept, and forgetting a source forgets what was derived from it; what is
///   derived from a forgotten source is not taken in.
/// - A rejected value is not written again, where the store keeps [`Rejections`].
/// - A batch is atomic: a reader sees all of it or nothing.
/// - An expired memory is neither searched, listed nor got. The provider takes it out of its storage some time later, with
///   its former versions; that leaves no tombstone, and what was derived from it stays.
/// - `a_receipt_counts_what_went`: the receipt of forgetting counts all that went, and a dry run counts the same.
/// - A search of several scopes is one search of all that is in them; a search as of a former time finds the versions that
///   were current then, of memories that are still there ([`SearchRequest`]).
#[async_trait]
pub trait MemoryStore: fmt::Debug + Send + Sync {
    /// Writes a batch, all or nothing, in the order given.
    ///
    /// # Errors
    /// [`Error::IdTaken`] when an id is held by a memory of another text or scope, [`Error::Forgotten`] when the id was
    /// forgotten, [`Error::ValueRejected`] when a text was rejected in its scope, [`Error::IdempotencyConflict`],
    /// [`Error::SpaceMismatch`], or the provider's own failure.
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt>;

    /// The current version of a memory, or `None` when this scope has none of that id.
    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>>;

    /// The turn before a memory in its session, or `None` when it is the first one, is in no session or not in this scope.
    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>>;

    /// Changes a memory and keeps its former version as history.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::VersionConflict`], [`Error::ValueRejected`], or the provider's own failure.
    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<UpdateReceipt>;

    /// Every version of a memory, oldest first; empty when this scope has none of that id.
    async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>>;

    /// Forgets memories for good: they, their history and what was derived from them are removed and leave tombstones.
    /// Forgetting what is not there is not an error.
    ///
    /// A provider may forget a large selection in parts, each with what was derived from it: a call that fails may have
    /// forgotten some of them for good, and the same call again forgets the rest.
    async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt>;

    /// A page of memories, in the order in which they were first written.
    async fn list(&self, request: &ListRequest) -> Result<Page>;

    /// The candidates of a recall: the nearest by vector, the best by text, and their neighbours in the session.
    ///
    /// # Errors
    /// As [`SearchRequest::validate`], [`Error::SpaceMismatch`], [`Error::NotYetVisible`], or the provider's own failure.
    async fn search(&self, request: &SearchRequest) -> Result<Candidates>;

    /// What the store holds of a scope.
    async fn stats(&self, scope: &Scope) -> Result<StoreStats>;

    /// Whether the store can answer now: a cheap read of the real backend.
    async fn health(&self) -> Result<()>;

    /// What changes here, for a cache elsewhere to follow; `None` where nothing is kept for that.
    fn changes(&self) -> Option<&dyn ChangeFeed> {
        None
    }

    /// The memories without a vector; `None` where the store cannot tell which.
    fn backlog(&self) -> Option<&dyn VectorBacklog> {
        None
    }

    /// The values that are not to be written again; `None` where none can be rejected.
    fn rejections(&self) -> Option<&dyn Rejections> {
        None
    }

    /// The whole of the store, for whoever moves it; `None` where it cannot be moved.
    fn replica(&self) -> Option<&dyn Replica> {
        None
    }

    /// Keeps whoever else works on this store from consolidating in the scope, or in one that has memories in common with it,
    /// until what is given is dropped; `None` while another does. A store that one process works on need do no more than this:
    /// within a process the caller sees to it.
    async fn take_turn(&self, scope: &Scope) -> Result<Option<Turn>> {
        let _ = scope;
        Ok(Some(Box::new(())))
    }

    /// Where the order of writes is now, to ask later whether something was changed since. `None` where the store cannot tell.
    async fn mark(&self) -> Result<Option<StoreMark>> {
        Ok(None)
    }

    /// Whether all of these memories of the scope's tenant are there, and were not changed since a mark. Without a mark only
    /// whether they are there; so too in a store that gives no marks. Never yes where that is not so; no where nothing was
    /// changed costs whoever asks no more than their work again.
    async fn stand(&self, scope: &Scope, memories: &[MemoryId], since: Option<&StoreMark>) -> Result<bool> {
        let _ = since;
        let tenant = scope.whole_tenant();
        for &id in memories {
            if self.get(&tenant, id).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A turn at something that one does at a time. It ends when it is dropped, or with the process.
pub type Turn = Box<dyn Send>;

/// A position in the store's order of writes. Opaque to callers: they carry it from a write to a read.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct WriteToken(pub String);

impl fmt::Display for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a store held at one time, to compare with. Opaque to callers, and of use for as long as something is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreMark(pub String);

/// Makes a write safe to send twice: the second one has no effect and gets the first one's receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The key, as the caller chose it; it holds within one tenant.
    pub key: String,
    /// BLAKE3 of the request's body, to tell a replay from a different request under the same key.
    pub body_hash: [u8; 32],
}

/// Memories to write together.
#[derive(Debug, Clone, PartialEq)]
pub struct InsertBatch {
    /// The memories, all of one tenant, in the order of a conversation's turns.
    pub memories: Vec<EmbeddedMemory>,
    /// The key that makes the write safe to send twice.
    pub idempotency: Option<IdempotencyKey>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertReceipt {
    /// One for each memory, in the batch's order.
    pub items: Vec<InsertedItem>,
    /// Carry it to a read to see this write there.
    pub token: WriteToken,
    /// Whether this is the receipt of an earlier write under the same idempotency key.
    pub replayed: bool,
    /// What was left for later, and why; empty when nothing was. A store leaves it empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Degradation>,
}

/// What became of one memory of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InsertedItem {
    /// The memory's id.
    pub id: MemoryId,
    /// What became of it.
    pub status: InsertStatus,
}

/// What became of one memory of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum InsertStatus {
    /// It is new.
    Created,
    /// A memory of the same id, scope and text was there already; nothing changed.
    Unchanged,
    /// It was left out: it came by import or consolidation, and its id or its text was forgotten in this scope; or it came
    /// by consolidation, and a memory it names as evidence was forgotten.
    RefusedForgotten,
    /// It was left out: it came by import or consolidation, and its text was rejected in its scope.
    RefusedRejected,
}

/// A change of a memory. What is `None` stays as it is; for fields that can be empty, `Some(None)` empties them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MemoryPatch {
    /// Another text; its `embedding` comes with it.
    pub text: Option<String>,
    /// The vector of the new text. A patch with a text and no vector leaves the memory without one.
    pub embedding: Option<Embedding>,
    /// Other metadata, in place of all the former.
    pub metadata: Option<Metadata>,
    /// Another importance, `0.0..=1.0`.
    pub importance: Option<f32>,
    /// When it ceased to be true in the world.
    pub valid_to: Option<Option<Timestamp>>,
    /// When it stops being recalled.
    pub expires_at: Option<Option<Timestamp>>,
    /// The version the caller has seen; the update is refused when the store holds another.
    pub expected_version: Option<u64>,
}

impl MemoryPatch {
    /// `memory` with the patch applied, as a new version recorded at `now`. Pure; the embedding is the store's to file.
    ///
    /// # Errors
    /// [`Error::VersionConflict`], or as [`Memory::validate`].
    pub fn apply(&self, memory: &Memory, now: Timestamp) -> Result<Memory> {
        if let Some(expected) = self.expected_version
            && expected != memory.version
        {
            return Err(Error::VersionConflict { id: memory.id, expected, actual: memory.version });
        }
        let mut next = memory.clone();
        next.version += 1;
        next.recorded_at = now;
        if let Some(text) = &self.text {
            next.text.clone_from(text);
        }
        if let Some(metadata) = &self.metadata {
            next.metadata.clone_from(metadata);
        }
        if let Some(importance) = self.importance {
            next.importance = importance;
        }
        if let Some(valid_to) = self.valid_to {
            next.valid_to = valid_to;
        }
        if let Some(expires_at) = self.expires_at {
            next.expires_at = expires_at;
        }
        next.validate()?;
        Ok(next)
    }
}

/// What an update gave.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateReceipt {
    /// The new version.
    pub memory: Arc<Memory>,
    /// Carry it to a read to see this write there.
    pub token: WriteToken,
    /// What was left for later, and why; empty when nothing was. A store leaves it empty.
    pub degraded: Vec<Degradation>,
}

/// What to forget. Always inside `scope`.
#[derive(Debug, Clone, PartialEq)]
pub struct ForgetRequest {
    /// Nothing outside it is touched.
    pub scope: Scope,
    /// Which memories of the scope.
    pub selection: Selection,
    /// Count only, change nothing.
    pub dry_run: bool,
}

/// Which memories of a scope.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// Those of these ids.
    Ids(Vec<MemoryId>),
    /// Those that match.
    Matching(Filter),
    /// All.
    All,
}

/// What was forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ForgetReceipt {
    /// The memories that were selected and are gone, or would be in a dry run.
    pub forgotten: Vec<MemoryId>,
    /// The memories that went with them because they were derived from them.
    pub derived: Vec<MemoryId>,
    /// Former versions of all these, which went with them.
    pub former_versions: u64,
    /// How many of all these had a vector.
    pub embeddings: u64,
    /// Sessions of which the last turn went.
    pub sessions: u64,
    /// Semantic cache entries that were invalidated because their answer used one of them.
    pub cache_entries: u64,
    /// Messages of the working memory that went with their sessions, where a whole scope was forgotten. A store leaves it 0.
    #[serde(default)]
    pub working_messages: u64,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Carry it to a read to see this write there; `None` in a dry run.
    pub token: Option<WriteToken>,
    /// What was left for later, and why; empty when nothing was. A store leaves it empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Degradation>,
}

/// Which page of a scope's memories.
#[derive(Debug, Clone, PartialEq)]
pub struct ListRequest {
    /// Whose memories.
    pub scope: Scope,
    /// Only those that match.
    pub filter: Option<Filter>,
    /// At most this many, at least 1.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
    /// Newest first in place of oldest first.
    pub newest_first: bool,
    /// Whether to give the vectors too.
    pub with_embeddings: bool,
}

/// Where a page ended: a position in the order of first writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub u64);

/// A page of memories.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The memories, with their vectors if asked for.
    pub memories: Vec<(Arc<Memory>, Option<Embedding>)>,
    /// Where the next page begins; `None` on the last page.
    pub next: Option<Cursor>,
}

/// What a store holds of a scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoreStats {
    /// Current memories.
    pub memories: u64,
    /// Those of them without a vector.
    pub without_embedding: u64,
    /// Former versions kept as history.
    pub former_versions: u64,
    /// Forgotten ids.
    pub tombstones: u64,
    /// Bytes on disk, of the whole store.
    pub disk_bytes: u64,
    /// Bytes in memory for the search, of the whole store.
    pub index_bytes: u64,
}

/// Checks a batch before any I/O: not empty, one tenant, each memory valid, no id twice.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::TooLarge`], naming the memory by its index.
pub fn validate_batch(batch: &InsertBatch) -> Result<()> {
    let Some(first) = batch.memories.first() else {
        return Err(Error::invalid("memories", "an empty list", "at least one memory"));
    };
    let mut ids = std::collections::HashSet::with_capacity(batch.memories.len());
    for (at, EmbeddedMemory { memory, .. }) in batch.memories.iter().enumerate() {
        memory.validate().map_err(|error| error.within(&format!("memories[{at}]")))?;
        if memory.scope.tenant_name() != first.memory.scope.tenant_name() {
            let field = format!("memories[{at}].scope.tenant");
            return Err(Error::invalid(field, memory.scope.tenant_name(), "one tenant in a batch"));
        }
        if !ids.insert(memory.id) {
            return Err(Error::invalid(format!("memories[{at}].id"), memory.id, "each id once in a batch"));
        }
    }
    Ok(())
}
