//! What the probes ask of a store: a small part of [`MemoryStore`], which a server can be asked for too.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use memory_core::{Embedding, ListRequest, MemoryId, MemoryStore, Result, Scope, SearchRequest};
use serde::{Deserialize, Serialize};

/// How many are found for a query.
pub(crate) const FOUND: usize = 10;
/// The most memories of a scope that a query is compared with exactly.
const MOST: usize = 20_000;

/// Answers the probes' queries.
#[async_trait]
pub trait Search: fmt::Debug + Send + Sync {
    /// What a search within a scope gives for a text, and its vector where it has one.
    async fn search(&self, scope: &Scope, vector: Option<&Embedding>, text: &str) -> Result<Answer>;

    /// The nearest of all vectors of a scope, found without an index; `None` where there are too many to compare.
    async fn nearest(&self, scope: &Scope, vector: &Embedding) -> Result<Option<Vec<MemoryId>>>;

    /// Whether whoever asks within a scope is shown a memory.
    async fn shows(&self, scope: &Scope, id: MemoryId) -> Result<bool>;

    /// What the turn before a memory says in its session; `None` for a first turn.
    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<String>>;
}

/// What a search gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// What was found, in any order.
    pub hits: Vec<Hit>,
    /// How long the store took, where it is not asked directly; whoever asks directly measures it.
    pub took: Option<Duration>,
}

/// A memory that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// Which one.
    pub id: MemoryId,
    /// Whose it is.
    pub scope: Scope,
    /// How near its vector is, a cosine similarity; `None` where it was found by its words alone.
    pub similarity: Option<f32>,
}

impl Answer {
    /// The nearest first, those that words alone found left out.
    #[must_use]
    pub fn nearest(&self) -> Vec<MemoryId> {
        let mut nearest: Vec<(f32, MemoryId)> =
            self.hits.iter().filter_map(|hit| Some((hit.similarity?, hit.id))).collect();
        sort(&mut nearest);
        nearest.into_iter().map(|(_, id)| id).take(FOUND).collect()
    }
}

/// A store that is asked directly.
#[derive(Debug, Clone)]
pub struct Direct(pub Arc<dyn MemoryStore>);

#[async_trait]
impl Search for Direct {
    async fn search(&self, scope: &Scope, vector: Option<&Embedding>, text: &str) -> Result<Answer> {
        let request = SearchRequest {
            scope: scope.clone(),
            also: Vec::new(),
            embedding: vector.cloned(),
            text: Some(text.to_owned()),
            filter: None,
            candidates: FOUND,
            neighbours: false,
            at_least: None,
            as_of: None,
            best: None,
        };
        let found = self.0.search(&request).await?;
        let hits = found.candidates.into_iter().map(|candidate| Hit {
            id: candidate.memory.id,
            scope: candidate.memory.scope.clone(),
            similarity: candidate.similarity,
        });
        Ok(Answer { hits: hits.collect(), took: None })
    }

    async fn nearest(&self, scope: &Scope, vector: &Embedding) -> Result<Option<Vec<MemoryId>>> {
        let (mut nearest, mut cursor, mut seen) = (Vec::new(), None, 0);
        loop {
            let request = ListRequest {
                scope: scope.clone(),
                filter: None,
                limit: 500,
                cursor,
                newest_first: false,
                with_embeddings: true,
            };
            let page = self.0.list(&request).await?;
            seen += page.memories.len();
            if seen > MOST {
                return Ok(None);
            }
            for (memory, embedding) in page.memories {
                if let Some(similarity) = embedding.and_then(|embedding| embedding.similarity(vector).ok()) {
                    nearest.push((similarity, memory.id));
                }
            }
            sort(&mut nearest);
            nearest.truncate(FOUND);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(Some(nearest.into_iter().map(|(_, id)| id).collect()));
            }
        }
    }

    async fn shows(&self, scope: &Scope, id: MemoryId) -> Result<bool> {
        Ok(self.0.get(scope, id).await?.is_some())
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<String>> {
        Ok(self.0.turn_before(scope, id).await?.map(|before| before.text.clone()))
    }
}

fn sort(nearest: &mut [(f32, MemoryId)]) {
    nearest.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
}
