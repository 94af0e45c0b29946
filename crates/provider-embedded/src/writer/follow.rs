//! Who follows, how far each has come, and vectors that come late.

use memory_core::{Embedding, MemoryId, Result, Unembedded};

use super::Transaction;
use crate::error::{backend, damaged};
use crate::partition::{Change, VectorChange};
use crate::rows::read_memory;
use crate::sql;

/// A change to who follows.
#[derive(Debug)]
pub(crate) enum Follow {
    Begin(String),
    /// Up to this change, which is the last that this follower has passed.
    Pass(String, i64),
    End(String),
    RemovePassed,
}

impl Transaction<'_> {
    /// Gives how many rows that changed.
    pub(super) async fn follow(&mut self, follow: &Follow) -> Result<u64> {
        let query = match follow {
            Follow::Begin(name) => sqlx::query(sql::BEGIN_FOLLOWING).bind(name),
            Follow::Pass(name, passed) => sqlx::query(sql::PASS_CHANGES).bind(name).bind(passed),
            Follow::End(name) => sqlx::query(sql::END_FOLLOWING).bind(name),
            Follow::RemovePassed => sqlx::query(sql::REMOVE_PASSED),
        };
        let done = query.execute(&mut *self.connection).await.map_err(|error| backend("follow", error))?;
        Ok(done.rows_affected())
    }

    pub(super) async fn add_vector(&mut self, unembedded: &Unembedded, embedding: &Embedding) -> Result<bool> {
        let id: MemoryId = unembedded.id;
        let read = |error| backend("add vector", error);
        let query = sqlx::query(sql::MEMORY_BY_ID).bind(id.as_uuid());
        let Some(row) = query.fetch_optional(&mut *self.connection).await.map_err(read)? else { return Ok(false) };
        let has_vector = crate::rows::get::<Option<i64>>(&row, 19).map_err(read)?.is_some();
        let memory = read_memory(&row, None).map_err(|error| damaged("add vector", error))?.memory;
        if has_vector || memory.version != unembedded.version || !unembedded.tenant.covers(&memory.scope) {
            return Ok(false);
        }
        self.set_vector(id, Some(embedding)).await?;
        self.progress.sequence += 1;
        let change = Change::Update { memory: memory.clone(), vector: VectorChange::Set(Some(embedding.clone())) };
        self.changed(memory.scope.tenant_name(), memory.scope.user(), change);
        Ok(true)
    }
}
