//! What a caller says of a memory to be.

use crate::{Embedding, IdempotencyKey, MemoryId, MemoryKind, Metadata, Origin, Scope, Timestamp};

/// A memory to be: what the caller says of it. The rest (id, times, origin, vector) the manager adds.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// An id of the caller's own; a new one unless given.
    pub id: Option<MemoryId>,
    /// Whose it is.
    pub scope: Scope,
    /// What kind of thing it is.
    pub kind: MemoryKind,
    /// The text.
    pub text: String,
    /// Who said or did it.
    pub actor: Option<String>,
    /// Free-form metadata.
    pub metadata: Metadata,
    /// How much it matters, `0.0..=1.0`.
    pub importance: f32,
    /// The memories it was derived from.
    pub evidence: Vec<MemoryId>,
    /// When it began to be true in the world, or was said.
    pub valid_from: Option<Timestamp>,
    /// When it ceased to be true in the world.
    pub valid_to: Option<Timestamp>,
    /// When it stops being recalled.
    pub expires_at: Option<Timestamp>,
    /// Its vector, where the caller has it; it must be of the embedder's space.
    pub embedding: Option<Embedding>,
}

impl Draft {
    /// The importance of a memory of which nobody said how much it matters.
    pub const DEFAULT_IMPORTANCE: f32 = 0.5;

    /// Something that happened, with nothing else said of it.
    #[must_use]
    pub fn new(scope: Scope, text: impl Into<String>) -> Self {
        Self {
            id: None,
            scope,
            kind: MemoryKind::Episodic,
            text: text.into(),
            actor: None,
            metadata: Metadata::new(),
            importance: Self::DEFAULT_IMPORTANCE,
            evidence: Vec::new(),
            valid_from: None,
            valid_to: None,
            expires_at: None,
            embedding: None,
        }
    }
}

/// Memories to write together, all or nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct RememberRequest {
    /// The memories, all of one tenant; turns of one session in their order.
    pub drafts: Vec<Draft>,
    /// Who writes, and by which path.
    pub origin: Origin,
    /// Makes the write safe to send twice.
    pub idempotency: Option<IdempotencyKey>,
}
