//! Memories as rows of the functions' answers.

use std::sync::Arc;

use chrono::{SubsecRound as _, TimeDelta};
use memory_core::{
    Embedding, EmbeddingSpace, Memory, MemoryId, MemoryKind, Metadata, Origin, Scope, Timestamp, Writer,
};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{Row as _, ValueRef as _};
use uuid::Uuid;

use crate::escape::{unescape, unescape_json};

/// Reads a memory from columns of the names of the type `orchestra.memory`.
pub(crate) fn read_memory(row: &PgRow) -> sqlx::Result<Memory> {
    let text = |name: &str| row.try_get::<Option<String>, _>(name).map(|text| text.map(unescape));
    let required = |name: &str| row.try_get::<String, _>(name).map(unescape);
    let time = |name: &str| row.try_get::<Option<Timestamp>, _>(name);
    let wrong = |name: &str, error: memory_core::Error| sqlx::Error::ColumnDecode {
        index: name.to_owned(),
        source: Box::new(error),
    };
    let mut scope = Scope::tenant(row.try_get::<String, _>("tenant")?).map_err(|error| wrong("tenant", error))?;
    if let Some(user) = row.try_get::<Option<String>, _>("user_id")? {
        scope = scope.with_user(user).map_err(|error| wrong("user_id", error))?;
    }
    if let Some(agent) = row.try_get::<Option<String>, _>("agent_id")? {
        scope = scope.with_agent(agent).map_err(|error| wrong("agent_id", error))?;
    }
    if let Some(session) = row.try_get::<Option<String>, _>("session_id")? {
        scope = scope.with_session(session).map_err(|error| wrong("session_id", error))?;
    }
    let kind: MemoryKind = required("kind")?.parse().map_err(|error| wrong("kind", error))?;
    let Json(metadata): Json<Metadata> = row.try_get("metadata")?;
    let evidence: Vec<Uuid> = row.try_get("evidence")?;
    Ok(Memory {
        id: MemoryId::from(row.try_get::<Uuid, _>("id")?),
        version: row.try_get::<i64, _>("version")?.cast_unsigned(),
        scope,
        kind,
        text: required("text")?,
        actor: text("actor")?,
        metadata: unescape_json(metadata),
        importance: row.try_get("importance")?,
        origin: Origin { writer: writer(&required("writer")?)?, path: required("path")? },
        evidence: evidence.into_iter().map(MemoryId::from).collect(),
        valid_from: time("valid_from")?,
        valid_to: time("valid_to")?,
        recorded_at: row.try_get("recorded_at")?,
        superseded_at: time("superseded_at")?,
        expires_at: time("expires_at")?,
    })
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
    let wrong = |source: memory_core::BoxError| sqlx::Error::ColumnDecode { index: "embedding".into(), source };
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

fn writer(name: &str) -> sqlx::Result<Writer> {
    Ok(match name {
        "import" => Writer::Import,
        "consolidation" => Writer::Consolidation,
        "tool" => Writer::Tool,
        "agent" => Writer::Agent,
        "user" => Writer::User,
        other => {
            let source = format!("there is no writer {other:?}").into();
            return Err(sqlx::Error::ColumnDecode { index: "writer".into(), source });
        }
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
