//! Answers to prompts that were asked a moment ago, served from this process's memory.
//!
//! A repeat is served without asking Redis only while it is certain that it still stands: Redis was asked for the tenant's
//! state no longer than [`REPEAT_LEASE`](crate::tenants::REPEAT_LEASE) ago, and nothing of the tenant was removed or
//! replaced since the answer was read. Whoever removes an entry, in whichever process, waits as long before it is
//! acknowledged: from then on nobody serves it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_core::CacheEntry;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::entry::Document;
use crate::keys::Place;
use crate::tenants::State;

/// After this long an answer is read again: so long at most does it outlive an entry that was removed by someone who does
/// not count changes, as an operator by hand does.
const MAX_AGE: Duration = Duration::from_secs(1);
/// About what a small entry takes, to guess how many there will be.
const TYPICAL_BYTES: u64 = 1024;

/// The answers read lately, by their place.
#[derive(Debug)]
pub(crate) struct Repeats(Option<Cache<Place, Arc<Repeat>, Bytes>>);

#[derive(Debug)]
pub(crate) struct Repeat {
    pub document: Document,
    /// The tenant's state at some time before the answer was read.
    state: State,
    read: Instant,
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<Place, Arc<Repeat>> for Bytes {
    fn weight(&self, _: &Place, repeat: &Arc<Repeat>) -> u64 {
        let CacheEntry { prompt, response, depends_on, tags, .. } = &repeat.document.entry;
        let tags: usize = tags.iter().map(String::len).sum();
        // Metadata is small beside what the types themselves take.
        (size_of::<Repeat>() + prompt.len() + response.len() + 16 * depends_on.len() + tags + 256) as u64
    }
}

impl Repeats {
    /// Room for about so many bytes; none for 0.
    pub(crate) fn new(bytes: u64) -> Self {
        let entries = usize::try_from(bytes / TYPICAL_BYTES).unwrap_or(usize::MAX).max(1);
        Self((bytes > 0).then(|| Cache::with_weighter(entries, bytes, Bytes)))
    }

    /// Whether any are kept.
    pub(crate) fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The answer at a place, if it still stands in this state of the tenant.
    pub(crate) fn get(&self, place: Place, state: State, now: Instant) -> Option<Arc<Repeat>> {
        let repeat = self.0.as_ref()?.get(&place)?;
        (repeat.state == state && now.saturating_duration_since(repeat.read) < MAX_AGE).then_some(repeat)
    }

    /// Keeps an answer that was read after the tenant was in this state.
    pub(crate) fn put(&self, place: Place, document: Document, state: State, read: Instant) {
        if let Some(cache) = &self.0 {
            cache.insert(place, Arc::new(Repeat { document, state, read }));
        }
    }
}
