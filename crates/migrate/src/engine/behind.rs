//! The record is stored, and how far the store that follows is behind is noted in it now and then.

use super::Engine;
use crate::machine::{NOTE_EVERY, Step};
use crate::record::Record;
use crate::{Error, Result};

/// How often a record is stored again behind the notes of another mover.
const TRIES: usize = 5;

impl Engine {
    /// Stores a record. Where another mover has only noted the lag since, its notes are kept, and this one comes behind them.
    pub(super) async fn put(&mut self, mut next: Record) -> Result<()> {
        for _ in 0..TRIES {
            self.tried = Some(next.clone());
            match self.parts.records.store(&next).await {
                Err(Error::Superseded) => {
                    let there = self.parts.records.load().await?.ok_or(Error::Superseded)?;
                    next = next.after_notes(&self.record, &there).ok_or(Error::Superseded)?;
                }
                stored => {
                    stored?;
                    self.record = next;
                    return Ok(());
                }
            }
        }
        Err(Error::Superseded)
    }

    /// Whether a record is this mover's own, as it was stored or may have been.
    pub(super) fn is_own(&self, there: &Record) -> bool {
        there.is_noted(&self.record) || self.tried.as_ref().is_some_and(|tried| there.is_noted(tried))
    }

    /// Notes the lag, when that is due. It is for people to see: a failure is told, and nothing is held up.
    pub(super) async fn note(&mut self) {
        let now = self.now();
        let is_early = self.note_tried_at.is_some_and(|tried| (now - tried).abs() < NOTE_EVERY);
        if is_early || !self.record.is_note_due(now) {
            return;
        }
        self.note_tried_at = Some(now);
        if let Err(error) = self.try_to_note().await {
            tracing::debug!(%error, "the lag was not noted");
        }
    }

    async fn try_to_note(&mut self) -> Result<()> {
        let changes = self.lag().await?;
        let Some(there) = self.parts.records.load().await? else { return Ok(()) };
        if there != self.record {
            let Record { follower_epoch, stream, .. } = &self.record;
            // Somebody let reads go to green, say. Where it was taken over this mover finds that out when it writes.
            let goes_on = there.next(self.now()) == Step::Follow;
            if !goes_on || there.follower_epoch != *follower_epoch || there.stream != *stream {
                return Ok(());
            }
            self.record = there;
        }
        match self.record.noted(changes, self.now()) {
            Some(next) => self.put(next).await,
            None => Ok(()),
        }
    }
}
