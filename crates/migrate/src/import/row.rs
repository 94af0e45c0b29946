//! A row of a source, as a memory or as the reason why it is none.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use memory_core::{
    EmbeddedMemory, Embedding, EmbeddingSpace, Memory, MemoryId, MemoryKind, Metadata, Origin, Result, Scope,
    Timestamp, Writer,
};
use uuid::Uuid;

/// How a source is read.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose the memories will be.
    pub tenant: String,
    /// The space of the source's vectors, to take them over; without it they are left, and each text is embedded anew.
    pub space: Option<Arc<EmbeddingSpace>>,
    /// When a row was recorded that does not say it: the same in every run, such as when the move was planned.
    pub recorded_at: Timestamp,
}

/// When a row was made, and its number where the source has an order of its own.
pub(super) type Order = (Option<Timestamp>, u64);

/// A row as it was read.
#[derive(Debug)]
pub(super) struct Row {
    /// What it is read again by.
    pub key: String,
    pub order: Order,
    /// What it says, or what was found and what was expected.
    pub memory: Result<EmbeddedMemory, String>,
}

impl Row {
    /// Tells rows of one key apart, where they can be told apart at all.
    pub fn tie(&self) -> u64 {
        let Ok(EmbeddedMemory { memory, .. }) = &self.memory else { return 0 };
        let json = serde_json::to_vec(memory).unwrap_or_default();
        let hash = blake3::hash(&json);
        u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight of 32 bytes"))
    }
}

/// Where rows are.
#[async_trait]
pub(super) trait Rows: fmt::Debug + Send + Sync {
    /// The source's name in errors.
    fn provider(&self) -> &'static str;

    /// A row's name for people.
    fn name_of(&self, key: &str) -> String {
        key.to_owned()
    }

    /// Gives every row once, in any order.
    async fn each(&self, take: &mut (dyn FnMut(Row) + Send)) -> Result<()>;

    /// The rows of these keys that are there, in any order.
    async fn fetch(&self, keys: &[String]) -> Result<Vec<Row>>;

    /// How large the source is.
    async fn bytes(&self) -> Result<u64>;
}

/// A memory as a source says it, before it is checked.
#[derive(Debug)]
pub(super) struct Found {
    pub id: MemoryId,
    pub user: Option<String>,
    pub agent: Option<String>,
    pub session: Option<String>,
    pub kind: MemoryKind,
    pub text: String,
    pub actor: Option<String>,
    pub metadata: Metadata,
    pub importance: f32,
    pub evidence: Vec<MemoryId>,
    pub valid_from: Option<Timestamp>,
    pub valid_to: Option<Timestamp>,
    pub recorded_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
}

impl Found {
    /// One of which the source says this only.
    pub fn new(id: MemoryId, text: impl Into<String>) -> Self {
        Self {
            id,
            user: None,
            agent: None,
            session: None,
            kind: MemoryKind::Semantic,
            text: text.into(),
            actor: None,
            metadata: Metadata::new(),
            importance: 0.5,
            evidence: Vec::new(),
            valid_from: None,
            valid_to: None,
            recorded_at: None,
            expires_at: None,
        }
    }

    /// The memory, within the limits of every store. `path` is the path that its origin says it came by.
    pub fn memory(self, options: &Options, path: &str) -> Result<Memory, String> {
        let scope = || {
            let mut scope = Scope::tenant(&options.tenant)?;
            if let Some(user) = &self.user {
                scope = scope.with_user(user)?;
            }
            if let Some(agent) = &self.agent {
                scope = scope.with_agent(agent)?;
            }
            match &self.session {
                Some(session) => scope.with_session(session),
                None => Ok(scope),
            }
        };
        let memory = Memory {
            scope: scope().map_err(|error: memory_core::Error| error.to_string())?,
            id: self.id,
            version: 1,
            kind: self.kind,
            text: self.text,
            actor: self.actor,
            metadata: self.metadata,
            importance: self.importance,
            // What a source says of itself earns no trust here.
            origin: Origin::new(Writer::Import, path),
            evidence: self.evidence,
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            recorded_at: self.recorded_at.unwrap_or(options.recorded_at),
            superseded_at: None,
            expires_at: self.expires_at,
        };
        memory.validate().map_err(|error| error.to_string())?;
        Ok(memory)
    }
}

/// The vector of a row as Postgres writes it, `[1,2]` or `{1,2}`, in the space that the user named.
pub(super) fn vector(text: Option<&str>, space: Option<&Arc<EmbeddingSpace>>) -> Result<Option<Embedding>, String> {
    let (Some(text), Some(space)) = (text, space) else { return Ok(None) };
    let inner = text.trim_matches(['[', ']', '{', '}']);
    let numbers = inner.split(',').map(|number| number.trim().parse::<f32>());
    let values = numbers.collect::<Result<Vec<f32>, _>>().map_err(|_| "vector: expected numbers".to_owned())?;
    Embedding::new(space.clone(), values).map(Some).map_err(|error| error.to_string())
}

/// The id of what has none that is a UUID: of its source, whose it will be, and its key there.
pub(super) fn id_of(source: &str, tenant: &str, key: &str) -> MemoryId {
    if let Ok(id) = Uuid::parse_str(key) {
        return id.into();
    }
    // Each part's end can be told from the next one's beginning: neither is changed by what comes after it.
    let space = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"orchestra-memory/import");
    let within = |space: Uuid, part: &str| Uuid::new_v5(&space, part.as_bytes());
    within(within(within(space, source), tenant), key).into()
}

/// A time as sources write it: RFC 3339, or the same without a zone, which is taken for UTC.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let with_zone = chrono::DateTime::parse_from_rfc3339(text)
        .or_else(|_| chrono::DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"));
    let without = || {
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"]
            .iter()
            .find_map(|format| chrono::NaiveDateTime::parse_from_str(text, format).ok())
            .map(|at| at.and_utc())
    };
    with_zone.map(|at| at.to_utc()).ok().or_else(without)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        for text in [
            "2024-07-26T08:23:47.123456-07:00",
            "2024-07-26T15:23:47.123456+00:00",
            "2024-07-26T15:23:47.123456Z",
            "2024-07-26T15:23:47.123456",
            "2024-07-26 15:23:47.123456",
            "2024-07-26 15:23:47.123456+00",
        ] {
            let at = time(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(at.timestamp_micros(), 1_722_007_427_123_456, "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn an_id_is_the_sources_or_a_function_of_the_key() {
        let uuid = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d";
        assert_eq!(id_of("x", "acme", uuid).to_string(), uuid);
        let ids =
            [("x", "acme", "1"), ("x", "acme", "2"), ("x", "globex", "1"), ("y", "acme", "1"), ("xacme", "", "1")];
        let made: std::collections::BTreeSet<_> =
            ids.iter().map(|(source, tenant, key)| id_of(source, tenant, key)).collect();
        assert_eq!(made.len(), ids.len());
        // If this changes, what was moved before is moved a second time.
        assert_eq!(id_of("x", "acme", "1").to_string(), "65abb01f-6338-5433-9001-415d45a524c5");
    }

    #[test]
    fn a_vector_is_of_the_space_that_was_named() {
        let space = Arc::new(EmbeddingSpace::new("m", "1", 2).unwrap());
        assert_eq!(vector(Some("[3,4]"), Some(&space)).unwrap().unwrap().values(), [0.6, 0.8]);
        assert_eq!(vector(Some("{3,4}"), Some(&space)).unwrap().unwrap().values(), [0.6, 0.8]);
        assert!(vector(Some("[3,4]"), None).unwrap().is_none() && vector(None, Some(&space)).unwrap().is_none());
        for (text, reason) in [
            ("[1,2,3]", "embedding: given 3 values, allowed: 2 values, for m@1/2"),
            ("[0,0]", "embedding: given all zeros, allowed: a vector with a direction"),
            ("[1,NaN]", "embedding[1]: given NaN, allowed: a finite 32-bit number"),
            ("[]", "vector: expected numbers"),
        ] {
            assert_eq!(vector(Some(text), Some(&space)).unwrap_err(), reason);
        }
    }
}
