//! Who follows the outbox, as the owner of the schema sees it.

use chrono::{DateTime, TimeDelta, Utc};
use memory_core::Result;
use sqlx::postgres::PgDatabaseError;
use sqlx::{PgConnection, Postgres, Transaction};

use crate::config::AlloyDbConfig;
use crate::error::{failed, unusable};
use crate::migrations::{begin, close, connect};

/// How long a follower may stay behind before it is taken to have left.
const LEFT_AFTER: TimeDelta = TimeDelta::hours(1);

const FOLLOWERS: &str = "
    SELECT f.name, f.transaction::text || ':' || f.sequence AS position, f.moved_at, o.changes, o.oldest
    FROM orchestra.followers f, LATERAL (
        SELECT count(*) AS changes, min(o.occurred_at) AS oldest FROM orchestra.outbox o
        WHERE (o.transaction, o.sequence) > (f.transaction, f.sequence)
    ) o
    ORDER BY f.name";

/// Someone who follows the outbox. What it has not passed is kept for it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, sqlx::FromRow)]
#[non_exhaustive]
pub struct Follower {
    /// Its name.
    pub name: String,
    /// The last change that it has passed, as the outbox numbers them: transaction and sequence.
    pub position: String,
    /// When it passed that one, or came. One that has nothing to pass stays where it is.
    pub moved_at: DateTime<Utc>,
    /// How many changes it has not passed.
    #[sqlx(try_from = "i64")]
    pub changes: u64,
    /// When the oldest of them occurred.
    pub oldest: Option<DateTime<Utc>>,
}

impl Follower {
    /// Whether it seems to have left: for an hour it has passed nothing, though there was something to pass.
    #[must_use]
    pub fn seems_gone(&self, now: DateTime<Utc>) -> bool {
        now - self.moved_at > LEFT_AFTER && self.oldest.is_some_and(|oldest| now - oldest > LEFT_AFTER)
    }
}

/// Everyone who follows the outbox, by name. `config` names the owner of the schema.
///
/// # Errors
/// [`Error::Unusable`](memory_core::Error::Unusable) when the schema lacks a migration, or the role may not look;
/// [`Error::Backend`](memory_core::Error::Backend) while the server cannot be reached.
pub async fn followers(config: &AlloyDbConfig) -> Result<Vec<Follower>> {
    let mut connection = connect(config).await?;
    let followers = read(&mut connection).await;
    close(connection).await;
    followers.map_err(explain)
}

/// Forgets a follower, so that nothing is kept for it any more, and says whether there was one of that name. One that goes on
/// is known again from its next step on, and is given what is kept for the others.
///
/// # Errors
/// As [`followers`].
pub async fn remove_follower(config: &AlloyDbConfig, name: &str) -> Result<bool> {
    let mut connection = connect(config).await?;
    let is_removed = remove(&mut connection, name).await;
    close(connection).await;
    is_removed.map_err(explain)
}

async fn read(connection: &mut PgConnection) -> sqlx::Result<Vec<Follower>> {
    let mut transaction = as_follower(connection).await?;
    let followers = sqlx::query_as(FOLLOWERS).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(followers)
}

async fn remove(connection: &mut PgConnection, name: &str) -> sqlx::Result<bool> {
    let mut transaction = as_follower(connection).await?;
    let delete = sqlx::query("DELETE FROM orchestra.followers WHERE name = $1").bind(name);
    let removed = delete.execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(removed > 0)
}

/// A transaction with the rights of those who follow, which the owner can take on: row security shows the outbox of every
/// tenant to nobody else.
async fn as_follower(connection: &mut PgConnection) -> sqlx::Result<Transaction<'_, Postgres>> {
    let mut transaction = begin(connection).await?;
    sqlx::query("SET LOCAL ROLE orchestra_follow").execute(&mut *transaction).await?;
    Ok(transaction)
}

fn explain(error: sqlx::Error) -> memory_core::Error {
    let code = |error: &sqlx::Error| {
        let sqlx::Error::Database(error) = error else { return None };
        error.try_downcast_ref::<PgDatabaseError>().map(|error| error.code().to_owned())
    };
    match code(&error).as_deref() {
        // insufficient_privilege
        Some("42501") => unusable(
            "the role may not look at who follows; connect as the owner of the schema orchestra, as a member of orchestra_follow",
            Some(Box::new(error)),
        ),
        // There is no such role in the server, or no such table in the database.
        Some("22023" | "42P01" | "3F000") => unusable(
            "the database has nobody who follows: its schema is older than that; run `orchestra db migrate`",
            Some(Box::new(error)),
        ),
        _ => failed("read who follows", error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_stays_behind_seems_gone() {
        let now = DateTime::from_timestamp(1_780_315_200, 0).unwrap();
        let (long_ago, just_now) = (now - TimeDelta::hours(2), now - TimeDelta::minutes(1));
        let follower = |moved_at, oldest: Option<_>| Follower {
            name: "cache".into(),
            position: "7:1".into(),
            moved_at,
            changes: oldest.iter().len() as u64,
            oldest,
        };
        assert!(follower(long_ago, Some(long_ago)).seems_gone(now));
        assert!(!follower(long_ago, Some(just_now)).seems_gone(now), "there was nothing to pass until just now");
        assert!(!follower(just_now, Some(long_ago)).seems_gone(now), "it catches up");
        assert!(!follower(long_ago, None).seems_gone(now));
    }
}
