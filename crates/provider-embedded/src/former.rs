//! Searches of what the store knew at a former time: the versions that were current then are read from the file, and
//! searched as the current ones are.

use std::collections::BTreeMap;
use std::sync::Arc;

use memory_core::{Candidates, Result, Scope, SearchRequest, Timestamp};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::error::{backend, damaged};
use crate::partition::Partition;
use crate::provider::EmbeddedProvider;
use crate::rows::{ReadResult, Spaces, StoredMemory, embedding, get, micros, read_memory, read_spaces};
use crate::search::search;
use crate::sql;

/// The versions of a time, by the position of their memories: of scopes that overlap each is read again.
type Versions = BTreeMap<u64, StoredMemory>;

impl EmbeddedProvider {
    /// Searches what was known at `at`, of the memories that are there `now`.
    pub(crate) async fn search_former(
        &self,
        request: &SearchRequest,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Candidates> {
        let one = self.inner.former.clone().lock_owned().await;
        let mut snapshot = self.inner.readers.begin().await.map_err(|error| backend("search", error))?;
        let spaces = read_spaces(&mut snapshot).await.map_err(|error| backend("search", error))?;
        let mut versions = Versions::new();
        for scope in request.scopes() {
            read_versions(&mut snapshot, scope, at, now, &spaces, &mut versions).await?;
        }
        drop(snapshot);
        let request = request.clone();
        let run = move || {
            let _one = one;
            let partition = Partition::load(0, versions.into_values().collect());
            // Whether a memory has expired was judged by its current version; a former one may have been to expire sooner.
            search(&[&partition], &request, Timestamp::MIN_UTC)
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| damaged("search", error))
    }
}

/// Of each memory of a scope the last version that was recorded by `at`.
async fn read_versions(
    connection: &mut SqliteConnection,
    scope: &Scope,
    at: Timestamp,
    now: Timestamp,
    spaces: &Spaces,
    versions: &mut Versions,
) -> Result<()> {
    let failed = |error| backend("search", error);
    let wrong = |error| damaged("search", error);
    let mut current = sql::within(sql::SELECT_MEMORIES, scope);
    current.push(" AND recorded_at <= ").push_bind(micros(at));
    current.push(" AND (expires_at IS NULL OR expires_at > ").push_bind(micros(now)).push(")");
    for row in current.build().fetch_all(&mut *connection).await.map_err(failed)? {
        let stored = read_memory(&row, Some(spaces)).map_err(wrong)?;
        versions.insert(stored.position, stored);
    }
    let mut former = sql::within(sql::SELECT_FORMER, scope);
    former.push(" AND memory.recorded_at > ").push_bind(micros(at));
    former.push(" AND (expires_at IS NULL OR expires_at > ").push_bind(micros(now)).push(")");
    former.push(" AND h.version = (SELECT MAX(v.version) FROM memory_history v WHERE v.id = memory.id");
    former.push(" AND v.recorded_at <= ").push_bind(micros(at)).push(")");
    for row in former.build().fetch_all(&mut *connection).await.map_err(failed)? {
        let stored = read_former(&row, spaces).map_err(wrong)?;
        versions.insert(stored.position, stored);
    }
    Ok(())
}

/// A row of [`sql::SELECT_FORMER`].
fn read_former(row: &SqliteRow, spaces: &Spaces) -> ReadResult<StoredMemory> {
    Ok(StoredMemory {
        position: get::<i64>(row, 0)?.cast_unsigned(),
        memory: Arc::new(serde_json::from_str(get(row, 1)?)?),
        embedding: embedding(get(row, 2)?, get(row, 3)?, spaces)?,
    })
}
