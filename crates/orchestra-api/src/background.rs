//! What runs beside the requests as long as the server does.

use std::sync::Arc;
use std::time::Duration;

use memory_core::{CacheFollower, Error, LateEmbedding, Result, TieredMemoryManager};
use metrics::{Unit, counter, describe_counter};
use tokio::task::JoinSet;

use crate::brake::{self, BudgetBrake};
use crate::metrics::lag::{self, Lag};
use crate::usage::UsageLog;

const DONE: &str = "orchestra_background_done_total";
const FAILURES: &str = "orchestra_background_failures_total";

pub(crate) fn describe() {
    describe_counter!(DONE, Unit::Count, "What was done beside the requests, by task");
    describe_counter!(FAILURES, Unit::Count, "Steps of a task beside the requests that failed");
}

/// The loops that run. They end when this is dropped; each of their steps may end anywhere.
#[derive(Debug)]
pub struct Background(#[expect(dead_code, reason = "it ends them when it is dropped")] JoinSet<()>);

/// Starts the loops that bring the store's changes to the cache and give memories the vectors that they were stored without.
/// `follows_as` is the name under which they follow for a cache that is elsewhere than in the store; a store tells its own. `lag` is measured all the while, and
/// `usage` written down.
#[must_use]
pub fn spawn(
    manager: &TieredMemoryManager,
    follows_as: Option<&str>,
    mut lag: Lag,
    usage: &Arc<UsageLog>,
    brake: &Arc<BudgetBrake>,
) -> Background {
    let mut loops = JoinSet::new();
    if let Some(name) = follows_as
        && let Some(follower) = manager.cache_follower(name)
    {
        loops.spawn(repeat("follower", "the cache was not told of changes", follower));
        lag.follower = manager.cache_follower(name);
    }
    if let Some(late) = manager.late_embedding() {
        let late = Late { late, brake: brake.clone() };
        loops.spawn(repeat("late_embedding", "memories without a vector were not embedded", late));
    }
    loops.spawn(repeat("lag", "how far behind things are was not measured", lag));
    loops.spawn(repeat("usage", "what was used was not written down", Windows(usage.clone())));
    loops.spawn(repeat("brake", "the budget's brake was not read, and stays as it is", Brakes(brake.clone())));
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

/// Vectors that come late, but not while they must not be paid for.
struct Late {
    late: LateEmbedding,
    brake: Arc<BudgetBrake>,
}

impl Steps for Late {
    async fn step(&mut self) -> Result<usize> {
        if self.brake.refuses_embedding() { Ok(0) } else { self.late.step().await }
    }

    fn pause(&self) -> Duration {
        if self.brake.refuses_embedding() { brake::EVERY } else { self.late.pause() }
    }
}

impl Steps for Lag {
    async fn step(&mut self) -> Result<usize> {
        self.measure().await.map(|()| 0)
    }

    fn pause(&self) -> Duration {
        lag::EVERY
    }
}

/// The windows of usage, one after the other.
struct Windows(Arc<UsageLog>);

impl Steps for Windows {
    async fn step(&mut self) -> Result<usize> {
        self.0.end_window(chrono::Utc::now());
        let usage = self.0.clone();
        let written = tokio::task::spawn_blocking(move || usage.write()).await;
        let written = written.map_err(std::io::Error::other).flatten();
        written.map(|()| 0).map_err(|error| failed("usage", "write", error))
    }

    fn pause(&self) -> Duration {
        self.0.window()
    }
}

/// The looks at the brake's file.
struct Brakes(Arc<BudgetBrake>);

impl Steps for Brakes {
    async fn step(&mut self) -> Result<usize> {
        let brake = self.0.clone();
        let looked = tokio::task::spawn_blocking(move || brake.look()).await;
        let looked = looked.map_err(std::io::Error::other).flatten();
        looked.map(|()| 0).map_err(|error| failed("brake", "read", error))
    }

    fn pause(&self) -> Duration {
        brake::EVERY
    }
}

fn failed(provider: &'static str, operation: &'static str, error: std::io::Error) -> Error {
    Error::Backend { provider, operation, retryable: true, source: error.into() }
}

/// Says once that it fails, and once that it goes on, and counts every time.
async fn repeat(task: &'static str, failed: &str, mut work: impl Steps) {
    let (all_done, failures) = (counter!(DONE, "task" => task), counter!(FAILURES, "task" => task));
    let mut fails = false;
    loop {
        let step = work.step().await;
        match &step {
            Ok(done) => all_done.increment(*done as u64),
            Err(_) => failures.increment(1),
        }
        match step {
            Ok(done) if std::mem::take(&mut fails) => tracing::info!(done, "it goes on again: {failed}"),
            Ok(0) => {}
            Ok(done) => tracing::debug!(done, "done in the background"),
            Err(error) if !std::mem::replace(&mut fails, true) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "{failed}; it is tried again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(work.pause()).await;
    }
}
