//! The store of one side of a move: what the other side's store told of itself is understood here too.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use memory_core::{
    Candidates, ChangeFeed, Error, ForgetReceipt, ForgetRequest, InsertBatch, InsertReceipt, ListRequest, Memory,
    MemoryId, MemoryPatch, MemoryStore, Page, Rejections, Replica, Result, Scope, SearchRequest, Selection, StoreMark,
    StoreStats, Turn, UpdateReceipt, VectorBacklog, WriteToken,
};
use migrate::record::Colour;
use migrate::serving::Serving;

use super::Side;

/// A store of a move.
///
/// - A write token of the other store: all that was acknowledged there before the switch is here, so the token of now does in its
///   place. Where the record says that this store is not the one in use, the search belongs there, and is refused as a write is.
/// - A mark of the other store says nothing of what was changed here: nothing stands since.
#[derive(Debug)]
pub struct MovedStore {
    inner: Arc<dyn MemoryStore>,
    side: Side,
    /// A token that covers all that the other store acknowledged before this revision of the record.
    covers: Mutex<Option<(u64, WriteToken)>>,
}

impl MovedStore {
    /// `inner` is the store of that side.
    pub fn new(inner: Arc<dyn MemoryStore>, side: Side) -> Self {
        Self { inner, side, covers: Mutex::default() }
    }

    /// What the record says, when this store is the one in use by it.
    async fn in_use(&self) -> Result<Serving> {
        let moving = self.side.moving.upgrade().ok_or(Error::Fenced { epoch: 0 })?;
        match moving.look().await {
            Ok(serving) if serving.active == self.side.colour => Ok(serving),
            _ => Err(Error::Fenced { epoch: 0 }),
        }
    }

    /// A token of this store for what the other one acknowledged.
    async fn token(&self, scope: &Scope) -> Result<WriteToken> {
        let Serving { revision, .. } = self.in_use().await?;
        let known = self.covers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, token)) = known.filter(|(known, _)| *known == revision) {
            return Ok(token);
        }
        let nothing = ForgetRequest { scope: scope.clone(), selection: Selection::Ids(Vec::new()), dry_run: false };
        let token = self.inner.forget(&nothing).await?.token.ok_or(Error::Fenced { epoch: 0 })?;
        *self.covers.lock().unwrap_or_else(PoisonError::into_inner) = Some((revision, token.clone()));
        Ok(token)
    }

    /// A mark as callers carry it, with the name of its store.
    fn named(&self, mark: &StoreMark) -> StoreMark {
        StoreMark(format!("{}/{}", self.side.colour, mark.0))
    }

    /// The mark that this store gave; one without a name is of before the move was configured, which was blue's time.
    fn own(&self, mark: &StoreMark) -> Option<StoreMark> {
        let name = self.side.colour.to_string();
        match mark.0.split_once('/') {
            Some((colour, mark)) => (colour == name).then(|| StoreMark(mark.to_owned())),
            None => (self.side.colour == Colour::Blue).then(|| mark.clone()),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl MemoryStore for MovedStore {
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt> {
        self.inner.insert(batch).await
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.inner.get(scope, id).await
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.inner.turn_before(scope, id).await
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<UpdateReceipt> {
        self.inner.update(scope, id, patch).await
    }

    async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>> {
        self.inner.history(scope, id).await
    }

    async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        self.inner.forget(request).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        self.inner.list(request).await
    }

    async fn search(&self, request: &SearchRequest) -> Result<Candidates> {
        match self.inner.search(request).await {
            Err(Error::Invalid { field, .. }) if request.at_least.is_some() && field == "at_least" => {
                let at_least = Some(self.token(&request.scope).await?);
                self.inner.search(&SearchRequest { at_least, ..request.clone() }).await
            }
            found => found,
        }
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        self.inner.stats(scope).await
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }

    fn changes(&self) -> Option<&dyn ChangeFeed> {
        self.inner.changes()
    }

    fn backlog(&self) -> Option<&dyn VectorBacklog> {
        self.inner.backlog()
    }

    fn rejections(&self) -> Option<&dyn Rejections> {
        self.inner.rejections()
    }

    fn replica(&self) -> Option<&dyn Replica> {
        self.inner.replica()
    }

    async fn take_turn(&self, scope: &Scope) -> Result<Option<Turn>> {
        self.inner.take_turn(scope).await
    }

    async fn mark(&self) -> Result<Option<StoreMark>> {
        Ok(self.inner.mark().await?.map(|mark| self.named(&mark)))
    }

    async fn stand(&self, scope: &Scope, memories: &[MemoryId], since: Option<&StoreMark>) -> Result<bool> {
        match since.map(|mark| self.own(mark)) {
            None => self.inner.stand(scope, memories, None).await,
            Some(Some(mark)) => self.inner.stand(scope, memories, Some(&mark)).await,
            Some(None) => Ok(false),
        }
    }
}
