//! Items out of the file, each by its key.

use memory_core::{
    AnsweredKey, ContentHash, FormerVersion, InsertReceipt, Item, ItemKey, Memory, MemoryId, Rejection, Result, Scope,
    StoredVersion, Timestamp, ValueKey, WholeMemory,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use uuid::Uuid;

use crate::error::{backend, damaged};
use crate::rejections::read_rejection;
use crate::rows::{ReadResult, Spaces, embedding, get, micros, read_memory, scope, time};
use crate::sql::{self, replica};
use crate::writer::oldest_key;

/// What has become of an item. What has expired is absent, also while it is still in the file.
pub(super) async fn read_item(
    connection: &mut SqliteConnection,
    key: &ItemKey,
    now: Timestamp,
    spaces: &Spaces,
) -> Result<Item> {
    let found = match key {
        ItemKey::Rejection { tenant, key } => find_rejection(connection, tenant, key).await?.map(Item::Rejection),
        ItemKey::ForgottenText { scope, hash } => is_forgotten_text(connection, scope, hash)
            .await?
            .then(|| Item::ForgottenText { scope: scope.clone(), hash: *hash }),
        ItemKey::Memory { tenant, id } => find_memory_or_tombstone(connection, tenant, *id, now, spaces).await?,
        ItemKey::IdempotencyKey { tenant, key } => {
            let answered = find_key(connection, tenant, key).await?;
            answered.filter(|answered| micros(answered.created_at) > oldest_key(now)).map(Item::IdempotencyKey)
        }
    };
    Ok(found.unwrap_or_else(|| Item::Absent(key.clone())))
}

pub(crate) async fn find_rejection(
    connection: &mut SqliteConnection,
    tenant: &str,
    key: &ValueKey,
) -> Result<Option<Rejection>> {
    let query = sqlx::query(replica::REJECTION_OF).bind(tenant).bind(&key.as_bytes()[..]);
    let row = query.fetch_optional(connection).await.map_err(|error| backend("read item", error))?;
    row.map(|row| read_rejection(&row, tenant)).transpose().map_err(|error| damaged("read item", error))
}

pub(crate) async fn is_forgotten_text(
    connection: &mut SqliteConnection,
    scope: &Scope,
    hash: &ContentHash,
) -> Result<bool> {
    sqlx::query_scalar(replica::IS_FORGOTTEN_TEXT)
        .bind(&hash.as_bytes()[..])
        .bind(scope.tenant_name())
        .bind(scope.user())
        .bind(scope.agent())
        .bind(scope.session())
        .fetch_one(connection)
        .await
        .map_err(|error| backend("read item", error))
}

async fn find_memory_or_tombstone(
    connection: &mut SqliteConnection,
    tenant: &str,
    id: MemoryId,
    now: Timestamp,
    spaces: &Spaces,
) -> Result<Option<Item>> {
    if let Some(whole) = find_memory(connection, id, spaces).await? {
        let memory = &whole.current.memory;
        let is_there = memory.scope.tenant_name() == tenant && !memory.is_expired(now);
        return Ok(is_there.then(|| Item::Memory(Box::new(whole))));
    }
    Ok(find_tombstone(connection, id).await?.filter(|item| match item {
        Item::Tombstone { scope, .. } => scope.tenant_name() == tenant,
        _ => false,
    }))
}

/// A memory of any tenant.
pub(crate) async fn find_memory(
    connection: &mut SqliteConnection,
    id: MemoryId,
    spaces: &Spaces,
) -> Result<Option<WholeMemory>> {
    let read = |error| backend("read item", error);
    let query = sqlx::query(sql::MEMORY_BY_ID).bind(id.as_uuid());
    let Some(row) = query.fetch_optional(&mut *connection).await.map_err(read)? else { return Ok(None) };
    let query = sqlx::query(replica::HISTORY_WITH_VECTORS).bind(id.as_uuid());
    let history = query.fetch_all(&mut *connection).await.map_err(read)?;
    let former = history.iter().map(|row| read_former_version(row, spaces)).collect::<ReadResult<_>>();
    former.and_then(|former| read_whole(&row, former, spaces)).map(Some).map_err(|error| damaged("read item", error))
}

/// A tombstone of any tenant.
pub(crate) async fn find_tombstone(connection: &mut SqliteConnection, id: MemoryId) -> Result<Option<Item>> {
    let query = sqlx::query(replica::TOMBSTONE_OF).bind(id.as_uuid());
    let row = query.fetch_optional(connection).await.map_err(|error| backend("read item", error))?;
    row.map(|row| read_tombstone(&row)).transpose().map_err(|error| damaged("read item", error))
}

pub(crate) async fn find_key(
    connection: &mut SqliteConnection,
    tenant: &str,
    key: &str,
) -> Result<Option<AnsweredKey>> {
    let query = sqlx::query(replica::KEY_OF).bind(tenant).bind(key);
    let row = query.fetch_optional(connection).await.map_err(|error| backend("read item", error))?;
    row.map(|row| read_key(&row)).transpose().map_err(|error| damaged("read item", error))
}

/// A row of the columns of memories, with its history.
pub(super) fn read_whole(row: &SqliteRow, former: Vec<FormerVersion>, spaces: &Spaces) -> ReadResult<WholeMemory> {
    let stored = read_memory(row, Some(spaces))?;
    let memory = std::sync::Arc::unwrap_or_clone(stored.memory);
    let current = StoredVersion { memory, embedding: stored.embedding };
    Ok(WholeMemory { ordinal: stored.position, current, former })
}

/// A row of [`replica::HISTORY_WITH_VECTORS`].
pub(super) fn read_former_version(row: &SqliteRow, spaces: &Spaces) -> ReadResult<FormerVersion> {
    let memory: Memory = serde_json::from_str(get(row, 1)?)?;
    let superseded_at = memory.superseded_at.ok_or("a former version that nothing took the place of")?;
    let embedding = embedding(get(row, 2)?, get(row, 3)?, spaces)?;
    Ok(FormerVersion { version: StoredVersion { memory, embedding }, superseded_at })
}

/// A row of [`replica::TOMBSTONE_OF`].
pub(super) fn read_tombstone(row: &SqliteRow) -> ReadResult<Item> {
    Ok(Item::Tombstone {
        scope: scope(get(row, 1)?, get(row, 2)?, get(row, 3)?, get(row, 4)?)?,
        id: MemoryId::from(get::<Uuid>(row, 0)?),
        forgotten_at: time(get(row, 5)?)?,
    })
}

/// A row of [`replica::FORGOTTEN_TEXTS_AFTER`].
pub(super) fn read_forgotten_text(row: &SqliteRow) -> ReadResult<Item> {
    Ok(Item::ForgottenText {
        scope: scope(get(row, 2)?, get(row, 3)?, get(row, 4)?, get(row, 5)?)?,
        hash: ContentHash::from(<[u8; 32]>::try_from(get::<&[u8]>(row, 1)?)?),
    })
}

/// A row of [`replica::KEY_OF`].
pub(super) fn read_key(row: &SqliteRow) -> ReadResult<AnsweredKey> {
    let receipt: InsertReceipt = serde_json::from_str(get(row, 3)?)?;
    Ok(AnsweredKey {
        tenant: get(row, 0)?,
        key: get(row, 1)?,
        body_hash: get::<&[u8]>(row, 2)?.try_into()?,
        items: receipt.items,
        created_at: time(get(row, 4)?)?,
    })
}

/// The key of a changed item, out of a row of [`replica::ITEM_CHANGES`].
pub(super) fn read_item_key(row: &SqliteRow) -> ReadResult<ItemKey> {
    let (item, tenant, key): (&str, &str, &[u8]) = (get(row, 1)?, get(row, 2)?, get(row, 6)?);
    Ok(match item {
        "memory" => ItemKey::Memory { tenant: tenant.into(), id: Uuid::from_slice(key)?.into() },
        "text" => ItemKey::ForgottenText {
            scope: scope(tenant, get(row, 3)?, get(row, 4)?, get(row, 5)?)?,
            hash: ContentHash::from(<[u8; 32]>::try_from(key)?),
        },
        "rejection" => ItemKey::Rejection { tenant: tenant.into(), key: ValueKey::from(<[u8; 32]>::try_from(key)?) },
        "key" => ItemKey::IdempotencyKey { tenant: tenant.into(), key: String::from_utf8(key.to_vec())? },
        other => return Err(format!("there is no item {other}").into()),
    })
}
