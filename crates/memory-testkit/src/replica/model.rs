//! A store in memory that keeps every promise of `MemoryStore` and [`Replica`](memory_core::Replica), and one that breaks a chosen
//! one: what the suite is tried on, and what moves are simulated with.

mod client;
mod mover;
mod search;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memory_core::{
    AnsweredKey, Clock, ContentHash, Error, Gate, ItemKey, MemoryId, Rejection, Result, Scope, Timestamp, WholeMemory,
    WriteToken, Writers,
};

/// A store in memory. A clone shares the same data.
#[derive(Clone)]
pub struct Model {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
    fault: Option<Fault>,
}

/// A promise that a model breaks on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What is written behind a scan is not noted.
    UpdatesAreNotNoted,
    /// A rejection is not noted.
    RejectionsAreNotNoted,
    /// A memory is read without its last former version.
    HistoryIsTorn,
    /// A memory is given another place in the order of first writing.
    OrdinalsAreLost,
    /// A memory that the mover brings takes the place of its tombstone.
    ForgottenComesBack,
    /// Clients write whatever the gate says.
    GateIsOpen,
    /// Whoever moves may write at any epoch.
    AnyEpochWrites,
    /// Clients begin again at the first ordinal.
    OrdinalsBeginAgain,
}

#[derive(Debug, Clone)]
struct State {
    memories: BTreeMap<MemoryId, WholeMemory>,
    tombstones: BTreeMap<MemoryId, (Scope, Timestamp)>,
    forgotten_texts: BTreeSet<(Scope, ContentHash)>,
    /// By the order in which they came.
    rejections: BTreeMap<u64, Rejection>,
    answered: BTreeMap<(String, String), AnsweredKey>,
    /// The tokens of those that were answered here.
    tokens: BTreeMap<(String, String), WriteToken>,
    /// When a memory was last updated here, as a number that `last` had.
    updated: BTreeMap<MemoryId, u64>,
    gate: Gate,
    /// The position that each stream has acknowledged.
    streams: BTreeMap<String, u64>,
    changes: BTreeMap<u64, (ItemKey, Timestamp)>,
    /// The highest number that was given to anything: ordinals, rejections, changes and writes.
    last: u64,
}

impl Model {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::new(Mutex::new(State::new())), clock, fault: None }
    }

    /// The streams that are captured.
    #[must_use]
    pub fn streams(&self) -> Vec<String> {
        self.lock().streams.keys().cloned().collect()
    }

    /// An empty store that breaks a promise.
    #[must_use]
    pub fn broken(clock: Arc<dyn Clock>, fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::new(clock) }
    }

    /// Takes away what has expired, and says how much that was.
    pub fn sweep(&self) -> usize {
        let now = self.clock.now();
        let mut state = self.lock();
        let expired = state.memories.values().filter(|whole| whole.current.memory.is_expired(now));
        let expired: Vec<_> = expired.map(|whole| whole.current.memory.clone()).collect();
        for memory in &expired {
            state.memories.remove(&memory.id);
            state.note(key_of(&memory.scope, memory.id), now);
        }
        expired.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere is told by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a client to write to.
    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.gate.writers == Writers::Mover && self.fault != Some(Fault::GateIsOpen) {
            return Err(Error::Fenced { epoch: state.gate.epoch });
        }
        Ok(state)
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}

impl State {
    fn new() -> Self {
        Self {
            memories: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            forgotten_texts: BTreeSet::new(),
            rejections: BTreeMap::new(),
            answered: BTreeMap::new(),
            tokens: BTreeMap::new(),
            updated: BTreeMap::new(),
            gate: Gate { epoch: 0, writers: Writers::Clients },
            streams: BTreeMap::new(),
            changes: BTreeMap::new(),
            last: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Notes that an item changed, where somebody wants to know.
    fn note(&mut self, key: ItemKey, now: Timestamp) {
        if !self.streams.is_empty() {
            let position = self.next();
            self.changes.insert(position, (key, now));
        }
    }

    fn token(&mut self) -> WriteToken {
        WriteToken(self.next().to_string())
    }
}

fn key_of(scope: &Scope, id: MemoryId) -> ItemKey {
    ItemKey::Memory { tenant: scope.tenant_name().to_owned(), id }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("fault", &self.fault).finish_non_exhaustive()
    }
}
