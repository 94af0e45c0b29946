//! [`Replica`]: items come from the file in one snapshot, and are written by the writer as everything else.

pub(crate) mod items;
mod scan;

use async_trait::async_trait;
use memory_core::{
    ChangeLag, ChangePosition, Error, Gate, Item, ItemChange, ItemKey, Replica, ReplicaSize, Result, ScanPage,
    ScanPosition,
};
use sqlx::sqlite::SqliteRow;

use self::items::{read_item, read_item_key};
use crate::error::{backend, damaged};
use crate::provider::EmbeddedProvider;
use crate::rows::{ReadResult, get, read_gate, read_spaces, time};
use crate::schema::disk_bytes;
use crate::sql::replica;
use crate::store::unexpected;
use crate::writer::{Answer, Move, Task};

#[async_trait]
impl Replica for EmbeddedProvider {
    async fn capture(&self, stream: &str) -> Result<()> {
        self.move_on("capture", Move::Capture(stream.to_owned())).await
    }

    async fn release(&self, stream: &str) -> Result<()> {
        self.move_on("release", Move::Release(stream.to_owned())).await
    }

    async fn scan(&self, after: Option<&ScanPosition>, limit: usize) -> Result<ScanPage> {
        let mut snapshot = self.inner.readers.begin().await.map_err(|error| backend("scan", error))?;
        scan::scan(&mut snapshot, after, limit, self.now()).await
    }

    async fn read(&self, keys: &[ItemKey]) -> Result<Vec<Item>> {
        let read = |error| backend("read item", error);
        let mut snapshot = self.inner.readers.begin().await.map_err(read)?;
        let spaces = read_spaces(&mut snapshot).await.map_err(read)?;
        let now = self.now();
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            items.push(read_item(&mut snapshot, key, now, &spaces).await?);
        }
        Ok(items)
    }

    async fn changed(&self, stream: &str, limit: usize) -> Result<Vec<ItemChange>> {
        let read = |error| backend("read changes", error);
        let mut snapshot = self.inner.readers.begin().await.map_err(read)?;
        let query = sqlx::query_scalar(replica::IS_STREAM).bind(stream);
        if !query.fetch_one(&mut *snapshot).await.map_err(read)? {
            return Err(not_captured(stream));
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let query = sqlx::query(replica::ITEM_CHANGES).bind(stream).bind(limit);
        let rows = query.fetch_all(&mut *snapshot).await.map_err(read)?;
        let changes = rows.iter().map(read_item_change).collect::<ReadResult<_>>();
        changes.map_err(|error| damaged("read changes", error))
    }

    async fn acknowledge(&self, stream: &str, position: &ChangePosition) -> Result<()> {
        let allowed = "a position that this store gave";
        let position = position.0.parse().map_err(|_| Error::invalid("position", &position.0, allowed))?;
        self.move_on("acknowledge changes", Move::Acknowledge(stream.to_owned(), position)).await
    }

    async fn lag(&self, stream: &str) -> Result<ChangeLag> {
        let read = |error| backend("lag", error);
        let mut snapshot = self.inner.readers.begin().await.map_err(read)?;
        let query = sqlx::query_scalar(replica::IS_STREAM).bind(stream);
        if !query.fetch_one(&mut *snapshot).await.map_err(read)? {
            return Err(not_captured(stream));
        }
        let query = sqlx::query(replica::LAG_OF_STREAM).bind(stream);
        let row = query.fetch_one(&mut *snapshot).await.map_err(read)?;
        let oldest = get::<Option<i64>>(&row, 1).map_err(read)?;
        Ok(ChangeLag {
            changes: get::<i64>(&row, 0).map_err(read)?.cast_unsigned(),
            oldest: oldest.map(time).transpose().map_err(|error| damaged("lag", error))?,
        })
    }

    async fn write(&self, epoch: u64, items: Vec<Item>) -> Result<()> {
        self.move_on("write items", Move::Write { epoch, items }).await
    }

    async fn size(&self) -> Result<ReplicaSize> {
        let query = sqlx::query_as(replica::SIZE).fetch_one(&self.inner.readers);
        let (memories, others): (i64, i64) = query.await.map_err(|error| backend("size", error))?;
        Ok(ReplicaSize {
            memories: memories.cast_unsigned(),
            others: others.cast_unsigned(),
            bytes: disk_bytes(&self.inner.config.path),
        })
    }

    async fn gate(&self) -> Result<Gate> {
        let row = sqlx::query(replica::READ_GATE).fetch_one(&self.inner.readers).await;
        read_gate(&row.map_err(|error| backend("gate", error))?, 0).map_err(|error| damaged("gate", error))
    }

    async fn set_gate(&self, gate: Gate) -> Result<()> {
        self.move_on("set gate", Move::SetGate(gate)).await
    }
}

impl EmbeddedProvider {
    async fn move_on(&self, operation: &'static str, step: Move) -> Result<()> {
        match EmbeddedProvider::write(self, operation, Task::Move(step)).await? {
            Answer::Moved => Ok(()),
            other => Err(unexpected(operation, &other)),
        }
    }
}

/// Nothing is noted for this stream.
pub(crate) fn not_captured(stream: &str) -> Error {
    Error::invalid("stream", stream, "a stream that is captured")
}

/// A row of [`replica::ITEM_CHANGES`].
fn read_item_change(row: &SqliteRow) -> ReadResult<ItemChange> {
    Ok(ItemChange {
        position: ChangePosition(get::<i64>(row, 0)?.to_string()),
        key: read_item_key(row)?,
        occurred_at: time(get(row, 7)?)?,
    })
}
