//! Vectors that come late: what was remembered while the embedder was away is embedded when it is back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::pace::Pace;
use super::{TieredMemoryManager, in_context};
use crate::{Cursor, Embedding, Error, Memory, MemoryStore, Purpose, Result, Unembedded};

/// How many memories are embedded in one step.
const AT_ONCE: usize = 32;
/// How long every memory has its vector before it is looked again.
const IDLE: Duration = Duration::from_secs(5);
/// The longest pause while the store or the embedder fails.
const LONGEST: Duration = Duration::from_secs(60);

/// Gives the memories of a store that have no vector one, [`step`](Self::step) by step, as [`CacheFollower`](super::CacheFollower)
/// does its work. Several processes may do so at once: who comes second changes nothing.
pub struct LateEmbedding {
    manager: TieredMemoryManager,
    /// What was looked at in this round. What the embedder refuses is tried again in the next.
    after: Option<Cursor>,
    pace: Pace,
}

impl TieredMemoryManager {
    /// What embeds the memories that were stored without a vector; `None` when the store cannot tell which.
    #[must_use]
    pub fn late_embedding(&self) -> Option<LateEmbedding> {
        self.medium_term_provider.backlog()?;
        Some(LateEmbedding { manager: self.clone(), after: None, pace: Pace::new(IDLE, LONGEST) })
    }
}

impl LateEmbedding {
    /// Embeds some of the memories that have no vector, and gives how many have one now.
    ///
    /// # Errors
    /// As [`VectorBacklog`](crate::VectorBacklog) and [`Embedder::embed`](crate::Embedder::embed) where the same call may succeed later.
    pub async fn step(&mut self) -> Result<usize> {
        let done = self.embed_some().await;
        match &done {
            Ok(_) => self.pace.went_well(self.after.is_some()),
            Err(_) => self.pace.failed(),
        }
        done
    }

    /// How long to wait before the next step: not at all while there is more, up to a minute while it fails.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.pace.pause()
    }

    async fn embed_some(&mut self) -> Result<usize> {
        let store = self.manager.medium_term_provider.clone();
        let Some(backlog) = store.backlog() else { return Ok(0) };
        let found = backlog.without_vector(self.after, AT_ONCE).await?;
        let mut texts = Vec::with_capacity(found.len());
        for unembedded in &found {
            if let Some(memory) = store.get(&unembedded.tenant, unembedded.id).await?
                && memory.version == unembedded.version
            {
                texts.push((unembedded, self.text_of(unembedded, &memory).await?));
            }
        }
        let mut added = 0;
        for (unembedded, embedding) in self.embed(texts).await? {
            added += usize::from(backlog.add_vector(unembedded, embedding).await?);
        }
        self.after = if found.len() == AT_ONCE { found.last().map(|last| last.cursor) } else { None };
        Ok(added)
    }

    /// As it would have been embedded when it was written.
    async fn text_of(&self, unembedded: &Unembedded, memory: &Memory) -> Result<String> {
        if memory.scope.session().is_none() {
            return Ok(memory.text.clone());
        }
        let store: &Arc<dyn MemoryStore> = &self.manager.medium_term_provider;
        let before = store.turn_before(&unembedded.tenant, unembedded.id).await?;
        Ok(in_context(before.as_ref().map(|before| before.text.as_str()), &memory.text))
    }

    async fn embed<'a>(&self, texts: Vec<(&'a Unembedded, String)>) -> Result<Vec<(&'a Unembedded, Embedding)>> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let embedder = &self.manager.embedder;
        let all: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        match embedder.embed(&all, Purpose::Document).await {
            Ok(made) => return Ok(texts.iter().map(|(unembedded, _)| *unembedded).zip(made).collect()),
            // One of them is refused: the others need not go without.
            Err(Error::Embedder { retryable: false, .. }) => {}
            Err(error) => return Err(error),
        }
        let mut embedded = Vec::new();
        for (unembedded, text) in &texts {
            match embedder.embed(&[text], Purpose::Document).await {
                Ok(made) => embedded.extend(made.into_iter().next().map(|embedding| (*unembedded, embedding))),
                Err(Error::Embedder { retryable: false, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(embedded)
    }
}

impl fmt::Debug for LateEmbedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LateEmbedding").field("after", &self.after).field("pace", &self.pace).finish_non_exhaustive()
    }
}
