//! What is in force, in a file that servers follow: made anew from the state, never edited.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
pub use memory_core::brake::Brake;

use crate::policy::Action;

/// The brake with these actions in force.
#[must_use]
pub fn of(actions: &BTreeSet<Action>) -> Brake {
    Brake {
        tighten_cache: actions.contains(&Action::TightenCache),
        slow_consolidation: actions.contains(&Action::SlowConsolidation),
        refuse_embedding: actions.contains(&Action::RefuseEmbedding),
    }
}

/// What the file says; `None` where there is none, or it cannot be read.
#[must_use]
pub fn read(file: &Path) -> Option<Brake> {
    Brake::parse(&std::fs::read(file).ok()?).ok()
}

/// Writes the file where it differs from what is there, whole or not at all. Gives whether it differed.
///
/// # Errors
/// When the file cannot be written.
pub fn write(brake: Brake, file: &Path) -> Result<bool> {
    if read(file) == Some(brake) {
        return Ok(false);
    }
    let part = file.with_extension("part");
    let written = std::fs::write(&part, brake.text()).and_then(|()| std::fs::rename(&part, file));
    written.with_context(|| format!("{}: cannot be written", file.display()))?;
    Ok(true)
}
