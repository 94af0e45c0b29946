//! Removing entries: found by the index, removed by their keys, until the index finds no more.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::error::{damaged, unanswered};
use crate::index;
use crate::keys::{Keys, Shard, id_tag, label_tag, memory_tag};
use crate::provider::{Guarded, RedisSemanticCacheProvider};
use crate::query::{keys_of, read_keys, selection};
use memory_core::{InvalidateRequest, InvalidateSelection, Result};

/// How many keys are removed at once.
const PAGE: usize = 500;
/// How many links one search asks for: servers limit the terms of a query.
const LINKS_AT_ONCE: usize = 12;
/// How long to wait for an index that is being filled again after a restart.
const PATIENCE: Duration = Duration::from_secs(5);

impl RedisSemanticCacheProvider {
    /// Removes what is selected and gives how many entries that were, or counts them.
    pub(crate) async fn remove(&self, request: &InvalidateRequest) -> Result<u64> {
        let shard = self.inner.keys.shard(request.scope.tenant_name());
        let links: Vec<String> = match &request.selection {
            InvalidateSelection::Entry(id) => vec![id_tag(*id)],
            InvalidateSelection::DependsOn(memories) => memories.iter().map(|&id| memory_tag(id)).collect(),
            InvalidateSelection::Tag(label) => vec![label_tag(label)],
            InvalidateSelection::All => Vec::new(),
        };
        if links.is_empty() && request.selection != InvalidateSelection::All {
            return Ok(0);
        }
        self.wait_until_complete(shard).await?;
        let now = self.now();
        // Without links: one search of the whole scope.
        let chunks: Vec<&[String]> = if links.is_empty() { vec![&[]] } else { links.chunks(LINKS_AT_ONCE).collect() };
        let mut selections = chunks.into_iter().map(|links| selection(&request.scope, links, now));
        if !request.dry_run {
            let mut removed = 0;
            for selection in selections {
                removed += self.remove_selected(shard, &selection).await?;
            }
            return Ok(removed);
        }
        if let (1, Some(only)) = (selections.len(), selections.next()) {
            return Ok(self.keys_of("invalidate", shard, &only, 0).await?.0);
        }
        // An entry that depends on memories of several searches counts once.
        let chunks = links.chunks(LINKS_AT_ONCE).map(|links| selection(&request.scope, links, now));
        let mut found = HashSet::new();
        for selection in chunks {
            let (count, _) = self.keys_of("invalidate", shard, &selection, 0).await?;
            let limit = usize::try_from(count).unwrap_or(usize::MAX);
            found.extend(self.keys_of("invalidate", shard, &selection, limit).await?.1);
        }
        Ok(found.len() as u64)
    }

    /// Removes every entry of a shard, expired ones too.
    pub(crate) async fn remove_all(&self, shard: Shard) -> Result<u64> {
        self.wait_until_complete(shard).await?;
        self.remove_selected(shard, "*").await
    }

    async fn remove_selected(&self, shard: Shard, selection: &str) -> Result<u64> {
        let mut removed = 0;
        loop {
            let (_, keys) = self.keys_of("invalidate", shard, selection, PAGE).await?;
            if keys.is_empty() {
                return Ok(removed);
            }
            let mut pipeline = redis::pipe();
            for key in &keys {
                pipeline.cmd("UNLINK").arg(key);
                pipeline.cmd("UNLINK").arg(Keys::response(key)).ignore();
            }
            let limit = self.inner.config.write_deadline;
            let gone: Vec<u64> = self
                .call("invalidate", limit, Guarded::No, async |mut connection| {
                    pipeline.query_async(&mut connection).await
                })
                .await?;
            removed += gone.iter().sum::<u64>();
        }
    }

    /// The keys of a selection, at most `limit`, and how many there are.
    pub(crate) async fn keys_of(
        &self,
        operation: &'static str,
        shard: Shard,
        selection: &str,
        limit: usize,
    ) -> Result<(u64, Vec<String>)> {
        let deadline = self.inner.config.write_deadline;
        // The server's own limit lies past ours: it would answer with a part and not say so.
        let timeout_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX).saturating_mul(2);
        let command = keys_of(&self.inner.keys.index(shard), selection, limit, timeout_ms);
        let answer = self.ask_index(operation, command).await?;
        read_keys(&answer).map_err(|error| damaged(operation, error))
    }

    /// Waits while the index is filled again: what is not in it yet would be missed.
    async fn wait_until_complete(&self, shard: Shard) -> Result<()> {
        let name = self.inner.keys.index(shard);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut command = redis::cmd("FT.INFO");
            command.arg(&name);
            let info = self.ask_index("invalidate", command).await?;
            if index::is_complete(&info) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(unanswered("invalidate", "the index is still being filled after a restart"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
