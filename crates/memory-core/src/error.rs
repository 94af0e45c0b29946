//! What can go wrong, told so that a caller can act on it.

use crate::{MemoryId, WriteToken};

/// A boxed cause from a driver or a library.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of every memory operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a memory operation failed, whichever provider ran it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument is not acceptable; nothing was changed.
    #[error("{field}: given {given}, allowed: {allowed}")]
    Invalid {
        /// The field, as the caller spelled it, with dots and indices for nesting: `memories[2].text`.
        field: String,
        /// What was given, shortened.
        given: String,
        /// What is allowed.
        allowed: String,
    },
    /// An argument is too large; nothing was changed.
    #[error("{field}: given {given_bytes} bytes, allowed: at most {allowed_bytes} bytes")]
    TooLarge {
        /// The field, as the caller spelled it.
        field: String,
        /// Size given.
        given_bytes: usize,
        /// Size allowed.
        allowed_bytes: usize,
    },
    /// A vector of one embedding space met an index of another; refused before any I/O.
    #[error("embedding is in space {actual}, the index holds {expected}")]
    SpaceMismatch {
        /// The space of the index.
        expected: String,
        /// The space of the vector.
        actual: String,
    },
    /// There is no such memory in this scope.
    #[error("memory {0} is not in this scope")]
    NotFound(MemoryId),
    /// The memory was changed since the caller read it.
    #[error("memory {id} is at version {actual}, the update expected {expected}")]
    VersionConflict {
        /// The memory.
        id: MemoryId,
        /// The version the caller expected.
        expected: u64,
        /// The version the store holds.
        actual: u64,
    },
    /// The id is taken by another memory, in this scope or out of it.
    #[error("memory id {0} is taken by another memory")]
    IdTaken(MemoryId),
    /// The id was forgotten, and what was forgotten stays forgotten.
    #[error("memory {0} was forgotten and cannot be written again")]
    Forgotten(MemoryId),
    /// The text says what was rejected in its scope; nothing was written. See [`Rejections`](crate::Rejections).
    #[error(
        "{field}: this was rejected in its scope and is not written again; an administrator can lift the rejection"
    )]
    ValueRejected {
        /// The text, as the caller spelled it.
        field: String,
    },
    /// The idempotency key was used before with another body.
    #[error("idempotency key {key:?} was used before with another body")]
    IdempotencyConflict {
        /// The key.
        key: String,
    },
    /// A read asked for a write that this store has not seen.
    #[error("write {0} is not visible here yet")]
    NotYetVisible(WriteToken),
    /// The store is being moved, and takes no writes of this caller. Nothing was changed. See [`Replica`](crate::Replica).
    #[error("the store is fenced since epoch {epoch} of its move: another one is in use, or is about to be")]
    Fenced {
        /// The epoch that the store is at.
        epoch: u64,
    },
    /// Something is under way that may run only once at a time.
    #[error("{0}; try again when it is done")]
    Busy(&'static str),
    /// The store has no room left. Nothing of the refused write was kept; what was acknowledged before is safe.
    #[error("{provider}: no space left while running {operation}")]
    StorageFull {
        /// The provider that ran out of space.
        provider: &'static str,
        /// The operation that was refused.
        operation: &'static str,
    },
    /// A provider cannot be opened as asked: a foreign or damaged file, a folder without permission, a second process.
    #[error("{provider}: {reason}")]
    Unusable {
        /// The provider.
        provider: &'static str,
        /// Why, and what to do.
        reason: String,
        /// The driver's own error, if it has one.
        source: Option<BoxError>,
    },
    /// The embedding model could not be reached or refused. `retryable`: the same call may succeed later.
    #[error("embedder {model}: {reason}")]
    Embedder {
        /// The model that was asked.
        model: String,
        /// What it answered, and what to do.
        reason: String,
        /// Whether the same call, unchanged, may succeed later.
        retryable: bool,
        /// The client's own error, if it has one.
        source: Option<BoxError>,
    },
    /// A backend failed. `retryable`: the same call, unchanged, may succeed later.
    #[error("{provider}: {operation} failed")]
    Backend {
        /// The provider.
        provider: &'static str,
        /// The operation that failed.
        operation: &'static str,
        /// Whether the same call, unchanged, may succeed later.
        retryable: bool,
        /// The driver's error.
        source: BoxError,
    },
}

impl Error {
    /// An [`Error::Invalid`] that names the field, what was given (shortened to 80 characters) and what is allowed.
    pub fn invalid(field: impl Into<String>, given: impl ToString, allowed: impl Into<String>) -> Self {
        let given = given.to_string();
        let shown: String = given.chars().take(80).collect();
        let given = if shown.len() < given.len() { format!("{shown}…") } else { shown };
        Self::Invalid { field: field.into(), given, allowed: allowed.into() }
    }

    /// The same error with `prefix` before its field, for a value that stands inside another.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        if let Self::Invalid { field, .. } | Self::TooLarge { field, .. } | Self::ValueRejected { field } = &mut self {
            *field = if field.is_empty() { prefix.to_owned() } else { format!("{prefix}.{field}") };
        }
        self
    }

    /// Whether the same call, unchanged, may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Backend { retryable, .. } | Self::Embedder { retryable, .. } => *retryable,
            Self::StorageFull { .. } | Self::NotYetVisible(_) | Self::Fenced { .. } | Self::Busy(_) => true,
            _ => false,
        }
    }
}
