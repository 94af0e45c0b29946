//! What runs beside the requests as long as the server does.

use std::error::Error;
use std::time::Duration;

use memory_core::{CacheFollower, LateEmbedding, Result, TieredMemoryManager};
use tokio::task::JoinSet;

/// The name that the processes of a server follow the store under, for the cache they share.
const FOLLOWER: &str = "cache";

/// The loops that run. They end when this is dropped; each of their steps may end anywhere.
#[derive(Debug)]
pub struct Background(#[expect(dead_code, reason = "it ends them when it is dropped")] JoinSet<()>);

/// Starts the loops that bring the store's changes to the cache and give memories the vectors that they were stored without.
/// `follows` says whether the cache is elsewhere than in the store, which tells its own.
#[must_use]
pub fn spawn(manager: &TieredMemoryManager, follows: bool) -> Background {
    let mut loops = JoinSet::new();
    if follows && let Some(follower) = manager.cache_follower(FOLLOWER) {
        loops.spawn(repeat("the cache was not told of changes", follower));
    }
    if let Some(late) = manager.late_embedding() {
        loops.spawn(repeat("memories without a vector were not embedded", late));
    }
    Background(loops)
}

/// Work that is done step by step.
trait Steps {
    async fn step(&mut self) -> Result<usize>;
    fn pause(&self) -> Duration;
}

impl Steps for CacheFollower {
    async fn step(&mut self) -> Result<usize> {
        CacheFollower::step(self).await
    }

    fn pause(&self) -> Duration {
        CacheFollower::pause(self)
    }
}

impl Steps for LateEmbedding {
    async fn step(&mut self) -> Result<usize> {
        LateEmbedding::step(self).await
    }

    fn pause(&self) -> Duration {
        LateEmbedding::pause(self)
    }
}

/// Says once that it fails, and once that it goes on.
async fn repeat(failed: &str, mut work: impl Steps) {
    let mut fails = false;
    loop {
        match work.step().await {
            Ok(done) if std::mem::take(&mut fails) => tracing::info!(done, "it goes on again: {failed}"),
            Ok(0) => {}
            Ok(done) => tracing::debug!(done, "done in the background"),
            Err(error) if !std::mem::replace(&mut fails, true) => {
                tracing::warn!(error = &error as &dyn Error, "{failed}; it is tried again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(work.pause()).await;
    }
}
