//! Writing what another store holds.

use std::collections::HashMap;

use memory_core::{Embedding, EmbeddingSpace, Item, Result, StoredVersion, WholeMemory};
use sqlx::{Postgres, Row as _, Transaction};

use super::items::{Batch, each};
use super::{AlloyDbReplica, number};
use crate::batch::Arrays;
use crate::error::{failed, was_rolled_back};
use crate::rows::whole_micros;

/// How often a transaction is tried again that had to give way to others and was rolled back.
const GIVES_WAY: u32 = 3;

macro_rules! versions {
    ($function:literal) => {
        concat!(
            "SELECT orchestra.",
            $function,
            "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, \
             $25, $26)"
        )
    };
}
const MEMORIES: &str = versions!("write_moved_memories");
const VERSIONS: &str = versions!("write_moved_versions");

impl AlloyDbReplica {
    pub(super) async fn write_items(&self, epoch: u64, items: Vec<Item>) -> Result<()> {
        let epoch = number(epoch)?;
        let batch = Batch::of(&items);
        let spaces = self.spaces_of(&batch).await?;
        let mut gave_way = 0;
        loop {
            match self.write_batch(epoch, &batch, &spaces).await {
                Err(error) if was_rolled_back(&error) && gave_way < GIVES_WAY => gave_way += 1,
                written => return written.map_err(|error| failed("write", error)),
            }
        }
    }

    async fn write_batch(&self, epoch: i64, batch: &Batch<'_>, spaces: &Spaces) -> sqlx::Result<()> {
        let mut transaction = self.pool().begin_with("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE").await?;
        let begin = sqlx::query("SELECT orchestra.begin_moved_write($1, $2)").bind(epoch).bind(batch.takes_away());
        begin.execute(&mut *transaction).await?;
        // First what stays forgotten, whatever else is told of it.
        for query in batch.removals() {
            query.execute(&mut *transaction).await?;
        }
        if !batch.memories.is_empty() {
            self.write_memories(&mut transaction, &batch.memories, spaces).await?;
        }
        for query in batch.others() {
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn write_memories(
        &self,
        transaction: &mut Transaction<'static, Postgres>,
        memories: &[&WholeMemory],
        spaces: &Spaces,
    ) -> sqlx::Result<()> {
        let storage = self.provider.inner.config.storage;
        let arrays = |versions: &mut dyn Iterator<Item = &StoredVersion>| {
            let items = versions
                .map(|StoredVersion { memory, embedding }| (memory, embedding.as_ref(), spaces.of(embedding.as_ref())));
            Arrays::new(items, storage)
        };
        let first = |whole: &WholeMemory| {
            let first = whole.former.first().map_or(&whole.current, |former| &former.version);
            whole_micros(first.memory.recorded_at)
        };
        let query = sqlx::query(MEMORIES)
            .bind(each(memories, |whole| whole.ordinal.cast_signed()))
            .bind(each(memories, |whole| whole.current.memory.scope.tenant_name().to_owned()))
            .bind(each(memories, |whole| first(whole)));
        let query = arrays(&mut memories.iter().map(|whole| &whole.current)).bind(query);
        let known: Vec<i64> = query.fetch_one(&mut **transaction).await?.try_get(0)?;

        let former: Vec<_> =
            memories.iter().flat_map(|whole| whole.former.iter().map(|former| (whole.ordinal, former))).collect();
        if known.is_empty() && former.is_empty() {
            return Ok(());
        }
        let query = sqlx::query(VERSIONS)
            .bind(known)
            .bind(each(&former, |(ordinal, _)| ordinal.cast_signed()))
            .bind(each(&former, |(_, former)| whole_micros(former.superseded_at)));
        let query = arrays(&mut former.iter().map(|(_, former)| &former.version)).bind(query);
        query.execute(&mut **transaction).await.map(drop)
    }

    /// The numbers of all vectors' spaces, which are given them where they are new here.
    async fn spaces_of(&self, batch: &Batch<'_>) -> Result<Spaces> {
        let mut spaces = Spaces(HashMap::new());
        for whole in &batch.memories {
            for version in whole.former.iter().map(|former| &former.version).chain([&whole.current]) {
                if let Some(embedding) = &version.embedding
                    && spaces.of(Some(embedding)).is_none()
                    && let Some(number) = self.provider.space("write", embedding.space(), true).await?
                {
                    spaces.0.insert((**embedding.space()).clone(), number);
                }
            }
        }
        Ok(spaces)
    }
}

struct Spaces(HashMap<EmbeddingSpace, i16>);

impl Spaces {
    fn of(&self, embedding: Option<&Embedding>) -> Option<i16> {
        self.0.get(&**embedding?.space()).copied()
    }
}
