//! The durable store, seen from outside.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use memory_core::{
    Candidates, Change, ChangeFeed, ChangeLag, ChangePosition, ForgetReceipt, ForgetRequest, InsertBatch,
    InsertReceipt, ListRequest, Memory, MemoryId, MemoryPatch, MemoryStore, Page, Rejections, Replica, Result, Scope,
    SearchRequest, StoreMark, StoreStats, Timestamp, Turn, UpdateReceipt, VectorBacklog,
};
use metrics::{Histogram, histogram};

use super::{CHANGE_DELAY, Calls};

const TIER: &str = "medium_term";

/// A store whose calls are spans, counted and timed. Of those who follow its changes it measures how late they are.
#[derive(Debug)]
pub struct ObservedStore {
    inner: Arc<dyn MemoryStore>,
    system: &'static str,
    insert: Calls,
    get: Calls,
    turn_before: Calls,
    update: Calls,
    history: Calls,
    forget: Calls,
    list: Calls,
    search: Calls,
    stats: Calls,
    health: Calls,
    mark: Calls,
    stand: Calls,
    change_delay: Histogram,
    /// What a follower was last told of and has not acknowledged: it is where it belongs once that is done.
    told: Mutex<Vec<(ChangePosition, Timestamp)>>,
}

impl ObservedStore {
    /// `system` is what the store is on, as OpenTelemetry names database systems: `postgresql`, `sqlite`.
    #[must_use]
    pub fn new(inner: Arc<dyn MemoryStore>, system: &'static str) -> Self {
        let calls = |operation| Calls::of_tier(TIER, operation);
        Self {
            inner,
            system,
            insert: calls("insert"),
            get: calls("get"),
            turn_before: calls("turn_before"),
            update: calls("update"),
            history: calls("history"),
            forget: calls("forget"),
            list: calls("list"),
            search: calls("search"),
            stats: calls("stats"),
            health: calls("health"),
            mark: calls("mark"),
            stand: calls("stand"),
            change_delay: histogram!(CHANGE_DELAY),
            told: Mutex::default(),
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl MemoryStore for ObservedStore {
    async fn insert(&self, batch: InsertBatch) -> Result<InsertReceipt> {
        self.insert.of_database(self.system, self.inner.insert(batch)).await
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.get.of_database(self.system, self.inner.get(scope, id)).await
    }

    async fn turn_before(&self, scope: &Scope, id: MemoryId) -> Result<Option<Arc<Memory>>> {
        self.turn_before.of_database(self.system, self.inner.turn_before(scope, id)).await
    }

    async fn update(&self, scope: &Scope, id: MemoryId, patch: MemoryPatch) -> Result<UpdateReceipt> {
        self.update.of_database(self.system, self.inner.update(scope, id, patch)).await
    }

    async fn history(&self, scope: &Scope, id: MemoryId) -> Result<Vec<Memory>> {
        self.history.of_database(self.system, self.inner.history(scope, id)).await
    }

    async fn forget(&self, request: &ForgetRequest) -> Result<ForgetReceipt> {
        self.forget.of_database(self.system, self.inner.forget(request)).await
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        self.list.of_database(self.system, self.inner.list(request)).await
    }

    async fn search(&self, request: &SearchRequest) -> Result<Candidates> {
        self.search.of_database(self.system, self.inner.search(request)).await
    }

    async fn stats(&self, scope: &Scope) -> Result<StoreStats> {
        self.stats.of_database(self.system, self.inner.stats(scope)).await
    }

    async fn health(&self) -> Result<()> {
        self.health.of_database(self.system, self.inner.health()).await
    }

    fn changes(&self) -> Option<&dyn ChangeFeed> {
        self.inner.changes().map(|_| self as &dyn ChangeFeed)
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

    async fn mark(&self) -> Result<Option<StoreMark>> {
        self.mark.of_database(self.system, self.inner.mark()).await
    }

    async fn take_turn(&self, scope: &Scope) -> Result<Option<Turn>> {
        self.inner.take_turn(scope).await
    }

    async fn stand(&self, scope: &Scope, memories: &[MemoryId], since: Option<&StoreMark>) -> Result<bool> {
        self.stand.of_database(self.system, self.inner.stand(scope, memories, since)).await
    }
}

impl ObservedStore {
    fn feed(&self) -> &dyn ChangeFeed {
        self.inner.changes().expect("it is handed out as a feed only where there is one")
    }

    /// Measures the changes up to a position that a follower has passed.
    fn passed(&self, position: &ChangePosition) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = told.iter().position(|(at, _)| at == position) else { return };
        let now = chrono::Utc::now();
        for (_, occurred_at) in told.drain(..=last) {
            self.change_delay.record((now - occurred_at).to_std().unwrap_or_default());
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl ChangeFeed for ObservedStore {
    async fn unseen(&self, follower: &str, limit: usize) -> Result<Vec<Change>> {
        let changes = self.feed().unseen(follower, limit).await?;
        let told = changes.iter().map(|change| (change.position.clone(), change.occurred_at)).collect();
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        Ok(changes)
    }

    async fn acknowledge(&self, follower: &str, position: &ChangePosition) -> Result<()> {
        self.feed().acknowledge(follower, position).await?;
        self.passed(position);
        Ok(())
    }

    async fn lag(&self, follower: &str) -> Result<ChangeLag> {
        self.feed().lag(follower).await
    }

    async fn unfollow(&self, follower: &str) -> Result<()> {
        self.feed().unfollow(follower).await
    }

    async fn remove_passed(&self) -> Result<u64> {
        self.feed().remove_passed().await
    }
}
