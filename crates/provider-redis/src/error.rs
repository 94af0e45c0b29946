//! The driver's errors as ours.

use memory_core::{BoxError, Error};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The provider's name in errors.
pub(crate) const PROVIDER: &str = "redis";

/// What a failure of Redis means.
pub(crate) fn backend(operation: &'static str, error: RedisError) -> Error {
    // In a transaction it stands among the commands that were not taken.
    let refusals = error.clone().into_server_errors();
    if refusals.is_some_and(|refusals| refusals.iter().any(|(_, refusal)| refusal.code() == "OOM")) {
        return Error::StorageFull { provider: PROVIDER, operation };
    }
    Error::Backend { provider: PROVIDER, operation, retryable: is_passing(&error), source: Box::new(error) }
}

/// Whether the same call may succeed later. An answer that is not understood may come from a server that is just being
/// replaced or has lost its index; what never passes by itself is being refused.
fn is_passing(error: &RedisError) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::AuthenticationFailed
            | ErrorKind::InvalidClientConfig
            | ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot)
    )
}

/// Redis did not answer: a lookup is a miss, anything else may be tried again.
pub(crate) fn unanswered(operation: &'static str, reason: impl Into<BoxError>) -> Error {
    Error::Backend { provider: PROVIDER, operation, retryable: true, source: reason.into() }
}

/// Redis answered what it should not.
pub(crate) fn damaged(operation: &'static str, source: impl Into<BoxError>) -> Error {
    Error::Backend { provider: PROVIDER, operation, retryable: false, source: source.into() }
}

/// The provider cannot be opened as asked. `reason` says why and what to do.
pub(crate) fn unusable(reason: String, source: Option<BoxError>) -> Error {
    Error::Unusable { provider: PROVIDER, reason, source }
}

/// An error and its causes in one line, for where only text can go.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some errors repeat their cause.
        let text = error.to_string();
        if !told.ends_with(&text) {
            told = format!("{told}: {text}");
        }
        cause = error.source();
    }
    told
}
