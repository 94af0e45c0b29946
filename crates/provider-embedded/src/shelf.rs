//! The cached answers of one scope and fingerprint, ready to be looked up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use memory_core::arena::VectorArena;
use memory_core::cache::{NEAR, Question, TRIED};
use memory_core::{
    CacheEntryId, CacheRequest, Embedding, EmbeddingSpace, Fingerprint, HitKind, Metadata, NearMiss, Refused, Scope,
    Timestamp, text,
};

/// What must be equal for an answer to be considered at all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ShelfKey {
    pub scope: Scope,
    pub fingerprint: Fingerprint,
}

/// BLAKE3 of the normalised prompt.
pub(crate) fn prompt_key(prompt: &str) -> [u8; 32] {
    *blake3::hash(text::normalize(prompt).as_bytes()).as_bytes()
}

/// An entry as it comes onto a shelf. The answer itself stays in the file.
#[derive(Debug)]
pub(crate) struct NewShelfEntry {
    pub id: CacheEntryId,
    pub prompt_key: [u8; 32],
    pub prompt: Arc<str>,
    pub metadata: Metadata,
    pub expires_at: Timestamp,
    pub embedding: Option<Embedding>,
}

/// Entries in numbered places; a place that was emptied is filled again.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    exact: HashMap<[u8; 32], usize>,
    entries: Vec<Option<ShelfEntry>>,
    empty: Vec<usize>,
    spaces: Vec<(Arc<EmbeddingSpace>, VectorArena)>,
}

#[derive(Debug)]
struct ShelfEntry {
    id: CacheEntryId,
    prompt_key: [u8; 32],
    prompt: Arc<str>,
    metadata: Metadata,
    expires_at: Timestamp,
}

/// What a look at the shelf gave: an entry to serve, or the nearest that must not be served.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub serve: Option<(CacheEntryId, HitKind, f32)>,
    pub near: Option<NearMiss>,
}

impl Shelf {
    pub(crate) fn len(&self) -> usize {
        self.exact.len()
    }

    /// Puts an entry in and gives its place.
    pub(crate) fn put(&mut self, new: NewShelfEntry) -> usize {
        let NewShelfEntry { id, prompt_key, prompt, metadata, expires_at, embedding } = new;
        if let Some(&former) = self.exact.get(&prompt_key) {
            self.empty_place(former);
        }
        let place = self.empty.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.exact.insert(prompt_key, place);
        self.entries[place] = Some(ShelfEntry { id, prompt_key, prompt, metadata, expires_at });
        if let Some(embedding) = embedding {
            let known = self.spaces.iter().position(|(space, _)| space == embedding.space());
            let space = known.unwrap_or_else(|| {
                self.spaces.push((embedding.space().clone(), VectorArena::new(embedding.space().dimensions)));
                self.spaces.len() - 1
            });
            let set = self.spaces[space].1.set(place, embedding.values());
            debug_assert!(set.is_ok(), "an embedding has the dimensions of its space");
        }
        place
    }

    /// Takes the entry out of its place, unless another has the place by now.
    pub(crate) fn remove(&mut self, place: usize, id: CacheEntryId) {
        if self.entries.get(place).and_then(Option::as_ref).is_some_and(|entry| entry.id == id) {
            self.empty_place(place);
        }
    }

    /// Gives the entry in its place another time, unless another has the place by now.
    pub(crate) fn prolong(&mut self, place: usize, id: CacheEntryId, expires_at: Timestamp) {
        if let Some(entry) = self.entries.get_mut(place).and_then(Option::as_mut).filter(|entry| entry.id == id) {
            entry.expires_at = expires_at;
        }
    }

    fn empty_place(&mut self, place: usize) {
        let Some(entry) = self.entries.get_mut(place).and_then(Option::take) else { return };
        self.exact.remove(&entry.prompt_key);
        self.spaces.iter_mut().for_each(|(_, arena)| arena.clear(place));
        self.empty.push(place);
    }

    /// The entry to serve, leaving out those in `gone` and those that the request's filter does not match: the exact
    /// prompt's, else the nearest that [`Question::decide`] lets pass.
    pub(crate) fn find(&self, request: &CacheRequest, now: Timestamp, gone: &HashSet<CacheEntryId>) -> Found {
        let standing = |place: usize| {
            let entry = self.entries[place].as_ref()?;
            let stands = entry.expires_at > now && !gone.contains(&entry.id) && request.admits(&entry.metadata);
            stands.then_some(entry)
        };
        let exact = self.exact.get(&prompt_key(&request.prompt));
        if let Some(entry) = exact.and_then(|&place| standing(place)) {
            return Found { serve: Some((entry.id, HitKind::Exact, 1.0)), near: None };
        }
        let Some(embedding) = &request.embedding else { return Found::default() };
        let arena = self.spaces.iter().find(|(space, _)| space == embedding.space());
        let nearest =
            arena.map(|(_, arena)| arena.nearest(embedding.values(), TRIED, |place| standing(place).is_some()));
        let question = Question::new(&request.prompt, request.policy);
        let mut near: Option<NearMiss> = None;
        for (place, similarity) in nearest.unwrap_or_default() {
            let Some(entry) = standing(place) else { continue };
            match question.decide(&entry.prompt, similarity) {
                Ok(()) => return Found { serve: Some((entry.id, HitKind::Semantic, similarity)), near: None },
                Err(refused) if near.is_none() && similarity >= NEAR => {
                    near = Some(NearMiss { entry: entry.id, prompt: entry.prompt.to_string(), similarity, refused });
                }
                // The rest is further away still.
                Err(Refused::BelowThreshold { .. }) => break,
                Err(_) => {}
            }
        }
        Found { serve: None, near }
    }
}
