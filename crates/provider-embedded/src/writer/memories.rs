//! Writing, changing and forgetting memories.

use std::sync::Arc;

use memory_core::{
    EmbeddedMemory, Embedding, Error, ForgetReceipt, ForgetRequest, InsertBatch, InsertReceipt, InsertStatus,
    InsertedItem, Memory, MemoryId, MemoryPatch, Result, Scope, Selection, UpdateReceipt, ValueKeys, Writer,
};
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use uuid::Uuid;

use super::{Transaction, oldest_key};
use crate::error::{backend, damaged};
use crate::partition::{Change, VectorChange};
use crate::rows::{StoredMemory, get, micros, pack_ids, read_memory, vector_bytes, whole_micros, writer_name};
use crate::sql;
use crate::tenants::PartitionChange;

impl Transaction<'_> {
    pub(super) async fn insert(&mut self, batch: &InsertBatch) -> Result<InsertReceipt> {
        let tenant = batch.memories[0].memory.scope.tenant_name();
        if let Some(receipt) = self.replay(tenant, batch).await? {
            return Ok(receipt);
        }
        let mut items = Vec::with_capacity(batch.memories.len());
        let mut is_first = true;
        for (at, EmbeddedMemory { memory, embedding }) in batch.memories.iter().enumerate() {
            let status = self.status_of_new(memory).await.map_err(|error| error.within(&format!("memories[{at}]")))?;
            if status == InsertStatus::Created {
                if std::mem::take(&mut is_first) {
                    self.progress.sequence += 1;
                }
                self.create(memory, embedding.as_ref()).await?;
            }
            items.push(InsertedItem { id: memory.id, status });
        }
        let receipt = InsertReceipt { items, token: self.progress.token(), replayed: false, degraded: Vec::new() };
        self.keep_receipt(tenant, batch, &receipt).await?;
        Ok(receipt)
    }

    /// The receipt of an earlier insert under the same idempotency key.
    async fn replay(&mut self, tenant: &str, batch: &InsertBatch) -> Result<Option<InsertReceipt>> {
        let Some(key) = &batch.idempotency else { return Ok(None) };
        let read = |error| backend("insert", error);
        let query = sqlx::query(sql::IDEMPOTENT).bind(tenant).bind(&key.key).bind(oldest_key(self.now));
        let Some(row) = query.fetch_optional(&mut *self.connection).await.map_err(read)? else { return Ok(None) };
        if get::<&[u8]>(&row, 0).map_err(read)? != key.body_hash {
            return Err(Error::IdempotencyConflict { key: key.key.clone() });
        }
        let receipt = serde_json::from_str(get(&row, 1).map_err(read)?).map_err(|error| damaged("insert", error))?;
        Ok(Some(InsertReceipt { replayed: true, ..receipt }))
    }

    async fn keep_receipt(&mut self, tenant: &str, batch: &InsertBatch, receipt: &InsertReceipt) -> Result<()> {
        let Some(key) = &batch.idempotency else { return Ok(()) };
        let json = serde_json::to_string(receipt).map_err(|error| damaged("insert", error))?;
        let hash = &key.body_hash[..];
        let query =
            sqlx::query(sql::REMEMBER_KEY).bind(tenant).bind(&key.key).bind(hash).bind(json).bind(micros(self.now));
        self.execute("insert", query).await
    }

    /// What becomes of a memory that is to be written.
    async fn status_of_new(&mut self, memory: &Memory) -> Result<InsertStatus> {
        let read = |error| backend("insert", error);
        let scope = &memory.scope;
        let hash = memory.content_hash();
        let keys = ValueKeys::of(scope, &memory.text);
        let row = sqlx::query(sql::CHECK_NEW)
            .bind(memory.id.as_uuid())
            .bind(&hash.as_bytes()[..])
            .bind(scope.tenant_name())
            .bind(scope.user())
            .bind(scope.agent())
            .bind(scope.session())
            .bind(&keys.reads.as_bytes()[..])
            .bind(&keys.looks.as_bytes()[..])
            .fetch_one(&mut *self.connection)
            .await
            .map_err(read)?;
        if let Some(tenant) = get::<Option<&str>>(&row, 0).map_err(read)? {
            let part = |column| get::<Option<&str>>(&row, column);
            let holder = (tenant, part(1).map_err(read)?, part(2).map_err(read)?, part(3).map_err(read)?);
            let is_same = holder == (scope.tenant_name(), scope.user(), scope.agent(), scope.session())
                && get::<&str>(&row, 4).map_err(read)? == memory.text;
            return if is_same { Ok(InsertStatus::Unchanged) } else { Err(Error::IdTaken(memory.id)) };
        }
        let brings_back = matches!(memory.origin.writer, Writer::Import | Writer::Consolidation);
        match get::<Option<&str>>(&row, 5).map_err(read)? {
            // Another tenant forgot it; that it did is not this one's to know.
            Some(tenant) if tenant != scope.tenant_name() => return Err(Error::IdTaken(memory.id)),
            Some(_) if brings_back => return Ok(InsertStatus::RefusedForgotten),
            Some(_) => return Err(Error::Forgotten(memory.id)),
            None => {}
        }
        match get::<bool>(&row, 7).map_err(read)? {
            true if brings_back => return Ok(InsertStatus::RefusedRejected),
            true => return Err(Error::ValueRejected { field: "text".into() }),
            false => {}
        }
        let text_was_forgotten = get::<bool>(&row, 6).map_err(read)?;
        let refused = brings_back && text_was_forgotten || self.was_derived_from_forgotten(memory).await?;
        Ok(if refused { InsertStatus::RefusedForgotten } else { InsertStatus::Created })
    }

    /// Whether a consolidation that ran beside the forgetting of its source comes too late.
    async fn was_derived_from_forgotten(&mut self, memory: &Memory) -> Result<bool> {
        if memory.origin.writer != Writer::Consolidation {
            return Ok(false);
        }
        for source in &memory.evidence {
            let query = sqlx::query_scalar(sql::WAS_FORGOTTEN).bind(source.as_uuid()).bind(memory.scope.tenant_name());
            let was_forgotten: bool =
                query.fetch_one(&mut *self.connection).await.map_err(|error| backend("insert", error))?;
            if was_forgotten {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn create(&mut self, memory: &Memory, embedding: Option<&Embedding>) -> Result<()> {
        let memory = Memory {
            valid_from: memory.valid_from.map(whole_micros),
            valid_to: memory.valid_to.map(whole_micros),
            recorded_at: whole_micros(memory.recorded_at),
            superseded_at: None,
            expires_at: memory.expires_at.map(whole_micros),
            ..memory.clone()
        };
        let position = self.progress.next_position;
        self.progress.next_position += 1;
        let space = match embedding {
            Some(embedding) => Some(self.space_number(embedding.space()).await?),
            None => None,
        };
        let scope = &memory.scope;
        let metadata = serde_json::to_string(&memory.metadata).map_err(|error| damaged("insert", error))?;
        let query = sqlx::query(sql::INSERT_MEMORY)
            .bind(position.cast_signed())
            .bind(memory.id.as_uuid())
            .bind(scope.tenant_name())
            .bind(scope.user())
            .bind(scope.agent())
            .bind(scope.session())
            .bind(memory.version.cast_signed())
            .bind(memory.kind.name())
            .bind(&memory.text)
            .bind(&memory.actor)
            .bind(metadata)
            .bind(f64::from(memory.importance))
            .bind(writer_name(memory.origin.writer))
            .bind(&memory.origin.path)
            .bind(pack_ids(&memory.evidence))
            .bind(memory.valid_from.map(micros))
            .bind(memory.valid_to.map(micros))
            .bind(micros(memory.recorded_at))
            .bind(memory.expires_at.map(micros))
            .bind(space)
            .bind(embedding.map(vector_bytes))
            .bind(memory.content_hash().as_bytes().to_vec());
        self.execute("insert", query).await?;
        for source in &memory.evidence {
            let query = sqlx::query(sql::INSERT_EVIDENCE).bind(source.as_uuid()).bind(memory.id.as_uuid());
            self.execute("insert", query).await?;
        }
        let stored = StoredMemory { position, memory: Arc::new(memory), embedding: embedding.cloned() };
        let scope = stored.memory.scope.clone();
        self.changed(scope.tenant_name(), scope.user(), Change::Insert(stored));
        Ok(())
    }

    pub(super) async fn update(&mut self, scope: &Scope, id: MemoryId, patch: &MemoryPatch) -> Result<UpdateReceipt> {
        let read = |error| backend("update", error);
        let query = sqlx::query(sql::MEMORY_BY_ID).bind(id.as_uuid());
        let row = query.fetch_optional(&mut *self.connection).await.map_err(read)?.ok_or(Error::NotFound(id))?;
        let former = read_memory(&row, None).map_err(|error| damaged("update", error))?.memory;
        if !scope.covers(&former.scope) || former.is_expired(self.now) {
            return Err(Error::NotFound(id));
        }
        let mut next = patch.apply(&former, self.now)?;
        if patch.text.is_some() && self.is_rejected(&next).await? {
            return Err(Error::ValueRejected { field: "text".into() });
        }
        next.valid_to = next.valid_to.map(whole_micros);
        next.expires_at = next.expires_at.map(whole_micros);
        let superseded = Memory { superseded_at: Some(self.now), ..Memory::clone(&former) };
        let body = serde_json::to_string(&superseded).map_err(|error| damaged("update", error))?;
        self.execute("update", sqlx::query(sql::INSERT_HISTORY).bind(id.as_uuid()).bind(body)).await?;
        let metadata = serde_json::to_string(&next.metadata).map_err(|error| damaged("update", error))?;
        let query = sqlx::query(sql::UPDATE_MEMORY)
            .bind(id.as_uuid())
            .bind(next.version.cast_signed())
            .bind(&next.text)
            .bind(metadata)
            .bind(f64::from(next.importance))
            .bind(next.valid_to.map(micros))
            .bind(micros(next.recorded_at))
            .bind(next.expires_at.map(micros))
            .bind(next.content_hash().as_bytes().to_vec())
            .bind((self.progress.sequence + 1).cast_signed());
        self.execute("update", query).await?;
        let vector = match (&patch.text, &patch.embedding) {
            (None, None) => VectorChange::Keep,
            (_, embedding) => {
                self.set_vector(id, embedding.as_ref()).await?;
                VectorChange::Set(embedding.clone())
            }
        };
        self.progress.sequence += 1;
        let memory = Arc::new(next);
        let change = Change::Update { memory: memory.clone(), vector };
        self.changed(memory.scope.tenant_name(), memory.scope.user(), change);
        self.delete_answers_of(memory.scope.tenant_name(), id).await?;
        Ok(UpdateReceipt { memory, token: self.progress.token(), degraded: Vec::new() })
    }

    pub(super) async fn set_vector(&mut self, id: MemoryId, embedding: Option<&Embedding>) -> Result<()> {
        let space = match embedding {
            Some(embedding) => Some(self.space_number(embedding.space()).await?),
            None => None,
        };
        let query = sqlx::query(sql::UPDATE_VECTOR).bind(id.as_uuid()).bind(space).bind(embedding.map(vector_bytes));
        self.execute("update", query).await
    }

    pub(super) async fn forget(&mut self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        let tenant = request.scope.tenant_name();
        self.execute("forget", sqlx::query(sql::CREATE_DOOMED)).await?;
        self.execute("forget", sqlx::query(sql::CLEAR_DOOMED)).await?;
        self.doom(request).await?;
        self.execute("forget", sqlx::query(sql::DOOM_DERIVED).bind(tenant)).await?;

        let read = |error| backend("forget", error);
        let rows = sqlx::query(sql::READ_DOOMED).fetch_all(&mut *self.connection).await.map_err(read)?;
        let (mut forgotten, mut derived, mut users) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            let id = MemoryId::from(get::<Uuid>(row, 0).map_err(read)?);
            users.push((id, get::<Option<String>>(row, 1).map_err(read)?));
            if get::<bool>(row, 2).map_err(read)? { derived.push(id) } else { forgotten.push(id) }
        }
        let counts = sqlx::query(sql::COUNT_DOOMED).fetch_one(&mut *self.connection).await.map_err(read)?;
        let count = |at| get::<i64>(&counts, at).map(i64::cast_unsigned).map_err(read);
        let (embeddings, former_versions, sessions) = (count(0)?, count(1)?, count(2)?);
        if !rows.is_empty() {
            self.progress.sequence += 1;
            self.execute("forget", sqlx::query(sql::BURY).bind(micros(self.now))).await?;
            self.execute("forget", sqlx::query(sql::BURY_TEXTS)).await?;
        }
        let cache_entries = if rows.is_empty() { 0 } else { self.delete_answers_of_doomed(tenant).await? };
        self.execute("forget", sqlx::query(sql::DELETE_DOOMED)).await?;
        self.execute("forget", sqlx::query(sql::CLEAR_DOOMED)).await?;
        self.changes.forgot |= !rows.is_empty();
        for (id, user) in users {
            self.changed(tenant, user.as_deref(), Change::Forget(id));
        }
        let token = (!request.dry_run).then(|| self.progress.token());
        Ok(ForgetReceipt {
            forgotten,
            derived,
            former_versions,
            embeddings,
            sessions,
            cache_entries,
            working_messages: 0,
            dry_run: request.dry_run,
            token,
            degraded: Vec::new(),
        })
    }

    /// Takes idempotency keys out of the file that no longer hold.
    pub(super) async fn remove_old_keys(&mut self) -> Result<()> {
        self.execute("remove expired", sqlx::query(sql::PRUNE_KEYS).bind(oldest_key(self.now))).await
    }

    /// Takes expired memories out of the file, a bounded number at a time, and gives how many it took.
    pub(super) async fn remove_expired(&mut self) -> Result<u64> {
        let read = |error| backend("remove expired", error);
        self.execute("remove expired", sqlx::query(sql::CREATE_DOOMED)).await?;
        self.execute("remove expired", sqlx::query(sql::CLEAR_DOOMED)).await?;
        self.execute("remove expired", sqlx::query(sql::DOOM_EXPIRED).bind(micros(self.now))).await?;
        let rows = sqlx::query(sql::READ_DOOMED_OF_ALL).fetch_all(&mut *self.connection).await.map_err(read)?;
        self.execute("remove expired", sqlx::query(sql::DELETE_DOOMED)).await?;
        self.execute("remove expired", sqlx::query(sql::CLEAR_DOOMED)).await?;
        if !rows.is_empty() {
            self.progress.sequence += 1;
            self.changes.forgot = true;
        }
        for row in &rows {
            let id = MemoryId::from(get::<Uuid>(row, 0).map_err(read)?);
            let tenant: String = get(row, 1).map_err(read)?;
            let user: Option<String> = get(row, 2).map_err(read)?;
            self.changed(&tenant, user.as_deref(), Change::Forget(id));
        }
        Ok(rows.len() as u64)
    }

    /// Gathers what the request selects, expired memories too: they are still in the file.
    async fn doom(&mut self, request: &ForgetRequest) -> Result<()> {
        // Few values a statement, since SQLite limits them; many statements are cheap beside the forgetting.
        const IDS_AT_ONCE: usize = 500;
        let failed = |error| backend("forget", error);
        match &request.selection {
            Selection::All => {
                let mut query = sql::within(
                    "INSERT OR IGNORE INTO temp.doomed (id, derived) SELECT id, 0 FROM memory",
                    &request.scope,
                );
                query.build().execute(&mut *self.connection).await.map_err(failed)?;
            }
            Selection::Ids(ids) => {
                for ids in ids.chunks(IDS_AT_ONCE) {
                    let start = "INSERT OR IGNORE INTO temp.doomed (id, derived) SELECT id, 0 FROM memory";
                    let mut query = sql::within(start, &request.scope);
                    query.push(" AND id IN (");
                    let mut list = query.separated(", ");
                    ids.iter().for_each(|id| {
                        list.push_bind(id.as_uuid());
                    });
                    query.push(")");
                    query.build().execute(&mut *self.connection).await.map_err(failed)?;
                }
            }
            Selection::Matching(filter) => {
                let mut after = 0_i64;
                loop {
                    let mut query = sql::within(sql::SELECT_MEMORIES, &request.scope);
                    query.push(" AND position > ").push_bind(after).push(" ORDER BY position LIMIT 1000");
                    let rows = query.build().fetch_all(&mut *self.connection).await.map_err(failed)?;
                    let Some(last) = rows.last() else { return Ok(()) };
                    after = get(last, 0).map_err(failed)?;
                    for row in &rows {
                        let memory = read_memory(row, None).map_err(|error| damaged("forget", error))?.memory;
                        if filter.matches(&memory) {
                            let query = sqlx::query("INSERT OR IGNORE INTO temp.doomed (id, derived) VALUES (?, 0)");
                            self.execute("forget", query.bind(memory.id.as_uuid())).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) async fn execute(
        &mut self,
        operation: &'static str,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<()> {
        query.execute(&mut *self.connection).await.map(drop).map_err(|error| backend(operation, error))
    }

    pub(super) fn changed(&mut self, tenant: &str, user: Option<&str>, change: Change) {
        let change = PartitionChange { sequence: self.progress.sequence, user: user.map(str::to_owned), change };
        match self.changes.partitions.get_mut(tenant) {
            Some(changes) => changes.push(change),
            None => {
                self.changes.partitions.insert(tenant.to_owned(), vec![change]);
            }
        }
    }
}
