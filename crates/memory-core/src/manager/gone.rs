//! What had gone before it was asked to go: a process that forgot it may have ended before it told the cache, and who asks again
//! is told that it is done.

use std::collections::HashSet;

use super::TieredMemoryManager;
use crate::{ChangeEvent, ChangeFeed, ForgetRequest, MemoryId, Result, Scope, Selection};

/// How many changes that the cache was not told of are looked at.
const LOOKED_AT: usize = 1000;
/// How often it is looked while others make changes and the follower moves on.
const LOOKS: usize = 3;

/// What had gone before.
pub(super) struct GoneBefore {
    /// Memories of the tenant whose answers may be in the cache yet.
    pub memories: Vec<MemoryId>,
    /// Whether there are no others.
    pub are_all_known: bool,
}

impl GoneBefore {
    const NOTHING: Self = Self { memories: Vec::new(), are_all_known: true };
}

impl TieredMemoryManager {
    /// What had gone before a deletion that has just forgotten `gone`.
    pub(super) async fn gone_before(&self, request: &ForgetRequest, gone: &[MemoryId]) -> GoneBefore {
        if self.short_term_provider.is_none() {
            return GoneBefore::NOTHING;
        }
        let gone: HashSet<&MemoryId> = gone.iter().collect();
        let mut before = match &request.selection {
            // All of it as soon as one of them is gone, which costs an answer at most.
            Selection::Ids(asked) => {
                let missing: Vec<MemoryId> = asked.iter().filter(|id| !gone.contains(id)).copied().collect();
                let are_there = self.stand(&request.scope.whole_tenant(), &missing, None).await;
                GoneBefore { memories: if are_there { Vec::new() } else { missing }, are_all_known: true }
            }
            // What is gone does not match any more: it is among what the follower has not told the cache.
            Selection::Matching(_) | Selection::All => self.untold(&request.scope).await,
        };
        before.memories.retain(|id| !gone.contains(id));
        before
    }

    /// What was forgotten in a scope's tenant and the cache's follower has not passed.
    async fn untold(&self, scope: &Scope) -> GoneBefore {
        let (Some(feed), Some(follower)) = (self.medium_term_provider.changes(), self.followed_as.get()) else {
            return GoneBefore::NOTHING;
        };
        let mut before = GoneBefore { memories: Vec::new(), are_all_known: false };
        for _ in 0..LOOKS {
            let Ok((memories, are_all_known)) = look(feed, follower, scope.tenant_name()).await else { break };
            before.memories.extend(memories);
            before.are_all_known = are_all_known;
            if are_all_known {
                break;
            }
        }
        before
    }
}

/// The forgotten memories among the changes that a follower has not passed, and whether those are all: a change can be counted
/// before it can be read.
async fn look(feed: &dyn ChangeFeed, follower: &str, tenant: &str) -> Result<(Vec<MemoryId>, bool)> {
    let counted = feed.lag(follower).await?.changes;
    let changes = feed.unseen(follower, LOOKED_AT).await?;
    let are_all = counted <= changes.len() as u64;
    let forgotten =
        changes.into_iter().filter(|change| change.tenant == tenant && change.event == ChangeEvent::Forgotten);
    Ok((forgotten.flat_map(|change| change.memories).collect(), are_all))
}
