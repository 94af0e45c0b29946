//! What is in force, in a file that other programs can read: made anew from the state, never edited.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::policy::Action;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brake {
    /// The form of the file: 1.
    pub version: u32,
    /// Let more questions be answered by the cache.
    pub tighten_cache: bool,
    /// Do the work that can wait less often.
    pub slow_consolidation: bool,
    /// Accept nothing that has to be embedded anew.
    pub refuse_embedding: bool,
}

impl Brake {
    /// The brake with these actions in force.
    #[must_use]
    pub fn of(actions: &BTreeSet<Action>) -> Self {
        Self {
            version: 1,
            tighten_cache: actions.contains(&Action::TightenCache),
            slow_consolidation: actions.contains(&Action::SlowConsolidation),
            refuse_embedding: actions.contains(&Action::RefuseEmbedding),
        }
    }

    /// Writes it where it differs from what is there, whole or not at all. Gives whether it differed.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<bool> {
        let read = std::fs::read(file).ok().and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        if read.as_ref() == Some(self) {
            return Ok(false);
        }
        let part = file.with_extension("part");
        let written =
            std::fs::write(&part, serde_json::to_vec_pretty(self)?).and_then(|()| std::fs::rename(&part, file));
        written.with_context(|| format!("{}: cannot be written", file.display()))?;
        Ok(true)
    }
}
