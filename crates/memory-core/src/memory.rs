//! One remembered thing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Embedding, Error, Result, Scope, Timestamp};

/// The longest text of a memory, in bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;
/// The largest metadata of a memory, in bytes of JSON.
pub const MAX_METADATA_BYTES: usize = 16 * 1024;
/// The longest name of an actor, in bytes.
pub const MAX_ACTOR_BYTES: usize = 256;
/// The most evidence ids a memory may name.
pub const MAX_EVIDENCE: usize = 256;

/// The identity of a memory: a `UUIDv7` unless the caller brought an id of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct MemoryId(#[cfg_attr(feature = "schema", schemars(with = "String", extend("format" = "uuid")))] Uuid);

impl MemoryId {
    /// The id as a UUID.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for MemoryId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for MemoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for MemoryId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Uuid::parse_str(text)
            .map(Self)
            .map_err(|_| Error::invalid("id", text, "a UUID, such as 0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d"))
    }
}

/// What kind of thing is remembered, which also says the tier it lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MemoryKind {
    /// A turn of a conversation.
    Message,
    /// Something that happened.
    Episodic,
    /// A fact.
    Semantic,
    /// How something is done.
    Procedural,
}

impl MemoryKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Message, Self::Episodic, Self::Semantic, Self::Procedural];

    /// The kind's name, as it is written in requests and filters.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Episodic => "episodic",
            Self::Semantic => "semantic",
            Self::Procedural => "procedural",
        }
    }

    /// The tier that memories of this kind live in.
    #[must_use]
    pub fn tier(self) -> Tier {
        match self {
            Self::Message => Tier::ShortTerm,
            Self::Episodic => Tier::MediumTerm,
            Self::Semantic | Self::Procedural => Tier::LongTerm,
        }
    }
}

impl FromStr for MemoryKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| Error::invalid("kind", text, "message, episodic, semantic or procedural"))
    }
}

/// A tier of the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The conversation that goes on, and the semantic cache.
    ShortTerm,
    /// What happened.
    MediumTerm,
    /// Facts and procedures.
    LongTerm,
}

/// By whom and on which path a memory was written. The path assigns it; a payload cannot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Origin {
    /// Who wrote it.
    pub writer: Writer,
    /// The path it came in by: `http`, `cli`, `import:openai-chat`, `consolidation`, ….
    pub path: String,
}

impl Origin {
    /// An origin from its parts.
    #[must_use]
    pub fn new(writer: Writer, path: impl Into<String>) -> Self {
        Self { writer, path: path.into() }
    }
}

/// Who wrote a memory. The order is the order of trust, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// Brought in from a file or another system.
    Import,
    /// Derived by consolidation.
    Consolidation,
    /// Written by a tool.
    Tool,
    /// Written by an agent.
    Agent,
    /// Written by the user.
    User,
}

/// Free-form metadata: a JSON object.
pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// BLAKE3 of a memory's text after [normalisation](crate::text::normalize): case, spacing and look-alike code points
/// do not change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContentHash([u8; 32]);

impl ContentHash {
    /// The hash of a text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(*blake3::hash(crate::text::normalize(text).as_bytes()).as_bytes())
    }

    /// The hash's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for ContentHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<ContentHash> for String {
    /// As 64 hexadecimal digits.
    fn from(hash: ContentHash) -> Self {
        blake3::Hash::from_bytes(hash.0).to_string()
    }
}

impl TryFrom<String> for ContentHash {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        blake3::Hash::from_hex(&text)
            .map(|hash| Self(*hash.as_bytes()))
            .map_err(|_| Error::invalid("hash", text, "64 hexadecimal digits"))
    }
}

/// One remembered thing, as a store holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Its identity, which updates keep.
    pub id: MemoryId,
    /// 1 when written, one more with each update.
    pub version: u64,
    /// Whose it is.
    pub scope: Scope,
    /// What kind of thing it is.
    pub kind: MemoryKind,
    /// The text, 1 to [`MAX_TEXT_BYTES`] bytes.
    pub text: String,
    /// Who said or did it, for turns of a conversation.
    pub actor: Option<String>,
    /// Free-form metadata.
    pub metadata: Metadata,
    /// How much it matters, `0.0..=1.0`.
    pub importance: f32,
    /// Who wrote it, and by which path.
    pub origin: Origin,
    /// The memories it was derived from.
    pub evidence: Vec<MemoryId>,
    /// When it began to be true in the world, or was said.
    pub valid_from: Option<Timestamp>,
    /// When it ceased to be true in the world.
    pub valid_to: Option<Timestamp>,
    /// When the store took this version in.
    pub recorded_at: Timestamp,
    /// When another version took its place; `None` for the current one.
    pub superseded_at: Option<Timestamp>,
    /// When it stops being recalled.
    pub expires_at: Option<Timestamp>,
}

impl Memory {
    /// Whether it has expired by `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// The hash of its text.
    #[must_use]
    pub fn content_hash(&self) -> ContentHash {
        ContentHash::of(&self.text)
    }

    /// Who said it: the actor, or the name that a transcript's line begins with, as in "Ann: I am in Lisbon" or
    /// "[8 May 2023] Ann Lee: I am in Lisbon".
    #[must_use]
    pub fn speaker(&self) -> Option<&str> {
        const LONGEST_NAME: usize = 40;
        if self.actor.is_some() {
            return self.actor.as_deref();
        }
        let line = match self.text.strip_prefix(['[', '(']).and_then(|rest| rest.split_once([']', ')'])) {
            Some((_, line)) => line.trim_start(),
            None => &self.text,
        };
        let (name, _) = line.split_once(": ").filter(|(name, _)| name.len() <= LONGEST_NAME)?;
        let is_name = |word: &str| {
            word.starts_with(char::is_uppercase)
                && word.chars().all(|c| c.is_alphabetic() || matches!(c, '.' | '-' | '\''))
        };
        (name.split(' ').count() <= 3 && name.split(' ').all(is_name)).then_some(name)
    }

    /// The text that the lexical index holds: who said it and on which day, then the text itself.
    #[must_use]
    pub fn lexical_text(&self) -> String {
        let mut text = String::with_capacity(self.text.len() + 32);
        if let Some(actor) = &self.actor {
            text.push_str(actor);
            text.push(' ');
        }
        if let Some(at) = self.valid_from {
            text.push_str(&at.format("%-d %B %Y ").to_string());
        }
        text.push_str(&self.text);
        text
    }

    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::TooLarge`], naming the first field that is not acceptable.
    pub fn validate(&self) -> Result<()> {
        check_text("text", &self.text, MAX_TEXT_BYTES)?;
        if let Some(actor) = &self.actor {
            check_text("actor", actor, MAX_ACTOR_BYTES)?;
        }
        if !(0.0..=1.0).contains(&self.importance) {
            return Err(Error::invalid("importance", self.importance, "0.0 to 1.0"));
        }
        if self.evidence.len() > MAX_EVIDENCE {
            return Err(Error::invalid("evidence", self.evidence.len(), format!("at most {MAX_EVIDENCE} ids")));
        }
        if let (Some(from), Some(to)) = (self.valid_from, self.valid_to)
            && to < from
        {
            return Err(Error::invalid(
                "valid_to",
                to.to_rfc3339(),
                format!("not before valid_from, {}", from.to_rfc3339()),
            ));
        }
        check_metadata(&self.metadata)
    }
}

/// Refuses a text that is blank or over `max_bytes`.
///
/// # Errors
/// [`Error::Invalid`] or [`Error::TooLarge`], naming `field`.
pub fn check_text(field: &str, text: &str, max_bytes: usize) -> Result<()> {
    if text.trim().is_empty() {
        return Err(Error::invalid(
            field,
            format!("{:?}", text.chars().take(20).collect::<String>()),
            "a text that is not blank",
        ));
    }
    if text.len() > max_bytes {
        return Err(Error::TooLarge { field: field.into(), given_bytes: text.len(), allowed_bytes: max_bytes });
    }
    Ok(())
}

/// Refuses metadata over [`MAX_METADATA_BYTES`].
///
/// # Errors
/// [`Error::TooLarge`], naming `metadata`.
pub fn check_metadata(metadata: &Metadata) -> Result<()> {
    let given_bytes = serde_json::to_vec(metadata).map_or(usize::MAX, |json| json.len());
    if given_bytes > MAX_METADATA_BYTES {
        return Err(Error::TooLarge { field: "metadata".into(), given_bytes, allowed_bytes: MAX_METADATA_BYTES });
    }
    Ok(())
}

/// A memory with its vector. The vector is absent when the embedder was away at the time of the write.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddedMemory {
    /// The memory.
    pub memory: Memory,
    /// The vector of its text, with its context.
    pub embedding: Option<Embedding>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(text: &str, actor: Option<&str>) -> Memory {
        Memory {
            id: Uuid::nil().into(),
            version: 1,
            scope: Scope::tenant("t").unwrap(),
            kind: MemoryKind::Message,
            text: text.into(),
            actor: actor.map(Into::into),
            metadata: Metadata::new(),
            importance: 0.5,
            origin: Origin::new(Writer::Agent, "test"),
            evidence: Vec::new(),
            valid_from: Some("2023-05-08T13:56:00Z".parse().unwrap()),
            valid_to: None,
            recorded_at: Timestamp::UNIX_EPOCH,
            superseded_at: None,
            expires_at: None,
        }
    }

    #[test]
    fn the_speaker_is_the_actor_or_the_name_a_line_begins_with() {
        assert_eq!(memory("Bob: hi", Some("Ann")).speaker(), Some("Ann"));
        for (text, speaker) in [
            ("Ann: I am in Lisbon", Some("Ann")),
            ("[8 May 2023] Ann Lee: I am in Lisbon", Some("Ann Lee")),
            ("(1:56 pm) Jean-Luc P.: Engage", Some("Jean-Luc P.")),
            ("I said: no", None),
            ("The plan for all of us was this: go", None),
            ("http://example.com: down", None),
            ("no name here", None),
        ] {
            assert_eq!(memory(text, None).speaker(), speaker, "{text}");
        }
    }

    #[test]
    fn the_lexical_text_has_the_speaker_and_the_day() {
        assert_eq!(memory("I moved", Some("Ann")).lexical_text(), "Ann 8 May 2023 I moved");
    }
}
