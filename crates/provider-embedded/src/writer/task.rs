//! What the writer is asked for, and what comes of it.

use std::sync::Arc;

use memory_core::{
    AppendReceipt, AppendRequest, CacheEntryId, Embedding, ForgetReceipt, ForgetRequest, InsertBatch, InsertReceipt,
    InvalidateRequest, Memory, MemoryId, MemoryPatch, NewCacheEntry, Rejection, Scope, Unembedded, UpdateReceipt,
    ValueKey, WriteToken,
};

use super::{Follow, Move};

/// Something to write.
#[derive(Debug)]
pub(crate) enum Task {
    Insert(InsertBatch),
    Update {
        scope: Scope,
        id: MemoryId,
        patch: Box<MemoryPatch>,
    },
    Forget(ForgetRequest),
    /// File an answer, unless something of its tenant was removed since that write.
    FileAnswer(Box<NewCacheEntry>, u64),
    /// Give a sliding answer its time again.
    Prolong(CacheEntryId),
    Invalidate(InvalidateRequest),
    /// Give a memory the vector that it was stored without.
    AddVector(Unembedded, Box<Embedding>),
    Follow(Follow),
    Append(Box<AppendRequest>),
    ClearSession(Scope),
    /// End every session within a scope.
    ForgetSessions(Scope),
    Reject(Vec<Rejection>),
    /// Take a rejection of a tenant back.
    Lift(Scope, ValueKey),
    Move(Move),
    /// Take expired memories, old idempotency keys and ended sessions out of the file.
    RemoveExpired,
    /// Write what is queued, put the log into the file, and end.
    Close,
}

impl Task {
    /// Whether it takes things out of the file.
    pub(super) fn makes_room(&self) -> bool {
        matches!(
            self,
            Self::Forget(_)
                | Self::Invalidate(_)
                | Self::ClearSession(_)
                | Self::ForgetSessions(_)
                | Self::RemoveExpired
        )
    }

    /// In whose tenant it removes the answers that used a memory, or others.
    pub(super) fn removes_answers_of(&self) -> Option<&Scope> {
        match self {
            Self::Update { scope, .. } => Some(scope),
            Self::Forget(request) => Some(&request.scope),
            Self::Invalidate(request) => Some(&request.scope),
            _ => None,
        }
    }

    /// Whether a refusal can only come before its first statement that changes anything, so that it needs no savepoint:
    /// one memory, or the key of an append, is checked, then all is written. The savepoint's two statements would be half
    /// of what such a write costs.
    pub(super) fn is_refused_before_it_writes(&self) -> bool {
        match self {
            Self::Insert(batch) => batch.memories.len() == 1,
            Self::Append(_) => true,
            _ => false,
        }
    }

    /// Whether it is a dry run: carried out, counted and taken back.
    pub(super) fn only_counts(&self) -> bool {
        match self {
            Self::Forget(request) => request.dry_run,
            Self::Invalidate(request) => request.dry_run,
            Self::Insert(_)
            | Self::Update { .. }
            | Self::FileAnswer(..)
            | Self::AddVector(..)
            | Self::Follow(_)
            | Self::Append(_)
            | Self::ClearSession(_)
            | Self::ForgetSessions(_)
            | Self::Reject(_)
            | Self::Lift(..)
            | Self::Move(_) => false,
            Self::Prolong(_) | Self::RemoveExpired | Self::Close => false,
        }
    }
}

/// What came of a task.
#[derive(Debug)]
pub(crate) enum Answer {
    Inserted(InsertReceipt),
    Updated { memory: Arc<Memory>, token: WriteToken },
    Forgotten(ForgetReceipt),
    Filed(Option<CacheEntryId>),
    Prolonged,
    Invalidated(u64),
    VectorAdded(bool),
    Followed(u64),
    Appended(AppendReceipt),
    Cleared(u64),
    Rejected(u64),
    Lifted(bool),
    Moved,
    RemovedExpired(u64),
    Closed,
}

impl From<UpdateReceipt> for Answer {
    fn from(UpdateReceipt { memory, token, .. }: UpdateReceipt) -> Self {
        Self::Updated { memory, token }
    }
}
