//! Memories as the arrays that the functions of writing take, an element for each memory.

use std::fmt::Write as _;

use memory_core::{EmbeddedMemory, Embedding, Memory, Timestamp, ValueKeys};
use pgvector::{HalfVector, Vector};
use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;
use uuid::Uuid;

use crate::config::Storage;
use crate::escape::{escape, escape_json};
use crate::lexical;
use crate::rows::{whole_micros, writer_name};

#[derive(Debug, Default)]
pub(crate) struct Arrays {
    id: Vec<Uuid>,
    user_id: Vec<Option<String>>,
    agent_id: Vec<Option<String>>,
    session_id: Vec<Option<String>>,
    version: Vec<i64>,
    kind: Vec<&'static str>,
    text: Vec<String>,
    actor: Vec<Option<String>>,
    metadata: Vec<Json<memory_core::Metadata>>,
    importance: Vec<f32>,
    writer: Vec<&'static str>,
    path: Vec<String>,
    evidence: Vec<String>,
    valid_from: Vec<Option<Timestamp>>,
    valid_to: Vec<Option<Timestamp>>,
    recorded_at: Vec<Timestamp>,
    expires_at: Vec<Option<Timestamp>>,
    content_hash: Vec<Vec<u8>>,
    words: Vec<String>,
    length: Vec<i32>,
    space: Vec<Option<i16>>,
    embedding: Vec<Option<Vector>>,
    embedding_half: Vec<Option<HalfVector>>,
}

/// The keys of the memories' values, which say whether one was rejected.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    reads: Vec<[u8; 32]>,
    looks: Vec<[u8; 32]>,
}

/// A vector in the precision that it is kept in.
pub(crate) fn stored(embedding: Option<&Embedding>, storage: Storage) -> (Option<Vector>, Option<HalfVector>) {
    match (embedding, storage) {
        (None, _) => (None, None),
        (Some(embedding), Storage::Vector) => (Some(Vector::from(embedding.values().to_vec())), None),
        (Some(embedding), Storage::Halfvec) => (None, Some(HalfVector::from_f32_slice(embedding.values()))),
    }
}

impl Arrays {
    /// Each memory with its vector and the number of that one's space.
    pub(crate) fn new<'a>(
        items: impl Iterator<Item = (&'a Memory, Option<&'a Embedding>, Option<i16>)>,
        storage: Storage,
    ) -> Self {
        let mut arrays = Self::default();
        for (memory, embedding, space) in items {
            arrays.space.push(space);
            let (words, length) = lexical::words(&memory.lexical_text());
            let (embedding, half) = stored(embedding, storage);
            arrays.id.push(memory.id.as_uuid());
            arrays.user_id.push(memory.scope.user().map(str::to_owned));
            arrays.agent_id.push(memory.scope.agent().map(str::to_owned));
            arrays.session_id.push(memory.scope.session().map(str::to_owned));
            arrays.version.push(memory.version.cast_signed());
            arrays.kind.push(memory.kind.name());
            arrays.text.push(escape(&memory.text).into_owned());
            arrays.actor.push(memory.actor.as_deref().map(|actor| escape(actor).into_owned()));
            arrays.metadata.push(Json(escape_json(&memory.metadata).into_owned()));
            arrays.importance.push(memory.importance);
            arrays.writer.push(writer_name(memory.origin.writer));
            arrays.path.push(escape(&memory.origin.path).into_owned());
            arrays.evidence.push(uuids(memory.evidence.iter().map(|id| id.as_uuid())));
            arrays.valid_from.push(memory.valid_from.map(whole_micros));
            arrays.valid_to.push(memory.valid_to.map(whole_micros));
            arrays.recorded_at.push(whole_micros(memory.recorded_at));
            arrays.expires_at.push(memory.expires_at.map(whole_micros));
            arrays.content_hash.push(memory.content_hash().as_bytes().to_vec());
            arrays.words.push(words);
            arrays.length.push(length);
            arrays.embedding.push(embedding);
            arrays.embedding_half.push(half);
        }
        arrays
    }

    /// Binds all of them, in the order of `insert_memories`.
    pub(crate) fn bind<'q>(self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(self.id)
            .bind(self.user_id)
            .bind(self.agent_id)
            .bind(self.session_id)
            .bind(self.version)
            .bind(self.kind)
            .bind(self.text)
            .bind(self.actor)
            .bind(self.metadata)
            .bind(self.importance)
            .bind(self.writer)
            .bind(self.path)
            .bind(self.evidence)
            .bind(self.valid_from)
            .bind(self.valid_to)
            .bind(self.recorded_at)
            .bind(self.expires_at)
            .bind(self.content_hash)
            .bind(self.words)
            .bind(self.length)
            .bind(self.space)
            .bind(self.embedding)
            .bind(self.embedding_half)
    }
}

impl Keys {
    pub(crate) fn of<'a>(memories: impl Iterator<Item = &'a Memory>) -> Self {
        let mut keys = Self::default();
        for memory in memories {
            let ValueKeys { reads, looks } = ValueKeys::of(&memory.scope, &memory.text);
            keys.reads.push(*reads.as_bytes());
            keys.looks.push(*looks.as_bytes());
        }
        keys
    }

    /// Binds them, as they come behind the [arrays](Arrays).
    pub(crate) fn bind<'q>(self, query: Query<'q, Postgres, PgArguments>) -> Query<'q, Postgres, PgArguments> {
        query.bind(self.reads).bind(self.looks)
    }
}

/// Binds one memory, with the number of its vector's space, in the order of `insert_memory`.
pub(crate) fn bind_one<'q>(
    query: Query<'q, Postgres, PgArguments>,
    item: &'q EmbeddedMemory,
    space: Option<i16>,
    storage: Storage,
) -> Query<'q, Postgres, PgArguments> {
    let memory = &item.memory;
    let (words, length) = lexical::words(&memory.lexical_text());
    let (embedding, half) = stored(item.embedding.as_ref(), storage);
    let keys = ValueKeys::of(&memory.scope, &memory.text);
    query
        .bind(memory.id.as_uuid())
        .bind(memory.scope.user())
        .bind(memory.scope.agent())
        .bind(memory.scope.session())
        .bind(memory.version.cast_signed())
        .bind(memory.kind.name())
        .bind(escape(&memory.text))
        .bind(memory.actor.as_deref().map(escape))
        .bind(Json(escape_json(&memory.metadata)))
        .bind(memory.importance)
        .bind(writer_name(memory.origin.writer))
        .bind(escape(&memory.origin.path))
        .bind(uuids(memory.evidence.iter().map(|id| id.as_uuid())))
        .bind(memory.valid_from.map(whole_micros))
        .bind(memory.valid_to.map(whole_micros))
        .bind(whole_micros(memory.recorded_at))
        .bind(memory.expires_at.map(whole_micros))
        .bind(*memory.content_hash().as_bytes())
        .bind(words)
        .bind(length)
        .bind(space)
        .bind(embedding)
        .bind(half)
        .bind(*keys.reads.as_bytes())
        .bind(*keys.looks.as_bytes())
}

/// Ids as an array's textual form, since an array of arrays of several lengths there is not.
fn uuids(ids: impl Iterator<Item = Uuid>) -> String {
    let mut text = String::from("{");
    for (at, id) in ids.enumerate() {
        let _ = write!(text, "{}{id}", if at > 0 { "," } else { "" });
    }
    text.push('}');
    text
}
