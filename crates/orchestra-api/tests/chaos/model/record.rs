//! What is known of one memory.

use std::collections::VecDeque;

use super::Tick;

/// As many of the last lines about a memory are kept.
const LINES: usize = 24;

/// Since when it is known that something has had its effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub at: Tick,
    /// Since when an acknowledgement promises that the cache serves nothing of before.
    pub cache_told_at: Option<Tick>,
}

/// An attempt to change the memory.
#[derive(Debug, Clone, Copy, Default)]
struct Attempt {
    known: Option<Known>,
    is_void: bool,
}

#[derive(Debug, Default)]
pub struct Record {
    pub id: Option<String>,
    /// Whether an answer was ever filed.
    pub answered: bool,
    /// From the first on; an attempt takes effect before those after it or not at all.
    attempts: Vec<Attempt>,
    deletion: Option<Attempt>,
    lines: VecDeque<String>,
}

impl Record {
    pub fn begin_attempt(&mut self) -> usize {
        self.attempts.push(Attempt::default());
        self.attempts.len()
    }

    /// The attempt has had its effect by then, and the cache may have been told.
    pub fn attempt_known(&mut self, attempt: usize, at: Tick, cache_told_at: Option<Tick>) {
        self.attempts[attempt - 1].learn(at, cache_told_at);
    }

    pub fn attempt_void(&mut self, attempt: usize) {
        self.attempts[attempt - 1].is_void = true;
    }

    pub fn begin_deletion(&mut self) {
        self.deletion.get_or_insert_default();
    }

    pub fn deletion_known(&mut self, at: Tick, cache_told_at: Option<Tick>) {
        self.deletion.get_or_insert_default().learn(at, cache_told_at);
    }

    pub fn attempts(&self) -> usize {
        self.attempts.len()
    }

    pub fn is_void(&self, attempt: usize) -> bool {
        self.attempts[attempt - 1].is_void
    }

    /// Since when it is there.
    pub fn first_known(&self) -> Option<Known> {
        self.attempts.iter().filter_map(|attempt| attempt.known).min_by_key(|known| known.at)
    }

    /// Those after an attempt that are known to have had their effect.
    pub fn newer(&self, attempt: usize) -> impl Iterator<Item = (usize, Known)> {
        let after = self.attempts.iter().enumerate().skip(attempt);
        after.filter_map(|(at, attempt)| Some((at + 1, attempt.known?)))
    }

    /// Since when it is known to be forgotten.
    pub fn deletion(&self) -> Option<Known> {
        self.deletion.and_then(|deletion| deletion.known)
    }

    pub fn is_deletion_sent(&self) -> bool {
        self.deletion.is_some()
    }

    pub fn may_be_there(&self) -> bool {
        self.attempts.iter().any(|attempt| !attempt.is_void)
    }

    pub fn note(&mut self, line: String) {
        self.lines.push_back(line);
        if self.lines.len() > LINES {
            self.lines.pop_front();
        }
    }

    pub fn trail(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}

impl Attempt {
    /// What was known first stays.
    fn learn(&mut self, at: Tick, cache_told_at: Option<Tick>) {
        let known = self.known.get_or_insert(Known { at, cache_told_at });
        known.cache_told_at = known.cache_told_at.or(cache_told_at);
    }
}
