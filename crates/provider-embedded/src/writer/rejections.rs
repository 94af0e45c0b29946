//! Values that are not to be written again.

use memory_core::{Memory, Rejection, Result, Scope, ValueKey, ValueKeys};

use super::Transaction;
use crate::error::backend;
use crate::rows::micros;
use crate::sql;

impl Transaction<'_> {
    /// Gives how many are new.
    pub(super) async fn reject(&mut self, rejections: &[Rejection]) -> Result<u64> {
        let mut new = 0;
        for Rejection { scope, keys, rejected_at, rejected_by } in rejections {
            let looks = (keys.looks != keys.reads).then(|| &keys.looks.as_bytes()[..]);
            let query = sqlx::query(sql::REJECT)
                .bind(scope.tenant_name())
                .bind(scope.user())
                .bind(scope.agent())
                .bind(&keys.reads.as_bytes()[..])
                .bind(looks)
                .bind(micros(*rejected_at))
                .bind(rejected_by);
            let done = query.execute(&mut *self.connection).await.map_err(|error| backend("reject", error))?;
            new += done.rows_affected();
        }
        Ok(new)
    }

    pub(super) async fn lift(&mut self, tenant: &Scope, key: &ValueKey) -> Result<bool> {
        let query = sqlx::query(sql::LIFT).bind(tenant.tenant_name()).bind(&key.as_bytes()[..]);
        let done = query.execute(&mut *self.connection).await.map_err(|error| backend("lift rejection", error))?;
        Ok(done.rows_affected() > 0)
    }

    /// Whether what a memory says was rejected in its scope.
    pub(super) async fn is_rejected(&mut self, memory: &Memory) -> Result<bool> {
        let keys = ValueKeys::of(&memory.scope, &memory.text);
        sqlx::query_scalar(sql::IS_REJECTED)
            .bind(memory.scope.tenant_name())
            .bind(&keys.reads.as_bytes()[..])
            .bind(&keys.looks.as_bytes()[..])
            .fetch_one(&mut *self.connection)
            .await
            .map_err(|error| backend("update", error))
    }
}
