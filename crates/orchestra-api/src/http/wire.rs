//! The JSON shapes that several resources share, and their conversion to and from the domain.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use memory_core::recall::MAX_LIMIT;
use memory_core::{
    Degradation, Embedding, EmbeddingSpace, Error, InsertReceipt, InsertedItem, Memory, MemoryId, MemoryKind, Metadata,
    Origin, Scope, Tier, Timestamp, WriteToken,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::Problem;

/// Whose memory, as a body says it. The tenant is not there: it comes from the caller's identity.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Scope")]
pub struct ScopeBody {
    /// The person whom the memory is about, or to whom it belongs.
    user: Option<String>,
    /// The agent to which it belongs.
    agent: Option<String>,
    /// One conversation.
    session: Option<String>,
}

impl ScopeBody {
    /// Whether it names a session.
    #[must_use]
    pub fn names_session(&self) -> bool {
        self.session.is_some()
    }

    /// `tenant`, narrowed as the body says.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a name is not acceptable.
    pub fn within(self, tenant: &Scope) -> Result<Scope, Error> {
        let mut scope = tenant.clone();
        if let Some(user) = self.user {
            scope = scope.with_user(user)?;
        }
        if let Some(agent) = self.agent {
            scope = scope.with_agent(agent)?;
        }
        if let Some(session) = self.session {
            scope = scope.with_session(session)?;
        }
        Ok(scope)
    }
}

/// The refusal of a tenant that an argument names.
#[must_use]
pub fn tenant_refused(field: &str) -> Problem {
    let allowed = "user, agent and session; the tenant comes from the identity of the caller, never from an argument";
    Problem::bad_argument("tenant_from_identity", field, "a tenant", allowed)
}

/// Gives a type whose `Deserialize` is written by hand its schema, shown in the place where the type is used.
macro_rules! schema_of {
    ($type:ty, $($schema:tt)+) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($($schema)+)
            }
        }
    };
}

/// A moment, as RFC 3339 text.
#[derive(Debug, Clone, Copy)]
pub struct Time(pub Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as RFC 3339, such as 2025-06-01T01:00:00Z")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map(Time).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(TimeVisitor)
    }
}

schema_of!(Time, {"type": "string", "format": "date-time"});

/// How many results, 1 to [`MAX_LIMIT`].
#[derive(Debug, Clone, Copy)]
pub struct Limit(pub usize);

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LimitVisitor;
        impl Visitor<'_> for LimitVisitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from 1 to {MAX_LIMIT}")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Limit, E> {
                match usize::try_from(value) {
                    Ok(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(Limit(limit)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)),
                }
            }
        }
        deserializer.deserialize_u64(LimitVisitor)
    }
}

schema_of!(Limit, {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT});

/// An id, as UUID text.
#[derive(Debug, Clone, Copy)]
pub struct Id(pub MemoryId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UUID, such as 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                text.parse().map(Id).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(IdVisitor)
    }
}

schema_of!(Id, {"type": "string", "format": "uuid"});

/// A vector: a list of numbers, taken to be of the server's model, or an object that names its model.
#[derive(Debug, Clone)]
pub struct EmbeddingBody {
    model: Option<String>,
    values: Vec<f32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NamedEmbedding")]
struct NamedEmbedding {
    /// The model, by its name or by its whole space.
    model: String,
    /// As many finite numbers as the model has dimensions.
    values: Vec<f32>,
}

impl<'de> Deserialize<'de> for EmbeddingBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EmbeddingVisitor;
        impl<'de> Visitor<'de> for EmbeddingVisitor {
            type Value = EmbeddingBody;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, or an object with model and values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<EmbeddingBody, A::Error> {
                let values = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(EmbeddingBody { model: None, values })
            }

            fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<EmbeddingBody, A::Error> {
                let NamedEmbedding { model, values } = Deserialize::deserialize(MapAccessDeserializer::new(object))?;
                Ok(EmbeddingBody { model: Some(model), values })
            }
        }
        deserializer.deserialize_any(EmbeddingVisitor)
    }
}

impl JsonSchema for EmbeddingBody {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EmbeddingBody".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [{"type": "array", "items": {"type": "number"}}, generator.subschema_for::<NamedEmbedding>()],
        })
    }
}

impl EmbeddingBody {
    /// The vector, in the server's space.
    ///
    /// # Errors
    /// [`Error::SpaceMismatch`] when it names another model, [`Error::Invalid`] when its values do not fit.
    pub fn into_space(self, space: &Arc<EmbeddingSpace>) -> Result<Embedding, Error> {
        if let Some(model) = self.model
            && model != space.model
            && model != space.to_string()
        {
            return Err(Error::SpaceMismatch { expected: space.to_string(), actual: model });
        }
        Embedding::new(space.clone(), self.values)
    }
}

/// When something that lives for `ttl_seconds` from `now` ends.
///
/// # Errors
/// [`Error::Invalid`] when the time to live is not positive or too long.
pub fn ends_at(now: Timestamp, ttl_seconds: f64) -> Result<Timestamp, Error> {
    let ttl = ttl(ttl_seconds)?;
    let end = chrono::Duration::from_std(ttl).ok().and_then(|ttl| now.checked_add_signed(ttl));
    end.ok_or_else(|| ttl_refused(ttl_seconds))
}

/// A time to live.
///
/// # Errors
/// [`Error::Invalid`] when it is not positive or too long.
pub fn ttl(seconds: f64) -> Result<Duration, Error> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(ttl) if !ttl.is_zero() && ttl <= memory_core::cache::MAX_TTL => Ok(ttl),
        _ => Err(ttl_refused(seconds)),
    }
}

fn ttl_refused(seconds: f64) -> Error {
    let allowed = format!("more than 0, at most {}", memory_core::cache::MAX_TTL.as_secs());
    Error::invalid("ttl_seconds", seconds, allowed)
}

/// A memory, as answers show it. It can be sent back in a request: the tenant is not in it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Memory")]
pub struct MemoryView<'a> {
    /// Its id.
    id: MemoryId,
    /// 1 when it is written; an update makes the next.
    version: u64,
    /// Whose it is.
    scope: ScopeView<'a>,
    /// What kind of thing it is.
    kind: MemoryKind,
    /// The tier it lives in.
    tier: Tier,
    /// What it says.
    text: &'a str,
    /// Who said or did it.
    actor: Option<&'a str>,
    /// What else is known about it.
    metadata: &'a Metadata,
    /// How much it matters, 0 to 1.
    importance: f32,
    /// By whom and on which path it was written.
    origin: &'a Origin,
    /// The memories that it was derived from.
    evidence: &'a [MemoryId],
    /// Since when it is true.
    valid_from: Option<Timestamp>,
    /// Until when it is true.
    valid_to: Option<Timestamp>,
    /// When this version was written.
    recorded_at: Timestamp,
    /// When another version took its place.
    superseded_at: Option<Timestamp>,
    /// When it goes of its own accord.
    expires_at: Option<Timestamp>,
    /// Its vector, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<EmbeddingView<'a>>,
}

/// Whose something is, as answers show it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "MemoryScope")]
pub struct ScopeView<'a> {
    /// The person.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    /// The agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    /// The conversation.
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
}

impl<'a> From<&'a Scope> for ScopeView<'a> {
    fn from(scope: &'a Scope) -> Self {
        Self { user: scope.user(), agent: scope.agent(), session: scope.session() }
    }
}

/// The model is written as its whole space, so that a vector that comes back is never taken for another revision's.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Embedding")]
struct EmbeddingView<'a> {
    /// The whole space: model, revision and dimensions.
    model: String,
    /// The vector.
    values: &'a [f32],
}

impl<'a> From<&'a Memory> for MemoryView<'a> {
    fn from(memory: &'a Memory) -> Self {
        Self {
            id: memory.id,
            version: memory.version,
            scope: ScopeView::from(&memory.scope),
            kind: memory.kind,
            tier: memory.kind.tier(),
            text: &memory.text,
            actor: memory.actor.as_deref(),
            metadata: &memory.metadata,
            importance: memory.importance,
            origin: &memory.origin,
            evidence: &memory.evidence,
            valid_from: memory.valid_from,
            valid_to: memory.valid_to,
            recorded_at: memory.recorded_at,
            superseded_at: memory.superseded_at,
            expires_at: memory.expires_at,
            embedding: None,
        }
    }
}

impl<'a> MemoryView<'a> {
    /// The memory with its vector, if it has one.
    #[must_use]
    pub fn with_embedding(mut self, embedding: Option<&'a Embedding>) -> Self {
        self.embedding = embedding
            .map(|embedding| EmbeddingView { model: embedding.space().to_string(), values: embedding.values() });
        self
    }
}

/// What became of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WrittenMany")]
pub struct BatchView<'a> {
    /// What became of each, in the order in which they were sent.
    items: &'a [InsertedItem],
    /// Carry it to a read as `at_least` to see this write there.
    token: &'a WriteToken,
    /// Whether the idempotency key had been used: this is the first answer again.
    replayed: bool,
    /// What was left for later; absent when nothing was.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    degraded: &'a [Degradation],
}

impl<'a> From<&'a InsertReceipt> for BatchView<'a> {
    fn from(receipt: &'a InsertReceipt) -> Self {
        Self { items: &receipt.items, token: &receipt.token, replayed: receipt.replayed, degraded: &receipt.degraded }
    }
}

/// The same error, with the beginning of its field put in the caller's words: `memories[0].text` is `text` where the
/// caller sent one memory.
#[must_use]
pub fn renamed(mut error: Error, from: &str, to: &str) -> Error {
    if let Error::Invalid { field, .. } | Error::TooLarge { field, .. } | Error::ValueRejected { field } = &mut error
        && let Some(rest) = field.strip_prefix(from)
    {
        *field = format!("{to}{rest}");
    }
    error
}
