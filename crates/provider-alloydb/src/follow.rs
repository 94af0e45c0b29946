//! The outbox, for those who follow.

use async_trait::async_trait;
use memory_core::{Change, ChangeEvent, ChangeFeed, ChangeLag, ChangePosition, Error, MemoryId, Result, Timestamp};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{FromRow as _, Postgres, Row as _};
use uuid::Uuid;

use crate::error::{damaged, failed};
use crate::provider::AlloyDbMemoryProvider;
use crate::statements::Repeat;

/// How many changes are removed in one transaction.
const REMOVED_AT_ONCE: i32 = 10_000;

#[async_trait]
impl ChangeFeed for AlloyDbMemoryProvider {
    async fn unseen(&self, follower: &str, limit: usize) -> Result<Vec<Change>> {
        let query = || {
            sqlx::query("SELECT * FROM orchestra.read_changes($1, $2)")
                .bind(follower)
                .bind(i32::try_from(limit).unwrap_or(i32::MAX))
        };
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, query).await;
        let rows = rows.map_err(|error| failed("read changes", error))?;
        rows.iter().map(read_change).collect::<sqlx::Result<_>>().map_err(|error| damaged("read changes", error))
    }

    async fn acknowledge(&self, follower: &str, position: &ChangePosition) -> Result<()> {
        let (transaction, sequence) = parse(position)?;
        let query = || {
            sqlx::query("SELECT orchestra.acknowledge_changes($1, $2, $3)")
                .bind(follower)
                .bind(transaction)
                .bind(sequence)
        };
        self.tell("acknowledge changes", query).await.map(drop)
    }

    async fn lag(&self, follower: &str) -> Result<ChangeLag> {
        let query = || sqlx::query("SELECT changes, oldest FROM orchestra.follower_lag($1)").bind(follower);
        let row = self.tell("lag", query).await?;
        let (changes, oldest) = <(i64, Option<Timestamp>)>::from_row(&row).map_err(|error| damaged("lag", error))?;
        Ok(ChangeLag { changes: changes.cast_unsigned(), oldest })
    }

    async fn unfollow(&self, follower: &str) -> Result<()> {
        self.tell("unfollow", || sqlx::query("SELECT orchestra.remove_follower($1)").bind(follower)).await.map(drop)
    }

    async fn remove_passed(&self) -> Result<u64> {
        let mut removed = 0;
        loop {
            let query = || sqlx::query("SELECT orchestra.remove_passed_changes($1)").bind(REMOVED_AT_ONCE);
            let row = self.tell("remove changes", query).await?;
            let some: i64 = row.try_get(0).map_err(|error| damaged("remove changes", error))?;
            removed += some.cast_unsigned();
            if some < i64::from(REMOVED_AT_ONCE) {
                return Ok(removed);
            }
        }
    }
}

impl AlloyDbMemoryProvider {
    async fn tell<'q>(
        &self,
        operation: &'static str,
        query: impl Fn() -> Query<'q, Postgres, PgArguments> + Send + Sync,
    ) -> Result<PgRow> {
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmless, query).await;
        row.map_err(|error| failed(operation, error))
    }
}

fn read_change(row: &PgRow) -> sqlx::Result<Change> {
    let (transaction, sequence): (String, i64) = (row.try_get("transaction")?, row.try_get("sequence")?);
    let event: &str = row.try_get("event")?;
    let event = ChangeEvent::from_name(event).ok_or_else(|| sqlx::Error::ColumnDecode {
        index: "event".into(),
        source: format!("there is no event {event}").into(),
    })?;
    let memories: Vec<Uuid> = row.try_get("memories")?;
    Ok(Change {
        position: ChangePosition(format!("{transaction}:{sequence}")),
        tenant: row.try_get("tenant")?,
        event,
        memories: memories.into_iter().map(MemoryId::from).collect(),
        occurred_at: row.try_get("occurred_at")?,
    })
}

pub(crate) fn parse(position: &ChangePosition) -> Result<(&str, i64)> {
    let parts = position.0.split_once(':').and_then(|(transaction, sequence)| {
        transaction.parse::<u64>().ok()?;
        Some((transaction, sequence.parse().ok()?))
    });
    parts.ok_or_else(|| Error::invalid("position", &position.0, "a position that this store gave"))
}
