//! What a search knows of the indexes: read once at the beginning, and again in the background while searches go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use sqlx::Row as _;
use sqlx::types::Json;
use tracing::warn;

use super::policy::IndexKind;
use super::spec::IndexSpec;
use crate::config::Storage;
use crate::provider::AlloyDbMemoryProvider;
use crate::statements::Repeat;

/// How old what is known may be. A search with the settings of a former index finds no less than there is: the planner takes
/// whichever index is there.
const FRESH: Duration = Duration::from_secs(10);

/// The index of a space.
#[derive(Debug, Clone)]
pub(crate) struct InUse {
    pub spec: IndexSpec,
    /// What the search is told of it.
    pub search: Value,
}

impl InUse {
    pub(super) fn new(spec: IndexSpec, effort: u32, rows: u64, storage: Storage) -> Self {
        Self { search: spec.search(effort, rows, storage), spec }
    }

    pub fn kind(&self) -> IndexKind {
        self.spec.kind()
    }
}

/// By space.
#[derive(Debug, Default)]
pub(crate) struct Indexes {
    by_space: RwLock<HashMap<i16, Arc<InUse>>>,
    read_at: Mutex<Option<Instant>>,
    being_read: AtomicBool,
}

impl AlloyDbMemoryProvider {
    /// What a search in a space tells Postgres of the space's index, as `orchestra.search_memories` takes it: to send the same
    /// statement by hand.
    #[must_use]
    pub fn index_parameters(&self, space: i16) -> Option<Value> {
        self.index_of(space).map(|index| index.search.clone())
    }

    /// The index of a space, as far as is known. Never waits.
    pub(crate) fn index_of(&self, space: i16) -> Option<Arc<InUse>> {
        let indexes = &self.inner.indexes;
        let read_at = *indexes.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        if read_at.is_none_or(|at| at.elapsed() > FRESH) && !indexes.being_read.swap(true, Ordering::AcqRel) {
            let provider = self.clone();
            tokio::spawn(async move {
                if let Err(error) = provider.read_indexes().await {
                    warn!(%error, "the state of the vector indexes was not read; the former one holds");
                }
                provider.inner.indexes.being_read.store(false, Ordering::Release);
            });
        }
        indexes.by_space.read().unwrap_or_else(PoisonError::into_inner).get(&space).cloned()
    }

    pub(crate) async fn read_indexes(&self) -> sqlx::Result<()> {
        let storage = self.inner.config.storage;
        let statement = "SELECT s.space, s.parameters, s.effort, greatest(s.rows_at_build, c.reltuples::bigint) AS rows \
             FROM orchestra.index_state s \
             LEFT JOIN pg_class c ON c.relname = s.name AND c.relnamespace = 'orchestra'::regnamespace \
             WHERE s.name IS NOT NULL";
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, || sqlx::query(statement)).await;
        let indexes = &self.inner.indexes;
        // One that failed is not tried again at once.
        *indexes.read_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let mut by_space = HashMap::new();
        for row in rows? {
            let Json(parameters): Json<Value> = row.try_get("parameters")?;
            // One that a later version made is none that this one can search by.
            let Ok(spec) = serde_json::from_value::<IndexSpec>(parameters) else { continue };
            let effort = row.try_get::<Option<i32>, _>("effort")?.and_then(|effort| u32::try_from(effort).ok());
            let effort = effort.unwrap_or_else(|| spec.first_effort());
            let rows = row.try_get::<Option<i64>, _>("rows")?.unwrap_or_default().unsigned_abs();
            by_space.insert(row.try_get("space")?, Arc::new(InUse::new(spec, effort, rows, storage)));
        }
        *indexes.by_space.write().unwrap_or_else(PoisonError::into_inner) = by_space;
        Ok(())
    }
}
