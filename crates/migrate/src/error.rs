//! Why a move does not go on.

use crate::record::Colour;

/// The result of a step of a move.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a move does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for cannot be done now; nothing was changed.
    #[error("{reason}; {advice}")]
    Refused {
        /// Why.
        reason: String,
        /// What to do.
        advice: String,
    },
    /// Another process has taken the move over, or changed its record; what it does holds.
    #[error("another process has taken the move over")]
    Superseded,
    /// One of the stores failed.
    #[error("{colour}: {operation} failed")]
    Store {
        /// Which one.
        colour: Colour,
        /// What was asked of it.
        operation: &'static str,
        /// Its own error.
        #[source]
        source: memory_core::Error,
    },
    /// A dump cannot be written. The move stands as it did.
    #[error("the dump {} cannot be written", path.display())]
    Dump {
        /// Where.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: memory_core::BoxError,
    },
    /// The record of the move cannot be read or written.
    #[error("the record of the move cannot be {operation}")]
    Record {
        /// `read` or `written`.
        operation: &'static str,
        /// Why.
        #[source]
        source: memory_core::BoxError,
    },
}

impl Error {
    /// A refusal, and what to do.
    pub fn refused(reason: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into(), advice: advice.into() }
    }

    /// Whether the same step may go well later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::Superseded => false,
            // A gate that refuses says that somebody else has come: the record tells who.
            Self::Store { source, .. } => source.is_retryable(),
            Self::Record { .. } | Self::Dump { .. } => true,
        }
    }
}
