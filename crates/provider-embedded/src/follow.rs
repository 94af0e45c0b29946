//! The changes of the store, for caches elsewhere, and the memories without a vector.

use async_trait::async_trait;
use memory_core::{
    Change, ChangeEvent, ChangeFeed, ChangeLag, ChangePosition, Cursor, Embedding, Error, MemoryId, Result, Scope,
    StoreMark, Unembedded, VectorBacklog,
};
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use crate::error::{backend, damaged};
use crate::provider::EmbeddedProvider;
use crate::rows::{get, micros, time};
use crate::sql;
use crate::writer::{Answer, Follow, Task};

#[async_trait]
impl ChangeFeed for EmbeddedProvider {
    async fn unseen(&self, follower: &str, limit: usize) -> Result<Vec<Change>> {
        let read = |error| backend("read changes", error);
        let query = sqlx::query_scalar(sql::IS_FOLLOWER).bind(follower);
        let is_known: bool = query.fetch_one(&self.inner.readers).await.map_err(read)?;
        if !is_known {
            self.follow("read changes", Follow::Begin(follower.to_owned())).await?;
        }
        let query = sqlx::query(sql::UNSEEN_CHANGES).bind(follower).bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.inner.readers).await.map_err(read)?;
        let mut changes: Vec<Change> = Vec::with_capacity(rows.len());
        for row in &rows {
            let next = read_change(row).map_err(|error| damaged("read changes", error))?;
            match changes.last_mut() {
                // Those that were removed together are one change.
                Some(last)
                    if next.event != ChangeEvent::Updated
                        && (&last.tenant, last.event, last.occurred_at)
                            == (&next.tenant, next.event, next.occurred_at) =>
                {
                    last.memories.extend(next.memories);
                    last.position = next.position;
                }
                _ => changes.push(next),
            }
        }
        Ok(changes)
    }

    async fn acknowledge(&self, follower: &str, position: &ChangePosition) -> Result<()> {
        let allowed = "a position that this store gave";
        let passed = position.0.parse().map_err(|_| Error::invalid("position", &position.0, allowed))?;
        self.follow("acknowledge changes", Follow::Pass(follower.to_owned(), passed)).await.map(drop)
    }

    async fn lag(&self, follower: &str) -> Result<ChangeLag> {
        let read = |error| backend("lag", error);
        let query = sqlx::query(sql::LAG_OF_FOLLOWER).bind(follower);
        let row = query.fetch_one(&self.inner.readers).await.map_err(read)?;
        let oldest = get::<Option<i64>>(&row, 1).map_err(read)?;
        Ok(ChangeLag {
            changes: get::<i64>(&row, 0).map_err(read)?.cast_unsigned(),
            oldest: oldest.map(time).transpose().map_err(|error| damaged("lag", error))?,
        })
    }

    async fn unfollow(&self, follower: &str) -> Result<()> {
        self.follow("unfollow", Follow::End(follower.to_owned())).await.map(drop)
    }

    async fn remove_passed(&self) -> Result<u64> {
        self.follow("remove changes", Follow::RemovePassed).await
    }
}

#[async_trait]
impl VectorBacklog for EmbeddedProvider {
    async fn without_vector(&self, after: Option<Cursor>, limit: usize) -> Result<Vec<Unembedded>> {
        let read = |error| backend("without vector", error);
        let query = sqlx::query(sql::WITHOUT_VECTOR)
            .bind(after.map_or(0, |after| i64::try_from(after.0).unwrap_or(i64::MAX)))
            .bind(micros(self.now()))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let rows = query.fetch_all(&self.inner.readers).await.map_err(read)?;
        let unembedded = |row: &SqliteRow| {
            Ok(Unembedded {
                cursor: Cursor(get::<i64>(row, 0).map_err(read)?.cast_unsigned()),
                tenant: Scope::tenant(get::<String>(row, 1).map_err(read)?)?,
                id: MemoryId::from(get::<Uuid>(row, 2).map_err(read)?),
                version: get::<i64>(row, 3).map_err(read)?.cast_unsigned(),
            })
        };
        rows.iter().map(unembedded).collect()
    }

    async fn add_vector(&self, unembedded: &Unembedded, embedding: Embedding) -> Result<bool> {
        let task = Task::AddVector(unembedded.clone(), Box::new(embedding));
        match self.write("add vector", task).await? {
            Answer::VectorAdded(is_added) => Ok(is_added),
            other => Err(crate::store::unexpected("add vector", &other)),
        }
    }
}

impl EmbeddedProvider {
    async fn follow(&self, operation: &'static str, follow: Follow) -> Result<u64> {
        match self.write(operation, Task::Follow(follow)).await? {
            Answer::Followed(rows) => Ok(rows),
            other => Err(crate::store::unexpected(operation, &other)),
        }
    }

    pub(crate) async fn read_mark(&self) -> Result<StoreMark> {
        let query = sqlx::query_scalar(sql::READ_SEQUENCE);
        let sequence: i64 = query.fetch_one(&self.inner.readers).await.map_err(|error| backend("mark", error))?;
        Ok(StoreMark(sequence.to_string()))
    }

    pub(crate) async fn all_stand(
        &self,
        scope: &Scope,
        memories: &[MemoryId],
        since: Option<&StoreMark>,
    ) -> Result<bool> {
        let since = match since {
            None => i64::MAX,
            Some(mark) => mark.0.parse().map_err(|_| Error::invalid("mark", &mark.0, "a mark that this store gave"))?,
        };
        for memory in memories {
            let mut query = sql::within("SELECT EXISTS (SELECT 1 FROM memory", &scope.whole_tenant());
            query.push(" AND id = ").push_bind(memory.as_uuid());
            query.push(" AND changed <= ").push_bind(since);
            query.push(" AND (expires_at IS NULL OR expires_at > ").push_bind(micros(self.now())).push("))");
            let stands = query.build_query_scalar().fetch_one(&self.inner.readers).await;
            if !stands.map_err(|error| backend("stand", error))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn read_change(row: &SqliteRow) -> crate::rows::ReadResult<Change> {
    let event: &str = get(row, 2)?;
    Ok(Change {
        position: ChangePosition(get::<i64>(row, 0)?.to_string()),
        tenant: get(row, 1)?,
        event: ChangeEvent::from_name(event).ok_or_else(|| format!("there is no event {event}"))?,
        memories: vec![MemoryId::from(get::<Uuid>(row, 3)?)],
        occurred_at: time(get(row, 4)?)?,
    })
}
