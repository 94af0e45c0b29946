//! What a mover writes: items as they are on another store.

use std::sync::Arc;

use memory_core::{
    AnsweredKey, ContentHash, Error, FormerVersion, InsertReceipt, Item, ItemKey, Memory, MemoryId, Rejection, Result,
    Scope, StoredVersion, Timestamp, WholeMemory,
};
use sqlx::Sqlite;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;

use super::Transaction;
use crate::error::{backend, damaged};
use crate::partition::Change;
use crate::replica::items::{find_key, find_memory, find_rejection, find_tombstone, is_forgotten_text};
use crate::rows::{Spaces, StoredMemory, micros, pack_ids, read_spaces, vector_bytes, whole_micros, writer_name};
use crate::sql::{self, replica};

const OPERATION: &str = "write items";

impl Transaction<'_> {
    /// Makes each item what it is given as. What is so already is not touched.
    pub(super) async fn put_items(&mut self, items: &[Item]) -> Result<()> {
        // All at once, so that the spaces are read once.
        for item in items {
            if let Item::Memory(whole) = item {
                let former = whole.former.iter().map(|former| &former.version);
                for embedding in former.chain([&whole.current]).filter_map(|version| version.embedding.as_ref()) {
                    self.space_number(embedding.space()).await?;
                }
            }
        }
        let spaces = read_spaces(self.connection).await.map_err(|error| backend(OPERATION, error))?;
        for (at, item) in items.iter().enumerate() {
            self.put_item(item, &spaces).await.map_err(|error| error.within(&format!("items[{at}]")))?;
        }
        Ok(())
    }

    async fn put_item(&mut self, item: &Item, spaces: &Spaces) -> Result<()> {
        match item {
            Item::Absent(key) => self.remove_item(key, spaces).await,
            Item::Rejection(rejection) => self.put_rejection(rejection).await,
            Item::ForgottenText { scope, hash } => self.put_forgotten_text(scope, hash).await,
            Item::Tombstone { scope, id, forgotten_at } => {
                self.put_tombstone(scope, *id, whole_micros(*forgotten_at), spaces).await
            }
            Item::Memory(whole) => self.put_memory(in_whole_micros(whole), spaces).await,
            Item::IdempotencyKey(answered) => self.put_key(answered).await,
        }
    }

    /// A tombstone stays: what is forgotten does not come back because another store does not know of it.
    async fn remove_item(&mut self, key: &ItemKey, spaces: &Spaces) -> Result<()> {
        match key {
            ItemKey::Rejection { tenant, key } => {
                let query = sqlx::query(sql::LIFT).bind(tenant).bind(&key.as_bytes()[..]);
                self.execute(OPERATION, query).await
            }
            ItemKey::ForgottenText { scope, hash } => {
                self.execute(OPERATION, of_forgotten_text(replica::DELETE_FORGOTTEN_TEXT, scope, hash)).await
            }
            ItemKey::Memory { tenant, id } => match find_memory(self.connection, *id, spaces).await? {
                Some(there) if there.current.memory.scope.tenant_name() == tenant => {
                    self.remove_memory(&there.current.memory).await
                }
                _ => Ok(()),
            },
            ItemKey::IdempotencyKey { tenant, key } => {
                self.execute(OPERATION, sqlx::query(replica::DELETE_KEY).bind(tenant).bind(key)).await
            }
        }
    }

    async fn put_rejection(&mut self, rejection: &Rejection) -> Result<()> {
        let Rejection { scope, keys, rejected_at, rejected_by } = rejection;
        let rejection = Rejection { rejected_at: whole_micros(*rejected_at), ..rejection.clone() };
        if find_rejection(self.connection, scope.tenant_name(), &keys.reads).await? == Some(rejection) {
            return Ok(());
        }
        let looks = (keys.looks != keys.reads).then(|| &keys.looks.as_bytes()[..]);
        let query = sqlx::query(replica::PUT_REJECTION)
            .bind(scope.tenant_name())
            .bind(scope.user())
            .bind(scope.agent())
            .bind(&keys.reads.as_bytes()[..])
            .bind(looks)
            .bind(micros(*rejected_at))
            .bind(rejected_by);
        self.execute(OPERATION, query).await
    }

    async fn put_forgotten_text(&mut self, scope: &Scope, hash: &ContentHash) -> Result<()> {
        if is_forgotten_text(self.connection, scope, hash).await? {
            return Ok(());
        }
        self.execute(OPERATION, of_forgotten_text(replica::PUT_FORGOTTEN_TEXT, scope, hash)).await
    }

    async fn put_tombstone(
        &mut self,
        scope: &Scope,
        id: MemoryId,
        forgotten_at: Timestamp,
        spaces: &Spaces,
    ) -> Result<()> {
        let tombstone = Item::Tombstone { scope: scope.clone(), id, forgotten_at };
        if find_tombstone(self.connection, id).await? != Some(tombstone) {
            let query = sqlx::query(replica::PUT_TOMBSTONE)
                .bind(id.as_uuid())
                .bind(scope.tenant_name())
                .bind(scope.user())
                .bind(scope.agent())
                .bind(scope.session())
                .bind(micros(forgotten_at));
            self.execute(OPERATION, query).await?;
        }
        // The tombstone is there first, so that whoever follows is told that the memory was forgotten.
        match find_memory(self.connection, id, spaces).await? {
            Some(there) => self.remove_memory(&there.current.memory).await,
            None => Ok(()),
        }
    }

    async fn remove_memory(&mut self, memory: &Memory) -> Result<()> {
        let tenant = memory.scope.tenant_name();
        self.progress.sequence += 1;
        self.execute(OPERATION, sqlx::query(replica::DELETE_MEMORY).bind(memory.id.as_uuid())).await?;
        self.changes.forgot = true;
        self.changed(tenant, memory.scope.user(), Change::Forget(memory.id));
        self.invalidate_answers_of(memory).await
    }

    async fn put_memory(&mut self, whole: WholeMemory, spaces: &Spaces) -> Result<()> {
        let memory = &whole.current.memory;
        if find_tombstone(self.connection, memory.id).await?.is_some() {
            return Ok(());
        }
        let there = find_memory(self.connection, memory.id, spaces).await?;
        if there.as_ref() == Some(&whole) {
            return Ok(());
        }
        self.check_ordinal(&whole).await?;
        self.progress.sequence += 1;
        if let Some(there) = &there {
            let former = &there.current.memory;
            if former.scope != memory.scope {
                self.remove_memory(former).await?;
            } else if former != memory {
                self.invalidate_answers_of(former).await?;
            }
        }
        // Whoever writes to this store when it is opened writes behind all that was written here.
        self.progress.next_position = self.progress.next_position.max(whole.ordinal + 1);
        self.write_current(&whole).await?;
        self.write_former(memory.id, &whole.former).await?;
        let (tenant, user) = (memory.scope.tenant_name().to_owned(), memory.scope.user().map(str::to_owned));
        let WholeMemory { ordinal: position, current: StoredVersion { memory, embedding }, .. } = whole;
        let stored = StoredMemory { position, memory: Arc::new(memory), embedding };
        self.changed(&tenant, user.as_deref(), Change::Put(stored));
        Ok(())
    }

    async fn check_ordinal(&mut self, whole: &WholeMemory) -> Result<()> {
        let allowed = "an ordinal above 0 that no other memory of this store has";
        let position = i64::try_from(whole.ordinal).ok().filter(|position| (1..i64::MAX).contains(position));
        let position = position.ok_or_else(|| Error::invalid("ordinal", whole.ordinal, allowed))?;
        let query = sqlx::query_scalar(replica::HOLDER_OF_POSITION).bind(position);
        let holder: Option<uuid::Uuid> =
            query.fetch_optional(&mut *self.connection).await.map_err(|error| backend(OPERATION, error))?;
        match holder {
            Some(holder) if holder != whole.current.memory.id.as_uuid() => {
                Err(Error::invalid("ordinal", whole.ordinal, allowed))
            }
            _ => Ok(()),
        }
    }

    async fn write_current(&mut self, whole: &WholeMemory) -> Result<()> {
        let StoredVersion { memory, embedding } = &whole.current;
        let space = match embedding {
            Some(embedding) => Some(self.space_number(embedding.space()).await?),
            None => None,
        };
        let scope = &memory.scope;
        let metadata = serde_json::to_string(&memory.metadata).map_err(|error| damaged(OPERATION, error))?;
        let query = sqlx::query(replica::PUT_MEMORY)
            .bind(whole.ordinal.cast_signed())
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
            .bind(embedding.as_ref().map(vector_bytes))
            .bind(memory.content_hash().as_bytes().to_vec())
            .bind(self.progress.sequence.cast_signed());
        self.execute(OPERATION, query).await?;
        self.execute(OPERATION, sqlx::query(replica::DELETE_EVIDENCE).bind(memory.id.as_uuid())).await?;
        for source in &memory.evidence {
            let query = sqlx::query(sql::INSERT_EVIDENCE).bind(source.as_uuid()).bind(memory.id.as_uuid());
            self.execute(OPERATION, query).await?;
        }
        Ok(())
    }

    async fn write_former(&mut self, id: MemoryId, former: &[FormerVersion]) -> Result<()> {
        self.execute(OPERATION, sqlx::query(replica::DELETE_HISTORY).bind(id.as_uuid())).await?;
        for FormerVersion { version: StoredVersion { memory, embedding }, .. } in former {
            let space = match embedding {
                Some(embedding) => Some(self.space_number(embedding.space()).await?),
                None => None,
            };
            let body = serde_json::to_string(memory).map_err(|error| damaged(OPERATION, error))?;
            let query = sqlx::query(replica::PUT_FORMER)
                .bind(id.as_uuid())
                .bind(memory.version.cast_signed())
                .bind(micros(memory.recorded_at))
                .bind(memory.content_hash().as_bytes().to_vec())
                .bind(body)
                .bind(space)
                .bind(embedding.as_ref().map(vector_bytes));
            self.execute(OPERATION, query).await?;
        }
        Ok(())
    }

    /// As an update or a forgetting does, also those that are still being computed.
    async fn invalidate_answers_of(&mut self, memory: &Memory) -> Result<()> {
        let tenant = memory.scope.tenant_name();
        self.delete_answers_of(tenant, memory.id).await?;
        self.removals.insert(tenant.to_owned(), self.progress.sequence);
        Ok(())
    }

    async fn put_key(&mut self, answered: &AnsweredKey) -> Result<()> {
        let AnsweredKey { tenant, key, body_hash, items, created_at } = answered;
        let answered = AnsweredKey { created_at: whole_micros(*created_at), ..answered.clone() };
        if find_key(self.connection, tenant, key).await? == Some(answered) {
            return Ok(());
        }
        // The token is this store's own: what was answered is here as of now.
        let token = self.progress.token();
        let receipt = InsertReceipt { items: items.clone(), token, replayed: false, degraded: Vec::new() };
        let json = serde_json::to_string(&receipt).map_err(|error| damaged(OPERATION, error))?;
        let query = sqlx::query(sql::REMEMBER_KEY)
            .bind(tenant)
            .bind(key)
            .bind(&body_hash[..])
            .bind(json)
            .bind(micros(*created_at));
        self.execute(OPERATION, query).await
    }
}

fn of_forgotten_text<'a>(
    statement: &'static str,
    scope: &'a Scope,
    hash: &'a ContentHash,
) -> Query<'a, Sqlite, SqliteArguments> {
    sqlx::query(statement)
        .bind(&hash.as_bytes()[..])
        .bind(scope.tenant_name())
        .bind(scope.user())
        .bind(scope.agent())
        .bind(scope.session())
}

/// A memory as the file keeps it.
fn in_whole_micros(whole: &WholeMemory) -> WholeMemory {
    let version = |version: &StoredVersion, superseded_at: Option<Timestamp>| {
        let memory = &version.memory;
        let memory = Memory {
            valid_from: memory.valid_from.map(whole_micros),
            valid_to: memory.valid_to.map(whole_micros),
            recorded_at: whole_micros(memory.recorded_at),
            superseded_at,
            expires_at: memory.expires_at.map(whole_micros),
            ..memory.clone()
        };
        StoredVersion { memory, embedding: version.embedding.clone() }
    };
    let former = |former: &FormerVersion| {
        let superseded_at = whole_micros(former.superseded_at);
        FormerVersion { version: version(&former.version, Some(superseded_at)), superseded_at }
    };
    WholeMemory {
        ordinal: whole.ordinal,
        current: version(&whole.current, None),
        former: whole.former.iter().map(former).collect(),
    }
}
