//! Writing new memories: a batch in one statement, and single memories in one too where they meet.

use std::time::Duration;

use memory_core::store::validate_batch;
use memory_core::{
    EmbeddedMemory, IdempotencyKey, InsertBatch, InsertReceipt, InsertStatus, InsertedItem, MemoryId, Result, Writer,
};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};
use uuid::Uuid;

use crate::batch::{Arrays, Keys, bind_one};
use crate::error::{damaged, failed, is_taken};
use crate::escape::escape;
use crate::provider::AlloyDbMemoryProvider;
use crate::rows::whole_micros;
use crate::statements::Repeat;
use crate::store::token;

/// How long an idempotency key holds.
pub(crate) const KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The parameters from $5 on are the memories, in the order of [`Arrays`] and [`Keys`].
const INSERT_MANY: &str = "SELECT * FROM orchestra.insert_memories($1, $2, $3, $4, $30, $5, $6, $7, $8, $9, $10, $11, \
                           $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, \
                           $29)";
macro_rules! insert {
    ($function:literal) => {
        concat!(
            "SELECT orchestra.",
            $function,
            "($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, \
             $24, $25, $26, $27, $28, $29)"
        )
    };
}
const INSERT_ONE: &str = insert!("insert_memory");
const INSERT_SEPARATE: &str = insert!("insert_separate_memories");

/// A memory that is written by itself.
#[derive(Debug)]
pub(crate) struct Write {
    pub item: EmbeddedMemory,
    /// The number of its vector's space.
    pub space: Option<i16>,
    pub idempotency: Option<IdempotencyKey>,
}

impl Write {
    fn created(&self, token: memory_core::WriteToken) -> InsertReceipt {
        let item = InsertedItem { id: self.item.memory.id, status: InsertStatus::Created };
        InsertReceipt { items: vec![item], token, replayed: false, degraded: Vec::new() }
    }
}

fn repeat(idempotency: Option<&IdempotencyKey>) -> Repeat {
    // Without a key the second would find the id of the first taken, and say that nothing was created.
    if idempotency.is_some() { Repeat::Harmless } else { Repeat::Harmful }
}

impl AlloyDbMemoryProvider {
    pub(crate) async fn write(&self, mut batch: InsertBatch) -> Result<InsertReceipt> {
        validate_batch(&batch)?;
        let mut spaces = Vec::with_capacity(batch.memories.len());
        for (at, item) in batch.memories.iter().enumerate() {
            spaces.push(match &item.embedding {
                None => None,
                Some(embedding) => {
                    self.check_dimensions(embedding.space())
                        .map_err(|error| error.within(&format!("memories[{at}]")))?;
                    self.space("insert", embedding.space(), true).await?
                }
            });
        }
        // What is at hand of whom would be found to be outdated by the next search.
        for item in batch.memories.iter().filter(|item| item.memory.scope.user().is_some()) {
            self.inner.recall_cache.forget(&item.memory.scope);
        }
        // What is brought in or derived is held against what was forgotten.
        let is_one = matches!(&*batch.memories, [item]
            if !matches!(item.memory.origin.writer, Writer::Import | Writer::Consolidation));
        match batch.memories.pop() {
            Some(item) if is_one => {
                self.write_in_turn(Write { item, space: spaces[0], idempotency: batch.idempotency }).await
            }
            last => {
                batch.memories.extend(last);
                self.write_batch(&batch.memories, &spaces, batch.idempotency.as_ref()).await
            }
        }
    }

    async fn write_batch(
        &self,
        memories: &[EmbeddedMemory],
        spaces: &[Option<i16>],
        idempotency: Option<&IdempotencyKey>,
    ) -> Result<InsertReceipt> {
        let now = whole_micros(self.now());
        let query = || {
            let items = memories.iter().zip(spaces);
            let items = items.map(|(item, space)| (&item.memory, item.embedding.as_ref(), *space));
            let arrays = Arrays::new(items, self.inner.config.storage);
            let query = sqlx::query(INSERT_MANY)
                .bind(memories[0].memory.scope.tenant_name())
                .bind(now)
                .bind(idempotency.map(|key| escape(&key.key)))
                .bind(idempotency.map(|key| &key.body_hash[..]));
            let keys = Keys::of(memories.iter().map(|item| &item.memory));
            keys.bind(arrays.bind(query)).bind(now - KEY_LIFETIME)
        };
        let row = self.inner.statements.row(&self.inner.primary, repeat(idempotency), query).await;
        let row = row.map_err(|error| failed("insert", error))?;
        read_receipt(&row, &self.inner.instance).map_err(|error| damaged("insert", error))
    }

    /// Writes one memory in a statement of its own.
    pub(crate) async fn write_alone(&self, write: &Write) -> Result<InsertReceipt> {
        let Write { item, space, idempotency } = write;
        let query = || {
            let query = sqlx::query(INSERT_ONE)
                .bind(item.memory.scope.tenant_name())
                .bind(whole_micros(self.now()))
                .bind(idempotency.as_ref().map(|key| escape(&key.key)))
                .bind(idempotency.as_ref().map(|key| &key.body_hash[..]));
            bind_one(query, item, *space, self.inner.config.storage)
        };
        match self.token_of(repeat(idempotency.as_ref()), query).await {
            Ok(Some(token)) => Ok(write.created(token)),
            Err(error) if !is_taken(&error) => Err(failed("insert", error)),
            // It is not simple: something is taken, or is to be made first.
            _ => self.write_batch(std::slice::from_ref(item), &[*space], idempotency.as_ref()).await,
        }
    }

    /// Writes memories of one tenant in one statement, no two of one id or key; `None` when that is not simple for one of
    /// them, and none was written.
    pub(crate) async fn write_together(&self, writes: &[&Write]) -> sqlx::Result<Option<Vec<InsertReceipt>>> {
        let keys = || writes.iter().map(|write| write.idempotency.as_ref());
        let query = || {
            let items = writes.iter().map(|Write { item, space, .. }| (&item.memory, item.embedding.as_ref(), *space));
            let query = sqlx::query(INSERT_SEPARATE)
                .bind(writes[0].item.memory.scope.tenant_name())
                .bind(whole_micros(self.now()))
                .bind(keys().map(|key| key.map(|key| escape(&key.key).into_owned())).collect::<Vec<_>>())
                .bind(keys().map(|key| key.map(|key| key.body_hash.to_vec())).collect::<Vec<_>>());
            let values = Keys::of(writes.iter().map(|write| &write.item.memory));
            values.bind(Arrays::new(items, self.inner.config.storage).bind(query))
        };
        let is_harmless = keys().all(|key| repeat(key) == Repeat::Harmless);
        let token = self.token_of(if is_harmless { Repeat::Harmless } else { Repeat::Harmful }, query).await?;
        Ok(token.map(|token| writes.iter().map(|write| write.created(token.clone())).collect()))
    }

    async fn token_of<'q>(
        &self,
        repeat: Repeat,
        query: impl Fn() -> Query<'q, Postgres, PgArguments> + Send + Sync,
    ) -> sqlx::Result<Option<memory_core::WriteToken>> {
        let row = self.inner.statements.row(&self.inner.primary, repeat, query).await?;
        let transaction: Option<String> = row.try_get(0)?;
        Ok(transaction.map(|transaction| token(&self.inner.instance, &transaction)))
    }
}

fn read_receipt(row: &PgRow, instance: &str) -> sqlx::Result<InsertReceipt> {
    let ids: Vec<Uuid> = row.try_get("ids")?;
    let statuses: Vec<i16> = row.try_get("statuses")?;
    let items = ids
        .into_iter()
        .zip(statuses)
        .map(|(id, status)| Ok(InsertedItem { id: MemoryId::from(id), status: read_status(status)? }));
    Ok(InsertReceipt {
        items: items.collect::<sqlx::Result<_>>()?,
        token: token(instance, row.try_get("token")?),
        replayed: row.try_get("replayed")?,
        degraded: Vec::new(),
    })
}

/// The statuses by the numbers that `insert_memories` gives.
const STATUSES: [(i16, InsertStatus); 4] = [
    (0, InsertStatus::Created),
    (1, InsertStatus::Unchanged),
    (2, InsertStatus::RefusedForgotten),
    (5, InsertStatus::RefusedRejected),
];

pub(crate) fn read_status(number: i16) -> sqlx::Result<InsertStatus> {
    let status = STATUSES.iter().find(|(known, _)| *known == number).map(|(_, status)| *status);
    status.ok_or_else(|| sqlx::Error::Decode(format!("there is no status {number}").into()))
}

pub(crate) fn number_of(status: InsertStatus) -> Option<i16> {
    STATUSES.iter().find(|(_, known)| *known == status).map(|(number, _)| *number)
}
