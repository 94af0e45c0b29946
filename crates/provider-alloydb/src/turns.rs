//! Turns at what one process does at a time, of all that work on the database.

use std::time::Duration;

use memory_core::{Error, Result, Scope, Turn};
use sqlx::postgres::PgDatabaseError;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Handle;

use crate::error::{PROVIDER, failed};
use crate::provider::AlloyDbMemoryProvider;

/// How long is waited for one whose turn ends just now. The server hears of that a moment later.
const PATIENCE: &str = "1s";
/// How long connecting, and the wait, may take.
const LONGEST: Duration = Duration::from_secs(10);

/// The locks of a scope, held as long as the transaction: all of a tenant, or one user beside others.
const LOCK: &str = "
    SELECT CASE WHEN $2::text IS NULL THEN pg_advisory_xact_lock(hashtextextended($1, 0))
        ELSE pg_advisory_xact_lock_shared(hashtextextended($1, 0)) END,
        CASE WHEN $2::text IS NOT NULL THEN pg_advisory_xact_lock(hashtextextended($2, 0)) END";

impl AlloyDbMemoryProvider {
    /// A turn is a transaction that holds a lock, over a connection beside the pool's: a run lasts long, and needs those. It
    /// writes nothing, so that it holds back neither the outbox nor a vacuum, and works through a pooler too.
    pub(crate) async fn turn(&self, scope: &Scope) -> Result<Option<Turn>> {
        let options = self.inner.primary.pool().connect_options();
        let taken = tokio::time::timeout(LONGEST, async {
            let mut connection = PgConnection::connect_with(&options).await?;
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY").await?;
            let limits = "SELECT set_config('lock_timeout', $1, true), \
                          set_config('idle_in_transaction_session_timeout', '0', true)";
            sqlx::query(limits).persistent(false).bind(PATIENCE).execute(&mut connection).await?;
            let [tenant, user] = locks(scope);
            let lock = sqlx::query(LOCK).persistent(false).bind(tenant).bind(user);
            let locked = lock.execute(&mut connection).await;
            let held = Held(Some(connection));
            locked.map(|_| held)
        });
        match taken.await {
            Ok(Ok(held)) => Ok(Some(Box::new(held))),
            Ok(Err(error)) if is_taken(&error) => Ok(None),
            Ok(Err(error)) => Err(failed("take a turn", error)),
            Err(late) => Err(Error::Backend {
                provider: PROVIDER,
                operation: "take a turn",
                retryable: true,
                source: late.into(),
            }),
        }
    }
}

/// The names of what is locked: the tenant, shared where a user of it is named too.
fn locks(scope: &Scope) -> [Option<String>; 2] {
    let name = |parts: &[&str]| format!("orchestra consolidation {parts:?}");
    [Some(name(&[scope.tenant_name()])), scope.user().map(|user| name(&[scope.tenant_name(), user]))]
}

/// The connection whose transaction holds the lock.
struct Held(Option<PgConnection>);

impl Drop for Held {
    fn drop(&mut self) {
        // Without a runtime the server sees that the connection is gone.
        if let (Some(connection), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(connection.close());
        }
    }
}

fn is_taken(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    // lock_not_available
    error.try_downcast_ref::<PgDatabaseError>().is_some_and(|error| error.code() == "55P03")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_lock_what_differs() {
        let tenant = |name: &str| Scope::tenant(name).unwrap();
        let ann = tenant("acme").with_user("ann").unwrap();
        assert_eq!(locks(&ann)[0], locks(&tenant("acme"))[0], "a whole tenant waits for its users");
        assert_eq!(locks(&tenant("acme").with_agent("a").unwrap()), locks(&tenant("acme")));
        assert_eq!(locks(&ann.clone().with_session("s").unwrap()), locks(&ann));
        let odd = [tenant("acme\", \"ann"), ann.clone(), tenant("acme").with_user("bob").unwrap(), tenant("globex")];
        for (at, one) in odd.iter().enumerate() {
            for other in &odd[at + 1..] {
                assert_ne!(locks(one), locks(other));
            }
        }
    }
}
