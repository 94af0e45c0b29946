//! The memories of one (tenant, user), ready to be searched.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memory_core::arena::{LexicalArena, VectorArena};
use memory_core::{Embedding, EmbeddingSpace, Memory, MemoryId, Scope, Timestamp};

use crate::rows::StoredMemory;

/// What a commit changed in one partition.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Insert(StoredMemory),
    Update {
        memory: Arc<Memory>,
        vector: VectorChange,
    },
    Forget(MemoryId),
    /// What a move wrote: it is new or changed, and new ones may come before others in the order of first writing.
    Put(StoredMemory),
}

/// What an update did to the vector.
#[derive(Debug, Clone)]
pub(crate) enum VectorChange {
    Keep,
    Set(Option<Embedding>),
}

/// Memories in the order of first writing, with their vectors, their words and their sessions.
#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// The write up to which the file had been read when this was loaded; later ones are applied.
    pub loaded_at: u64,
    /// When it was last searched, in searches.
    pub last_used: AtomicU64,
    rows: Vec<Row>,
    by_id: HashMap<MemoryId, u32>,
    pub(crate) scopes: Vec<ScopeRows>,
    scope_numbers: HashMap<Scope, u32>,
    pub(crate) spaces: Vec<(Arc<EmbeddingSpace>, VectorArena)>,
    pub(crate) lexical: LexicalArena,
    /// When the first of the memories here expires; `None` when none does.
    first_expiry: Option<Timestamp>,
    text_bytes: usize,
    bytes: usize,
    /// Changes until `bytes` is measured again.
    measure_in: usize,
    /// Changed so much at once that it is cheaper to read it again.
    worn: bool,
}

/// One memory's row; `memory` is `None` once it is forgotten.
#[derive(Debug)]
pub(crate) struct Row {
    pub position: u64,
    pub memory: Option<Arc<Memory>>,
    pub scope: u32,
    /// The index in `spaces` of its vector's space.
    pub space: Option<u8>,
}

/// A full scope that memories of the partition were written in.
#[derive(Debug)]
pub(crate) struct ScopeRows {
    pub scope: Scope,
    /// The rows of its turns in their order; empty when it has no session.
    turns: Vec<u32>,
}

impl Partition {
    /// A partition of what the file held at the write `loaded_at`, in the order of position.
    pub(crate) fn load(loaded_at: u64, memories: Vec<StoredMemory>) -> Self {
        let mut partition = Self { loaded_at, measure_in: usize::MAX, ..Self::default() };
        partition.rows.reserve(memories.len());
        partition.by_id.reserve(memories.len());
        for memory in memories {
            partition.insert(memory);
        }
        partition.measure();
        partition
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Insert(stored) => self.insert(stored),
            Change::Update { memory, vector } => self.update(memory, vector),
            Change::Forget(id) => self.forget(id),
            Change::Put(stored) => self.put(stored),
        }
        self.measure_in = self.measure_in.saturating_sub(1);
        if self.measure_in == 0 {
            self.measure();
        }
    }

    /// Whether it should be dropped, and read from the file when it is next needed.
    pub(crate) fn is_worn(&self) -> bool {
        let gone = self.rows.len() - self.by_id.len();
        self.worn || (gone > 1024 && gone > self.rows.len() / 4)
    }

    /// Marks it to be dropped.
    pub(crate) fn wear_out(&mut self) {
        self.worn = true;
    }

    /// The size in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn live(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.first_expiry.is_some_and(|first| first <= now)
    }

    pub(crate) fn touch(&self, tick: u64) {
        self.last_used.fetch_max(tick, Ordering::Relaxed);
    }

    /// The rows of the turns before and after `row` in its session that have not expired.
    pub(crate) fn neighbours(&self, row: u32, now: Timestamp) -> (Option<u32>, Option<u32>) {
        let turns = &self.scopes[self.rows[row as usize].scope as usize].turns;
        let Ok(at) = turns.binary_search(&row) else { return (None, None) };
        let stands =
            |row: &&u32| self.rows[**row as usize].memory.as_ref().is_some_and(|memory| !memory.is_expired(now));
        (turns[..at].iter().rev().find(stands).copied(), turns[at + 1..].iter().find(stands).copied())
    }

    fn insert(&mut self, StoredMemory { position, memory, embedding }: StoredMemory) {
        let row = self.rows.len() as u32;
        let scope = self.scope_number(&memory.scope);
        if memory.scope.session().is_some() {
            self.scopes[scope as usize].turns.push(row);
        }
        self.by_id.insert(memory.id, row);
        self.lexical.set(row as usize, &memory.lexical_text());
        self.expect_expiry(&memory);
        self.text_bytes += memory.text.len() + 512;
        self.rows.push(Row { position, memory: Some(memory), scope, space: None });
        self.set_vector(row, embedding.as_ref());
    }

    fn put(&mut self, stored: StoredMemory) {
        let known = self.by_id.get(&stored.memory.id).map(|&row| &self.rows[row as usize]);
        let is_same =
            |row: &Row| row.position == stored.position && self.scopes[row.scope as usize].scope == stored.memory.scope;
        if known.is_some_and(is_same) {
            self.update(stored.memory, VectorChange::Set(stored.embedding));
        } else if known.is_none() && self.rows.last().is_none_or(|last| last.position < stored.position) {
            self.insert(stored);
        } else {
            // Rows are in the order of first writing.
            self.wear_out();
        }
    }

    fn update(&mut self, memory: Arc<Memory>, vector: VectorChange) {
        let Some(&row) = self.by_id.get(&memory.id) else { return };
        self.lexical.set(row as usize, &memory.lexical_text());
        self.expect_expiry(&memory);
        self.rows[row as usize].memory = Some(memory);
        if let VectorChange::Set(embedding) = vector {
            self.set_vector(row, embedding.as_ref());
        }
    }

    fn forget(&mut self, id: MemoryId) {
        let Some(row) = self.by_id.remove(&id) else { return };
        self.lexical.clear(row as usize);
        self.set_vector(row, None);
        let Row { memory, scope, .. } = &mut self.rows[row as usize];
        *memory = None;
        let turns = &mut self.scopes[*scope as usize].turns;
        if let Ok(at) = turns.binary_search(&row) {
            turns.remove(at);
        }
    }

    fn set_vector(&mut self, row: u32, embedding: Option<&Embedding>) {
        if let Some(space) = self.rows[row as usize].space.take() {
            self.spaces[usize::from(space)].1.clear(row as usize);
        }
        let Some(embedding) = embedding else { return };
        let known = self.spaces.iter().position(|(space, _)| space == embedding.space());
        let space = known.unwrap_or_else(|| {
            self.spaces.push((embedding.space().clone(), VectorArena::new(embedding.space().dimensions)));
            self.spaces.len() - 1
        });
        // More spaces than this in one partition would be a vector model for each handful of memories.
        let Ok(number) = u8::try_from(space) else { return };
        let set = self.spaces[space].1.set(row as usize, embedding.values());
        debug_assert!(set.is_ok(), "an embedding has the dimensions of its space");
        self.rows[row as usize].space = Some(number);
    }

    fn scope_number(&mut self, scope: &Scope) -> u32 {
        if let Some(&number) = self.scope_numbers.get(scope) {
            return number;
        }
        let number = self.scopes.len() as u32;
        self.scopes.push(ScopeRows { scope: scope.clone(), turns: Vec::new() });
        self.scope_numbers.insert(scope.clone(), number);
        number
    }

    fn expect_expiry(&mut self, memory: &Memory) {
        self.first_expiry = match (self.first_expiry, memory.expires_at) {
            (Some(first), Some(expiry)) => Some(first.min(expiry)),
            (first, expiry) => first.or(expiry),
        };
    }

    fn measure(&mut self) {
        let vectors: usize = self.spaces.iter().map(|(_, arena)| arena.bytes()).sum();
        let rows = self.rows.capacity() * size_of::<Row>() + self.by_id.capacity() * 24;
        self.bytes = vectors + self.lexical.bytes() + rows + self.text_bytes;
        // The measure walks over all words, so it is taken each time the partition has grown by about an eighth.
        self.measure_in = self.rows.len() / 8 + 64;
    }
}
