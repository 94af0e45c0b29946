//! The shelves of every tenant: read from the file when a tenant first looks something up, kept up to date by the writer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memory_core::{CacheEntryId, CacheStats, Fingerprint, Result, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::error::{backend, damaged};
use crate::rows::{ReadResult, Spaces, embedding, get, metadata, micros, read_spaces, scope, time};
use crate::shelf::{NewShelfEntry, Shelf, ShelfKey};
use crate::sql;

/// What a commit changed in the cache.
#[derive(Debug)]
pub(crate) enum ShelfChange {
    Put(ShelfKey, Box<NewShelfEntry>),
    Prolong(CacheEntryId, Timestamp),
    Remove(CacheEntryId),
}

/// The shelves of all tenants that were touched.
#[derive(Debug)]
pub(crate) struct Shelves {
    readers: SqlitePool,
    tenants: Mutex<HashMap<String, Arc<TenantCache>>>,
}

/// One tenant's cache.
#[derive(Debug, Default)]
pub(crate) struct TenantCache {
    /// `None` until it is read from the file. The reader holds the lock meanwhile, so the writer waits for it.
    shelves: Arc<RwLock<Option<TenantShelves>>>,
    pub counters: Counters,
}

/// How a tenant's lookups went.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub exact_hits: AtomicU64,
    pub semantic_hits: AtomicU64,
    pub misses: AtomicU64,
    pub refused: AtomicU64,
}

impl Counters {
    pub(crate) fn stats(&self, entries: u64) -> CacheStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CacheStats {
            entries,
            exact_hits: count(&self.exact_hits),
            semantic_hits: count(&self.semantic_hits),
            misses: count(&self.misses),
            refused: count(&self.refused),
        }
    }
}

/// One tenant's entries in memory.
#[derive(Debug, Default)]
pub(crate) struct TenantShelves {
    /// The write up to which the file had been read; later ones are applied.
    loaded_at: u64,
    shelves: HashMap<ShelfKey, Shelf>,
    places: HashMap<CacheEntryId, (ShelfKey, usize)>,
}

impl Shelves {
    pub(crate) fn new(readers: SqlitePool) -> Self {
        Self { readers, tenants: Mutex::default() }
    }

    pub(crate) fn tenant(&self, name: &str) -> Arc<TenantCache> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(name) {
            return tenant.clone();
        }
        tenants.entry(name.to_owned()).or_default().clone()
    }

    /// The tenant's shelves in memory.
    pub(crate) async fn open(
        &self,
        name: &str,
        now: Timestamp,
    ) -> Result<OwnedRwLockReadGuard<Option<TenantShelves>, TenantShelves>> {
        let tenant = self.tenant(name);
        loop {
            let shelves = tenant.shelves.clone().read_owned().await;
            if let Ok(shelves) = OwnedRwLockReadGuard::try_map(shelves, Option::as_ref) {
                return Ok(shelves);
            }
            let mut shelves = tenant.shelves.write().await;
            if shelves.is_none() {
                *shelves = Some(self.load(name, now).await?);
            }
        }
    }

    /// Applies what was committed.
    pub(crate) async fn apply(&self, tenant: &str, changes: Vec<(u64, ShelfChange)>) {
        let tenant = self.tenants.lock().unwrap_or_else(PoisonError::into_inner).get(tenant).cloned();
        let Some(tenant) = tenant else { return };
        if let Some(shelves) = tenant.shelves.write().await.as_mut() {
            changes.into_iter().for_each(|(sequence, change)| shelves.apply(sequence, change));
        }
    }

    async fn load(&self, tenant: &str, now: Timestamp) -> Result<TenantShelves> {
        let read = |error: sqlx::Error| backend("load", error);
        let mut snapshot = self.readers.begin().await.map_err(read)?;
        let connection: &mut SqliteConnection = &mut snapshot;
        let sequence: i64 = sqlx::query_scalar(sql::READ_SEQUENCE).fetch_one(&mut *connection).await.map_err(read)?;
        let spaces = read_spaces(connection).await.map_err(read)?;
        let query = sqlx::query(sql::ENTRIES_OF_TENANT).bind(tenant).bind(micros(now));
        let rows = query.fetch_all(&mut *connection).await.map_err(read)?;
        let mut shelves = TenantShelves { loaded_at: sequence.cast_unsigned(), ..TenantShelves::default() };
        for row in &rows {
            let (key, entry) = read_shelf_entry(tenant, row, &spaces).map_err(|error| damaged("load", error))?;
            shelves.put(key, entry);
        }
        Ok(shelves)
    }
}

/// A row of [`sql::ENTRIES_OF_TENANT`].
fn read_shelf_entry(tenant: &str, row: &SqliteRow, spaces: &Spaces) -> ReadResult<(ShelfKey, NewShelfEntry)> {
    let scope = scope(tenant, get(row, 1)?, get(row, 2)?, get(row, 3)?)?;
    let entry = NewShelfEntry {
        id: CacheEntryId(get(row, 0)?),
        prompt_key: get::<&[u8]>(row, 5)?.try_into()?,
        prompt: get::<&str>(row, 6)?.into(),
        metadata: metadata(get(row, 7)?)?,
        expires_at: time(get(row, 8)?)?,
        embedding: embedding(get(row, 9)?, get(row, 10)?, spaces)?,
    };
    Ok((ShelfKey { scope, fingerprint: Fingerprint(get::<&[u8]>(row, 4)?.try_into()?) }, entry))
}

impl TenantShelves {
    pub(crate) fn shelf(&self, key: &ShelfKey) -> Option<&Shelf> {
        self.shelves.get(key)
    }

    fn apply(&mut self, sequence: u64, change: ShelfChange) {
        match change {
            ShelfChange::Put(key, entry) if sequence > self.loaded_at => self.put(key, *entry),
            ShelfChange::Put(..) => {}
            ShelfChange::Prolong(id, expires_at) => {
                if let Some((key, place)) = self.places.get(&id)
                    && let Some(shelf) = self.shelves.get_mut(key)
                {
                    shelf.prolong(*place, id, expires_at);
                }
            }
            ShelfChange::Remove(id) => self.remove(id),
        }
    }

    fn put(&mut self, key: ShelfKey, entry: NewShelfEntry) {
        let id = entry.id;
        let place = self.shelves.entry(key.clone()).or_default().put(entry);
        self.places.insert(id, (key, place));
    }

    fn remove(&mut self, id: CacheEntryId) {
        let Some((key, place)) = self.places.remove(&id) else { return };
        if let Some(shelf) = self.shelves.get_mut(&key) {
            shelf.remove(place, id);
            if shelf.len() == 0 {
                self.shelves.remove(&key);
            }
        }
    }
}
