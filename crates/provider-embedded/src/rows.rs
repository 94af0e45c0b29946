//! Rows of the file, and the domain's values.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use memory_core::{
    BoxError, CacheEntry, CacheEntryId, Embedding, EmbeddingSpace, Gate, Memory, MemoryId, Metadata, Origin, Scope,
    Timestamp, Writer, Writers,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Decode, Row, Sqlite, Type};
use uuid::Uuid;

use crate::sql;

/// A memory as the file holds it.
#[derive(Debug, Clone)]
pub(crate) struct StoredMemory {
    /// Its place in the order of first writing.
    pub position: u64,
    pub memory: Arc<Memory>,
    pub embedding: Option<Embedding>,
}

/// The embedding spaces of a file, by their number in it.
pub(crate) type Spaces = HashMap<i64, Arc<EmbeddingSpace>>;

/// Reads a row, with the failures of the driver and of the values in it as one.
pub(crate) type ReadResult<T> = std::result::Result<T, BoxError>;

pub(crate) async fn read_spaces(connection: &mut SqliteConnection) -> sqlx::Result<Spaces> {
    let rows = sqlx::query(sql::READ_SPACES).fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let space = EmbeddingSpace {
                model: row.try_get(1)?,
                revision: row.try_get(2)?,
                dimensions: usize::try_from(row.try_get::<i64, _>(3)?).unwrap_or_default(),
                normalized: row.try_get(4)?,
            };
            Ok((row.try_get(0)?, Arc::new(space)))
        })
        .collect()
}

/// A row of [`sql::SELECT_MEMORIES`]. Without `spaces` the vector is left out.
pub(crate) fn read_memory(row: &SqliteRow, spaces: Option<&Spaces>) -> ReadResult<StoredMemory> {
    let memory = Memory {
        id: get::<Uuid>(row, 1)?.into(),
        scope: scope(get(row, 2)?, get(row, 3)?, get(row, 4)?, get(row, 5)?)?,
        version: get::<i64>(row, 6)?.cast_unsigned(),
        kind: get::<&str>(row, 7)?.parse()?,
        text: get(row, 8)?,
        actor: get(row, 9)?,
        metadata: metadata(get(row, 10)?)?,
        importance: get::<f64>(row, 11)? as f32,
        origin: Origin { writer: writer(get(row, 12)?)?, path: get(row, 13)? },
        evidence: unpack_ids(get(row, 14)?),
        valid_from: maybe_time(get(row, 15)?)?,
        valid_to: maybe_time(get(row, 16)?)?,
        recorded_at: time(get(row, 17)?)?,
        superseded_at: None,
        expires_at: maybe_time(get(row, 18)?)?,
    };
    let embedding = match spaces {
        Some(spaces) => embedding(get(row, 19)?, get(row, 20)?, spaces)?,
        None => None,
    };
    Ok(StoredMemory { position: get::<i64>(row, 0)?.cast_unsigned(), memory: Arc::new(memory), embedding })
}

/// A row of [`sql::ENTRY_BY_ID`].
pub(crate) fn read_entry(id: CacheEntryId, row: &SqliteRow) -> ReadResult<CacheEntry> {
    Ok(CacheEntry {
        id,
        prompt: get(row, 0)?,
        response: get(row, 1)?,
        depends_on: unpack_ids(get(row, 2)?),
        tags: serde_json::from_str(get(row, 3)?)?,
        metadata: metadata(get(row, 4)?)?,
        created_at: time(get(row, 5)?)?,
        expires_at: time(get(row, 6)?)?,
        sliding_ttl: get::<Option<i64>>(row, 7)?.map(|micros| Duration::from_micros(micros.unsigned_abs())),
    })
}

/// Who may write, from two columns of a row: the epoch and the writers.
pub(crate) fn read_gate(row: &SqliteRow, column: usize) -> ReadResult<Gate> {
    let writers = match get(row, column + 1)? {
        "clients" => Writers::Clients,
        "mover" => Writers::Mover,
        other => return Err(format!("{other} is not who may write").into()),
    };
    Ok(Gate { epoch: get::<i64>(row, column)?.cast_unsigned(), writers })
}

/// As [`read_gate`] reads them.
pub(crate) fn writers_name(writers: Writers) -> &'static str {
    match writers {
        Writers::Clients => "clients",
        Writers::Mover => "mover",
    }
}

/// A column of a row, by its place.
pub(crate) fn get<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(row: &'r SqliteRow, column: usize) -> sqlx::Result<T> {
    row.try_get(column)
}

pub(crate) fn embedding(space: Option<i64>, vector: Option<&[u8]>, spaces: &Spaces) -> ReadResult<Option<Embedding>> {
    let (Some(space), Some(vector)) = (space, vector) else { return Ok(None) };
    let space = spaces.get(&space).ok_or("a vector of an unknown embedding space")?;
    let (values, rest) = vector.as_chunks::<4>();
    if !rest.is_empty() {
        return Err("a vector with a part of a number".into());
    }
    let values = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    Ok(Some(Embedding::new(space.clone(), values)?))
}

pub(crate) fn vector_bytes(embedding: &Embedding) -> Vec<u8> {
    embedding.values().iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn scope(
    tenant: &str,
    user: Option<&str>,
    agent: Option<&str>,
    session: Option<&str>,
) -> memory_core::Result<Scope> {
    let mut scope = Scope::tenant(tenant)?;
    if let Some(user) = user {
        scope = scope.with_user(user)?;
    }
    if let Some(agent) = agent {
        scope = scope.with_agent(agent)?;
    }
    match session {
        Some(session) => scope.with_session(session),
        None => Ok(scope),
    }
}

pub(crate) fn micros(at: Timestamp) -> i64 {
    at.timestamp_micros()
}

pub(crate) fn time(micros: i64) -> ReadResult<Timestamp> {
    Timestamp::from_timestamp_micros(micros).ok_or_else(|| format!("{micros} is not a time").into())
}

fn maybe_time(micros: Option<i64>) -> ReadResult<Option<Timestamp>> {
    micros.map(time).transpose()
}

/// The time as the file keeps it: in whole microseconds.
pub(crate) fn whole_micros(at: Timestamp) -> Timestamp {
    Timestamp::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}

pub(crate) fn pack_ids(ids: &[MemoryId]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.as_uuid().into_bytes()).collect()
}

fn unpack_ids(bytes: &[u8]) -> Vec<MemoryId> {
    bytes.as_chunks::<16>().0.iter().map(|id| Uuid::from_bytes(*id).into()).collect()
}

pub(crate) fn metadata(json: &str) -> ReadResult<Metadata> {
    if json == "{}" { Ok(Metadata::new()) } else { Ok(serde_json::from_str(json)?) }
}

const WRITERS: [(Writer, &str); 5] = [
    (Writer::Import, "import"),
    (Writer::Consolidation, "consolidation"),
    (Writer::Tool, "tool"),
    (Writer::Agent, "agent"),
    (Writer::User, "user"),
];

pub(crate) fn writer_name(writer: Writer) -> &'static str {
    WRITERS.iter().find(|(known, _)| *known == writer).map_or("import", |(_, name)| name)
}

fn writer(name: &str) -> ReadResult<Writer> {
    let found = WRITERS.iter().find(|(_, known)| *known == name);
    found.map(|(writer, _)| *writer).ok_or_else(|| format!("{name} is not a writer").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_has_its_name() {
        for (known, name) in WRITERS {
            assert_eq!(serde_json::to_value(known).unwrap(), name);
            assert_eq!((writer_name(known), writer(name).unwrap()), (name, known));
        }
    }
}
