//! How a statement is sent: over a connection that is there, within a time, and again where that can do no harm.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Connection as _, Postgres};
use tracing::warn;

use crate::config::AlloyDbConfig;
use crate::connections::{Connections, Lent};
use crate::credentials::PasswordProvider;
use crate::error::{is_lost, is_read_only, is_refused, was_rolled_back};
use crate::losses::Losses;

/// How often a statement is sent again that had to give way to others and was rolled back.
const GIVES_WAY: u32 = 3;
/// How much longer than a statement may take its answer is waited for: by then the server has given it up, if it is there.
const GRACE: Duration = Duration::from_secs(1);

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
        connections: &Connections,
        repeat: Repeat,
        query: impl Fn() -> Query<'q, Postgres, PgArguments> + Send + Sync,
    ) -> sqlx::Result<Vec<PgRow>> {
        self.rows_within(connections, self.patience, repeat, query).await
    }

    /// The rows that a statement gives within a time, once it has a connection.
    pub(crate) async fn rows_within<'q>(
        &self,
        connections: &Connections,
        patience: Duration,
        repeat: Repeat,
        query: impl Fn() -> Query<'q, Postgres, PgArguments> + Send + Sync,
    ) -> sqlx::Result<Vec<PgRow>> {
        let mut was_lost = false;
        let mut gave_way = 0;
        loop {
            let (error, may_have_run) = match self.lend(connections).await {
                Err(error) => (error, false),
                Ok(mut lent) => match self.send(&mut lent, patience, query()).await {
                    Ok(Some(rows)) => {
                        connections.take_back(lent);
                        return Ok(rows);
                    }
                    Ok(None) => {
                        self.losses.note();
                        // What it answers yet is nobody's any more.
                        drop(lent.connection.detach());
                        (sqlx::Error::Io(io::ErrorKind::TimedOut.into()), true)
                    }
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
        connections: &Connections,
        repeat: Repeat,
        query: impl Fn() -> Query<'q, Postgres, PgArguments> + Send + Sync,
    ) -> sqlx::Result<PgRow> {
        self.rows(connections, repeat, query).await?.pop().ok_or(sqlx::Error::RowNotFound)
    }

    async fn lend(&self, connections: &Connections) -> sqlx::Result<Lent> {
        let refused = match (connections.lend().await, &self.password_provider) {
            (Err(error), Some(provider)) if is_refused(&error) => (error, provider),
            (acquired, _) => return acquired,
        };
        // It was changed before it was to be asked for anew.
        let (error, provider) = refused;
        match provider.password().await {
            Ok(password) => {
                let options = connections.pool().connect_options().as_ref().clone();
                connections.pool().set_connect_options(options.password(password.expose_secret()));
                connections.lend().await
            }
            Err(reason) => {
                warn!(error = reason, "the database's password was refused, and no other was given");
                Err(error)
            }
        }
    }

    /// `None` when there was no answer in time.
    async fn send(
        &self,
        lent: &mut Lent,
        patience: Duration,
        query: Query<'_, Postgres, PgArguments>,
    ) -> sqlx::Result<Option<Vec<PgRow>>> {
        let connection = &mut lent.connection;
        let answer = tokio::time::timeout(patience, async {
            if !self.pooler {
                return query.fetch_all(&mut **connection).await;
            }
            // The driver sends a statement to be parsed first, and then to be run. Between two transactions a pooler may
            // go to another connection of its own, which knows nothing of the former's statements.
            let mut transaction = connection.begin().await?;
            let rows = query.persistent(false).fetch_all(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(rows)
        });
        answer.await.ok().transpose()
    }
}
