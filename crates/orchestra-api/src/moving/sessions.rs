//! The messages of sessions while the memory is moved: a session goes on where it began.

use std::sync::Arc;

use async_trait::async_trait;
use memory_core::{AppendReceipt, AppendRequest, Result, Scope, Window, WindowRequest, WorkingMemory};

use super::Side;
use crate::error::chain;

/// The working memory of one side of a move.
///
/// Sessions last an hour or so, and are not moved: one that the other side holds goes on there until its time is over, and one that
/// neither holds begins here. So a conversation goes on over a switch, in both directions, for as long as the other side is open.
#[derive(Debug)]
pub struct MovedSessions {
    here: Arc<dyn WorkingMemory>,
    side: Side,
}

impl MovedSessions {
    /// `here` is the working memory of that side.
    pub fn new(here: Arc<dyn WorkingMemory>, side: Side) -> Self {
        Self { here, side }
    }

    /// The other side's, while that is open and another one.
    fn there(&self) -> Option<Arc<dyn WorkingMemory>> {
        let moving = self.side.moving.upgrade().filter(|moving| !moving.one_redis)?;
        moving.sides.get(self.side.colour.other())?.sessions().cloned()
    }

    /// The one that a session goes on in. Where the other side does not answer, what it holds cannot be read anyway.
    async fn of(&self, session: &Scope) -> Result<Arc<dyn WorkingMemory>> {
        let Some(there) = self.there() else { return Ok(self.here.clone()) };
        let newest = WindowRequest { max_messages: 1, ..WindowRequest::new(session.clone()) };
        if self.here.window(&newest).await?.total > 0 {
            return Ok(self.here.clone());
        }
        match there.window(&newest).await {
            Ok(window) if window.total > 0 => Ok(there),
            Ok(_) => Ok(self.here.clone()),
            Err(error) => {
                let store = self.side.colour.other();
                tracing::warn!(causes = chain(&error), %store, "the sessions of the other store of the move cannot be read");
                Ok(self.here.clone())
            }
        }
    }
}

#[async_trait]
impl WorkingMemory for MovedSessions {
    async fn append(&self, request: AppendRequest) -> Result<AppendReceipt> {
        request.validate()?;
        self.of(&request.scope).await?.append(request).await
    }

    async fn window(&self, request: &WindowRequest) -> Result<Window> {
        request.validate()?;
        self.of(&request.scope).await?.window(request).await
    }

    async fn clear(&self, scope: &Scope) -> Result<u64> {
        let here = self.here.clear(scope).await?;
        match self.there() {
            Some(there) => Ok(here + there.clear(scope).await?),
            None => Ok(here),
        }
    }

    async fn forget_within(&self, scope: &Scope, dry_run: bool) -> Result<u64> {
        let here = self.here.forget_within(scope, dry_run).await?;
        match self.there() {
            Some(there) => Ok(here + there.forget_within(scope, dry_run).await?),
            None => Ok(here),
        }
    }
}
