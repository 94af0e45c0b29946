//! Who computes an answer, among processes: a key that lives as long as the right to.

use std::time::{Duration, Instant};

use memory_core::{CacheRequest, Result};
use redis::{Cmd, Value};

use crate::error::damaged;
use crate::keys::{Epoch, Keys};
use crate::provider::{Guarded, RedisSemanticCacheProvider};

/// The pauses between looks at another's key double from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(50);

/// Removes the key, if it is still its holder's.
const GIVE_BACK: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

impl RedisSemanticCacheProvider {
    /// Whether this process may compute the answer now; else waits until the one that may is done.
    pub(crate) async fn begin(&self, request: &CacheRequest, lease: Duration) -> Result<bool> {
        let shard = self.inner.keys.shard(request.scope.tenant_name());
        let key = self.fill_key(request);
        let deadline = self.inner.config.deadline;
        let take = take(&key, &self.inner.holder, lease);
        let holder = self
            .call(shard, "begin_fill", deadline, Guarded::Yes, async |mut connection| {
                take.query_async::<Value>(&mut connection).await
            })
            .await?;
        match holder {
            Value::Nil => return Ok(true),
            Value::BulkString(holder) if holder == self.inner.holder.as_bytes() => return Ok(true),
            Value::BulkString(_) => {}
            _ => return Err(damaged("begin_fill", "SET did not answer with the former value")),
        }
        let (began, mut pause) = (Instant::now(), FIRST_PAUSE);
        while began.elapsed() < lease {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
            let is_held = self.call(shard, "begin_fill", deadline, Guarded::Yes, async |mut connection| {
                redis::cmd("EXISTS").arg(&key).query_async::<bool>(&mut connection).await
            });
            if !is_held.await? {
                break;
            }
        }
        Ok(false)
    }

    /// Gives the right back.
    pub(crate) async fn end(&self, request: &CacheRequest) -> Result<()> {
        let shard = self.inner.keys.shard(request.scope.tenant_name());
        let mut give_back = redis::cmd("EVAL");
        give_back.arg(GIVE_BACK).arg(1).arg(self.fill_key(request)).arg(&self.inner.holder);
        self.call(shard, "end_fill", self.inner.config.write_deadline, Guarded::Yes, async |mut connection| {
            give_back.exec_async(&mut connection).await
        })
        .await
    }

    fn fill_key(&self, request: &CacheRequest) -> String {
        // Not by epoch: whether the cache was emptied meanwhile makes no difference to who computes.
        let group = self.inner.keys.group(&request.scope, request.fingerprint, Epoch::NONE);
        self.inner.keys.fill(Keys::place(&group, &request.prompt))
    }
}

/// Takes the key unless it is taken, and gives who had it.
fn take(key: &str, holder: &str, lease: Duration) -> Cmd {
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX).max(1);
    let mut command = redis::cmd("SET");
    command.arg(key).arg(holder).arg("NX").arg("GET").arg("PX").arg(lease_ms);
    command
}
