//! Items as JSON: what a mover in another process is given, and what it sends.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AnsweredKey, FormerVersion, Item, ItemKey, StoredVersion, WholeMemory};
use crate::{
    ContentHash, Embedding, EmbeddingSpace, Error, InsertedItem, Memory, MemoryId, Rejection, Result, Scope, Timestamp,
    ValueKey, ValueKeys,
};

/// An [`Item`] as it is written. Its kind is in the member `item`.
#[derive(Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum WireItem {
    Absent {
        key: ItemKey,
    },
    Rejection {
        scope: Scope,
        reads: ValueKey,
        looks: ValueKey,
        rejected_at: Timestamp,
        rejected_by: String,
    },
    ForgottenText {
        scope: Scope,
        hash: ContentHash,
    },
    Tombstone {
        scope: Scope,
        id: MemoryId,
        forgotten_at: Timestamp,
    },
    Memory {
        ordinal: u64,
        current: WireVersion,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        former: Vec<WireFormer>,
    },
    IdempotencyKey {
        tenant: String,
        key: String,
        body_hash: ContentHash,
        items: Vec<InsertedItem>,
        created_at: Timestamp,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireVersion {
    memory: Box<Memory>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embedding: Option<WireEmbedding>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireFormer {
    version: WireVersion,
    superseded_at: Timestamp,
}

/// A vector to the bit: each value as the eight hexadecimal digits of its bits.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireEmbedding {
    space: Arc<EmbeddingSpace>,
    values: String,
}

impl From<Item> for WireItem {
    fn from(item: Item) -> Self {
        match item {
            Item::Absent(key) => Self::Absent { key },
            Item::Rejection(Rejection { scope, keys, rejected_at, rejected_by }) => {
                Self::Rejection { scope, reads: keys.reads, looks: keys.looks, rejected_at, rejected_by }
            }
            Item::ForgottenText { scope, hash } => Self::ForgottenText { scope, hash },
            Item::Tombstone { scope, id, forgotten_at } => Self::Tombstone { scope, id, forgotten_at },
            Item::Memory(whole) => {
                let former =
                    |FormerVersion { version, superseded_at }| WireFormer { version: version.into(), superseded_at };
                let former = whole.former.into_iter().map(former).collect();
                Self::Memory { ordinal: whole.ordinal, current: whole.current.into(), former }
            }
            Item::IdempotencyKey(AnsweredKey { tenant, key, body_hash, items, created_at }) => {
                Self::IdempotencyKey { tenant, key, body_hash: body_hash.into(), items, created_at }
            }
        }
    }
}

impl TryFrom<WireItem> for Item {
    type Error = Error;

    fn try_from(wire: WireItem) -> Result<Self> {
        Ok(match wire {
            WireItem::Absent { key } => Self::Absent(key),
            WireItem::Rejection { scope, reads, looks, rejected_at, rejected_by } => {
                Self::Rejection(Rejection { scope, keys: ValueKeys { reads, looks }, rejected_at, rejected_by })
            }
            WireItem::ForgottenText { scope, hash } => Self::ForgottenText { scope, hash },
            WireItem::Tombstone { scope, id, forgotten_at } => Self::Tombstone { scope, id, forgotten_at },
            WireItem::Memory { ordinal, current, former } => {
                let former = former.into_iter().map(|WireFormer { version, superseded_at }| {
                    Ok(FormerVersion { version: version.try_into()?, superseded_at })
                });
                let former = former.collect::<Result<_>>()?;
                Self::Memory(Box::new(WholeMemory { ordinal, current: current.try_into()?, former }))
            }
            WireItem::IdempotencyKey { tenant, key, body_hash, items, created_at } => {
                Self::IdempotencyKey(AnsweredKey { tenant, key, body_hash: *body_hash.as_bytes(), items, created_at })
            }
        })
    }
}

impl From<StoredVersion> for WireVersion {
    fn from(StoredVersion { memory, embedding }: StoredVersion) -> Self {
        let embedding = embedding.map(|embedding| {
            let digits = embedding.values().iter().map(|value| format!("{:08x}", value.to_bits()));
            WireEmbedding { space: embedding.space().clone(), values: digits.collect() }
        });
        Self { memory: Box::new(memory), embedding }
    }
}

impl TryFrom<WireVersion> for StoredVersion {
    type Error = Error;

    fn try_from(WireVersion { memory, embedding }: WireVersion) -> Result<Self> {
        let embedding = embedding.map(|WireEmbedding { space, values }| Embedding::new(space, bits(&values)?));
        Ok(Self { memory: *memory, embedding: embedding.transpose()? })
    }
}

fn bits(digits: &str) -> Result<Vec<f32>> {
    let (values, rest) = digits.as_bytes().as_chunks::<8>();
    let value = |digits: &[u8; 8]| {
        let bits = std::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
        bits.map(f32::from_bits)
    };
    let values: Option<Vec<f32>> = values.iter().map(value).collect();
    values
        .filter(|_| rest.is_empty())
        .ok_or_else(|| Error::invalid("embedding.values", digits, "eight hexadecimal digits for each value"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{InsertStatus, MemoryKind, Metadata, Origin, Writer};

    fn items() -> Vec<Item> {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let scope = Scope::tenant("acme").unwrap().with_user("ann").unwrap();
        let id: MemoryId = "0190f3c2-7b1e-7c3a-9f00-3d5e8a1b2c4d".parse().unwrap();
        let space = Arc::new(EmbeddingSpace::new("m", "1", 3).unwrap());
        let memory = Memory {
            id,
            version: 2,
            scope: scope.clone(),
            kind: MemoryKind::Semantic,
            text: "Straße \u{1f3e0}".into(),
            actor: Some("Ann".into()),
            metadata: Metadata::from_iter([("n".into(), json!([0.1, 18_446_744_073_709_551_615_u64, null]))]),
            importance: 0.1,
            origin: Origin::new(Writer::User, "http"),
            evidence: vec![id],
            valid_from: None,
            valid_to: None,
            recorded_at: at("2025-06-01T01:00:00.123456Z"),
            superseded_at: None,
            expires_at: Some(at("2035-06-01T01:00:00Z")),
        };
        let former = StoredVersion { memory: Memory { version: 1, ..memory.clone() }, embedding: None };
        let superseded_at = at("2025-06-01T01:00:00.123456Z");
        let embedding = Some(Embedding::new(space, vec![0.1, -0.7, 1e-30]).unwrap());
        let current = StoredVersion { memory, embedding };
        let whole = WholeMemory { ordinal: 7, current, former: vec![FormerVersion { version: former, superseded_at }] };
        let key = ItemKey::ForgottenText { scope: scope.clone(), hash: ContentHash::of("x") };
        let item = InsertedItem { id, status: InsertStatus::Created };
        vec![
            Item::Absent(key),
            Item::Rejection(Rejection {
                scope: scope.clone(),
                keys: ValueKeys::of(&scope, "ν"),
                rejected_at: superseded_at,
                rejected_by: "owner".into(),
            }),
            Item::ForgottenText { scope: scope.clone(), hash: ContentHash::of("y") },
            Item::Tombstone { scope, id, forgotten_at: superseded_at },
            Item::Memory(Box::new(whole)),
            Item::IdempotencyKey(AnsweredKey {
                tenant: "acme".into(),
                key: "k".into(),
                body_hash: [7; 32],
                items: vec![item],
                created_at: superseded_at,
            }),
        ]
    }

    #[test]
    fn every_item_reads_as_it_was_written() {
        let text = serde_json::to_string(&items()).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Item>>(&text).unwrap(), items());
    }

    #[test]
    fn what_is_no_item_is_refused() {
        let memory = serde_json::to_value(&items()[4]).unwrap();
        for (pointer, wrong) in [
            ("/current/embedding/values", json!("3f80")),
            ("/current/embedding/values", json!("zzzzzzzz3f8000003f800000")),
            ("/current/embedding/values", json!("3f800000")),
            ("/item", json!("message")),
            ("/ordinal", json!(-1)),
        ] {
            let mut changed = memory.clone();
            *changed.pointer_mut(pointer).unwrap() = wrong;
            assert!(serde_json::from_value::<Item>(changed).is_err(), "{pointer}");
        }
    }
}
