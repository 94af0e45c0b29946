//! Memories without a vector, and whether memories are as they were.

use async_trait::async_trait;
use memory_core::{Cursor, Embedding, MemoryId, Result, Scope, StoreMark, Unembedded, VectorBacklog};
use sqlx::postgres::PgRow;
use sqlx::{FromRow as _, Row as _};
use uuid::Uuid;

use crate::batch::stored;
use crate::error::{damaged, failed};
use crate::provider::AlloyDbMemoryProvider;
use crate::rows::whole_micros;
use crate::statements::Repeat;

#[async_trait]
impl VectorBacklog for AlloyDbMemoryProvider {
    async fn without_vector(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Unembedded>> {
        let query = || {
            sqlx::query("SELECT * FROM orchestra.list_without_vector($1, $2, $3)")
                .bind(whole_micros(self.now()))
                .bind(after.map_or(0, |after| i64::try_from(after.0).unwrap_or(i64::MAX)))
                .bind(i32::try_from(limit).unwrap_or(i32::MAX))
        };
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, query).await;
        rows.map_err(|error| failed("without vector", error))?.iter().map(read_unembedded).collect()
    }

    async fn add_vector(&self, unembedded: &Unembedded, embedding: Embedding) -> Result<bool> {
        self.check_dimensions(embedding.space())?;
        let space = self.space("add vector", embedding.space(), true).await?;
        let (full, half) = stored(Some(&embedding), self.inner.config.storage);
        let query = || {
            sqlx::query("SELECT orchestra.add_embedding($1, $2, $3, $4, $5, $6)")
                .bind(unembedded.tenant.tenant_name())
                .bind(unembedded.id.as_uuid())
                .bind(unembedded.version.cast_signed())
                .bind(space)
                .bind(full.clone())
                .bind(half.clone())
        };
        // A second one finds the vector of the first, and says that it added none.
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmless, query).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| failed("add vector", error))
    }
}

impl AlloyDbMemoryProvider {
    pub(crate) async fn read_mark(&self) -> Result<StoreMark> {
        let query = || sqlx::query("SELECT pg_current_snapshot()::text");
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmless, query).await;
        row.and_then(|row| row.try_get(0)).map(StoreMark).map_err(|error| failed("mark", error))
    }

    pub(crate) async fn all_stand(
        &self,
        scope: &Scope,
        memories: &[MemoryId],
        since: Option<&StoreMark>,
    ) -> Result<bool> {
        let mut ids: Vec<Uuid> = memories.iter().map(|id| id.as_uuid()).collect();
        ids.sort_unstable();
        ids.dedup();
        let query = || {
            sqlx::query("SELECT orchestra.memories_stand($1, $2, $3, $4)")
                .bind(scope.tenant_name())
                .bind(whole_micros(self.now()))
                .bind(&ids)
                .bind(since.map(|since| &*since.0))
        };
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmless, query).await;
        row.and_then(|row| row.try_get(0)).map_err(|error| failed("stand", error))
    }
}

fn read_unembedded(row: &PgRow) -> Result<Unembedded> {
    let read = <(i64, String, Uuid, i64)>::from_row(row);
    let (ordinal, tenant, id, version) = read.map_err(|error| damaged("without vector", error))?;
    Ok(Unembedded {
        cursor: Cursor(ordinal.cast_unsigned()),
        tenant: Scope::tenant(tenant)?,
        id: MemoryId::from(id),
        version: version.cast_unsigned(),
    })
}
