//! What consolidation notes on a memory, in its metadata.

use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Memory, MemoryId, Metadata, Timestamp};

/// The key of the metadata under which the record stands.
pub const METADATA_KEY: &str = "_consolidation";

/// What consolidation noted on a memory; empty on one that it did not touch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// What the memory is, when consolidation wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The hash of what it was made from, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The versions of its evidence that it was made from, in the evidence's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<u64>,
    /// How often it was stated; absent is once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stated: Option<u64>,
    /// When it was last stated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_stated: Option<Timestamp>,
    /// What took its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<MemoryId>,
    /// When it was closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_to: Option<Timestamp>,
    /// Until when it would have been true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub former_valid_to: Option<Timestamp>,
}

/// What consolidation wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// In the place of its evidence.
    Merged,
    /// Beside its evidence.
    Promoted,
}

impl Record {
    /// What is noted on `memory`. What cannot be read counts as nothing: metadata is the caller's to write.
    #[must_use]
    pub fn of(memory: &Memory) -> Self {
        let noted = memory.metadata.get(METADATA_KEY);
        noted.and_then(|noted| Self::deserialize(noted).ok()).unwrap_or_default()
    }

    /// The key in `metadata`; empty where there is none.
    pub(crate) fn key_in(metadata: &Metadata) -> &str {
        metadata.get(METADATA_KEY).and_then(|record| record["key"].as_str()).unwrap_or_default()
    }

    /// Writes the record into `metadata`.
    pub fn write(&self, metadata: &mut Metadata) {
        // A record has no map with keys that are no texts, so it is always JSON.
        metadata.insert(METADATA_KEY.into(), serde_json::to_value(self).unwrap_or(Value::Null));
    }

    /// Whether `memory` is closed as the record says, and was not changed by anyone since.
    #[must_use]
    pub fn is_mark_of(&self, memory: &Memory) -> bool {
        self.superseded_by.is_some() && memory.valid_to.is_some() && self.closed_to == memory.valid_to
    }

    /// The metadata of `memory` once it is closed at `at` in favour of `successor`.
    #[must_use]
    pub fn closed(memory: &Memory, successor: MemoryId, at: Timestamp) -> Metadata {
        let mut record = Self::of(memory);
        record.superseded_by = Some(successor);
        record.closed_to = Some(at);
        record.former_valid_to = memory.valid_to;
        let mut metadata = memory.metadata.clone();
        record.write(&mut metadata);
        metadata
    }

    /// The metadata of `memory` once it holds again.
    #[must_use]
    pub fn reopened(memory: &Memory) -> Metadata {
        let record = Self { superseded_by: None, closed_to: None, former_valid_to: None, ..Self::of(memory) };
        let mut metadata = memory.metadata.clone();
        if record == Self::default() {
            metadata.remove(METADATA_KEY);
        } else {
            record.write(&mut metadata);
        }
        metadata
    }
}

/// How often a memory was stated.
pub(super) fn stated(memory: &Memory) -> u64 {
    Record::of(memory).stated.unwrap_or(1).max(1)
}

/// When a memory was last stated: when it was said, else when it was recorded.
pub(super) fn last_stated(memory: &Memory) -> Timestamp {
    Record::of(memory).last_stated.or(memory.valid_from).unwrap_or(memory.recorded_at)
}

/// A moment as it goes into a hash: stores keep microseconds.
pub(super) fn spelled(at: Option<Timestamp>) -> String {
    at.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true)).unwrap_or_default()
}
