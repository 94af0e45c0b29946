//! What the tests move: one of each kind of item, with every field set, and how two are compared.

use std::sync::Arc;

use chrono::TimeDelta;
use memory_core::{
    AnsweredKey, ContentHash, Embedding, EmbeddingSpace, FormerVersion, InsertStatus, InsertedItem, Item, ItemKey,
    Memory, MemoryKind, Metadata, Origin, Rejection, Scope, StoredVersion, Timestamp, ValueKeys, WholeMemory, Writer,
};
use serde_json::json;

use crate::make;

/// A memory of `versions` versions with every field set, the last of them recorded at `now`.
pub fn whole(scope: &Scope, space: &Arc<EmbeddingSpace>, ordinal: u64, versions: u32, now: Timestamp) -> WholeMemory {
    let first = make::memory(scope, "x", now);
    let version = |number: u32| {
        let recorded_at = now - TimeDelta::seconds(i64::from(versions - number));
        let memory = Memory {
            version: u64::from(number),
            kind: MemoryKind::Semantic,
            text: format!("Ann's {ordinal}th address, as she said it the {number}th time: Straße \u{1f3e0} \"x\" \\ '"),
            actor: Some("Ann".into()),
            metadata: Metadata::from_iter([
                ("a".to_owned(), json!({"list": [1, 0.1, -2.5e-7, "\u{e9}", null], "deep": {"er": true}})),
                ("version".to_owned(), json!(number)),
            ]),
            importance: 0.125 * number as f32,
            origin: Origin::new(Writer::User, "import:test"),
            evidence: vec![make::id(), make::id()],
            valid_from: Some(now - TimeDelta::days(400) + TimeDelta::microseconds(1)),
            valid_to: Some(now - TimeDelta::days(1)),
            recorded_at,
            superseded_at: None,
            expires_at: Some(now + TimeDelta::days(100)),
            ..first.clone()
        };
        // Every second one has no vector.
        let seed = ordinal * 1000 + u64::from(number);
        StoredVersion { memory, embedding: number.is_multiple_of(2).then(|| make::embedding(space, seed)) }
    };
    let former = (1..versions).map(|number| {
        let mut version = version(number);
        let superseded_at = now - TimeDelta::seconds(i64::from(versions - number - 1));
        version.memory.superseded_at = Some(superseded_at);
        FormerVersion { version, superseded_at }
    });
    let former = former.collect();
    let mut current = version(versions);
    current.memory.evidence = vec![make::id()];
    WholeMemory { ordinal, current, former }
}

pub fn memory_item(whole: &WholeMemory) -> Item {
    Item::Memory(Box::new(whole.clone()))
}

pub fn rejection(scope: &Scope, text: &str, now: Timestamp) -> Rejection {
    Rejection {
        scope: scope.without_session(),
        keys: ValueKeys::of(scope, text),
        rejected_at: now,
        rejected_by: "an administrator \u{e9}".into(),
    }
}

pub fn forgotten_text(scope: &Scope, text: &str) -> Item {
    Item::ForgottenText { scope: scope.clone(), hash: ContentHash::of(text) }
}

pub fn answered_key(tenant: &str, key: &str, now: Timestamp) -> AnsweredKey {
    let items = [InsertStatus::Created, InsertStatus::Unchanged, InsertStatus::RefusedForgotten];
    AnsweredKey {
        tenant: tenant.into(),
        key: key.into(),
        body_hash: [7; 32],
        items: items.map(|status| InsertedItem { id: make::id(), status }).into(),
        created_at: now,
    }
}

pub fn key_of(memory: &Memory) -> ItemKey {
    ItemKey::Memory { tenant: memory.scope.tenant_name().to_owned(), id: memory.id }
}

/// Whether two lists of items are the same, vectors up to the rounding of a store that keeps them short.
#[track_caller]
pub fn assert_same(found: &[Item], expected: &[Item], context: &str) {
    let keys = |items: &[Item]| items.iter().map(Item::key).collect::<Vec<_>>();
    assert_eq!(keys(found), keys(expected), "{context}: other items");
    for (found, expected) in found.iter().zip(expected) {
        let (Item::Memory(found), Item::Memory(expected)) = (found, expected) else {
            assert_eq!(found, expected, "{context}");
            continue;
        };
        let (found_vectors, found) = apart(found);
        let (expected_vectors, expected) = apart(expected);
        assert_eq!(found, expected, "{context}");
        for (found, expected) in found_vectors.iter().zip(&expected_vectors) {
            let same = match (found, expected) {
                (Some(found), Some(expected)) => found.similarity(expected).is_ok_and(|similarity| similarity > 0.999),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(same, "{context}: another vector: {found:?} for {expected:?}");
        }
    }
}

/// The vectors of a memory, and the rest of it.
fn apart(whole: &WholeMemory) -> (Vec<Option<Embedding>>, WholeMemory) {
    let mut rest = whole.clone();
    let former = rest.former.iter_mut().map(|former| former.version.embedding.take());
    let mut vectors: Vec<_> = former.collect();
    vectors.push(rest.current.embedding.take());
    (vectors, rest)
}

/// Where a kind of item comes in a scan, for those whose order is promised.
pub fn rank(item: &Item) -> Option<(u8, u64)> {
    match item {
        Item::Rejection(_) | Item::ForgottenText { .. } => Some((0, 0)),
        Item::Tombstone { .. } => Some((1, 0)),
        Item::Memory(whole) => Some((2, whole.ordinal)),
        Item::IdempotencyKey(_) => None,
        Item::Absent(key) => panic!("a scan gives what is there: {key:?}"),
    }
}
