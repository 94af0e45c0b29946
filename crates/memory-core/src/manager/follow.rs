//! What must reach the cache does: a follower brings it every change of the store, also those of a process that died between
//! its commit and its invalidation, and those that came while the cache was away.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::TieredMemoryManager;
use super::pace::Pace;
use crate::{ChangeFeed, InvalidateRequest, InvalidateSelection, MemoryId, Result, Scope, SemanticCache};

/// How many changes are taken in one step.
const AT_ONCE: usize = 500;
/// How many tenants' entries are removed at the same time.
const TENANTS_AT_ONCE: usize = 16;
/// How long there is nothing new before it is looked again.
const IDLE: Duration = Duration::from_millis(250);
/// The longest pause while the store or the cache fails.
const LONGEST: Duration = Duration::from_secs(10);

/// Brings a store's changes to the manager's cache, one [`step`](Self::step) after the other.
///
/// It does nothing by itself: whoever runs it takes a step, waits for [`pause`](Self::pause), and takes the next one. Several
/// processes may follow under one name, and nothing is lost when one of them ends at any point: a change that was applied and
/// not acknowledged is applied again, which removes nothing more.
pub struct CacheFollower {
    manager: TieredMemoryManager,
    cache: Arc<dyn SemanticCache>,
    name: String,
    pace: Pace,
}

type Removal<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// How far behind a follower is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FollowerLag {
    /// How many changes it has not applied.
    pub changes: u64,
    /// How long ago the oldest of them occurred.
    pub age: Duration,
}

impl TieredMemoryManager {
    /// A follower of the store's changes for the cache, under a name that belongs to that cache: another cache has another.
    /// `None` when there is no cache, or the store keeps no changes to follow.
    #[must_use]
    pub fn cache_follower(&self, name: impl Into<String>) -> Option<CacheFollower> {
        let cache = self.short_term_provider.clone()?;
        self.medium_term_provider.changes()?;
        let name = name.into();
        let _ = self.followed_as.set(name.clone());
        Some(CacheFollower { manager: self.clone(), cache, name, pace: Pace::new(IDLE, LONGEST) })
    }
}

impl CacheFollower {
    /// Applies the oldest changes that were not applied yet, and gives how many that were. While it fails its position stays.
    ///
    /// # Errors
    /// As [`ChangeFeed`] and [`SemanticCache::invalidate`].
    pub async fn step(&mut self) -> Result<usize> {
        let applied = self.apply().await;
        match &applied {
            Ok(applied) => self.pace.went_well(*applied == AT_ONCE),
            Err(_) => self.pace.failed(),
        }
        applied
    }

    /// How long to wait before the next step: not at all while there is more, up to ten seconds while it fails.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.pace.pause()
    }

    /// How far behind the cache is.
    ///
    /// # Errors
    /// As [`ChangeFeed::lag`].
    pub async fn lag(&self) -> Result<FollowerLag> {
        let Some(feed) = self.feed() else { return Ok(FollowerLag::default()) };
        let lag = feed.lag(&self.name).await?;
        let age = lag.oldest.and_then(|oldest| (self.manager.clock.now() - oldest).to_std().ok());
        Ok(FollowerLag { changes: lag.changes, age: age.unwrap_or_default() })
    }

    fn feed(&self) -> Option<&dyn ChangeFeed> {
        self.manager.medium_term_provider.changes()
    }

    async fn apply(&self) -> Result<usize> {
        let Some(feed) = self.feed() else { return Ok(0) };
        let changes = feed.unseen(&self.name, AT_ONCE).await?;
        let Some(last) = changes.last() else { return Ok(0) };
        let mut by_tenant: BTreeMap<&str, Vec<MemoryId>> = BTreeMap::new();
        for change in &changes {
            by_tenant.entry(&change.tenant).or_default().extend(&change.memories);
        }
        // Nobody who asks from here on joins those who wait for an answer that was begun before.
        self.manager.flights.begin_anew();
        let mut tenants = by_tenant.into_iter();
        while tenants.len() > 0 {
            let mut removals: Vec<Removal<'_>> = Vec::with_capacity(TENANTS_AT_ONCE);
            for (tenant, memories) in tenants.by_ref().take(TENANTS_AT_ONCE) {
                removals.push(Box::pin(self.remove(tenant, memories)));
            }
            all(removals).await?;
        }
        feed.acknowledge(&self.name, &last.position).await?;
        Ok(changes.len())
    }

    async fn remove(&self, tenant: &str, mut memories: Vec<MemoryId>) -> Result<()> {
        memories.sort_unstable();
        memories.dedup();
        let selection = InvalidateSelection::DependsOn(memories);
        let request = InvalidateRequest { scope: Scope::tenant(tenant)?, selection, dry_run: false };
        self.cache.invalidate(&request).await.map(drop)
    }
}

impl fmt::Debug for CacheFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheFollower").field("name", &self.name).field("pace", &self.pace).finish_non_exhaustive()
    }
}

/// Waits for all of them; fails with the first that fails.
async fn all(mut running: Vec<Removal<'_>>) -> Result<()> {
    poll_fn(|context| {
        let mut at = 0;
        while let Some(future) = running.get_mut(at) {
            match future.as_mut().poll(context) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(())) => drop(running.swap_remove(at)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        if running.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
    })
    .await
}
