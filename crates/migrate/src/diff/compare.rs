//! Whether two items are the same, and in what they are not. Pure.

use memory_core::{EmbeddingSpace, Item, Memory, StoredVersion, Timestamp, WholeMemory};
use serde::{Deserialize, Serialize};

/// How two stores differ in an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The store that follows has nothing of it.
    Missing,
    /// Only the store that follows has it.
    Extra,
    /// Both have it, and not the same.
    Different,
    /// One of them has it forgotten, and the other has not.
    Tombstone,
}

/// How vectors are compared.
#[derive(Debug, Clone, Copy)]
pub struct Vectors<'a> {
    /// The space that those of the store that follows are made in; as they come without.
    pub space: Option<&'a EmbeddingSpace>,
    /// The least cosine similarity of two that are the same: 1 less what a store rounds.
    pub similarity: f32,
}

/// In what `copy`, of the store that follows, is not `there`, of the one in use; `None` where it is the same. What has expired by
/// now is as good as gone.
#[must_use]
pub fn compare(there: &Item, copy: &Item, vectors: Vectors<'_>, now: Timestamp) -> Option<(Kind, Vec<String>)> {
    let is_gone = |item: &Item| match item {
        Item::Absent(_) => true,
        Item::Memory(whole) => whole.current.memory.is_expired(now),
        _ => false,
    };
    match (there, copy) {
        (there, copy) if is_gone(there) && is_gone(copy) => None,
        (Item::Tombstone { .. }, copy) if !matches!(copy, Item::Tombstone { .. }) => {
            Some((Kind::Tombstone, Vec::new()))
        }
        (there, Item::Tombstone { .. }) if !matches!(there, Item::Tombstone { .. }) => {
            Some((Kind::Tombstone, Vec::new()))
        }
        (_, copy) if is_gone(copy) => Some((Kind::Missing, Vec::new())),
        (there, _) if is_gone(there) => Some((Kind::Extra, Vec::new())),
        (Item::Memory(there), Item::Memory(copy)) => {
            let fields = differing(there, copy, vectors);
            (!fields.is_empty()).then_some((Kind::Different, fields))
        }
        (there, copy) => (there != copy).then_some((Kind::Different, Vec::new())),
    }
}

/// The fields in which two memories differ, by their names; those of a former version with its number.
fn differing(there: &WholeMemory, copy: &WholeMemory, vectors: Vectors<'_>) -> Vec<String> {
    let mut fields = Vec::new();
    if there.ordinal != copy.ordinal {
        fields.push("ordinal".to_owned());
    }
    of_version(&there.current, &copy.current, vectors, "", &mut fields);
    if there.former.len() != copy.former.len() {
        fields.push("history".to_owned());
        return fields;
    }
    for (there, copy) in there.former.iter().zip(&copy.former) {
        let within = format!("history[{}].", there.version.memory.version);
        if there.superseded_at != copy.superseded_at {
            fields.push(format!("{within}superseded_at"));
        }
        of_version(&there.version, &copy.version, vectors, &within, &mut fields);
    }
    fields
}

fn of_version(
    there: &StoredVersion,
    copy: &StoredVersion,
    vectors: Vectors<'_>,
    within: &str,
    fields: &mut Vec<String>,
) {
    if there.memory != copy.memory {
        fields.extend(of_memory(&there.memory, &copy.memory).into_iter().map(|field| format!("{within}{field}")));
    }
    let is_same = match (&there.embedding, &copy.embedding) {
        (None, None) => true,
        (Some(there), Some(copy)) if there.space() == copy.space() => {
            there.similarity(copy).is_ok_and(|similarity| similarity >= vectors.similarity)
        }
        // Made anew on the way: its space is what can be compared.
        (Some(_), Some(copy)) => vectors.space.is_some_and(|space| *space == **copy.space()),
        _ => false,
    };
    if !is_same {
        fields.push(format!("{within}embedding"));
    }
}

fn of_memory(there: &Memory, copy: &Memory) -> Vec<String> {
    let [there, copy] = [there, copy].map(|memory| serde_json::to_value(memory).unwrap_or_default());
    let (Some(there), Some(copy)) = (there.as_object(), copy.as_object()) else { return vec!["memory".to_owned()] };
    let differ = there.iter().filter(|(field, value)| copy.get(*field) != Some(*value));
    let mut fields: Vec<String> = differ.map(|(field, _)| field.clone()).collect();
    if fields.is_empty() {
        // What JSON does not tell apart.
        fields.push("memory".to_owned());
    }
    fields
}
