//! How a statement is sent: over a connection that is there, within a time, and again where that can do no harm.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection as _, PgPool, Postgres};
use tracing::warn;

use crate::config::AlloyDbConfig;
use crate::credentials::PasswordProvider;
use crate::error::{is_lost, is_read_only, is_refused, was_rolled_back};

/// How often a statement is sent again that had to give way to others and was rolled back.
const GIVES_WAY: u32 = 3;
/// How much longer than a statement may take its answer is waited for: by then the server has given it up, if it is there.
const GRACE: Duration = Duration::from_secs(1);
/// A connection that was not used for longer is asked whether it is still there.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// What sending a statement again does when its answer was lost, and it may have run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Nothing more: it only reads, or has its effect once.
    Harmless,
    /// It might have its effect twice, or answer another thing than it did.
    Harmful,
}

#[derive(Debug)]
pub(crate) struct Statements {
    pooler: bool,
    patience: Duration,
    password_provider: Option<Arc<dyn PasswordProvider>>,
    losses: Arc<Losses>,
}

impl Statements {
    pub(crate) fn new(config: &AlloyDbConfig) -> Self {
        Self {
            pooler: config.pooler,
            patience: config.statement_timeout + GRACE,
            password_provider: config.password_provider.clone(),
            losses: Arc::default(),
        }
    }

    /// How long an answer is waited for.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn losses(&self) -> Arc<Losses> {
        self.losses.clone()
    }

    /// The rows that a statement gives. A lost connection is made up for once by another: always while the statement had
    /// not been sent, else where `repeat` allows it. So is one to a former primary that takes no writes any more.
    pub(crate) async fn rows<'q>(
        &self,
        pool: &PgPool,
        repeat: Repeat,
        query: impl Fn() -> Query<'q, Postgres, PgArguments> + Send + Sync,
    ) -> sqlx::Result<Vec<PgRow>> {
        self.rows_within(pool, self.patience, repeat, query).await
    }

    /// The rows that a statement gives within a time, once it has a connection.
    pub(crate) async fn rows_within<'q>(
        &self,
        pool: &PgPool,
        patience: Duration,
        repeat: Repeat,
        query: impl Fn() -> Query<'q, Postgres, PgArguments> + Send + Sync,
    ) -> sqlx::Result<Vec<PgRow>> {
        let mut was_lost = false;
        let mut gave_way = 0;
        loop {
            let (error, may_have_run) = match self.connection(pool).await {
                Err(error) => (error, false),
                Ok(connection) => match self.send(connection, patience, query()).await {
                    Ok(rows) => return Ok(rows),
                    Err(error) => (error, true),
                },
            };
            if is_lost(&error) {
                self.losses.note();
                if !was_lost && (!may_have_run || repeat == Repeat::Harmless) {
                    was_lost = true;
                    continue;
                }
            } else if is_read_only(&error) {
                // It had no effect, whatever `repeat` says, and a new connection may lead to the primary that is now.
                self.losses.note_read_only();
                if !was_lost {
                    was_lost = true;
                    continue;
                }
            } else if was_rolled_back(&error) && gave_way < GIVES_WAY {
                gave_way += 1;
                continue;
            }
            return Err(error);
        }
    }

    /// The one row that a statement gives.
    pub(crate) async fn row<'q>(
        &self,
        pool: &PgPool,
        repeat: Repeat,
        query: impl Fn() -> Query<'q, Postgres, PgArguments> + Send + Sync,
    ) -> sqlx::Result<PgRow> {
        self.rows(pool, repeat, query).await?.pop().ok_or(sqlx::Error::RowNotFound)
    }

    async fn connection(&self, pool: &PgPool) -> sqlx::Result<PoolConnection<Postgres>> {
        let refused = match (pool.acquire().await, &self.password_provider) {
            (Err(error), Some(provider)) if is_refused(&error) => (error, provider),
            (acquired, _) => return acquired,
        };
        // It was changed before it was to be asked for anew.
        let (error, provider) = refused;
        match provider.password().await {
            Ok(password) => {
                let options = pool.connect_options().as_ref().clone();
                pool.set_connect_options(options.password(password.expose_secret()));
                pool.acquire().await
            }
            Err(reason) => {
                warn!(error = reason, "the database's password was refused, and no other was given");
                Err(error)
            }
        }
    }

    async fn send(
        &self,
        mut connection: PoolConnection<Postgres>,
        patience: Duration,
        query: Query<'_, Postgres, PgArguments>,
    ) -> sqlx::Result<Vec<PgRow>> {
        let answer = tokio::time::timeout(patience, async {
            if !self.pooler {
                return query.fetch_all(&mut *connection).await;
            }
            // The driver sends a statement to be parsed first, and then to be run. Between two transactions a pooler may
            // go to another connection of its own, which knows nothing of the former's statements.
            let mut transaction = connection.begin().await?;
            let rows = query.persistent(false).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(rows)
        });
        match answer.await {
            Ok(answer) => answer,
            Err(_) => {
                self.losses.note();
                // What it answers yet is nobody's any more.
                drop(connection.detach());
                Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

/// What was found out by one connection about the others.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// When one was last found lost: then the others are doubted that were not used since.
    lost: Mutex<Option<Instant>>,
    /// When one was last found to lead to a server that takes no writes: the others may, that are older.
    read_only: Mutex<Option<Instant>>,
}

impl Losses {
    fn note(&self) {
        *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn note_read_only(&self) {
        *self.read_only.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection of that age may lead to a server that takes no writes any more.
    pub(crate) fn is_outdated(&self, age: Duration) -> bool {
        let last = *self.read_only.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() <= age)
    }

    /// Whether a connection that was not used for so long has to be asked whether it is still there.
    pub(crate) fn doubt(&self, idle_for: Duration) -> bool {
        let last = *self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        idle_for > TRUSTED_FOR || last.is_some_and(|last| last.elapsed() <= idle_for)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_doubted_when_it_was_idle_for_long_or_since_before_a_loss() {
        let losses = Losses::default();
        assert!(!losses.doubt(Duration::ZERO) && losses.doubt(TRUSTED_FOR + Duration::from_millis(1)));
        losses.note();
        assert!(losses.doubt(TRUSTED_FOR), "it was idle when another was lost");
        *losses.lost.lock().unwrap() = Instant::now().checked_sub(Duration::from_millis(500));
        assert!(!losses.doubt(Duration::from_millis(100)), "it was used since");
    }

    #[test]
    fn a_connection_is_outdated_when_it_is_older_than_one_that_took_no_writes_was_found() {
        let losses = Losses::default();
        assert!(!losses.is_outdated(Duration::from_secs(60)));
        losses.note_read_only();
        *losses.read_only.lock().unwrap() = Instant::now().checked_sub(Duration::from_secs(10));
        assert!(losses.is_outdated(Duration::from_secs(60)) && !losses.is_outdated(Duration::from_secs(5)));
    }
}
