//! What changes, and who may write.

use std::time::{Duration, Instant};

use memory_core::{
    ChangeLag, ChangePosition, ContentHash, Gate, ItemChange, ItemKey, MemoryId, Result, Timestamp, ValueKey, Writers,
};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow as _, Postgres, Row as _};
use tracing::warn;
use uuid::Uuid;

use super::{AlloyDbReplica, number};
use crate::error::{damaged, failed};
use crate::escape::unescape;
use crate::follow::parse;
use crate::rows::read_scope;

/// How long tables are first waited for. Who writes or reads meanwhile waits behind, so it is tried again rather than long.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// How long a write may take that is waited for at last.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Others go on meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it is tried to take the triggers off that are needed no more. They note nothing then.
const CLEARING: Duration = Duration::from_secs(2);

impl AlloyDbReplica {
    pub(super) async fn capture_changes(&self, stream: &str) -> Result<()> {
        let query = || sqlx::query("SELECT orchestra.capture_changes($1)").bind(stream);
        self.patiently(self.patience(), LONGEST_WAIT, query).await.map_err(|error| failed("capture", error))
    }

    pub(super) async fn release_changes(&self, stream: &str) -> Result<()> {
        let query = || sqlx::query("SELECT orchestra.release_changes($1)").bind(stream);
        self.patiently(self.patience(), LONGEST_WAIT, query).await.map_err(|error| failed("release", error))?;
        self.clear().await;
        Ok(())
    }

    pub(super) async fn close_or_open(&self, gate: Gate) -> Result<()> {
        let epoch = number(gate.epoch)?;
        let writers = match gate.writers {
            Writers::Clients => "clients",
            Writers::Mover => "mover",
        };
        let query = || sqlx::query("SELECT orchestra.set_gate($1, $2)").bind(epoch).bind(writers);
        self.patiently(self.patience(), LONGEST_WAIT, query).await.map_err(|error| failed("set the gate", error))?;
        if gate.writers == Writers::Clients {
            self.clear().await;
        }
        Ok(())
    }

    /// Takes off the triggers that are needed no more. Whoever reads is waited for, but not long.
    async fn clear(&self) {
        let query = || sqlx::query("SELECT orchestra.clear_after_move()");
        if let Err(error) = self.patiently(CLEARING, FIRST_WAIT, query).await {
            warn!(%error, "triggers of a move stay until a stream is released again; they note nothing, and cost writes little");
        }
    }

    /// How long others are waited for in all.
    fn patience(&self) -> Duration {
        self.provider.inner.config.statement_timeout
    }

    /// Runs a statement that locks tables, each time waiting a little longer for each of them.
    async fn patiently<'q>(
        &self,
        patience: Duration,
        longest_wait: Duration,
        query: impl Fn() -> Query<'q, Postgres, PgArguments>,
    ) -> sqlx::Result<()> {
        let deadline = Instant::now() + patience;
        let mut wait = FIRST_WAIT;
        loop {
            match self.attempt(wait, query()).await {
                Err(error) if is_in_the_way(&error) && Instant::now() + PAUSE < deadline => {
                    tokio::time::sleep(PAUSE).await;
                    wait = (wait * 2).min(longest_wait);
                }
                done => return done,
            }
        }
    }

    async fn attempt(&self, wait: Duration, query: Query<'_, Postgres, PgArguments>) -> sqlx::Result<()> {
        let mut transaction = self.pool().begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        let limit = sqlx::query("SELECT set_config('lock_timeout', $1, true)").bind(wait.as_millis().to_string());
        limit.execute(&mut *transaction).await?;
        query.execute(&mut *transaction).await?;
        transaction.commit().await
    }

    pub(super) async fn changes_of(&self, stream: &str, limit: usize) -> Result<Vec<ItemChange>> {
        let query = sqlx::query("SELECT * FROM orchestra.changes_of($1, $2)");
        let query = query.bind(stream).bind(i32::try_from(limit).unwrap_or(i32::MAX));
        let rows = query.fetch_all(self.pool()).await.map_err(|error| failed("changed", error))?;
        rows.iter().map(read_change).collect::<sqlx::Result<_>>().map_err(|error| damaged("changed", error))
    }

    pub(super) async fn acknowledge_moved(&self, stream: &str, position: &ChangePosition) -> Result<()> {
        let (transaction, sequence) = parse(position)?;
        let query = sqlx::query("SELECT orchestra.acknowledge_moved($1, $2, $3)");
        let query = query.bind(stream).bind(transaction).bind(sequence);
        query.execute(self.pool()).await.map(drop).map_err(|error| failed("acknowledge", error))
    }

    pub(super) async fn lag_of(&self, stream: &str) -> Result<ChangeLag> {
        let query = sqlx::query("SELECT * FROM orchestra.lag_of($1)").bind(stream);
        let row = query.fetch_one(self.pool()).await.map_err(|error| failed("lag", error))?;
        let (changes, oldest) = <(i64, Option<Timestamp>)>::from_row(&row).map_err(|error| damaged("lag", error))?;
        Ok(ChangeLag { changes: changes.cast_unsigned(), oldest })
    }
}

/// Whether a lock was not to be had in time: lock_not_available, deadlock_detected.
fn is_in_the_way(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|code| ["55P03", "40P01"].contains(&&*code)))
}

fn read_change(row: &PgRow) -> sqlx::Result<ItemChange> {
    let (transaction, sequence): (String, i64) = (row.try_get("transaction")?, row.try_get("sequence")?);
    let tenant = || row.try_get::<String, _>("tenant");
    let key = match row.try_get("kind")? {
        "memory" => ItemKey::Memory { tenant: tenant()?, id: MemoryId::from(row.try_get::<Uuid, _>("id")?) },
        "rejection" => {
            ItemKey::Rejection { tenant: tenant()?, key: ValueKey::from(row.try_get::<[u8; 32], _>("hash")?) }
        }
        "forgotten_text" => {
            let hash = ContentHash::from(row.try_get::<[u8; 32], _>("hash")?);
            ItemKey::ForgottenText { scope: read_scope(row)?, hash }
        }
        "idempotency_key" => ItemKey::IdempotencyKey { tenant: tenant()?, key: unescape(row.try_get("key")?) },
        other => {
            let source = format!("there is no kind {other:?} of item").into();
            return Err(sqlx::Error::ColumnDecode { index: "kind".into(), source });
        }
    };
    Ok(ItemChange {
        position: ChangePosition(format!("{transaction}:{sequence}")),
        key,
        occurred_at: row.try_get("occurred_at")?,
    })
}
