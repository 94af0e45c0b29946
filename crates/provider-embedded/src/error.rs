//! The driver's errors as ours.

use std::path::Path;

use memory_core::{BoxError, Error};

/// The provider's name in errors.
pub(crate) const PROVIDER: &str = "embedded";

// Result codes of SQLite, <https://www.sqlite.org/rescode.html>. The low byte is the primary code.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const IOERR: i32 = 10;
const FULL: i32 = 13;
const IOERR_WRITE: i32 = IOERR | (3 << 8);
const IOERR_FSYNC: i32 = IOERR | (4 << 8);
const IOERR_DIR_FSYNC: i32 = IOERR | (5 << 8);
const IOERR_TRUNCATE: i32 = IOERR | (6 << 8);
const IOERR_SHMSIZE: i32 = IOERR | (19 << 8);

/// What a failure of SQLite means while a store is in use.
pub(crate) fn backend(operation: &'static str, error: sqlx::Error) -> Error {
    let code = code(&error).unwrap_or_default();
    match code {
        _ if code & 0xff == FULL => Error::StorageFull { provider: PROVIDER, operation },
        IOERR_WRITE | IOERR_FSYNC | IOERR_DIR_FSYNC | IOERR_TRUNCATE | IOERR_SHMSIZE => {
            Error::StorageFull { provider: PROVIDER, operation }
        }
        _ => {
            let busy = matches!(code & 0xff, BUSY | LOCKED) || matches!(error, sqlx::Error::PoolTimedOut);
            Error::Backend { provider: PROVIDER, operation, retryable: busy, source: Box::new(error) }
        }
    }
}

/// What a row that does not hold what it should means: the file was changed by something else.
pub(crate) fn damaged(operation: &'static str, source: impl Into<BoxError>) -> Error {
    Error::Backend { provider: PROVIDER, operation, retryable: false, source: source.into() }
}

/// The provider was closed, or its writer has ended.
pub(crate) fn closed(operation: &'static str) -> Error {
    damaged(operation, "the store is closed")
}

/// `path` cannot be opened. `reason` says why and what to do.
pub(crate) fn unusable(path: &Path, reason: impl std::fmt::Display, source: Option<BoxError>) -> Error {
    Error::Unusable { provider: PROVIDER, reason: format!("{} {reason}", path.display()), source }
}

fn code(error: &sqlx::Error) -> Option<i32> {
    match error {
        sqlx::Error::Database(error) => error.code()?.parse().ok(),
        _ => None,
    }
}

/// Whether SQLite found the file damaged.
pub(crate) fn is_damage(error: &sqlx::Error) -> bool {
    const CORRUPT: i32 = 11;
    const NOTADB: i32 = 26;
    code(error).is_some_and(|code| matches!(code & 0xff, CORRUPT | NOTADB))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exhausted_pool_may_be_tried_again() {
        assert!(backend("search", sqlx::Error::PoolTimedOut).is_retryable());
        assert!(!backend("search", sqlx::Error::PoolClosed).is_retryable());
    }
}
