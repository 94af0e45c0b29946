//! What has become of items.

use std::collections::HashMap;
use std::sync::Arc;

use memory_core::{
    AnsweredKey, Embedding, EmbeddingSpace, FormerVersion, InsertedItem, Item, ItemKey, MemoryId, Result,
    StoredVersion, Timestamp, WholeMemory,
};
use serde::Deserialize;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, Row as _, Transaction};
use uuid::Uuid;

use super::AlloyDbReplica;
use crate::error::failed;
use crate::escape::{escape, unescape};
use crate::rejections::read_rejection;
use crate::rows::{read_embedding, read_memory, read_scope, whole_micros};
use crate::store::{SPACES, read_space};
use crate::write::{KEY_LIFETIME, read_status};

/// Versions as [`read_memory`] reads them, with their vectors.
macro_rules! versions {
    ($table:literal, $superseded_at:literal, $which:literal) => {
        concat!(
            "SELECT m.ordinal, m.id, m.tenant, m.user_id, m.agent_id, m.session_id, m.version, m.kind, m.text, m.actor, \
             m.metadata, m.importance, m.writer, m.path, m.evidence, m.valid_from, m.valid_to, m.recorded_at, ",
            $superseded_at,
            " AS superseded_at, m.expires_at, m.space, coalesce(m.embedding, m.embedding_half::vector) AS embedding \
             FROM orchestra.",
            $table,
            " m WHERE ",
            $which
        )
    };
}
/// Memories that have not expired.
const CURRENT: &str =
    versions!("memories", "NULL::timestamptz", "m.id = ANY ($1) AND (m.expires_at IS NULL OR m.expires_at > $2)");
/// Those behind an ordinal.
pub(super) const CURRENT_BEHIND: &str = versions!(
    "memories",
    "NULL::timestamptz",
    "m.ordinal > $1 AND (m.expires_at IS NULL OR m.expires_at > $2) ORDER BY m.ordinal LIMIT $3"
);
const FORMER: &str =
    versions!("memory_versions", "m.superseded_at", "m.ordinal = ANY ($1) ORDER BY m.ordinal, m.version");

/// Each looked up by itself, by its key: as a join it might be planned as one of every row with every row.
const TOMBSTONES: &str = "
    SELECT t.* FROM unnest($1::text[], $2::uuid[]) AS i(tenant, id), LATERAL (
        SELECT t.tenant, t.user_id, t.agent_id, t.session_id, t.id, t.forgotten_at FROM orchestra.tombstones t
        WHERE t.tenant = i.tenant AND t.id = i.id LIMIT 1
    ) t";
const FORGOTTEN_TEXTS: &str = "
    SELECT f.* FROM unnest($1::text[], $2::bytea[], $3::text[], $4::text[], $5::text[])
        AS i(tenant, content_hash, user_id, agent_id, session_id), LATERAL (
        SELECT f.tenant, f.user_id, f.agent_id, f.session_id, f.content_hash FROM orchestra.forgotten_texts f
        WHERE f.tenant = i.tenant AND f.content_hash = i.content_hash AND f.user_id IS NOT DISTINCT FROM i.user_id
            AND f.agent_id IS NOT DISTINCT FROM i.agent_id AND f.session_id IS NOT DISTINCT FROM i.session_id LIMIT 1
    ) f";
const REJECTIONS: &str = "
    SELECT r.* FROM unnest($1::text[], $2::bytea[]) AS i(tenant, key), LATERAL (
        SELECT * FROM orchestra.rejections r WHERE r.tenant = i.tenant AND r.key = i.key LIMIT 1
    ) r";
const ANSWERED_KEYS: &str = "
    SELECT k.* FROM unnest($1::text[], $2::text[]) AS i(tenant, key), LATERAL (
        SELECT * FROM orchestra.idempotency_keys k
        WHERE k.tenant = i.tenant AND k.key = i.key AND k.receipt IS NOT NULL AND k.created_at > $3 LIMIT 1
    ) k";

impl AlloyDbReplica {
    pub(super) async fn read_items(&self, keys: &[ItemKey]) -> Result<Vec<Item>> {
        let failed = |error| failed("read", error);
        let mut reading = self.begin_reading().await.map_err(failed)?;
        let found = reading.items(keys).await.map_err(failed)?;
        reading.end().await.map_err(failed)?;
        Ok(keys.iter().map(|key| found.get(key).cloned().unwrap_or_else(|| Item::Absent(key.clone()))).collect())
    }

    pub(super) async fn begin_reading(&self) -> sqlx::Result<Reading> {
        Reading::begin(self.pool(), whole_micros(self.provider.now())).await
    }
}

/// What is read at one moment.
pub(super) struct Reading {
    transaction: Transaction<'static, Postgres>,
    pub now: Timestamp,
}

impl Reading {
    async fn begin(pool: &PgPool, now: Timestamp) -> sqlx::Result<Self> {
        let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        // However little is known of the tables, they are read by their keys and in their order, a page and no more.
        let plans = "SELECT set_config('plan_cache_mode', 'force_generic_plan', true), \
                     set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), \
                     set_config('jit', 'off', true)";
        sqlx::query(plans).execute(&mut *transaction).await?;
        Ok(Self { transaction, now })
    }

    pub(super) async fn end(self) -> sqlx::Result<()> {
        self.transaction.commit().await
    }

    pub(super) async fn rows(&mut self, query: Query<'_, Postgres, PgArguments>) -> sqlx::Result<Vec<PgRow>> {
        query.fetch_all(&mut *self.transaction).await
    }

    /// When a key was sent that has just had its time.
    pub(super) fn keys_since(&self) -> Timestamp {
        self.now - KEY_LIFETIME
    }

    /// Those of the items that are there.
    async fn items(&mut self, keys: &[ItemKey]) -> sqlx::Result<HashMap<ItemKey, Item>> {
        let mut sought = Sought::default();
        keys.iter().for_each(|key| sought.add(key));
        let mut items = Vec::new();
        if !sought.ids.is_empty() {
            let rows = self.rows(sqlx::query(TOMBSTONES).bind(&sought.id_tenants).bind(&sought.ids)).await?;
            items.extend(rows.iter().map(read_tombstone).collect::<sqlx::Result<Vec<_>>>()?);
            let rows = self.rows(sqlx::query(CURRENT).bind(&sought.ids).bind(self.now)).await?;
            // An id may have been asked for as another tenant's.
            items.extend(self.whole_memories(&rows).await?.into_iter().map(|whole| Item::Memory(Box::new(whole))));
        }
        if !sought.hashes.is_empty() {
            let query = sqlx::query(FORGOTTEN_TEXTS).bind(&sought.hash_tenants).bind(&sought.hashes);
            let rows = self.rows(query.bind(&sought.users).bind(&sought.agents).bind(&sought.sessions)).await?;
            items.extend(rows.iter().map(read_forgotten_text).collect::<sqlx::Result<Vec<_>>>()?);
        }
        if !sought.values.is_empty() {
            let rows = self.rows(sqlx::query(REJECTIONS).bind(&sought.value_tenants).bind(&sought.values)).await?;
            items.extend(rows.iter().map(read_rejected).collect::<sqlx::Result<Vec<_>>>()?);
        }
        if !sought.keys.is_empty() {
            let query = sqlx::query(ANSWERED_KEYS).bind(&sought.key_tenants).bind(&sought.keys);
            let rows = self.rows(query.bind(self.keys_since())).await?;
            items.extend(rows.iter().map(read_answered_key).collect::<sqlx::Result<Vec<_>>>()?);
        }
        Ok(items.into_iter().map(|item| (item.key(), item)).collect())
    }

    /// The memories of rows of current versions, with their former ones.
    pub(super) async fn whole_memories(&mut self, rows: &[PgRow]) -> sqlx::Result<Vec<WholeMemory>> {
        let ordinals = rows.iter().map(|row| row.try_get("ordinal")).collect::<sqlx::Result<Vec<i64>>>()?;
        let former = if rows.is_empty() { Vec::new() } else { self.rows(sqlx::query(FORMER).bind(&ordinals)).await? };
        let spaces = self.spaces(rows.iter().chain(&former)).await?;
        let mut histories: HashMap<i64, Vec<FormerVersion>> = HashMap::new();
        for row in &former {
            let superseded_at = row.try_get("superseded_at")?;
            let former = FormerVersion { version: read_version(row, &spaces)?, superseded_at };
            histories.entry(row.try_get("ordinal")?).or_default().push(former);
        }
        let whole = rows.iter().zip(ordinals).map(|(row, ordinal)| {
            Ok(WholeMemory {
                ordinal: ordinal.cast_unsigned(),
                current: read_version(row, &spaces)?,
                former: histories.remove(&ordinal).unwrap_or_default(),
            })
        });
        whole.collect()
    }

    async fn spaces(&mut self, rows: impl Iterator<Item = &PgRow>) -> sqlx::Result<Spaces> {
        let mut numbers: Vec<i16> = rows.filter_map(|row| row.try_get("space").ok()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        if numbers.is_empty() {
            return Ok(Spaces::new());
        }
        self.rows(sqlx::query(SPACES).bind(&numbers)).await?.iter().map(read_space).collect()
    }
}

type Spaces = HashMap<i16, Arc<EmbeddingSpace>>;

/// The parts of keys, as arrays.
#[derive(Default)]
struct Sought {
    id_tenants: Vec<String>,
    ids: Vec<Uuid>,
    hash_tenants: Vec<String>,
    hashes: Vec<[u8; 32]>,
    users: Vec<Option<String>>,
    agents: Vec<Option<String>>,
    sessions: Vec<Option<String>>,
    value_tenants: Vec<String>,
    values: Vec<[u8; 32]>,
    key_tenants: Vec<String>,
    keys: Vec<String>,
}

impl Sought {
    fn add(&mut self, key: &ItemKey) {
        match key {
            ItemKey::Memory { tenant, id } => {
                self.id_tenants.push(tenant.clone());
                self.ids.push(id.as_uuid());
            }
            ItemKey::ForgottenText { scope, hash } => {
                self.hash_tenants.push(scope.tenant_name().to_owned());
                self.hashes.push(*hash.as_bytes());
                self.users.push(scope.user().map(str::to_owned));
                self.agents.push(scope.agent().map(str::to_owned));
                self.sessions.push(scope.session().map(str::to_owned));
            }
            ItemKey::Rejection { tenant, key } => {
                self.value_tenants.push(tenant.clone());
                self.values.push(*key.as_bytes());
            }
            ItemKey::IdempotencyKey { tenant, key } => {
                self.key_tenants.push(tenant.clone());
                self.keys.push(escape(key).into_owned());
            }
        }
    }
}

fn read_version(row: &PgRow, spaces: &Spaces) -> sqlx::Result<StoredVersion> {
    let embedding: Option<Embedding> = read_embedding(row, |number| spaces.get(&number).cloned())?;
    Ok(StoredVersion { memory: read_memory(row)?, embedding })
}

pub(super) fn read_tombstone(row: &PgRow) -> sqlx::Result<Item> {
    let id = MemoryId::from(row.try_get::<Uuid, _>("id")?);
    Ok(Item::Tombstone { scope: read_scope(row)?, id, forgotten_at: row.try_get("forgotten_at")? })
}

pub(super) fn read_forgotten_text(row: &PgRow) -> sqlx::Result<Item> {
    Ok(Item::ForgottenText { scope: read_scope(row)?, hash: row.try_get::<[u8; 32], _>("content_hash")?.into() })
}

pub(super) fn read_rejected(row: &PgRow) -> sqlx::Result<Item> {
    read_rejection(row).map(Item::Rejection).map_err(sqlx::Error::Decode)
}

/// What `insert_memories` keeps of its answer, but for the transaction, which is of no meaning elsewhere.
#[derive(Deserialize)]
struct Receipt {
    ids: Vec<Uuid>,
    statuses: Vec<i16>,
}

pub(super) fn read_answered_key(row: &PgRow) -> sqlx::Result<Item> {
    let Json(Receipt { ids, statuses }) = row.try_get("receipt")?;
    let items = ids.into_iter().zip(statuses);
    let items = items.map(|(id, status)| Ok(InsertedItem { id: id.into(), status: read_status(status)? }));
    Ok(Item::IdempotencyKey(AnsweredKey {
        tenant: row.try_get("tenant")?,
        key: unescape(row.try_get("key")?),
        body_hash: row.try_get("body_hash")?,
        items: items.collect::<sqlx::Result<_>>()?,
        created_at: row.try_get("created_at")?,
    }))
}
