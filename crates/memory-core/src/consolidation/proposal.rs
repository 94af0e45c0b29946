//! The seam for a consolidator of another kind, such as one that asks a language model. What it proposes is data that was
//! made from untrusted text: it is checked here, and what does not hold up changes nothing.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::duplicates::{content, covers};
use super::{Because, Derived, Settings, Step, Window, is_candidate, same_voice};
use crate::memory::{MAX_EVIDENCE, MAX_TEXT_BYTES};
use crate::{Memory, MemoryId, Result, Timestamp, guard};

/// Proposes what may be written in the place of memories.
#[async_trait]
pub trait Consolidator: fmt::Debug + Send + Sync {
    /// Its name, for the reasons of steps.
    fn name(&self) -> &str;

    /// What it would write for a window, in any order.
    ///
    /// # Errors
    /// Whatever keeps it from answering; nothing is changed then.
    async fn propose(&self, window: &Window) -> Result<Vec<Proposal>>;
}

/// A text to be written in the place of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The text.
    pub text: String,
    /// The memories that it takes the place of.
    pub evidence: Vec<MemoryId>,
}

/// Why a proposal was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The text is blank or too long.
    #[error("the text is blank or too long")]
    Text,
    /// It names fewer than two memories, one twice, or too many.
    #[error("it rests on fewer than two memories, on one twice, or on too many")]
    Evidence,
    /// It names a memory that is not in the window, is closed, or is spoken for.
    #[error("it rests on a memory that is not there")]
    Unknown,
    /// It mixes scopes, kinds or speakers, or sources that disagree in their metadata or their end.
    #[error("it mixes memories that do not belong together")]
    Mixed,
    /// It says a word that none of the evidence says.
    #[error("it says what the evidence does not say")]
    Invented,
    /// It leaves out a word of the evidence, or says something else.
    #[error("it leaves out or changes what the evidence says")]
    Lossy,
}

/// The step that a proposal becomes, or why it does not. `closed` are the memories that other steps close already.
///
/// # Errors
/// [`Refused`].
pub fn accept(
    proposal: &Proposal,
    by: &str,
    window: &Window,
    settings: &Settings,
    now: Timestamp,
    closed: &HashSet<MemoryId>,
) -> Result<Step, Refused> {
    if proposal.text.trim().is_empty() || proposal.text.len() > MAX_TEXT_BYTES {
        return Err(Refused::Text);
    }
    let named: HashSet<MemoryId> = proposal.evidence.iter().copied().collect();
    if named.len() != proposal.evidence.len() || !(2..=MAX_EVIDENCE).contains(&named.len()) {
        return Err(Refused::Evidence);
    }
    let mut sources: Vec<Arc<Memory>> = window
        .memories
        .iter()
        .filter(|memory| named.contains(&memory.id) && !closed.contains(&memory.id) && is_candidate(memory, now))
        .cloned()
        .collect();
    if sources.len() != named.len() {
        return Err(Refused::Unknown);
    }
    sources.sort_by_key(|source| source.id);
    let first = &sources[0];
    if !sources.iter().all(|source| same_voice(first, source)) {
        return Err(Refused::Mixed);
    }
    let evidence = sources.iter().map(|source| source.text.as_str()).collect::<Vec<_>>().join("\n");
    if !covers(&content(&evidence), &proposal.text) {
        return Err(Refused::Invented);
    }
    let said = content(&proposal.text);
    if !sources.iter().all(|source| covers(&said, &source.text))
        || !guard::compare(&proposal.text, &evidence).is_empty()
    {
        return Err(Refused::Lossy);
    }
    let successor = Derived::merged(first, &proposal.text, &sources, settings).ok_or(Refused::Mixed)?;
    Ok(Step::Merge { successor: Box::new(successor), sources, because: Because::Proposed(by.to_owned()) })
}
