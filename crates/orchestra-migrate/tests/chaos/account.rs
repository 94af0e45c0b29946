//! The account of what was acknowledged, kept by the clients alone, and whether a store holds just that.

use std::collections::BTreeMap;

use memory_core::{ListRequest, MemoryId, MemoryStore, Scope};

/// The tenant of a server without API keys.
const TENANT: &str = "default";
/// How many violations are told.
const TOLD: usize = 20;

/// A memory as it was acknowledged last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub user: String,
    /// What each version says, oldest first; none of what was forgotten.
    pub texts: Vec<String>,
}

/// What was acknowledged, by id. A memory without texts was forgotten.
#[derive(Debug, Default)]
pub struct Account(pub BTreeMap<MemoryId, Known>);

impl Account {
    /// How many memories are to be there, and how many were forgotten.
    pub fn counts(&self) -> (usize, usize) {
        let there = self.0.values().filter(|known| !known.texts.is_empty()).count();
        (there, self.0.len() - there)
    }

    /// What a store does not hold as acknowledged.
    pub async fn violations(&self, side: &str, store: &dyn MemoryStore) -> Vec<String> {
        let tenant = Scope::tenant(TENANT).unwrap();
        let mut found = Vec::new();
        let mut seen = BTreeMap::new();
        let mut cursor = None;
        loop {
            let request = ListRequest {
                scope: tenant.clone(),
                filter: None,
                limit: 500,
                cursor,
                newest_first: false,
                with_embeddings: true,
            };
            let page = store.list(&request).await.unwrap();
            for (memory, embedding) in page.memories {
                if seen.insert(memory.id, ()).is_some() {
                    found.push(format!("{side}: {} is there twice", memory.id));
                }
                match self.0.get(&memory.id).map(|known| (known, known.texts.last())) {
                    None => found.push(format!("{side}: nobody wrote {}: {}", memory.id, memory.text)),
                    Some((_, None)) => {
                        found.push(format!("{side}: resurrected: {}, version {}", memory.id, memory.version));
                    }
                    Some((known, Some(text))) => {
                        let is_same = memory.text == *text
                            && memory.version == known.texts.len() as u64
                            && memory.scope.user() == Some(known.user.as_str())
                            && embedding.is_some();
                        if !is_same {
                            let Known { texts, user } = known;
                            found.push(format!(
                                "{side}: different: {} of {user} is version {} ({:?}), acknowledged were {texts:?}",
                                memory.id, memory.version, memory.text
                            ));
                        }
                    }
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        for (id, known) in &self.0 {
            if !known.texts.is_empty() && !seen.contains_key(id) {
                found.push(format!("{side}: lost: {id} of {}", known.user));
            }
            let history = store.history(&tenant, *id).await.unwrap();
            let texts: Vec<&String> = history.iter().map(|memory| &memory.text).collect();
            if texts != known.texts.iter().collect::<Vec<_>>() && seen.contains_key(id) != known.texts.is_empty() {
                found.push(format!("{side}: another history: {id}: {texts:?}, acknowledged were {:?}", known.texts));
            }
        }
        found.truncate(TOLD);
        found
    }
}
