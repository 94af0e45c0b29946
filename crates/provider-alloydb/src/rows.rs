//! Memories as rows of the functions' answers.

use std::sync::Arc;

use chrono::{SubsecRound as _, TimeDelta};
use memory_core::{
    BoxError, Embedding, EmbeddingSpace, Memory, MemoryId, MemoryKind, Metadata, Origin, Scope, Timestamp, Writer,
};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{Column as _, Decode, Postgres, Row as _, Type, ValueRef as _};
use uuid::Uuid;

use crate::escape::{unescape, unescape_json};

/// Reads a memory from the columns from `id` on, which are those of the type `orchestra.memory`, in its order as they are here.
pub(crate) fn read_memory(row: &PgRow) -> sqlx::Result<Memory> {
    let mut columns = Columns { row, next: row.try_column("id")?.ordinal() };
    Ok(Memory {
        id: MemoryId::from(columns.read::<Uuid>()?),
        scope: columns.read_scope()?,
        version: columns.read::<i64>()?.cast_unsigned(),
        kind: columns.read_as(str::parse::<MemoryKind>)?,
        text: unescape(columns.read()?),
        actor: columns.read::<Option<String>>()?.map(unescape),
        metadata: unescape_json(columns.read::<Json<Metadata>>()?.0),
        importance: columns.read()?,
        origin: Origin { writer: columns.read_as(writer)?, path: unescape(columns.read()?) },
        evidence: columns.read::<Vec<Uuid>>()?.into_iter().map(MemoryId::from).collect(),
        valid_from: columns.read()?,
        valid_to: columns.read()?,
        recorded_at: columns.read()?,
        superseded_at: columns.read()?,
        expires_at: columns.read()?,
    })
}

/// Reads a scope from the columns from `tenant` on: its parts, in their order.
pub(crate) fn read_scope(row: &PgRow) -> sqlx::Result<Scope> {
    Columns { row, next: row.try_column("tenant")?.ordinal() }.read_scope()
}

/// A row's columns, one after the other: a search reads many, and to look each up by its name takes longer than to read it.
struct Columns<'r> {
    row: &'r PgRow,
    next: usize,
}

impl<'r> Columns<'r> {
    fn read<T: Decode<'r, Postgres> + Type<Postgres>>(&mut self) -> sqlx::Result<T> {
        let value = self.row.try_get(self.next);
        self.next += 1;
        value
    }

    /// What the next column's text stands for.
    fn read_as<T, E: Into<BoxError>>(&mut self, of: impl FnOnce(&'r str) -> Result<T, E>) -> sqlx::Result<T> {
        let text = self.read()?;
        of(text).map_err(|error| self.wrong(error))
    }

    fn read_scope(&mut self) -> sqlx::Result<Scope> {
        let mut scope = self.read_as(Scope::tenant)?;
        for with in [Scope::with_user, Scope::with_agent, Scope::with_session] {
            if let Some(name) = self.read::<Option<String>>()? {
                scope = with(scope, name).map_err(|error| self.wrong(error))?;
            }
        }
        Ok(scope)
    }

    /// An error in the column that was just read.
    fn wrong(&self, source: impl Into<BoxError>) -> sqlx::Error {
        let index = self.row.columns().get(self.next - 1).map_or("", |column| column.name()).to_owned();
        sqlx::Error::ColumnDecode { index, source: source.into() }
    }
}

/// Reads the vector of a row, if it has one.
pub(crate) fn read_embedding(
    row: &PgRow,
    space: impl Fn(i16) -> Option<Arc<EmbeddingSpace>>,
) -> sqlx::Result<Option<Embedding>> {
    if row.try_get_raw("embedding")?.is_null() {
        return Ok(None);
    }
    let vector: pgvector::Vector = row.try_get("embedding")?;
    let number: i16 = row.try_get("space")?;
    let wrong = |source: BoxError| sqlx::Error::ColumnDecode { index: "embedding".into(), source };
    let space = space(number).ok_or_else(|| wrong(format!("there is no space {number}").into()))?;
    Embedding::new(space, vector.to_vec()).map(Some).map_err(|error| wrong(error.into()))
}

pub(crate) fn writer_name(writer: Writer) -> &'static str {
    match writer {
        Writer::Import => "import",
        Writer::Consolidation => "consolidation",
        Writer::Tool => "tool",
        Writer::Agent => "agent",
        Writer::User => "user",
    }
}

fn writer(name: &str) -> Result<Writer, String> {
    Ok(match name {
        "import" => Writer::Import,
        "consolidation" => Writer::Consolidation,
        "tool" => Writer::Tool,
        "agent" => Writer::Agent,
        "user" => Writer::User,
        other => return Err(format!("there is no writer {other:?}")),
    })
}

/// What Postgres keeps of a time.
pub(crate) fn whole_micros(at: Timestamp) -> Timestamp {
    at.trunc_subsecs(6)
}

/// A time that Postgres can compare with: it knows none before 4714 BC, and so does no row of it.
pub(crate) fn in_range(at: Timestamp) -> Timestamp {
    whole_micros(at.max(Timestamp::UNIX_EPOCH - TimeDelta::days(2_440_588)))
}
