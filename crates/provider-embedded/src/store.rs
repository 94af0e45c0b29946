//! [`MemoryStore`]: writes go to the writer, single memories and pages come from the file, searches run in memory.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::store::validate_batch;
use memory_core::{
    Candidates, ChangeFeed, Cursor, Error, ForgetReceipt, ForgetRequest, InsertBatch, InsertReceipt, ListRequest,
    Memory, MemoryId, MemoryPatch, MemoryStore, Page, Rejections, Replica, Result, Scope, SearchRequest, StoreMark,
    StoreStats, UpdateReceipt, VectorBacklog,
};
use sqlx::sqlite::SqliteConnection;
use tokio::sync::OwnedRwLockReadGuard;

use crate::error::{PROVIDER, backend, closed, damaged};
use crate::partition::Partition;
use crate::provider::EmbeddedProvider;
use crate::rows::{StoredMemory, micros, read_memory, read_spaces};
use crate::schema::disk_bytes;
use crate::search::search;
use crate::sql;
use crate::tenants::TenantState;
use crate::writer::{Answer, Task};

/// From how many memories on a search runs beside the runtime, not in it: about half a millisecond of work.
const BIG_SEARCH: usize = 20_000;

#[async_trait]
impl MemoryStore for EmbeddedProvider {
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt> {
        validate_batch(&batch)?;
        match self.write("insert", Task::Insert(batch)).await? {
            Answer::Inserted(receipt) => Ok(receipt),
            other => Err(unexpected("insert", &other)),
        }
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        let mut connection = self.inner.readers.acquire().await.map_err(|error| backend("get", error))?;
        self.read_one(&mut connection, "get", scope, id).await
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        let mut snapshot = self.inner.readers.begin().await.map_err(|error| backend("turn_before", error))?;
        if self.read_one(&mut snapshot, "turn_before", scope, id).await?.is_none() {
            return Ok(None);
        }
        let query = sqlx::query(sql::TURN_BEFORE).bind(id.as_uuid()).bind(micros(self.now()));
        let row = query.fetch_optional(&mut *snapshot).await.map_err(|error| backend("turn_before", error))?;
        row.map(|row| read_memory(&row, None).map(|stored| stored.memory))
            .transpose()
            .map_err(|error| damaged("turn_before", error))
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<UpdateReceipt> {
        let task = Task::Update { scope: scope.clone(), id, patch: Box::new(patch) };
        match self.write("update", task).await? {
            Answer::Updated { memory, token } => Ok(UpdateReceipt { memory, token, degraded: Vec::new() }),
            other => Err(unexpected("update", &other)),
        }
    }

    async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>> {
        let read = |error| backend("history", error);
        let mut snapshot = self.inner.readers.begin().await.map_err(read)?;
        let Some(current) = self.read_one(&mut snapshot, "history", scope, id).await? else { return Ok(Vec::new()) };
        let query = sqlx::query_scalar(sql::HISTORY_OF).bind(id.as_uuid());
        let bodies: Vec<String> = query.fetch_all(&mut *snapshot).await.map_err(read)?;
        let former = bodies.iter().map(|body| serde_json::from_str(body).map_err(|error| damaged("history", error)));
        former.chain([Ok(Memory::clone(&current))]).collect()
    }

    async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        match self.write("forget", Task::Forget(request.clone())).await? {
            Answer::Forgotten(receipt) => Ok(receipt),
            other => Err(unexpected("forget", &other)),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit", 0, "at least 1"));
        }
        let mut snapshot = self.inner.readers.begin().await.map_err(|error| backend("list", error))?;
        self.read_page(&mut snapshot, request).await
    }

    async fn search(&self, request: &SearchRequest) -> Result<Candidates> {
        request.validate()?;
        if let Some(token) = &request.at_least {
            self.check_visible(token)?;
        }
        if !self.writer_is_alive() {
            return Err(closed("search"));
        }
        let now = self.now();
        if let Some(at) = request.as_of.filter(|at| *at < now) {
            return self.search_former(request, at, now).await;
        }
        let tenant = self.inner.tenants.open(&request.scopes()).await?;
        let size: usize = tenant.reached(&request.scopes()).into_iter().map(Partition::live).sum();
        let found = if size < BIG_SEARCH {
            let found = search(&tenant.reached(&request.scopes()), request, now);
            drop(tenant);
            found
        } else {
            big_search(tenant, request.clone(), now).await?
        };
        self.inner.tenants.evict().await;
        Ok(found)
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        let read = |error| backend("stats", error);
        let now = micros(self.now());
        let mut snapshot = self.inner.readers.begin().await.map_err(read)?;
        let mut query = sql::within("SELECT COUNT(*), COUNT(*) - COUNT(vector) FROM memory", scope);
        query.push(" AND (expires_at IS NULL OR expires_at > ").push_bind(now).push(")");
        let (memories, without): (i64, i64) = query.build_query_as().fetch_one(&mut *snapshot).await.map_err(read)?;
        let mut query = sql::within("SELECT COUNT(*) FROM memory_history JOIN memory USING (id)", scope);
        query.push(" AND (expires_at IS NULL OR expires_at > ").push_bind(now).push(")");
        let former: i64 = query.build_query_scalar().fetch_one(&mut *snapshot).await.map_err(read)?;
        let mut query = sql::within("SELECT COUNT(*) FROM tombstone", scope);
        let tombstones: i64 = query.build_query_scalar().fetch_one(&mut *snapshot).await.map_err(read)?;
        drop(snapshot);
        Ok(StoreStats {
            memories: memories.cast_unsigned(),
            without_embedding: without.cast_unsigned(),
            former_versions: former.cast_unsigned(),
            tombstones: tombstones.cast_unsigned(),
            disk_bytes: disk_bytes(&self.inner.config.path),
            index_bytes: self.inner.tenants.bytes().await as u64,
        })
    }

    async fn health(&self) -> Result<()> {
        if !self.writer_is_alive() {
            return Err(closed("health"));
        }
        let read: sqlx::Result<i64> = sqlx::query_scalar(sql::READ_SEQUENCE).fetch_one(&self.inner.readers).await;
        read.map(drop).map_err(|error| backend("health", error))
    }

    fn changes(&self) -> Option<&dyn ChangeFeed> {
        Some(self)
    }

    fn backlog(&self) -> Option<&dyn VectorBacklog> {
        Some(self)
    }

    fn rejections(&self) -> Option<&dyn Rejections> {
        Some(self)
    }

    fn replica(&self) -> Option<&dyn Replica> {
        Some(self)
    }

    async fn mark(&self) -> Result<Option<StoreMark>> {
        self.read_mark().await.map(Some)
    }

    async fn stand(&self, scope: &Scope, memories: &[MemoryId], since: Option<&StoreMark>) -> Result<bool> {
        self.all_stand(scope, memories, since).await
    }
}

impl EmbeddedProvider {
    async fn read_one(
        &self,
        connection: &mut SqliteConnection,
        operation: &'static str,
        scope: &Scope,
        id: MemoryId,
    ) -> Result<Option<Arc<Memory>>> {
        let query = sqlx::query(sql::MEMORY_BY_ID).bind(id.as_uuid());
        let row = query.fetch_optional(connection).await.map_err(|error| backend(operation, error))?;
        let Some(row) = row else { return Ok(None) };
        let memory = read_memory(&row, None).map_err(|error| damaged(operation, error))?.memory;
        Ok((scope.covers(&memory.scope) && !memory.is_expired(self.now())).then_some(memory))
    }

    /// Reads on until the page is full, since the filter is not SQL's to judge.
    async fn read_page(&self, connection: &mut SqliteConnection, request: &ListRequest) -> Result<Page> {
        let read = |error| backend("list", error);
        let now = self.now();
        let spaces = read_spaces(connection).await.map_err(read)?;
        let spaces = request.with_embeddings.then_some(&spaces);
        // One more than the page holds, to know whether there is a next one.
        let at_once = (request.limit + 1).clamp(2, 1000);
        let mut found: Vec<StoredMemory> = Vec::new();
        let mut cursor = request.cursor.map(|cursor| i64::try_from(cursor.0).unwrap_or(i64::MAX));
        loop {
            let mut query = sql::within(sql::SELECT_MEMORIES, &request.scope);
            if let Some(after) = cursor {
                query.push(if request.newest_first { " AND position < " } else { " AND position > " }).push_bind(after);
            }
            query.push(" AND (expires_at IS NULL OR expires_at > ").push_bind(micros(now)).push(")");
            query.push(if request.newest_first { " ORDER BY position DESC" } else { " ORDER BY position" });
            query.push(" LIMIT ").push_bind(at_once as i64);
            let rows = query.build().fetch_all(&mut *connection).await.map_err(read)?;
            for row in &rows {
                let stored = read_memory(row, spaces).map_err(|error| damaged("list", error))?;
                cursor = Some(stored.position.cast_signed());
                if request.filter.as_ref().is_none_or(|filter| filter.matches(&stored.memory)) {
                    if found.len() == request.limit {
                        let next = found.last().map(|last| Cursor(last.position));
                        return Ok(page(found, next));
                    }
                    found.push(stored);
                }
            }
            if rows.len() < at_once {
                return Ok(page(found, None));
            }
        }
    }
}

fn page(found: Vec<StoredMemory>, next: Option<Cursor>) -> Page {
    Page { memories: found.into_iter().map(|stored| (stored.memory, stored.embedding)).collect(), next }
}

async fn big_search(
    tenant: OwnedRwLockReadGuard<TenantState>,
    request: SearchRequest,
    now: memory_core::Timestamp,
) -> Result<Candidates> {
    let run = move || search(&tenant.reached(&request.scopes()), &request, now);
    tokio::task::spawn_blocking(run).await.map_err(|error| damaged("search", error))
}

/// The writer answers each task in its own kind; anything else is a bug in it.
pub(crate) fn unexpected(operation: &'static str, answer: &Answer) -> Error {
    let source = format!("the writer answered {answer:?}").into();
    Error::Backend { provider: PROVIDER, operation, retryable: false, source }
}
