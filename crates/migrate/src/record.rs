//! How far a move has come, kept durably: who goes on with it reads it first.

pub mod file;
pub mod memory;
pub mod postgres;

use std::fmt;

use async_trait::async_trait;
use memory_core::{ScanPosition, Timestamp};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::diff::Diff;
use crate::dump::Kept;
use crate::gates::Checked;
use crate::plan::Plan;
use crate::stress::Stress;

/// Where the record of a move is kept.
#[async_trait]
pub trait Records: fmt::Debug + Send + Sync {
    /// The record; `None` before the move was planned.
    async fn load(&self) -> Result<Option<Record>>;

    /// The record, when it is of another revision than this one: what a server asks again and again.
    async fn other_than(&self, revision: u64) -> Result<Option<Record>> {
        Ok(self.load().await?.filter(|record| record.revision != revision))
    }

    /// Puts a record in the place of the one of the revision before, durably. A record of revision 1 is the first one.
    ///
    /// # Errors
    /// [`Error::Superseded`](crate::Error::Superseded) when another revision is there.
    async fn store(&self, record: &Record) -> Result<()>;
}

/// How far a move has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// One more with each change.
    pub revision: u64,
    /// What is to be done.
    pub plan: Plan,
    /// When it was planned: what tells its streams from those of other moves of the same name.
    #[serde(default)]
    pub planned_at: Timestamp,
    /// Whether blue can only be read: it is copied and not followed, nothing closes it, and nothing goes back to it.
    #[serde(default)]
    pub one_way: bool,
    /// What is being done.
    pub phase: Phase,
    /// The store that is in use: clients write there.
    pub active: Colour,
    /// The percentage of reads that may go to green while blue is in use.
    pub reads_on_green: u8,
    /// The highest epoch that was given to a gate.
    pub epoch: u64,
    /// The epoch at which the store that follows is open to the mover.
    pub follower_epoch: u64,
    /// The stream of the store in use that the other one follows; none before the move began, and in one that goes one way.
    pub stream: Option<String>,
    /// A stream that is not needed any more, and on which store.
    pub releasing: Option<(Colour, String)>,
    /// Every stream that there was, and on which store: each is ended at the end once more, since one may have begun late.
    #[serde(default)]
    pub streams: Vec<(Colour, String)>,
    /// How far the copy has come.
    pub copied: Copied,
    /// How it went, a point each now and then.
    pub samples: Vec<Sample>,
    /// How many changes were left while they were followed, a point each now and then.
    #[serde(default)]
    pub behind: Vec<Behind>,
    /// How each switch went, oldest first.
    #[serde(default)]
    pub switches: Vec<Switch>,
    /// The last comparison of the two stores.
    #[serde(default)]
    pub diff: Option<Diff>,
    /// What the gates said last.
    #[serde(default)]
    pub checked: Option<Checked>,
    /// What the last stress test showed.
    #[serde(default)]
    pub stress: Option<Stress>,
    /// What was kept of blue before the end.
    #[serde(default)]
    pub dump: Option<Kept>,
    /// What was done when, oldest first.
    pub history: Vec<Event>,
}

/// One of the two stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// The store that the memory is moved from.
    Blue,
    /// The store that it is moved to.
    Green,
}

/// What a move is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum Phase {
    /// Nothing was done yet.
    Planned,
    /// Blue is told to note its changes, green is closed to clients.
    Preparing,
    /// Everything is copied.
    Copying,
    /// Changes are written to the store that follows, as they come.
    Following,
    /// The store in use is closed, and what is left is written to the other.
    Switching {
        /// Of the gate that closes the store in use.
        epoch: u64,
        /// When writes began to wait.
        began_at: Timestamp,
        /// When it is undone.
        deadline: Timestamp,
    },
    /// All is written: the other store is opened. There is no way back from here but another switch.
    Opening {
        /// Of the gate that opens it.
        epoch: u64,
        /// The stream that it notes its changes for; none in a move that goes one way.
        stream: Option<String>,
        /// Of the gate that closed the store that was in use.
        closed_at: u64,
        /// When writes began to wait.
        began_at: Timestamp,
    },
    /// The switch took too long: the store in use is opened again.
    Undoing {
        /// Of the gate that opens it.
        epoch: u64,
    },
    /// The move is given up before anything moved: blue is told to note nothing.
    Cancelling,
    /// It was given up.
    Cancelled,
    /// Green is told to note nothing for blue any more.
    Finalizing,
    /// Done.
    Finalized,
}

/// How far the copy has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Copied {
    /// Where the next page begins; `None` before the first and after the last.
    pub after: Option<ScanPosition>,
    /// How many items were copied.
    pub items: u64,
    /// About how many there were when it began.
    pub of: u64,
    /// When it began.
    pub began_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

/// How it went at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// How many items were copied by then.
    pub items: u64,
    /// How many changes were left.
    pub lag: u64,
}

/// How far the store that follows was behind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// When.
    pub at: Timestamp,
    /// How many changes were left.
    pub changes: u64,
}

/// A switch that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// When the other store was opened.
    pub at: Timestamp,
    /// The store that is in use since.
    pub to: Colour,
    /// The longest that a write waited for it, in milliseconds.
    pub waited_ms: u64,
}

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What, in words.
    pub what: String,
}

impl Record {
    /// The store that follows the one in use.
    #[must_use]
    pub fn follower(&self) -> Colour {
        self.active.other()
    }

    /// Whether nothing is left to be done.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Cancelled | Phase::Finalized)
    }

    /// The share of the copy that is done, `0.0..=1.0`. An estimate: items come and go while they are copied.
    #[must_use]
    pub fn progress(&self) -> f64 {
        match self.copied {
            Copied { ended_at: Some(_), .. } => 1.0,
            Copied { of: 0, .. } => 0.0,
            Copied { items, of, .. } => (items as f64 / of as f64).min(0.999),
        }
    }

    /// About how long the rest of the copy takes; `None` while there is nothing to go by, or when it is done.
    #[must_use]
    pub fn copy_left(&self, now: Timestamp) -> Option<std::time::Duration> {
        let Copied { items, of, began_at: Some(began_at), ended_at: None, .. } = &self.copied else { return None };
        let spent = (now - *began_at).to_std().ok().filter(|_| *items > 0)?;
        let left = of.saturating_sub(*items) as f64 / *items as f64;
        Some(spent.mul_f64(left.min(1e6)))
    }
}

impl Copied {
    /// How long it took; `None` until it has ended.
    #[must_use]
    pub fn took(&self) -> Option<std::time::Duration> {
        (self.ended_at? - self.began_at?).to_std().ok()
    }
}

impl Colour {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Blue => Self::Green,
            Self::Green => Self::Blue,
        }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blue => "blue",
            Self::Green => "green",
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planned => "planned",
            Self::Preparing => "preparing",
            Self::Copying => "copying",
            Self::Following => "following",
            Self::Switching { .. } => "switching",
            Self::Opening { .. } => "opening",
            Self::Undoing { .. } => "undoing",
            Self::Cancelling => "cancelling",
            Self::Cancelled => "cancelled",
            Self::Finalizing => "finalizing",
            Self::Finalized => "finalized",
        })
    }
}
