//! What changed in a store, for those who follow: a cache has to let go of what a change made wrong, also when the process that
//! made the change is no more.

use std::fmt;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{MemoryId, Result, Timestamp};

/// The changes of a store in an order in which nothing is skipped, and how far each follower has come.
///
/// # Contract
/// Each promise has a test of its name in `memory_testkit::changes`.
/// - `every_change_is_told`: a change is in the feed when it is acknowledged, written with it or not at all, and comes before
///   those that are told later: who acknowledges a position has been given every change up to it.
/// - `a_position_is_kept_and_never_goes_back`: it is durable, and of several processes under one name the furthest counts.
/// - `what_every_follower_has_passed_is_removed`, and nothing else.
/// - A new memory is not told of: no answer depends on it.
#[async_trait]
pub trait ChangeFeed: fmt::Debug + Send + Sync {
    /// The oldest changes that a follower has not passed, at most `limit`, of all tenants. From its first call on a follower
    /// is known, and what it has not passed is kept for it.
    async fn unseen(&self, follower: &str, limit: usize) -> Result<Vec<Change>>;

    /// Says that a follower has done its part for every change up to this one. A position that it has passed changes nothing.
    async fn acknowledge(&self, follower: &str, position: &ChangePosition) -> Result<()>;

    /// How far behind a follower is.
    async fn lag(&self, follower: &str) -> Result<ChangeLag>;

    /// Forgets a follower, so that nothing is kept for it any more.
    async fn unfollow(&self, follower: &str) -> Result<()>;

    /// Removes changes that every follower has passed, all where nobody follows, and gives how many.
    async fn remove_passed(&self) -> Result<u64>;
}

/// A change of memories of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where it is in the order.
    pub position: ChangePosition,
    /// Whose memories.
    pub tenant: String,
    /// What became of them.
    pub event: ChangeEvent,
    /// The memories.
    pub memories: Vec<MemoryId>,
    /// When, by the clock of the program that made the change.
    pub occurred_at: Timestamp,
}

/// What became of memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeEvent {
    /// They have another version.
    Updated,
    /// They were forgotten.
    Forgotten,
    /// Their time was over, and they were taken off the disk.
    Expired,
}

impl ChangeEvent {
    /// The event of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "updated" => Self::Updated,
            "forgotten" => Self::Forgotten,
            "expired" => Self::Expired,
            _ => return None,
        })
    }
}

/// A place in the order of a store's changes. Opaque to callers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChangePosition(pub String);

/// How far behind a follower is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLag {
    /// How many changes it has not passed.
    pub changes: u64,
    /// When the oldest of them occurred.
    pub oldest: Option<Timestamp>,
}
