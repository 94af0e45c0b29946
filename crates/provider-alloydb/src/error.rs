//! The provider's failures as [`Error`].

use std::io::ErrorKind;

use memory_core::{BoxError, Error, MemoryId};
use sqlx::error::ErrorKind as DatabaseErrorKind;
use sqlx::postgres::PgDatabaseError;

pub(crate) const PROVIDER: &str = "alloydb";

// What the functions of the schema raise.
const ID_TAKEN: &str = "OM001";
const FORGOTTEN: &str = "OM002";
const KEY_CONFLICT: &str = "OM003";
const REJECTED: &str = "OM004";
const FENCED: &str = "OM005";
const NOT_CAPTURED: &str = "OM006";

/// A statement that failed.
pub(crate) fn failed(operation: &'static str, error: sqlx::Error) -> Error {
    if let sqlx::Error::Database(source) = &error
        && let Some(source) = source.try_downcast_ref::<PgDatabaseError>()
    {
        let id = || source.detail().and_then(|detail| detail.parse::<MemoryId>().ok());
        match source.code() {
            ID_TAKEN => {
                if let Some(id) = id() {
                    return Error::IdTaken(id);
                }
            }
            FORGOTTEN => {
                if let Some(id) = id() {
                    return Error::Forgotten(id);
                }
            }
            KEY_CONFLICT => return Error::IdempotencyConflict { key: source.detail().unwrap_or_default().to_owned() },
            REJECTED => {
                // Of an update there is one text.
                let field = source.detail().map_or("text".to_owned(), |at| format!("memories[{at}].text"));
                return Error::ValueRejected { field };
            }
            FENCED => {
                let epoch = source.detail().and_then(|detail| detail.parse().ok());
                return Error::Fenced { epoch: epoch.unwrap_or_default() };
            }
            NOT_CAPTURED => {
                return Error::invalid("stream", source.detail().unwrap_or_default(), "a stream that is captured");
            }
            // disk_full, and an index or a table that may not grow.
            "53100" => return Error::StorageFull { provider: PROVIDER, operation },
            // undefined_function, undefined_table, invalid_schema_name: of a schema that is older than this program.
            "42883" | "42P01" | "3F000" => {
                return Error::Unusable {
                    provider: PROVIDER,
                    reason: "the database's schema is older than this program; run `orchestra db migrate`".into(),
                    source: Some(Box::new(error)),
                };
            }
            _ => {}
        }
    }
    Error::Backend { provider: PROVIDER, operation, retryable: is_passing(&error), source: Box::new(error) }
}

/// Whether the same statement may succeed later: the server was away, is overloaded, or chose this one to give way.
pub(crate) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        // A certificate that is not trusted, or the file of an authority that is not there.
        sqlx::Error::Io(error) => {
            !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::NotFound | ErrorKind::PermissionDenied)
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Database(error) if error.kind() != DatabaseErrorKind::Other => false,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // Connection exceptions, insufficient resources, operator intervention; serialization, deadlock, lock
            // timeout; a standby's statement that recovery had to cancel is among the serialization failures.
            ["08", "53", "57"].iter().any(|class| code.starts_with(class))
                || ["40001", "40P01", "55P03", "25006"].contains(&&*code)
        }),
        _ => false,
    }
}

/// Whether the connection is gone, or the server on its way out or in. Not so for an answer that took too long: asking
/// again would take as long again.
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(source) => source.kind() != ErrorKind::TimedOut && is_passing(error),
        // admin_shutdown, crash_shutdown, cannot_connect_now, and connection exceptions.
        sqlx::Error::Database(error) => {
            error.code().is_some_and(|code| code.starts_with("08") || ["57P01", "57P02", "57P03"].contains(&&*code))
        }
        _ => false,
    }
}

/// Whether nothing came from the server, or only that it is on its way out or in.
pub(crate) fn is_away(error: &sqlx::Error) -> bool {
    is_lost(error) || (is_passing(error) && !matches!(error, sqlx::Error::Database(_)))
}

/// Whether the database, the schema or a part of it is not there, as on a replica that has not come so far:
/// invalid_catalog_name, invalid_schema_name, undefined_table, undefined_function, undefined_object, and a role that is set
/// at the beginning of a session (invalid_parameter_value).
pub(crate) fn lacks_the_schema(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| {
        ["3D000", "3F000", "42P01", "42883", "42704", "22023"].contains(&&*code)
    }))
}

/// Whether the statement had no effect because the server takes no writes, as a former primary does that follows another
/// now: read_only_sql_transaction.
pub(crate) fn is_read_only(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("25006"))
}

/// Whether the statement had no effect because it had to give way to another one: serialization_failure,
/// deadlock_detected.
pub(crate) fn was_rolled_back(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| ["40001", "40P01"].contains(&&*code)))
}

/// Whether the statement had no effect because another has taken what may be there once: unique_violation.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.kind() == DatabaseErrorKind::UniqueViolation)
}

/// Whether the server did not take the password: invalid_authorization_specification, invalid_password.
pub(crate) fn is_refused(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| ["28000", "28P01"].contains(&&*code)))
}

/// What the server answered is not as it should be.
pub(crate) fn damaged(operation: &'static str, error: impl Into<BoxError>) -> Error {
    Error::Backend { provider: PROVIDER, operation, retryable: false, source: error.into() }
}

/// What cannot be worked with until somebody changes something.
pub(crate) fn unusable(reason: impl Into<String>, source: Option<BoxError>) -> Error {
    Error::Unusable { provider: PROVIDER, reason: reason.into(), source }
}
