//! A memory on its way in, and the checks it passes.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use memory_core::{Draft, Memory, MemoryId, MemoryKind, Metadata, Origin, Scope, Timestamp, Writer};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::identity::Identity;
use super::{Broken, Entry, Flow, Options, Place, Sink, Skip};

/// Whose a memory is, without the tenant, which comes from the caller's identity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Names {
    /// The user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

impl Names {
    /// These names, each in place of the other's where it is set.
    #[must_use]
    pub fn over(&self, other: Self) -> Self {
        Self {
            user: self.user.clone().or(other.user),
            agent: self.agent.clone().or(other.agent),
            session: self.session.clone().or(other.session),
        }
    }
}

/// A memory as the API takes it and as an export holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    #[serde(default)]
    pub scope: Names,
    /// What kind of thing it is.
    pub kind: MemoryKind,
    /// The text.
    pub text: String,
    /// Who said or did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Free-form metadata.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
    /// How much it matters, `0.0..=1.0`.
    #[serde(default = "default_importance")]
    pub importance: f32,
    /// The memories it was derived from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Uuid>,
    /// When it began to be true, or was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// When it ceased to be true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Timestamp>,
    /// When it stops being recalled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

fn default_importance() -> f32 {
    Draft::DEFAULT_IMPORTANCE
}

impl Record {
    /// Checks every field against the API's limits.
    ///
    /// # Errors
    /// The first field that is not acceptable.
    pub fn validate(&self, tenant: &str) -> memory_core::Result<()> {
        let mut scope = Scope::tenant(tenant)?;
        if let Some(user) = &self.scope.user {
            scope = scope.with_user(user)?;
        }
        if let Some(agent) = &self.scope.agent {
            scope = scope.with_agent(agent)?;
        }
        if let Some(session) = &self.scope.session {
            scope = scope.with_session(session)?;
        }
        let memory = Memory {
            id: MemoryId::from(self.id),
            version: 1,
            scope,
            kind: self.kind,
            text: self.text.clone(),
            actor: self.actor.clone(),
            metadata: self.metadata.clone(),
            importance: self.importance,
            origin: Origin::new(Writer::Import, "import"),
            evidence: self.evidence.iter().copied().map(MemoryId::from).collect(),
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            recorded_at: Timestamp::UNIX_EPOCH,
            superseded_at: None,
            expires_at: self.expires_at,
        };
        memory.validate()
    }

    /// About how many bytes it takes in a request.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        // The names, times and punctuation around the text stay under 512 bytes, other than the metadata.
        self.text.len()
            + 512
            + if self.metadata.is_empty() { 0 } else { serde_json::to_vec(&self.metadata).map_or(0, |json| json.len()) }
    }
}

/// A memory as a reader finds it, before the options and the id.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// Where it stands, where lines say that.
    pub place: Option<Place>,
    /// What leads to it inside the line or the document: `sessions[2].turns[14]`. May be empty.
    pub path: String,
    /// Its own id, where it has one.
    pub id: Option<Uuid>,
    pub scope: Names,
    /// `None` where the file does not say it; `fallback_kind` is taken then, unless the options name one.
    pub kind: Option<MemoryKind>,
    pub fallback_kind: MemoryKind,
    pub text: String,
    pub actor: Option<String>,
    pub metadata: Metadata,
    pub importance: Option<f32>,
    pub evidence: Vec<Uuid>,
    pub valid_from: Option<Timestamp>,
    pub valid_to: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Its place in its session.
    pub ordinal: u64,
    /// What else tells it apart.
    pub distinction: String,
}

impl Found {
    pub fn new(place: impl Into<Option<Place>>, text: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            path: String::new(),
            id: None,
            scope: Names::default(),
            kind: None,
            fallback_kind: MemoryKind::Episodic,
            text: text.into(),
            actor: None,
            metadata: Metadata::new(),
            importance: None,
            evidence: Vec::new(),
            valid_from: None,
            valid_to: None,
            expires_at: None,
            ordinal: 0,
            distinction: String::new(),
        }
    }
}

/// Completes what readers find, checks it, drops repetitions and hands it on.
pub(super) struct Collector<'a, 'b> {
    options: &'a Options,
    sink: &'a mut Sink<'b>,
    /// The ids given out, each with a hash of its text.
    seen: HashMap<Uuid, u64>,
}

impl<'a, 'b> Collector<'a, 'b> {
    pub fn new(options: &'a Options, sink: &'a mut Sink<'b>) -> Self {
        Self { options, sink, seen: HashMap::new() }
    }

    pub fn skip(&mut self, skip: Skip) -> Flow {
        (self.sink)(Entry::Skipped(skip))
    }

    pub fn broken(&mut self, place: impl Into<Option<Place>>, message: impl Into<String>) -> Flow {
        (self.sink)(Entry::Broken(Broken::new(place, message)))
    }

    pub fn fatal(&mut self, broken: Broken) -> Flow {
        (self.sink)(Entry::Broken(broken))
    }

    pub fn memory(&mut self, found: Found) -> Flow {
        if found.text.trim().is_empty() {
            return self.skip(Skip::NoText);
        }
        let scope = self.options.scope.over(found.scope);
        let id = found.id.unwrap_or_else(|| {
            let identity = Identity {
                tenant: &self.options.tenant,
                scope: &scope,
                ordinal: found.ordinal,
                actor: found.actor.as_deref(),
                text: &found.text,
                distinction: &found.distinction,
            };
            identity.id()
        });
        let record = Record {
            id,
            scope,
            kind: found.kind.or(self.options.kind).unwrap_or(found.fallback_kind),
            text: found.text,
            actor: found.actor,
            metadata: found.metadata,
            importance: found.importance.unwrap_or_else(default_importance),
            evidence: found.evidence,
            valid_from: found.valid_from,
            valid_to: found.valid_to,
            expires_at: found.expires_at,
        };
        if let Err(error) = record.validate(&self.options.tenant) {
            let error = if found.path.is_empty() { error } else { error.within(&found.path) };
            return self.broken(found.place, error.to_string());
        }
        match self.seen.insert(id, hash(&record.text)) {
            None => {}
            Some(former) if former == hash(&record.text) => return self.skip(Skip::Repeated),
            Some(_) => {
                return self.broken(
                    found.place,
                    format!("id: {id} stands twice in the file, with two texts; expected each id once"),
                );
            }
        }
        (self.sink)(Entry::Memory(Box::new(record)))
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
