//! A memory that consolidation writes: a function of its sources alone, so that writing it twice writes it once.

use std::sync::Arc;

use uuid::Builder;

use super::record::{METADATA_KEY, Record, Role, last_stated, spelled, stated};
use super::{Settings, importance, trust};
use crate::{
    IdempotencyKey, Memory, MemoryId, MemoryKind, Metadata, Origin, Scope, Timestamp, Writer, memory::check_metadata,
};

/// The path that consolidation writes by.
pub const ORIGIN_PATH: &str = "consolidation";
/// The path when something imported is among the sources: an import is trusted less than consolidation, and what is derived
/// from it is trusted as little.
pub(super) const IMPORTED_PATH: &str = "consolidation:import";

/// A memory to be written from others.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// Whose it is: the sources' scope.
    pub scope: Scope,
    /// What kind of thing it is.
    pub kind: MemoryKind,
    /// The text.
    pub text: String,
    /// Who said it.
    pub actor: Option<String>,
    /// The metadata, with the [`Record`].
    pub metadata: Metadata,
    /// How much it matters.
    pub importance: f32,
    /// By whom and on which path: consolidation, and whether something imported is among the sources.
    pub origin: Origin,
    /// The sources.
    pub evidence: Vec<MemoryId>,
    /// When the first of the sources began to be true.
    pub valid_from: Option<Timestamp>,
    /// When the sources cease to be true.
    pub valid_to: Option<Timestamp>,
    /// When the sources expire.
    pub expires_at: Option<Timestamp>,
    key: [u8; 32],
}

impl Derived {
    /// The successor of `sources` with the text of `kept`, one of them. `None` when they disagree in what has only one
    /// value: a key of the metadata, an end, an expiry.
    pub(super) fn merged(kept: &Memory, text: &str, sources: &[Arc<Memory>], settings: &Settings) -> Option<Self> {
        let mut metadata = Metadata::new();
        for source in sources {
            if source.valid_to != kept.valid_to || source.expires_at != kept.expires_at {
                return None;
            }
            for (key, value) in source.metadata.iter().filter(|(key, _)| *key != METADATA_KEY) {
                if metadata.get(key).is_some_and(|there| there != value) {
                    return None;
                }
                metadata.insert(key.clone(), value.clone());
            }
        }
        let times: u64 = sources.iter().map(|source| stated(source)).sum();
        let most = sources.iter().map(|source| source.importance).fold(0.0, f32::max);
        // The most important one's own repetitions are in its importance already.
        let counted = sources.iter().filter(|source| source.importance == most).map(|source| stated(source)).max();
        let further = times.saturating_sub(counted.unwrap_or(1));
        let derived = Self {
            scope: kept.scope.clone(),
            kind: kept.kind,
            text: text.to_owned(),
            actor: kept.actor.clone(),
            metadata,
            importance: importance::raised(most, further, settings.repetition),
            origin: origin_of(sources),
            evidence: Vec::new(),
            valid_from: sources.iter().filter_map(|source| source.valid_from).min(),
            valid_to: kept.valid_to,
            expires_at: kept.expires_at,
            key: [0; 32],
        };
        derived.resting_on(sources, Role::Merged, times)
    }

    /// A fact that `turn` states, for the turn's user and agent.
    pub(super) fn promoted(turn: &Arc<Memory>, text: &str) -> Option<Self> {
        let mut scope = Scope::tenant(turn.scope.tenant_name()).ok()?;
        if let Some(user) = turn.scope.user() {
            scope = scope.with_user(user).ok()?;
        }
        if let Some(agent) = turn.scope.agent() {
            scope = scope.with_agent(agent).ok()?;
        }
        let derived = Self {
            scope,
            kind: MemoryKind::Semantic,
            text: text.to_owned(),
            actor: turn.speaker().map(Into::into),
            metadata: turn.metadata.iter().filter(|(key, _)| *key != METADATA_KEY).map(clone).collect(),
            importance: turn.importance,
            origin: origin_of(std::slice::from_ref(turn)),
            evidence: Vec::new(),
            valid_from: turn.valid_from,
            valid_to: turn.valid_to,
            expires_at: None,
            key: [0; 32],
        };
        derived.resting_on(std::slice::from_ref(turn), Role::Promoted, 1)
    }

    fn resting_on(mut self, sources: &[Arc<Memory>], role: Role, times: u64) -> Option<Self> {
        let mut sources: Vec<&Arc<Memory>> = sources.iter().collect();
        sources.sort_unstable_by_key(|source| source.id);
        self.evidence = sources.iter().map(|source| source.id).collect();
        let versions: Vec<u64> = sources.iter().map(|source| source.version).collect();
        self.key = self.content_key(&versions);
        let record = Record {
            role: Some(role),
            key: Some(blake3::Hash::from_bytes(self.key).to_hex().to_string()),
            versions,
            stated: (times > 1).then_some(times),
            last_stated: sources.iter().map(|source| last_stated(source)).max(),
            ..Record::default()
        };
        record.write(&mut self.metadata);
        check_metadata(&self.metadata).ok()?;
        Some(self)
    }

    /// The hash of what it says, whose it is and what it rests on.
    fn content_key(&self, versions: &[u64]) -> [u8; 32] {
        let scope = [Some(self.scope.tenant_name()), self.scope.user(), self.scope.agent(), self.scope.session()];
        let mut hash = blake3::Hasher::new_derive_key("orchestra memory consolidation 2026-06");
        let mut part = |bytes: &[u8]| {
            hash.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        for name in scope {
            part(&[u8::from(name.is_some())]);
            part(name.unwrap_or_default().as_bytes());
        }
        part(self.kind.name().as_bytes());
        part(self.text.as_bytes());
        part(self.actor.as_deref().unwrap_or_default().as_bytes());
        part(&self.importance.to_le_bytes());
        for at in [self.valid_from, self.valid_to, self.expires_at] {
            part(spelled(at).as_bytes());
        }
        part(serde_json::Value::Object(self.metadata.clone()).to_string().as_bytes());
        for (id, version) in self.evidence.iter().zip(versions) {
            part(id.as_uuid().as_bytes());
            part(&version.to_le_bytes());
        }
        *hash.finalize().as_bytes()
    }

    /// The id that it gets: the same for the same content.
    #[must_use]
    pub fn id(&self) -> MemoryId {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.key[..16]);
        Builder::from_custom_bytes(bytes).into_uuid().into()
    }

    /// The key that makes writing it safe to repeat.
    #[must_use]
    pub fn idempotency(&self) -> IdempotencyKey {
        let hex = blake3::Hash::from_bytes(self.key).to_hex();
        IdempotencyKey { key: format!("consolidation:{hex}"), body_hash: self.key }
    }

    /// The memory, recorded at `now`.
    #[must_use]
    pub fn to_memory(&self, now: Timestamp) -> Memory {
        Memory {
            id: self.id(),
            version: 1,
            scope: self.scope.clone(),
            kind: self.kind,
            text: self.text.clone(),
            actor: self.actor.clone(),
            metadata: self.metadata.clone(),
            importance: self.importance,
            origin: self.origin.clone(),
            evidence: self.evidence.clone(),
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            recorded_at: now,
            superseded_at: None,
            expires_at: self.expires_at,
        }
    }
}

fn clone((key, value): (&String, &serde_json::Value)) -> (String, serde_json::Value) {
    (key.clone(), value.clone())
}

/// Consolidation's origin. It is the writer also where an import is the least trusted source: stores check what
/// consolidation derives against what was forgotten.
fn origin_of(sources: &[Arc<Memory>]) -> Origin {
    let imported = sources.iter().any(|source| trust(&source.origin) == Writer::Import);
    Origin::new(Writer::Consolidation, if imported { IMPORTED_PATH } else { ORIGIN_PATH })
}
