//! Consolidation: what a memory may say once in place of many times. Pure: plans are made of values here, and carried out
//! by [`TieredMemoryManager::consolidate`](crate::TieredMemoryManager::consolidate).
//!
//! A plan is careful before it is thorough. It writes nothing that was not said word for word, deletes nothing, and leaves
//! alone what it is not sure of:
//!
//! - *Merged* are memories of one scope, kind and speaker whose vectors are near, between which the
//!   [guard](crate::guard) finds no difference, and whose content is in the same words. The fullest text is kept.
//! - *Superseded* is a fact that a later one of the same speaker contradicts in exactly one word.
//! - *Promoted* is a sentence of a turn that states something that lasts, before the turn expires.
//! - *Reopened* is what was closed in favour of a memory that is gone.
//!
//! A [`Consolidator`] may propose more; a proposal that does not hold up changes nothing.

mod contradictions;
mod derived;
mod duplicates;
pub mod importance;
mod promotion;
mod proposal;
mod record;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::guard::GuardRefusal;
use crate::{Error, Memory, MemoryId, Origin, Result, Tier, Timestamp, Writer};

pub use derived::{Derived, ORIGIN_PATH};
pub use promotion::Durable;
pub use proposal::{Consolidator, Proposal, Refused, accept};
pub use record::{METADATA_KEY, Record, Role};

/// How sure a plan has to be, and how much repetition counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The cosine similarity from which two texts may say the same.
    pub duplicate_similarity: f32,
    /// The cosine similarity from which two facts may be about the same.
    pub contradiction_similarity: f32,
    /// The part of what importance lacks to 1 that each repetition adds, `0.0..=1.0`.
    pub repetition: f32,
    /// Which turns give lasting facts.
    pub promotion: Promotion,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            duplicate_similarity: 0.9,
            contradiction_similarity: 0.7,
            repetition: 0.1,
            promotion: Promotion::default(),
        }
    }
}

impl Settings {
    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the setting.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("duplicate_similarity", self.duplicate_similarity),
            ("contradiction_similarity", self.contradiction_similarity),
            ("repetition", self.repetition),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::invalid(field, value, "0.0 to 1.0"));
            }
        }
        Ok(())
    }
}

/// Which turns of a conversation give lasting facts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Promotion {
    /// None.
    Never,
    /// Those that will expire. What stays is recalled as it is, and a copy of it would only take its place.
    #[default]
    Expiring,
    /// All.
    Always,
}

/// What a plan is made from: memories, and which of them are near to each other.
#[derive(Debug, Clone, Default)]
pub struct Window {
    /// The memories, each once.
    pub memories: Vec<Arc<Memory>>,
    /// Pairs of them, as places in `memories`, with the cosine similarity of their vectors.
    pub near: Vec<Near>,
    /// The ids of memories that others were closed in favour of and that are not there any more.
    pub gone: HashSet<MemoryId>,
}

/// Two memories of a window and how near they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// One's place.
    pub a: usize,
    /// The other's place.
    pub b: usize,
    /// The cosine similarity of their vectors, `-1.0..=1.0`.
    pub similarity: f32,
}

/// What is to be done, in this order. No memory is closed twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

/// One thing to do. Each step is safe to repeat and stands alone.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Memories that were closed in favour of one that is gone hold again.
    Reopen {
        /// What holds again.
        source: Arc<Memory>,
        /// What is gone.
        gone: MemoryId,
    },
    /// An earlier run wrote the successor and was cut short: its sources are still to be closed.
    Finish {
        /// What took their place.
        successor: Arc<Memory>,
        /// What is to be closed.
        sources: Vec<Arc<Memory>>,
    },
    /// A later fact contradicts an earlier one, which is closed at the time of the later.
    Supersede {
        /// What ceased to be true.
        earlier: Arc<Memory>,
        /// What is true since.
        later: Arc<Memory>,
        /// The one difference.
        refusal: GuardRefusal,
    },
    /// A successor is written, and its sources are closed once it can be read.
    Merge {
        /// What takes their place.
        successor: Box<Derived>,
        /// What is to be closed.
        sources: Vec<Arc<Memory>>,
        /// Who found that they say the same.
        because: Because,
    },
    /// A turn states something that lasts, which is written as a fact. The turn stays.
    Promote {
        /// The fact.
        successor: Box<Derived>,
        /// The turn.
        source: Arc<Memory>,
        /// The rule by which it lasts.
        durable: Durable,
    },
}

/// Why memories are merged.
#[derive(Debug, Clone, PartialEq)]
pub enum Because {
    /// They say the same; the least similarity to the text that is kept.
    Duplicates(f32),
    /// A [`Consolidator`] of this name proposed it.
    Proposed(String),
}

impl Step {
    /// The name of what is done.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reopen { .. } => "reopen",
            Self::Finish { .. } => "finish",
            Self::Supersede { .. } => "supersede",
            Self::Merge { .. } => "merge",
            Self::Promote { .. } => "promote",
        }
    }

    /// The memories that the step rests on.
    #[must_use]
    pub fn evidence(&self) -> Vec<MemoryId> {
        match self {
            Self::Reopen { source, .. } | Self::Promote { source, .. } => vec![source.id],
            Self::Finish { sources, .. } | Self::Merge { sources, .. } => {
                sources.iter().map(|source| source.id).collect()
            }
            Self::Supersede { earlier, later, .. } => vec![earlier.id, later.id],
        }
    }

    /// The memories that are closed when the step is done.
    #[must_use]
    pub fn closes(&self) -> &[Arc<Memory>] {
        match self {
            Self::Finish { sources, .. } | Self::Merge { sources, .. } => sources,
            Self::Supersede { earlier, .. } => std::slice::from_ref(earlier),
            Self::Reopen { .. } | Self::Promote { .. } => &[],
        }
    }

    /// When the closed memories cease to be true: a fact when the later one began to be, else `now`.
    #[must_use]
    pub fn closed_at(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Supersede { earlier, later, .. } => {
                record::last_stated(later).max(earlier.valid_from.unwrap_or(Timestamp::MIN_UTC)).min(now)
            }
            _ => now,
        }
    }

    /// The memory that holds afterwards: its id and its text.
    #[must_use]
    pub fn result(&self) -> (MemoryId, &str) {
        match self {
            Self::Reopen { source, .. } => (source.id, &source.text),
            Self::Finish { successor, .. } => (successor.id, &successor.text),
            Self::Supersede { later, .. } => (later.id, &later.text),
            Self::Merge { successor, .. } | Self::Promote { successor, .. } => (successor.id(), &successor.text),
        }
    }
}

/// The step's reason, in words.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reopen { gone, .. } => write!(f, "{gone}, which took its place, is gone"),
            Self::Finish { .. } => f.write_str("an earlier run was cut short"),
            Self::Supersede { refusal, .. } => write!(f, "a later statement differs in {refusal}"),
            Self::Merge { because: Because::Duplicates(similarity), .. } => {
                write!(f, "they say the same, similarity {similarity:.2}")
            }
            Self::Merge { because: Because::Proposed(name), .. } => write!(f, "proposed by {name}"),
            Self::Promote { durable, .. } => write!(f, "a turn states {durable}"),
        }
    }
}

/// Plans the consolidation of a window at `now`.
#[must_use]
pub fn plan(window: &Window, settings: &Settings, now: Timestamp) -> Plan {
    let mut steps = Vec::new();
    let mut closed = HashSet::new();
    for memory in &window.memories {
        let record = Record::of(memory);
        if let Some(gone) = record.superseded_by.filter(|id| window.gone.contains(id) && record.is_mark_of(memory)) {
            steps.push(Step::Reopen { source: memory.clone(), gone });
        }
    }
    duplicates::finish(window, now, &mut closed, &mut steps);
    contradictions::supersede(window, settings, now, &mut closed, &mut steps);
    duplicates::merge(window, settings, now, &mut closed, &mut steps);
    promotion::promote(window, settings, now, &mut steps);
    Plan { steps }
}

/// Whether a memory may be merged or superseded at all: it holds now, began, and is no turn of a conversation, which is
/// the record of what was said.
#[must_use]
pub fn is_candidate(memory: &Memory, now: Timestamp) -> bool {
    memory.kind.tier() != Tier::ShortTerm && holds(memory, now)
}

/// How far a memory is to be trusted: as its writer, or as the least trusted of what it was derived from.
#[must_use]
pub fn trust(origin: &Origin) -> Writer {
    let imported = origin.writer == Writer::Consolidation && origin.path == derived::IMPORTED_PATH;
    if imported { Writer::Import } else { origin.writer }
}

/// Whether it is the current version and true at `now`.
fn holds(memory: &Memory, now: Timestamp) -> bool {
    memory.superseded_at.is_none()
        && !memory.is_expired(now)
        && memory.valid_from.is_none_or(|from| from <= now)
        && memory.valid_to.is_none_or(|to| to > now)
}

/// Whether two memories are of one scope, kind and speaker. Of "I" nobody knows who it is, unless the speaker or the user
/// is known.
fn same_voice(a: &Memory, b: &Memory) -> bool {
    const FIRST_PERSON: [&str; 8] = ["i", "me", "my", "mine", "we", "us", "our", "ours"];
    let someone = |memory: &Memory| crate::text::words(&memory.text).any(|word| FIRST_PERSON.contains(&word.as_str()));
    a.scope == b.scope
        && a.kind == b.kind
        && a.speaker() == b.speaker()
        && (a.speaker().is_some() || a.scope.user().is_some() || !(someone(a) || someone(b)))
}

#[cfg(test)]
mod tests;
