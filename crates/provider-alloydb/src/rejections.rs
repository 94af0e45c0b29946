//! [`Rejections`]: values that are not to be written again.

use async_trait::async_trait;
use memory_core::store::Cursor;
use memory_core::{BoxError, Rejection, RejectionPage, Rejections, Result, Scope, ValueKey, ValueKeys};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use crate::error::{damaged, failed};
use crate::escape::{escape, unescape};
use crate::provider::AlloyDbMemoryProvider;
use crate::rows::whole_micros;
use crate::statements::Repeat;

#[async_trait]
impl Rejections for AlloyDbMemoryProvider {
    async fn reject(&self, rejections: &[Rejection]) -> Result<u64> {
        let Some(first) = rejections.first() else { return Ok(0) };
        let each = || rejections.iter();
        let query = || {
            let user = |rejection: &Rejection| rejection.scope.user().map(str::to_owned);
            let agent = |rejection: &Rejection| rejection.scope.agent().map(str::to_owned);
            let looks = |keys: &ValueKeys| (keys.looks != keys.reads).then_some(*keys.looks.as_bytes());
            sqlx::query("SELECT orchestra.reject_values($1, $2, $3, $4, $5, $6, $7)")
                .bind(first.scope.tenant_name())
                .bind(each().map(user).collect::<Vec<_>>())
                .bind(each().map(agent).collect::<Vec<_>>())
                .bind(each().map(|rejection| *rejection.keys.reads.as_bytes()).collect::<Vec<_>>())
                .bind(each().map(|rejection| looks(&rejection.keys)).collect::<Vec<_>>())
                .bind(each().map(|rejection| whole_micros(rejection.rejected_at)).collect::<Vec<_>>())
                .bind(each().map(|rejection| escape(&rejection.rejected_by).into_owned()).collect::<Vec<_>>())
        };
        // A second one finds what the first has kept, and counts none of it.
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmless, query).await;
        row.and_then(|row| row.try_get::<i64, _>(0)).map(i64::cast_unsigned).map_err(|error| failed("reject", error))
    }

    async fn rejected(&self, scope: &Scope, after: Option<Cursor>, limit: usize) -> Result<RejectionPage> {
        let query = || {
            sqlx::query("SELECT * FROM orchestra.list_rejections($1, $2, $3, $4, $5)")
                .bind(scope.tenant_name())
                .bind(scope.user())
                .bind(scope.agent())
                .bind(after.map(|after| i64::try_from(after.0).unwrap_or(i64::MAX)))
                // One more than the page holds, to know whether there is a next one.
                .bind(i32::try_from(limit).unwrap_or(i32::MAX).saturating_add(1))
        };
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, query).await;
        let rows = rows.map_err(|error| failed("list rejections", error))?;
        let read = |row: &PgRow| Ok((Cursor(row.try_get::<i64, _>("sequence")?.cast_unsigned()), read_rejection(row)?));
        let page = rows.iter().take(limit).map(read).collect::<Result<Vec<_>, BoxError>>();
        let page = page.map_err(|error| damaged("list rejections", error))?;
        let next = if rows.len() > limit { page.last().map(|(cursor, _)| *cursor) } else { None };
        Ok(RejectionPage { rejections: page.into_iter().map(|(_, rejection)| rejection).collect(), next })
    }

    async fn lift(&self, scope: &Scope, key: &ValueKey) -> Result<bool> {
        let is_lifted = self.lift_once(scope, key).await?;
        if !is_lifted && self.may_have_been_opened("lift rejection").await? {
            return self.lift_once(scope, key).await;
        }
        Ok(is_lifted)
    }
}

impl AlloyDbMemoryProvider {
    async fn lift_once(&self, scope: &Scope, key: &ValueKey) -> Result<bool> {
        let query =
            || sqlx::query("SELECT orchestra.lift_rejection($1, $2)").bind(scope.tenant_name()).bind(*key.as_bytes());
        // A second one would find nothing, and say that there was none.
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmful, query).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| failed("lift rejection", error))
    }
}

pub(crate) fn read_rejection(row: &PgRow) -> Result<Rejection, BoxError> {
    let mut scope = Scope::tenant(row.try_get::<String, _>("tenant")?)?;
    if let Some(user) = row.try_get::<Option<String>, _>("user_id")? {
        scope = scope.with_user(user)?;
    }
    if let Some(agent) = row.try_get::<Option<String>, _>("agent_id")? {
        scope = scope.with_agent(agent)?;
    }
    let reads = ValueKey::from(row.try_get::<[u8; 32], _>("key")?);
    let looks = row.try_get::<Option<[u8; 32]>, _>("looks")?.map_or(reads, ValueKey::from);
    Ok(Rejection {
        scope,
        keys: ValueKeys { reads, looks },
        rejected_at: row.try_get("rejected_at")?,
        rejected_by: unescape(row.try_get("rejected_by")?),
    })
}
