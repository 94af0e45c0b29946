//! What a server has to know of a move: which store is in use, out of the record.

use std::sync::Arc;

use crate::Result;
use crate::record::{Colour, Phase, Record, Records};

/// What a server has to know of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Serving {
    /// The revision of the record; 0 before the move was planned.
    pub revision: u64,
    /// The store that is in use.
    pub active: Colour,
    /// Whether a switch is under way: the store in use takes no writes, and which one takes the next is not decided.
    pub is_switching: bool,
    /// Whether the other store has all that the one in use has, but for what is under way.
    pub is_following: bool,
    /// The percentage of reads that may go to green while blue is in use.
    pub reads_on_green: u8,
}

impl Serving {
    /// Before the move was planned.
    pub const UNPLANNED: Self =
        Self { revision: 0, active: Colour::Blue, is_switching: false, is_following: false, reads_on_green: 0 };

    /// What the record says.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let (is_switching, is_following) = match record.phase {
            Phase::Switching { .. } | Phase::Opening { .. } | Phase::Undoing { .. } => (true, true),
            Phase::Following => (false, true),
            Phase::Planned
            | Phase::Preparing
            | Phase::Copying
            | Phase::Cancelling
            | Phase::Cancelled
            | Phase::Finalizing
            | Phase::Finalized => (false, false),
        };
        let reads_on_green = if is_following { record.reads_on_green.min(100) } else { 0 };
        Self { revision: record.revision, active: record.active, is_switching, is_following, reads_on_green }
    }

    /// Whether a server needs this store: it is in use, or may come into use.
    #[must_use]
    pub fn needs(&self, colour: Colour) -> bool {
        self.active == colour || self.is_following
    }
}

/// A look at the record now and then.
#[derive(Debug)]
pub struct Watch {
    records: Arc<dyn Records>,
    seen: Serving,
}

impl Watch {
    /// Knows of no move before the first [look](Self::look).
    #[must_use]
    pub fn new(records: Arc<dyn Records>) -> Self {
        Self { records, seen: Serving::UNPLANNED }
    }

    /// What the record says now. A record that is gone says what it said last.
    ///
    /// # Errors
    /// As [`Records::load`].
    pub async fn look(&mut self) -> Result<Serving> {
        if let Some(record) = self.records.other_than(self.seen.revision).await? {
            self.seen = Serving::of(&record);
        }
        Ok(self.seen)
    }
}
