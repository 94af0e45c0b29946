//! [`MemoryStore`]: each call is one statement, a function of the schema, and so one round trip; an update reads what it
//! changes first.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::{
    Candidates, ChangeFeed, Cursor, EmbeddingSpace, Error, ForgetReceipt, ForgetRequest, InsertBatch, InsertReceipt,
    ListRequest, Memory, MemoryId, MemoryPatch, MemoryStore, Page, Rejections, Result, Scope, SearchRequest, StoreMark,
    StoreStats, Timestamp, Turn, UpdateReceipt, ValueKeys, VectorBacklog, WriteToken,
};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{FromRow as _, Postgres, Row as _};

use crate::batch::stored;
use crate::error::{damaged, failed};
use crate::escape::{escape, escape_json};
use crate::filter::compile;
use crate::gate;
use crate::lexical;
use crate::provider::AlloyDbMemoryProvider;
use crate::rows::{read_embedding, read_memory, whole_micros};
use crate::statements::Repeat;

/// The parameter of a filter's values, in every statement.
pub(crate) const ARGUMENTS: &str = "$6";

/// The parameters that every function begins with: the scope's parts and the time.
macro_rules! in_scope {
    ($function:literal, $rest:literal) => {
        concat!("SELECT * FROM orchestra.", $function, "($1, $2, $3, $4, $5", $rest, ")")
    };
}
pub(crate) use in_scope;

#[async_trait]
impl MemoryStore for AlloyDbMemoryProvider {
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt> {
        let done = self.write(batch).await;
        if gate::inserted_nothing(&done) {
            self.may_have_been_opened("insert").await?;
        }
        done
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.one("get", in_scope!("get_memory", ", $6"), scope, id).await
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.one("turn_before", in_scope!("get_turn_before", ", $6"), scope, id).await
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<UpdateReceipt> {
        if let Some(embedding) = &patch.embedding {
            self.check_dimensions(embedding.space())?;
        }
        let done = self.change(scope, id, &patch).await;
        if gate::judges(&done) && self.may_have_been_opened("update").await? {
            return self.change(scope, id, &patch).await;
        }
        done
    }

    async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>> {
        let statement = in_scope!("get_memory_versions", ", $6");
        let query = || self.scoped(statement, scope).bind(id.as_uuid());
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, query).await;
        let rows = rows.map_err(|error| failed("history", error))?;
        rows.iter().map(read_memory).collect::<sqlx::Result<_>>().map_err(|error| damaged("history", error))
    }

    async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        let done = self.forget_selection(request).await;
        if gate::forgot_nothing(&done) && self.may_have_been_opened("forget").await? {
            return self.forget_selection(request).await;
        }
        done
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        if request.limit == 0 {
            return Err(Error::invalid("limit", 0, "at least 1"));
        }
        let filter = request.filter.as_ref().map(|filter| compile(filter, ARGUMENTS));
        // One more than the page holds, to know whether there is a next one.
        let at_most = i32::try_from(request.limit).unwrap_or(i32::MAX).saturating_add(1);
        let statement = in_scope!("list_memories", ", $6, $7, $8, $9, $10, $11");
        let query = || {
            self.scoped(statement, &request.scope)
                .bind(filter.as_ref().map(|filter| &*filter.sql))
                .bind(filter.as_ref().map(|filter| Json(&filter.arguments)))
                .bind(request.cursor.map(|cursor| i64::try_from(cursor.0).unwrap_or(i64::MAX)))
                .bind(request.newest_first)
                .bind(at_most)
                .bind(request.with_embeddings)
        };
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, query).await;
        let rows = rows.map_err(|error| failed("list", error))?;
        let spaces = if request.with_embeddings { self.spaces_of("list", &rows).await? } else { Vec::new() };
        let read = |row: &PgRow| {
            let space = |number| spaces.iter().find(|(known, _)| *known == number).map(|(_, space)| space.clone());
            let embedding = if request.with_embeddings { read_embedding(row, space)? } else { None };
            Ok((Arc::new(read_memory(row)?), embedding))
        };
        let page: sqlx::Result<Vec<_>> = rows.iter().take(request.limit).map(read).collect();
        let next = match rows.get(request.limit) {
            None => None,
            Some(_) => {
                let last: i64 = rows[request.limit - 1].try_get("ordinal").map_err(|error| damaged("list", error))?;
                Some(Cursor(last.cast_unsigned()))
            }
        };
        Ok(Page { memories: page.map_err(|error| damaged("list", error))?, next })
    }

    async fn search(&self, request: &SearchRequest) -> Result<Candidates> {
        request.validate()?;
        self.find(request).await
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        let query = || self.scoped(in_scope!("count_memories", ""), scope);
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmless, query).await;
        let row = row.map_err(|error| failed("stats", error))?;
        let count = |name| row.try_get::<i64, _>(name).map(i64::cast_unsigned).map_err(|error| damaged("stats", error));
        Ok(StoreStats {
            memories: count("memories")?,
            without_embedding: count("without_embedding")?,
            former_versions: count("former_versions")?,
            tombstones: count("tombstones")?,
            disk_bytes: count("disk_bytes")?,
            index_bytes: count("index_bytes")?,
        })
    }

    async fn health(&self) -> Result<()> {
        let query = || sqlx::query("SELECT instance FROM orchestra.store");
        let read = self.inner.statements.row(&self.inner.primary, Repeat::Harmless, query).await;
        read.map(drop).map_err(|error| failed("health", error))
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

    async fn take_turn(&self, scope: &Scope) -> Result<Option<Turn>> {
        self.turn(scope).await
    }

    async fn mark(&self) -> Result<Option<StoreMark>> {
        self.read_mark().await.map(Some)
    }

    async fn stand(&self, scope: &Scope, memories: &[MemoryId], since: Option<&StoreMark>) -> Result<bool> {
        self.all_stand(scope, memories, since).await
    }
}

/// What became of an attempt to put another version in a memory's place.
enum Replaced {
    Done(WriteToken),
    NotFound,
    Changed,
}

impl AlloyDbMemoryProvider {
    /// A statement with its first parameters: the scope's parts and the time.
    pub(crate) fn scoped<'q>(&self, statement: &'static str, scope: &Scope) -> Query<'q, Postgres, PgArguments> {
        self.scoped_at(statement, scope, whole_micros(self.now()))
    }

    fn scoped_at<'q>(
        &self,
        statement: &'static str,
        scope: &Scope,
        now: Timestamp,
    ) -> Query<'q, Postgres, PgArguments> {
        sqlx::query(statement)
            .bind(scope.tenant_name().to_owned())
            .bind(scope.user().map(str::to_owned))
            .bind(scope.agent().map(str::to_owned))
            .bind(scope.session().map(str::to_owned))
            .bind(now)
    }

    async fn one(
        &self,
        operation: &'static str,
        statement: &'static str,
        scope: &Scope,
        id: MemoryId,
    ) -> Result<Option<Arc<Memory>>> {
        let query = || self.scoped(statement, scope).bind(id.as_uuid());
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, query).await;
        let rows = rows.map_err(|error| failed(operation, error))?;
        let memory = rows.first().map(read_memory).transpose().map_err(|error| damaged(operation, error))?;
        Ok(memory.map(Arc::new))
    }

    async fn change(&self, scope: &Scope, id: MemoryId, patch: &MemoryPatch) -> Result<UpdateReceipt> {
        loop {
            let former = self.one("update", in_scope!("get_memory", ", $6"), scope, id).await?;
            let former = former.ok_or(Error::NotFound(id))?;
            let mut next = patch.apply(&former, whole_micros(self.now()))?;
            next.valid_to = next.valid_to.map(whole_micros);
            next.expires_at = next.expires_at.map(whole_micros);
            match self.replace(scope, &former, &next, patch).await? {
                Replaced::Done(token) => {
                    return Ok(UpdateReceipt { memory: Arc::new(next), token, degraded: Vec::new() });
                }
                Replaced::NotFound => return Err(Error::NotFound(id)),
                // Somebody else was faster: the patch is for the version that is there now, if the caller is for any.
                Replaced::Changed => {}
            }
        }
    }

    async fn replace(&self, scope: &Scope, former: &Memory, next: &Memory, patch: &MemoryPatch) -> Result<Replaced> {
        let keeps = patch.text.is_none() && patch.embedding.is_none();
        let space = match &patch.embedding {
            Some(embedding) => self.space("update", embedding.space(), true).await?,
            None => None,
        };
        let (embedding, half) = stored(patch.embedding.as_ref(), self.inner.config.storage);
        let (words, length) = lexical::words(&next.lexical_text());
        let statement =
            in_scope!("update_memory", ", $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21");
        let keys = patch.text.as_ref().map(|_| ValueKeys::of(&next.scope, &next.text));
        let query = || {
            self.scoped_at(statement, scope, next.recorded_at)
                .bind(next.id.as_uuid())
                .bind(former.version.cast_signed())
                .bind(escape(&next.text))
                .bind(Json(escape_json(&next.metadata)))
                .bind(next.importance)
                .bind(next.valid_to)
                .bind(next.expires_at)
                .bind(next.content_hash().as_bytes().to_vec())
                .bind(&words)
                .bind(length)
                .bind(keeps)
                .bind(space)
                .bind(embedding.clone())
                .bind(half.clone())
                .bind(keys.map(|keys| *keys.reads.as_bytes()))
                .bind(keys.map(|keys| *keys.looks.as_bytes()))
        };
        // A second one would find the version that the first has made, and take it for somebody else's.
        let row = self.inner.statements.row(&self.inner.primary, Repeat::Harmful, query).await;
        let row = row.map_err(|error| failed("update", error))?;
        let read = |error| damaged("update", error);
        Ok(match row.try_get::<&str, _>("outcome").map_err(read)? {
            "updated" => Replaced::Done(token(&self.inner.instance, row.try_get("token").map_err(read)?)),
            "not_found" => Replaced::NotFound,
            "changed" => Replaced::Changed,
            other => return Err(damaged("update", format!("the update answered {other:?}"))),
        })
    }

    /// The spaces of the rows' vectors, by number.
    async fn spaces_of(&self, operation: &'static str, rows: &[PgRow]) -> Result<Vec<(i16, Arc<EmbeddingSpace>)>> {
        let mut numbers: Vec<i16> = rows.iter().filter_map(|row| row.try_get("space").ok()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let query = || sqlx::query(SPACES).bind(&numbers);
        let rows = self.inner.statements.rows(&self.inner.primary, Repeat::Harmless, query).await;
        let rows = rows.map_err(|error| failed(operation, error))?;
        rows.iter().map(read_space).collect::<sqlx::Result<_>>().map_err(|error| damaged(operation, error))
    }

    pub(crate) fn check_dimensions(&self, space: &EmbeddingSpace) -> Result<()> {
        let allowed = self.inner.config.vector_dim;
        if space.dimensions == allowed {
            return Ok(());
        }
        let given = format!("{} values, of {space}", space.dimensions);
        Err(Error::invalid("embedding", given, format!("{allowed} values, as the setting vector_dim says")))
    }
}

/// The spaces of these numbers, as [`read_space`] reads them.
pub(crate) const SPACES: &str =
    "SELECT space, model, revision, dimensions, normalized FROM orchestra.spaces WHERE space = ANY ($1)";

/// A space with its number.
pub(crate) fn read_space(row: &PgRow) -> sqlx::Result<(i16, Arc<EmbeddingSpace>)> {
    let (number, model, revision, dimensions, normalized) = <(i16, String, String, i32, bool)>::from_row(row)?;
    let dimensions = usize::try_from(dimensions).unwrap_or_default();
    Ok((number, Arc::new(EmbeddingSpace { model, revision, dimensions, normalized })))
}

/// A write token: which store, and the transaction that wrote. A read sees the write when its snapshot does, on a replica
/// as on the primary.
pub(crate) fn token(instance: &str, transaction: &str) -> WriteToken {
    WriteToken(format!("{instance}:{transaction}"))
}
