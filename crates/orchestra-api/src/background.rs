//! What runs beside the requests as long as the server does.

use std::sync::Arc;
use std::time::Duration;

use memory_core::{CacheFollower, Error, LateEmbedding, Result, TieredMemoryManager};
use metrics::{Unit, counter, describe_counter};
use tokio::task::JoinSet;

use crate::brake::{self, BudgetBrake};
use crate::metrics::lag::{self, Lag};
use crate::moving::{Moving, Side};
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

/// Starts the loops of the tiers of a store: they bring its changes to the cache and give memories the vectors that they were
/// stored without. `follows_as` is the name under which they follow for a cache that is elsewhere than in the store; a store tells
/// its own. `lag` is measured all the while. `brake` is that of an embedder that has to be paid for. Of a move, `side` says which
/// store it is: while another one is in use that one has these vectors made.
#[must_use]
pub fn spawn(
    manager: &TieredMemoryManager,
    follows_as: Option<&str>,
    mut lag: Lag,
    brake: Option<Arc<BudgetBrake>>,
    side: Option<Side>,
) -> Background {
    let mut loops = JoinSet::new();
    if let Some(name) = follows_as
        && let Some(follower) = manager.cache_follower(name)
    {
        loops.spawn(repeat("follower", "the cache was not told of changes", follower));
        lag.follower = manager.cache_follower(name);
    }
    if let Some(late) = manager.late_embedding() {
        let late = WhileInUse { steps: Late { late, brake }, side: side.clone() };
        loops.spawn(repeat("late_embedding", "memories without a vector were not embedded", late));
    }
    let lag = WhileInUse { steps: lag, side };
    loops.spawn(repeat("lag", "how far behind things are was not measured", lag));
    Background(loops)
}

/// Starts the loops of the process: `usage` is written down, the brake looked at, and a move followed.
#[must_use]
pub(crate) fn of_process(usage: &Arc<UsageLog>, brake: &Arc<BudgetBrake>, moving: Option<&Arc<Moving>>) -> Background {
    let mut loops = JoinSet::new();
    loops.spawn(repeat("usage", "what was used was not written down", Windows(usage.clone())));
    loops.spawn(repeat("brake", "the budget's brake was not read, and stays as it is", Brakes(brake.clone())));
    if let Some(moving) = moving {
        loops.spawn(moving.clone().follow());
        loops.spawn(moving.clone().keep_open());
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

/// Steps that are of use in the store that is in use.
struct WhileInUse<S> {
    steps: S,
    side: Option<Side>,
}

impl<S: Steps> Steps for WhileInUse<S> {
    async fn step(&mut self) -> Result<usize> {
        if self.side.as_ref().is_none_or(Side::is_in_use) { self.steps.step().await } else { Ok(0) }
    }

    fn pause(&self) -> Duration {
        self.steps.pause()
    }
}

/// Vectors that come late, but not while they must not be paid for.
struct Late {
    late: LateEmbedding,
    brake: Option<Arc<BudgetBrake>>,
}

impl Late {
    fn is_refused(&self) -> bool {
        self.brake.as_ref().is_some_and(|brake| brake.refuses_embedding())
    }
}

impl Steps for Late {
    async fn step(&mut self) -> Result<usize> {
        if self.is_refused() { Ok(0) } else { self.late.step().await }
    }

    fn pause(&self) -> Duration {
        if self.is_refused() { brake::EVERY } else { self.late.pause() }
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
