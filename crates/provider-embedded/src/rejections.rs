//! [`Rejections`]: writes go to the writer, the list comes from the file.

use async_trait::async_trait;
use memory_core::store::Cursor;
use memory_core::{Rejection, RejectionPage, Rejections, Result, Scope, ValueKey, ValueKeys};
use sqlx::sqlite::SqliteRow;

use crate::error::{backend, damaged};
use crate::provider::EmbeddedProvider;
use crate::rows::{ReadResult, get, time};
use crate::sql;
use crate::store::unexpected;
use crate::writer::{Answer, Task};

#[async_trait]
impl Rejections for EmbeddedProvider {
    async fn reject(&self, rejections: &[Rejection]) -> Result<u64> {
        match self.write("reject", Task::Reject(rejections.to_vec())).await? {
            Answer::Rejected(new) => Ok(new),
            other => Err(unexpected("reject", &other)),
        }
    }

    async fn rejected(&self, scope: &Scope, after: Option<Cursor>, limit: usize) -> Result<RejectionPage> {
        let mut query = sql::within(sql::SELECT_REJECTIONS, &scope.without_session());
        query.push(" AND sequence > ").push_bind(after.map_or(0, |after| i64::try_from(after.0).unwrap_or(i64::MAX)));
        // One more than the page holds, to know whether there is a next one.
        query.push(" ORDER BY sequence LIMIT ").push_bind(i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1));
        let rows = query.build().fetch_all(&self.inner.readers).await;
        let rows = rows.map_err(|error| backend("list rejections", error))?;
        let read = |row: &SqliteRow| {
            Ok((Cursor(get::<i64>(row, 0)?.cast_unsigned()), read_rejection(row, scope.tenant_name())?))
        };
        let page = rows.iter().take(limit).map(read).collect::<ReadResult<Vec<_>>>();
        let page = page.map_err(|error| damaged("list rejections", error))?;
        let next = if rows.len() > limit { page.last().map(|(cursor, _)| *cursor) } else { None };
        Ok(RejectionPage { rejections: page.into_iter().map(|(_, rejection)| rejection).collect(), next })
    }

    async fn lift(&self, scope: &Scope, key: &ValueKey) -> Result<bool> {
        match self.write("lift rejection", Task::Lift(scope.whole_tenant(), *key)).await? {
            Answer::Lifted(was_there) => Ok(was_there),
            other => Err(unexpected("lift rejection", &other)),
        }
    }
}

pub(crate) fn read_rejection(row: &SqliteRow, tenant: &str) -> ReadResult<Rejection> {
    let mut scope = Scope::tenant(tenant)?;
    if let Some(user) = get::<Option<String>>(row, 1)? {
        scope = scope.with_user(user)?;
    }
    if let Some(agent) = get::<Option<String>>(row, 2)? {
        scope = scope.with_agent(agent)?;
    }
    let reads = key(get(row, 3)?)?;
    let looks = get::<Option<&[u8]>>(row, 4)?.map(key).transpose()?.unwrap_or(reads);
    let (rejected_at, rejected_by) = (time(get(row, 5)?)?, get(row, 6)?);
    Ok(Rejection { scope, keys: ValueKeys { reads, looks }, rejected_at, rejected_by })
}

fn key(bytes: &[u8]) -> ReadResult<ValueKey> {
    Ok(ValueKey::from(<[u8; 32]>::try_from(bytes)?))
}
