//! Which prompts the guard had nothing against, so that the same two are not compared again.
//!
//! A question that many ask in the same other words is a hit by meaning each time, and reading both prompts is most of what
//! such a hit costs here. The guard is a function of the two texts, so what it said stays true.

use memory_core::CacheEntryId;
use quick_cache::sync::Cache;

/// How many pairs are kept; each takes some 60 bytes.
const PAIRS: usize = 16 * 1024;

/// The pairs that passed.
#[derive(Debug)]
pub(crate) struct Verdicts(Cache<Pair, ()>);

/// What was asked, as the first 128 bits of its BLAKE3, and the entry it was compared with: the prompt of an entry of that id
/// never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pair([u8; 16], CacheEntryId);

impl Pair {
    /// The prompt as it was asked: the guard looks at capital letters too.
    pub(crate) fn new(asked: &str, entry: CacheEntryId) -> Self {
        let mut hash = [0; 16];
        hash.copy_from_slice(&blake3::hash(asked.as_bytes()).as_bytes()[..16]);
        Self(hash, entry)
    }
}

impl Verdicts {
    pub(crate) fn new() -> Self {
        Self(Cache::new(PAIRS))
    }

    pub(crate) fn passed(&self, pair: Pair) -> bool {
        self.0.get(&pair).is_some()
    }

    pub(crate) fn pass(&self, pair: Pair) {
        self.0.insert(pair, ());
    }
}
