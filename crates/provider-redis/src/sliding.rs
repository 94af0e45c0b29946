//! Entries that live on while they are used.

use std::time::Duration;

use memory_core::Timestamp;
use redis::Cmd;
use tracing::debug;

use crate::entry::{Document, ENTRY, EXPIRES, LINKS, millis_up};
use crate::keys::{Keys, id_tag};
use crate::provider::{Guarded, RedisSemanticCacheProvider};

/// Writes the entry with its new time, if it is still this entry and nobody has done so: each write of a field puts the
/// vector into the index again, which costs as much as a store.
const PROLONG: &str = "
local links, expires = unpack(redis.call('HMGET', KEYS[1], ARGV[1], ARGV[2]))
if not links or string.sub(links, 1, #ARGV[3]) ~= ARGV[3] or tonumber(expires) >= tonumber(ARGV[4]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4], ARGV[5], ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
redis.call('PEXPIRE', KEYS[2], ARGV[7])
return 1";

impl RedisSemanticCacheProvider {
    /// Gives an entry that was just used its time again. Nobody waits for it, and what fails here is done by the next hit.
    pub(crate) fn prolong(&self, document: &Document, key: &str, now: Timestamp) {
        let Some(ttl) = document.entry.sliding_ttl else { return };
        let mut document = document.clone();
        document.entry.expires_at = now + ttl;
        let command = match prolong(&document, key, ttl) {
            Ok(command) => command,
            Err(error) => {
                debug!(error = &error as &dyn std::error::Error, "a sliding entry cannot be written");
                return;
            }
        };
        let (provider, shard) = (self.clone(), self.inner.keys.shard(document.scope.tenant_name()));
        tokio::spawn(async move {
            let limit = provider.inner.config.write_deadline;
            let done = provider.call(shard, "prolong", limit, Guarded::Yes, async |mut connection| {
                command.exec_async(&mut connection).await
            });
            if let Err(error) = done.await {
                debug!(error = &error as &dyn std::error::Error, "a sliding entry is not given more time");
            }
        });
    }
}

fn prolong(document: &Document, key: &str, ttl: Duration) -> serde_json::Result<Cmd> {
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut command = redis::cmd("EVAL");
    command.arg(PROLONG).arg(2).arg(key).arg(Keys::response(key)).arg(LINKS).arg(EXPIRES);
    command.arg(id_tag(document.entry.id)).arg(millis_up(document.entry.expires_at));
    command.arg(ENTRY).arg(serde_json::to_vec(document)?).arg(ttl_ms);
    Ok(command)
}
