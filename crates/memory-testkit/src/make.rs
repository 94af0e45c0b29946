//! Scopes, memories and vectors for tests: small, valid, and the same in every run.

use std::sync::Arc;

use memory_core::{
    EmbeddedMemory, Embedding, EmbeddingSpace, InsertBatch, Memory, MemoryId, MemoryKind, Metadata, Origin, Scope,
    SearchRequest, Timestamp, Writer,
};

/// The dimensions of the vectors made here.
pub const DIMENSIONS: usize = 64;

/// The space of a model that exists in tests only.
#[must_use]
pub fn space(model: &str) -> Arc<EmbeddingSpace> {
    Arc::new(EmbeddingSpace::new(model, "1", DIMENSIONS).expect("a valid space"))
}

/// A user's scope.
#[must_use]
pub fn user(tenant: &str, user: &str) -> Scope {
    Scope::tenant(tenant).and_then(|scope| scope.with_user(user)).expect("valid names")
}

/// A session's scope.
#[must_use]
pub fn session(tenant: &str, user_name: &str, session: &str) -> Scope {
    user(tenant, user_name).with_session(session).expect("a valid name")
}

/// An id that no other call gives.
#[must_use]
pub fn id() -> MemoryId {
    uuid::Uuid::now_v7().into()
}

/// A vector that depends on `seed` alone; two seeds give nearly orthogonal ones.
#[must_use]
pub fn embedding(space: &Arc<EmbeddingSpace>, seed: u64) -> Embedding {
    Embedding::new(space.clone(), values(space.dimensions, seed)).expect("random values have a direction")
}

/// A vector whose cosine similarity to `embedding` is `similarity`.
#[must_use]
pub fn embedding_near(embedding: &Embedding, similarity: f32, seed: u64) -> Embedding {
    let base = embedding.values();
    let mut other = values(base.len(), seed ^ 0x5eed);
    let along: f32 = base.iter().zip(&other).map(|(a, b)| a * b).sum();
    other.iter_mut().zip(base).for_each(|(value, base)| *value -= along * base);
    let norm = other.iter().map(|value| value * value).sum::<f32>().sqrt();
    let across = (1.0 - similarity * similarity).max(0.0).sqrt() / norm;
    let mixed = base.iter().zip(&other).map(|(base, other)| similarity * base + across * other).collect();
    Embedding::new(embedding.space().clone(), mixed).expect("a mix of two directions has one")
}

fn values(count: usize, seed: u64) -> Vec<f32> {
    // SplitMix64, Steele, Lea, Flood 2014.
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| next()).collect()
}

/// A memory written by an agent, recorded at `now`.
#[must_use]
pub fn memory(scope: &Scope, text: &str, now: Timestamp) -> Memory {
    Memory {
        id: id(),
        version: 1,
        scope: scope.clone(),
        kind: MemoryKind::Episodic,
        text: text.to_owned(),
        actor: None,
        metadata: Metadata::new(),
        importance: 0.5,
        origin: Origin::new(Writer::Agent, "testkit"),
        evidence: Vec::new(),
        valid_from: None,
        valid_to: None,
        recorded_at: now,
        superseded_at: None,
        expires_at: None,
    }
}

/// A batch of these memories, none with a vector.
#[must_use]
pub fn batch(memories: impl IntoIterator<Item = Memory>) -> InsertBatch {
    let memories = memories.into_iter().map(|memory| EmbeddedMemory { memory, embedding: None }).collect();
    InsertBatch { memories, idempotency: None }
}

/// A batch of one memory with its vector.
#[must_use]
pub fn embedded(memory: Memory, embedding: Embedding) -> InsertBatch {
    InsertBatch { memories: vec![EmbeddedMemory { memory, embedding: Some(embedding) }], idempotency: None }
}

/// A search by vector and by words, without neighbours.
#[must_use]
pub fn search(scope: &Scope, embedding: Option<Embedding>, text: Option<&str>) -> SearchRequest {
    SearchRequest {
        scope: scope.clone(),
        also: Vec::new(),
        embedding,
        text: text.map(Into::into),
        filter: None,
        candidates: 10,
        neighbours: false,
        at_least: None,
        as_of: None,
        best: None,
    }
}
