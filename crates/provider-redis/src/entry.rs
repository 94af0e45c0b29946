//! An entry as it lies in Redis: a hash of tags, numbers and the vector for the index, and the entry itself as JSON.

use std::collections::BTreeMap;

use chrono::SubsecRound as _;
use memory_core::{CacheEntry, CacheEntryId, CacheRequest, Fingerprint, NewCacheEntry, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::filter;
use crate::half::{from_half, to_half};
use crate::index::Live;
use crate::keys::{Epoch, Group, id_tag, label_tag, memory_tag, scope_tags};
use crate::schema::{DataType, FieldKind, IndexField, IndexSchema};

// The fields that the provider adds.
pub(crate) const GROUP: &str = "_group";
pub(crate) const SCOPE: &str = "_scope";
pub(crate) const LINKS: &str = "_links";
pub(crate) const EXPIRES: &str = "_expires";
pub(crate) const ENTRY: &str = "_entry";

/// Responses up to this size are in the entry and come back with the search; longer ones are read after the decision,
/// in a second round trip, because a search brings several candidates and serves one.
pub(crate) const INLINE_RESPONSE_BYTES: usize = 16 * 1024;

/// An entry, and what it must be equal in to be served.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Document {
    pub scope: Scope,
    fingerprint: String,
    pub entry: CacheEntry,
    /// Whether the response lies apart.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub apart: bool,
}

/// A response that lies apart, with the entry it belongs to: the two keys may be read between two writes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Apart {
    pub id: CacheEntryId,
    pub response: String,
}

impl Document {
    /// The entry as it is filed at `now` under a new id. Times are kept to the microsecond.
    pub(crate) fn new(new: &NewCacheEntry, id: CacheEntryId, now: Timestamp) -> Self {
        let created_at = now.trunc_subsecs(6);
        let entry = CacheEntry {
            id,
            prompt: new.prompt.clone(),
            response: new.response.clone(),
            depends_on: new.depends_on.clone(),
            tags: new.tags.clone(),
            metadata: new.metadata.clone(),
            created_at,
            expires_at: (created_at + new.ttl).trunc_subsecs(6),
            sliding_ttl: new.sliding.then_some(new.ttl),
        };
        Self { scope: new.scope.clone(), fingerprint: hex(new.fingerprint), entry, apart: false }
    }

    pub(crate) fn read(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// Whether it may answer this request at all: of its scope and fingerprint, and admitted by its filter.
    pub(crate) fn answers(&self, request: &CacheRequest) -> bool {
        self.scope == request.scope
            && self.fingerprint == *blake3::Hash::from_bytes(request.fingerprint.0).to_hex()
            && request.admits(&self.entry.metadata)
    }

    /// What files it, as the arguments of `file.lua` after the mark.
    pub(crate) fn filing(
        mut self,
        new: &NewCacheEntry,
        group: &Group,
        epoch: Epoch,
        live: &Live,
    ) -> serde_json::Result<Vec<Vec<u8>>> {
        let ttl_ms = u64::try_from(new.ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let scope: Vec<String> = scope_tags(&self.scope, epoch).collect();
        let fields = self.fields(live.schemas());
        let mut apart = Vec::new();
        if self.entry.response.len() > INLINE_RESPONSE_BYTES {
            self.apart = true;
            apart =
                serde_json::to_vec(&Apart { id: self.entry.id, response: std::mem::take(&mut self.entry.response) })?;
        }
        let expires = millis_up(self.entry.expires_at);
        let mut arguments = vec![ttl_ms.to_string().into_bytes(), apart];
        let mut field = |name: &str, value: Vec<u8>| arguments.extend([name.as_bytes().to_vec(), value]);
        field(GROUP, group.tag.as_bytes().to_vec());
        field(SCOPE, scope.join(",").into_bytes());
        field(EXPIRES, expires.to_string().into_bytes());
        field(ENTRY, serde_json::to_vec(&self)?);
        for (name, value) in fields {
            field(&name, value.into_bytes());
        }
        if let Some(embedding) = &new.embedding {
            let mut stored: Vec<_> = live.schemas().map(|schema| (schema.vector.stored(), schema)).collect();
            stored.dedup_by(|a, b| a.0 == b.0);
            for (name, schema) in stored {
                field(&name, blob(embedding.values(), schema.vector.data_type));
            }
        }
        Ok(arguments)
    }

    /// The fields that depend on the schema, beside the vector: those of one schema, or of several at once.
    pub(crate) fn fields<'a>(&self, schemas: impl Iterator<Item = &'a IndexSchema>) -> BTreeMap<String, String> {
        let mut links = vec![id_tag(self.entry.id)];
        links.extend(self.entry.depends_on.iter().map(|&id| memory_tag(id)));
        links.extend(self.entry.tags.iter().map(|tag| label_tag(tag)));
        let mut fields = BTreeMap::new();
        for schema in schemas {
            for tag in filter::tags(schema, &self.entry.metadata) {
                if !links.contains(&tag) {
                    links.push(tag);
                }
            }
            let indexed = |field: &IndexField| Some((field.name.clone(), self.indexed(&field.name, &field.kind)?));
            fields.extend(schema.fields.iter().filter_map(indexed));
        }
        fields.insert(LINKS.to_owned(), links.join(","));
        fields
    }

    /// The value of a field that the schema indexes beside ours.
    fn indexed(&self, name: &str, kind: &FieldKind) -> Option<String> {
        let own = match name {
            "prompt" => Value::from(self.entry.prompt.as_str()),
            "response" => Value::from(self.entry.response.as_str()),
            "inserted_at" | "updated_at" => Value::from(self.entry.created_at.timestamp()),
            _ => Value::Null,
        };
        let value = if is_own(name) { &own } else { self.entry.metadata.get(name)? };
        match (kind, value) {
            (FieldKind::Numeric, Value::Number(number)) => Some(number.to_string()),
            (FieldKind::Text | FieldKind::Tag { .. }, Value::String(text)) => Some(text.clone()),
            (FieldKind::Tag { separator, .. }, Value::Array(items)) => {
                let words: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                Some(words.join(&separator.to_string()))
            }
            (FieldKind::Text, Value::Array(items)) => {
                let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
                Some(texts.join(" "))
            }
            _ => None,
        }
    }
}

/// Whether an indexed field of this name is filled from the entry itself, not from its metadata.
pub(crate) fn is_own(field: &str) -> bool {
    ["prompt", "response", "inserted_at", "updated_at"].contains(&field)
}

/// A vector as Redis keeps it.
pub(crate) fn blob(values: &[f32], data_type: DataType) -> Vec<u8> {
    match data_type {
        DataType::Float32 => {
            // On every lookup: this way it is a copy.
            let mut blob = vec![0; size_of_val(values)];
            blob.as_chunks_mut().0.iter_mut().zip(values).for_each(|(place, value)| *place = value.to_le_bytes());
            blob
        }
        DataType::Float16 => values.iter().flat_map(|&value| to_half(value).to_le_bytes()).collect(),
    }
}

/// The vector that [`blob`] made, or `None` if that is not one.
pub(crate) fn values(blob: &[u8], data_type: DataType) -> Option<Vec<f32>> {
    match data_type {
        DataType::Float32 => {
            let (values, []) = blob.as_chunks::<4>() else { return None };
            Some(values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
        }
        DataType::Float16 => {
            let (values, []) = blob.as_chunks::<2>() else { return None };
            Some(values.iter().map(|&bytes| from_half(u16::from_le_bytes(bytes))).collect())
        }
    }
}

/// The first millisecond in which it is over.
pub(crate) fn millis_up(at: Timestamp) -> i64 {
    at.timestamp_micros().div_euclid(1000) + i64::from(at.timestamp_micros().rem_euclid(1000) > 0)
}

fn hex(fingerprint: Fingerprint) -> String {
    blake3::Hash::from_bytes(fingerprint.0).to_hex().to_string()
}
