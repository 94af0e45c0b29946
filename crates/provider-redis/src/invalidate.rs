//! Removing entries: found by the index, removed by their keys, until the index finds no more.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::error::{damaged, unanswered};
use crate::index;
use crate::keys::{Epoch, Keys, Shard, id_tag, label_tag, memory_tag};
use crate::provider::{Guarded, RedisSemanticCacheProvider};
use crate::query::{self, keys_of, read_keys};
use crate::tenants::{REPEAT_LEASE, State, Tenant};
use memory_core::{InvalidateRequest, InvalidateSelection, Result, Scope, Timestamp};
use redis::Cmd;
use tracing::{debug, warn};

/// How many keys are removed at once.
const PAGE: usize = 500;
/// How many links one search asks for: servers limit the terms of a query.
const LINKS_AT_ONCE: usize = 12;
/// How long to wait for an index that is being filled again after a restart.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where and when something is removed.
#[derive(Debug, Clone, Copy)]
struct Removal {
    shard: Shard,
    epoch: Epoch,
    now: Timestamp,
}

impl Removal {
    /// The searches that find what is to be removed; without links it is the whole scope.
    fn selections(self, scope: &Scope, links: &[String]) -> Vec<String> {
        let chunks: Vec<&[String]> = if links.is_empty() { vec![&[]] } else { links.chunks(LINKS_AT_ONCE).collect() };
        chunks.into_iter().map(|links| query::selection(scope, self.epoch, links, self.now)).collect()
    }
}

impl RedisSemanticCacheProvider {
    /// Removes what is selected and gives how many entries that were, or counts them. When it returns no process serves them
    /// any more, not from its memory either.
    pub(crate) async fn remove(&self, request: &InvalidateRequest) -> Result<u64> {
        let name = request.scope.tenant_name();
        let tenant = self.inner.tenants.get(name);
        let Some(State { epoch, .. }) = self.state("invalidate", &request.scope, &tenant, Guarded::No).await? else {
            return Ok(0);
        };
        let place = Removal { shard: self.inner.keys.shard(name), epoch, now: self.now() };
        let links: Vec<String> = match &request.selection {
            InvalidateSelection::Entry(id) => vec![id_tag(*id)],
            InvalidateSelection::DependsOn(memories) => memories.iter().map(|&id| memory_tag(id)).collect(),
            InvalidateSelection::Tag(label) => vec![label_tag(label)],
            InvalidateSelection::All => Vec::new(),
        };
        if links.is_empty() && request.selection != InvalidateSelection::All {
            return Ok(0);
        }
        let is_whole_tenant = Scope::tenant(name).is_ok_and(|whole| whole == request.scope);
        if request.dry_run {
            self.count_selected(&request.scope, &links, place).await
        } else if links.is_empty() && is_whole_tenant {
            self.begin_anew(&request.scope, &tenant, place).await
        } else {
            self.remove_from_scope(&request.scope, &tenant, &links, place).await
        }
    }

    async fn count_selected(&self, scope: &Scope, links: &[String], place: Removal) -> Result<u64> {
        self.wait_until_complete(place.shard).await?;
        let selections = place.selections(scope, links);
        if let [only] = &selections[..] {
            return Ok(self.keys_of("invalidate", place.shard, only, 0).await?.0);
        }
        // An entry that depends on memories of several searches counts once.
        let mut found = HashSet::new();
        for selection in &selections {
            let (count, _) = self.keys_of("invalidate", place.shard, selection, 0).await?;
            let limit = usize::try_from(count).unwrap_or(usize::MAX);
            found.extend(self.keys_of("invalidate", place.shard, selection, limit).await?.1);
        }
        Ok(found.len() as u64)
    }

    async fn remove_from_scope(&self, scope: &Scope, tenant: &Tenant, links: &[String], place: Removal) -> Result<u64> {
        self.wait_until_complete(place.shard).await?;
        let tenant_key = self.inner.keys.tenant(place.shard, scope.tenant_name());
        let (removing, limit) = (query::removing(&tenant_key), self.inner.config.write_deadline);
        self.call(place.shard, "invalidate", limit, Guarded::No, async |mut connection| {
            removing.exec_async(&mut connection).await
        })
        .await?;
        let mut removed = 0;
        for selection in place.selections(scope, links) {
            removed += self.remove_selected(place.shard, &selection, Some(&tenant_key)).await?;
        }
        // Entries that Redis dropped by itself may be in a process's memory still: counted even where nothing was found.
        self.announce(tenant, place.shard, query::changed(&tenant_key)).await?;
        Ok(removed)
    }

    /// Writes that a tenant's cache is another by now, and waits until no process serves from the former one.
    async fn announce(&self, tenant: &Tenant, shard: Shard, command: Cmd) -> Result<()> {
        let limit = self.inner.config.write_deadline;
        self.call(shard, "invalidate", limit, Guarded::No, async |mut connection| {
            command.exec_async(&mut connection).await
        })
        .await?;
        tenant.forget();
        tokio::time::sleep(REPEAT_LEASE).await;
        Ok(())
    }

    /// Empties a tenant's cache at once, by letting it begin anew. What was in it is counted, and removed later.
    async fn begin_anew(&self, scope: &Scope, tenant: &Tenant, place: Removal) -> Result<u64> {
        let tenant_key = self.inner.keys.tenant(place.shard, scope.tenant_name());
        self.announce(tenant, place.shard, query::begin_anew(&tenant_key, Epoch::new())).await?;
        let counted = query::selection(scope, place.epoch, &[], place.now);
        let count = self.keys_of("invalidate", place.shard, &counted, 0).await;
        let provider = self.clone();
        let former = query::of_scope(scope, place.epoch);
        tokio::spawn(async move {
            // Nobody finds them and they expire by themselves: all that a failure costs is room.
            if let Err(error) = provider.remove_selected(place.shard, &former, None).await {
                debug!(error = &error as &dyn std::error::Error, "the entries of a former epoch are left to expire");
            }
        });
        match count {
            Ok((count, _)) => Ok(count),
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "a tenant's cache was emptied, but not counted");
                Ok(0)
            }
        }
    }

    /// Removes every entry of a shard, expired ones too.
    pub(crate) async fn remove_all(&self, shard: Shard) -> Result<u64> {
        self.forget_tenants(shard).await?;
        self.inner.tenants.forget();
        self.wait_until_complete(shard).await?;
        let removed = self.remove_selected(shard, "*", None).await?;
        tokio::time::sleep(REPEAT_LEASE).await;
        Ok(removed)
    }

    /// Lets the cache of every tenant of a shard begin anew.
    async fn forget_tenants(&self, shard: Shard) -> Result<()> {
        // A prefix has no character that means something in a pattern.
        let pattern = format!("{}*", self.inner.keys.tenants(shard));
        let limit = self.inner.config.write_deadline;
        let mut cursor = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(PAGE);
            let found: (u64, Vec<String>) = self
                .call(shard, "invalidate", limit, Guarded::No, async |mut connection| {
                    scan.query_async(&mut connection).await
                })
                .await?;
            if !found.1.is_empty() {
                let mut unlink = redis::cmd("UNLINK");
                unlink.arg(found.1);
                self.call(shard, "invalidate", limit, Guarded::No, async |mut connection| {
                    unlink.exec_async(&mut connection).await
                })
                .await?;
            }
            cursor = found.0;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    /// Removes what a search finds, until it finds no more. Each page goes together with the count of changes, so that none
    /// is gone from Redis and served from a process's memory.
    async fn remove_selected(&self, shard: Shard, selection: &str, tenant_key: Option<&str>) -> Result<u64> {
        let mut removed = 0;
        loop {
            let (_, keys) = self.keys_of("invalidate", shard, selection, PAGE).await?;
            if keys.is_empty() {
                return Ok(removed);
            }
            let mut pipeline = redis::pipe();
            pipeline.atomic();
            for key in &keys {
                pipeline.cmd("UNLINK").arg(key);
                pipeline.cmd("UNLINK").arg(Keys::response(key)).ignore();
            }
            if let Some(tenant_key) = tenant_key {
                pipeline.add_command(query::changed(tenant_key)).ignore();
            }
            let limit = self.inner.config.write_deadline;
            let gone: Vec<u64> = self
                .call(shard, "invalidate", limit, Guarded::No, async |mut connection| {
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
        let answer = self.ask_index(shard, operation, command).await?;
        read_keys(&answer).map_err(|error| damaged(operation, error))
    }

    /// Waits while the index is filled again: what is not in it yet would be missed.
    async fn wait_until_complete(&self, shard: Shard) -> Result<()> {
        let name = self.inner.keys.index(shard);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut command = redis::cmd("FT.INFO");
            command.arg(&name);
            let info = self.ask_index(shard, "invalidate", command).await?;
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
