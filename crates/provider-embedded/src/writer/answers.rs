//! Filing cached answers, and removing them: by request, with the memories they used, or for room.

use std::sync::Arc;

use memory_core::{
    CacheEntryId, Error, InvalidateRequest, InvalidateSelection, MemoryId, NewCacheEntry, Result, Scope, Timestamp,
};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::Transaction;
use crate::error::{backend, damaged};
use crate::rows::{get, micros, pack_ids, time, vector_bytes};
use crate::shelf::{NewShelfEntry, ShelfKey, prompt_key};
use crate::shelves::ShelfChange;
use crate::sql;

impl Transaction<'_> {
    pub(super) async fn file_answer(&mut self, entry: &NewCacheEntry) -> Result<CacheEntryId> {
        let tenant = entry.scope.tenant_name();
        let mut first_expiry = i64::MAX;
        for (at, memory) in entry.depends_on.iter().enumerate() {
            first_expiry = first_expiry.min(self.expiry_of_dependency(tenant, at, *memory).await?);
        }
        self.progress.sequence += 1;
        let key = ShelfKey { scope: entry.scope.clone(), fingerprint: entry.fingerprint };
        let prompt_key = prompt_key(&entry.prompt);
        let scope_key = serde_json::to_string(&entry.scope).map_err(|error| damaged("store", error))?;
        self.remove_former(tenant, &scope_key, &key, &prompt_key).await?;

        let id = CacheEntryId(Uuid::now_v7());
        let lives_until = chrono::TimeDelta::from_std(entry.ttl)
            .ok()
            .and_then(|ttl| self.now.checked_add_signed(ttl))
            .ok_or_else(|| Error::invalid("ttl", format!("{} s", entry.ttl.as_secs()), "a time that can be reached"))?;
        let expires_at =
            Timestamp::from_timestamp_micros(first_expiry).map_or(lives_until, |first| first.min(lives_until));
        let space = match &entry.embedding {
            Some(embedding) => Some(self.space_number(embedding.space()).await?),
            None => None,
        };
        let json = |value: serde_json::Result<String>| value.map_err(|error| damaged("store", error));
        let query = sqlx::query(sql::INSERT_ENTRY)
            .bind(id.0)
            .bind(tenant)
            .bind(entry.scope.user())
            .bind(entry.scope.agent())
            .bind(entry.scope.session())
            .bind(scope_key)
            .bind(&entry.fingerprint.0[..])
            .bind(&prompt_key[..])
            .bind(&entry.prompt)
            .bind(&entry.response)
            .bind(pack_ids(&entry.depends_on))
            .bind(json(serde_json::to_string(&entry.tags))?)
            .bind(json(serde_json::to_string(&entry.metadata))?)
            .bind(space)
            .bind(entry.embedding.as_ref().map(vector_bytes))
            .bind(micros(self.now))
            .bind(micros(expires_at))
            .bind(entry.sliding.then(|| i64::try_from(entry.ttl.as_micros()).unwrap_or(i64::MAX)));
        self.execute("store", query).await?;
        for memory in &entry.depends_on {
            self.execute("store", sqlx::query(sql::INSERT_DEPENDENCY).bind(memory.as_uuid()).bind(id.0)).await?;
        }
        self.progress.cache_entries += 1;
        let prompt: Arc<str> = entry.prompt.as_str().into();
        let (metadata, embedding) = (entry.metadata.clone(), entry.embedding.clone());
        let new = NewShelfEntry { id, prompt_key, prompt, metadata, expires_at, embedding };
        self.shelf_changed(tenant, ShelfChange::Put(key, Box::new(new)));
        self.make_room(id).await?;
        Ok(id)
    }

    /// Gives an answer that was just used its time again.
    pub(super) async fn prolong(&mut self, id: CacheEntryId) -> Result<()> {
        let failed = |error| backend("prolong", error);
        let query = sqlx::query(sql::PROLONG_ENTRY).bind(id.0).bind(micros(self.now));
        let Some(row) = query.fetch_optional(&mut *self.connection).await.map_err(failed)? else { return Ok(()) };
        self.progress.sequence += 1;
        let expires_at = time(get(&row, 1).map_err(failed)?).map_err(|error| damaged("prolong", error))?;
        let tenant: String = get(&row, 0).map_err(failed)?;
        self.shelf_changed(&tenant, ShelfChange::Prolong(id, expires_at));
        Ok(())
    }

    /// When a memory that an answer depends on expires, in microseconds since 1970. An answer is filed only on memories
    /// that stand: on a forgotten one it would bring back what was forgotten.
    async fn expiry_of_dependency(&mut self, tenant: &str, at: usize, memory: MemoryId) -> Result<i64> {
        let read = |error| backend("store", error);
        let query = sqlx::query(sql::STANDING_OF_MEMORY).bind(memory.as_uuid());
        let row = query.fetch_one(&mut *self.connection).await.map_err(read)?;
        let expires_at = get::<Option<i64>>(&row, 1).map_err(read)?.unwrap_or(i64::MAX);
        let is_here = get::<Option<&str>>(&row, 0).map_err(read)? == Some(tenant) && expires_at > micros(self.now);
        let was_forgotten = get::<bool>(&row, 2).map_err(read)?;
        if was_forgotten || (self.config.cache_requires_memories && !is_here) {
            return Err(Error::invalid(
                format!("depends_on[{at}]"),
                memory,
                "the id of a memory of this tenant that stands",
            ));
        }
        Ok(expires_at)
    }

    async fn remove_former(
        &mut self,
        tenant: &str,
        scope_key: &str,
        key: &ShelfKey,
        prompt_key: &[u8; 32],
    ) -> Result<()> {
        let failed = |error| backend("store", error);
        let query = sqlx::query(sql::REPLACE_ENTRY).bind(scope_key).bind(&key.fingerprint.0[..]).bind(&prompt_key[..]);
        for row in query.fetch_all(&mut *self.connection).await.map_err(failed)? {
            self.removed(tenant, CacheEntryId(get(&row, 0).map_err(failed)?));
        }
        Ok(())
    }

    /// Removes the entries that would expire first when there are more than the configuration allows.
    async fn make_room(&mut self, keep: CacheEntryId) -> Result<()> {
        let surplus = self.progress.cache_entries.saturating_sub(self.config.cache_max_entries as u64);
        if surplus == 0 {
            return Ok(());
        }
        let failed = |error| backend("store", error);
        let query = sqlx::query(sql::DELETE_SOONEST_ENTRIES).bind(keep.0).bind(surplus.cast_signed());
        for row in query.fetch_all(&mut *self.connection).await.map_err(failed)? {
            let tenant: String = get(&row, 1).map_err(failed)?;
            self.removed(&tenant, CacheEntryId(get(&row, 0).map_err(failed)?));
        }
        Ok(())
    }

    pub(super) async fn invalidate(&mut self, request: &InvalidateRequest) -> Result<u64> {
        self.progress.sequence += 1;
        let mut removed = 0;
        match &request.selection {
            InvalidateSelection::DependsOn(memories) => {
                for memory in memories {
                    removed += self
                        .delete_within(&request.scope, |query| {
                            query.push(" AND id IN (SELECT entry FROM cache_dependency WHERE memory = ");
                            query.push_bind(memory.as_uuid()).push(")");
                        })
                        .await?;
                }
            }
            InvalidateSelection::Entry(id) => {
                removed += self
                    .delete_within(&request.scope, |query| {
                        query.push(" AND id = ").push_bind(id.0);
                    })
                    .await?;
            }
            InvalidateSelection::Tag(tag) => {
                removed += self
                    .delete_within(&request.scope, |query| {
                        query
                            .push(" AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ")
                            .push_bind(tag.clone())
                            .push(")");
                    })
                    .await?;
            }
            InvalidateSelection::All => removed += self.delete_within(&request.scope, |_| {}).await?,
        }
        Ok(removed)
    }

    async fn delete_within(
        &mut self,
        scope: &Scope,
        narrow: impl FnOnce(&mut sqlx::QueryBuilder<sqlx::Sqlite>),
    ) -> Result<u64> {
        let mut query = sql::within("DELETE FROM cache_entry", scope);
        narrow(&mut query);
        query.push(" RETURNING id, expires_at");
        let rows =
            query.build().fetch_all(&mut *self.connection).await.map_err(|error| backend("invalidate", error))?;
        self.count_removed(scope.tenant_name(), &rows)
    }

    /// Removes the answers that used this memory. They are all of its tenant.
    pub(super) async fn delete_answers_of(&mut self, tenant: &str, memory: MemoryId) -> Result<u64> {
        let query = sqlx::query(sql::DELETE_ANSWERS_OF).bind(memory.as_uuid());
        let rows = query.fetch_all(&mut *self.connection).await.map_err(|error| backend("invalidate", error))?;
        self.count_removed(tenant, &rows)
    }

    pub(super) async fn delete_answers_of_doomed(&mut self, tenant: &str) -> Result<u64> {
        let query = sqlx::query(sql::DELETE_ANSWERS_OF_DOOMED);
        let rows = query.fetch_all(&mut *self.connection).await.map_err(|error| backend("invalidate", error))?;
        self.count_removed(tenant, &rows)
    }

    /// Takes removed entries off the shelves, and gives how many had not expired: the others were gone before.
    fn count_removed(&mut self, tenant: &str, rows: &[SqliteRow]) -> Result<u64> {
        let read = |error| backend("invalidate", error);
        let mut standing = 0;
        for row in rows {
            self.removed(tenant, CacheEntryId(get(row, 0).map_err(read)?));
            standing += u64::from(get::<i64>(row, 1).map_err(read)? > micros(self.now));
        }
        Ok(standing)
    }

    fn removed(&mut self, tenant: &str, id: CacheEntryId) {
        self.progress.cache_entries = self.progress.cache_entries.saturating_sub(1);
        self.shelf_changed(tenant, ShelfChange::Remove(id));
    }

    fn shelf_changed(&mut self, tenant: &str, change: ShelfChange) {
        let changes = self.changes.shelves.entry(tenant.to_owned()).or_default();
        changes.push((self.progress.sequence, change));
    }
}
