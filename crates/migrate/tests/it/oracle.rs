//! What clients were told, and what has to be there because of that.

use std::collections::{BTreeMap, BTreeSet};

use memory_core::{ForgetReceipt, InsertBatch, InsertReceipt, Item, Memory, MemoryId, Timestamp, ValueKey};

/// What was acknowledged.
#[derive(Debug, Default)]
pub struct Oracle {
    /// The memories that were written, in the order in which they were, with what they say now.
    pub written: Vec<MemoryId>,
    pub there: BTreeMap<MemoryId, Memory>,
    pub forgotten: BTreeSet<MemoryId>,
    pub rejected: BTreeSet<ValueKey>,
    /// The batches that were sent with a key, and what they were answered.
    pub keyed: Vec<(InsertBatch, InsertReceipt)>,
    /// The memories that have a vector.
    pub embedded: BTreeSet<MemoryId>,
}

impl Oracle {
    pub fn inserted(&mut self, batch: InsertBatch, receipt: InsertReceipt) {
        for embedded in &batch.memories {
            let memory = &embedded.memory;
            self.written.push(memory.id);
            self.there.insert(memory.id, memory.clone());
            if embedded.embedding.is_some() {
                self.embedded.insert(memory.id);
            }
        }
        if batch.idempotency.is_some() {
            self.keyed.push((batch, receipt));
        }
    }

    pub fn updated(&mut self, memory: Memory, is_embedded: bool) {
        if is_embedded {
            self.embedded.insert(memory.id);
        } else {
            self.embedded.remove(&memory.id);
        }
        self.there.insert(memory.id, memory);
    }

    pub fn went(&mut self, receipt: &ForgetReceipt) {
        for id in receipt.forgotten.iter().chain(&receipt.derived) {
            self.there.remove(id);
            self.forgotten.insert(*id);
        }
    }

    /// Compares what a store holds with what was acknowledged: nothing lost, resurrected or different, in the order of writing.
    pub fn check(&self, items: &[Item], now: Timestamp, context: &str) {
        let expected: Vec<&Memory> =
            self.written.iter().filter_map(|id| self.there.get(id)).filter(|memory| !memory.is_expired(now)).collect();
        let mut found: Vec<&Memory> = Vec::new();
        let (mut forgotten, mut rejected, mut keys) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for item in items {
            match item {
                Item::Memory(whole) => {
                    let memory = &whole.current.memory;
                    let has_vector = whole.current.embedding.is_some();
                    assert_eq!(has_vector, self.embedded.contains(&memory.id), "{context}: the vector of {memory:?}");
                    assert_eq!(whole.former.len() as u64 + 1, memory.version, "{context}: the history of {memory:?}");
                    found.push(memory);
                }
                Item::Tombstone { id, .. } => drop(forgotten.insert(*id)),
                Item::Rejection(rejection) => drop(rejected.insert(rejection.keys.reads)),
                Item::IdempotencyKey(answered) => drop(keys.insert(answered.key.clone())),
                Item::ForgottenText { .. } => {}
                Item::Absent(key) => panic!("{context}: {key:?} is in the scan"),
            }
        }
        let ids = |memories: &[&Memory]| memories.iter().map(|memory| memory.id).collect::<Vec<_>>();
        let lost: Vec<_> = ids(&expected).into_iter().filter(|id| !ids(&found).contains(id)).collect();
        let extra: Vec<_> = ids(&found).into_iter().filter(|id| !ids(&expected).contains(id)).collect();
        assert!(lost.is_empty(), "{context}: lost {lost:?}");
        assert!(extra.is_empty(), "{context}: resurrected or never written {extra:?}");
        assert_eq!(found, expected, "{context}: different, or in another order");
        assert_eq!(forgotten, self.forgotten, "{context}: tombstones");
        assert_eq!(rejected, self.rejected, "{context}: rejections");
        let sent: BTreeSet<_> =
            self.keyed.iter().filter_map(|(batch, _)| batch.idempotency.as_ref()).map(|key| key.key.clone()).collect();
        assert_eq!(keys, sent, "{context}: answered keys");
    }
}
