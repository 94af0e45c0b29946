//! What is asked of a consolidation, and what it tells of itself.

use std::fmt;
use std::sync::Arc;

use crate::consolidation::{Consolidator, Settings, Step};
use crate::{Cursor, Error, Result, Scope, WriteToken};

/// How many memories one run looks at unless told otherwise.
pub const DEFAULT_CONSOLIDATION_LIMIT: usize = 1000;
/// The most memories one run looks at.
pub const MAX_CONSOLIDATION_LIMIT: usize = 100_000;

/// What to consolidate.
#[derive(Debug, Clone)]
pub struct ConsolidateRequest {
    /// Whose memory. Memories of different scopes inside it are never put together.
    pub scope: Scope,
    /// How many memories this run looks at, 1 to [`MAX_CONSOLIDATION_LIMIT`].
    pub limit: usize,
    /// Where the run before ended; the beginning unless given.
    pub cursor: Option<Cursor>,
    /// Plan only, change nothing.
    pub dry_run: bool,
    /// How sure the plan has to be.
    pub settings: Settings,
    /// Proposes more than the built-in rules find.
    pub consolidator: Option<Arc<dyn Consolidator>>,
}

impl ConsolidateRequest {
    /// A run from the beginning of `scope` with the defaults.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            limit: DEFAULT_CONSOLIDATION_LIMIT,
            cursor: None,
            dry_run: false,
            settings: Settings::default(),
            consolidator: None,
        }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn validate(&self) -> Result<()> {
        if !(1..=MAX_CONSOLIDATION_LIMIT).contains(&self.limit) {
            return Err(Error::invalid("limit", self.limit, format!("1 to {MAX_CONSOLIDATION_LIMIT}")));
        }
        self.settings.validate()
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConsolidateReport {
    /// The steps in their order, with what became of each.
    pub steps: Vec<DoneStep>,
    /// How many memories it looked at.
    pub visited: u64,
    /// How many proposals of the consolidator were refused; they changed nothing.
    pub refused_proposals: u64,
    /// Where the next run goes on; `None` at the end of the scope.
    pub next: Option<Cursor>,
    /// Carry it to a read to see the last write there; `None` when nothing was written.
    pub token: Option<WriteToken>,
}

/// A step and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct DoneStep {
    /// The step.
    pub step: Step,
    /// What became of it.
    pub outcome: StepOutcome,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// It was a dry run.
    Planned,
    /// It is done.
    Done,
    /// A memory of it was changed or forgotten in the meantime; what is left of it is the next run's.
    Overtaken,
    /// What it would write was forgotten, and stays forgotten.
    RefusedForgotten,
    /// What it would write was rejected.
    RefusedRejected,
    /// Its successor is written and cannot be read yet: the sources stay as they are, and the next run closes them.
    NotYetVisible,
}

impl StepOutcome {
    /// Its name, as it is written in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Done => "done",
            Self::Overtaken => "overtaken",
            Self::RefusedForgotten => "refused_forgotten",
            Self::RefusedRejected => "refused_rejected",
            Self::NotYetVisible => "not_yet_visible",
        }
    }
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
