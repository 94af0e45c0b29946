//! Working memory on Redis: a hash for each session, changed by scripts.
//!
//! A session is one key, so that it lives in one slot of a cluster, is expired, evicted and removed whole, and no part of
//! it can outlive another: there is no state in which a number would be given twice. Its fields are `first`, `last`, `ends`
//! (microseconds since 1970), a field for each message by its number, and one for each idempotency key.

mod script;

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use chrono::SubsecRound as _;
use memory_core::working::{MAX_SESSION_MESSAGES, MAX_WINDOW_BYTES, check_session};
use memory_core::{
    AppendReceipt, AppendRequest, BoxError, Error, Metadata, NewMessage, Result, Role, Scope, SessionMessage,
    Timestamp, Window, WindowRequest, WorkingMemory,
};
use serde::{Deserialize, Serialize};

use crate::error::damaged;
use crate::keys::{Keys, Shard};
use crate::provider::{Guarded, RedisSemanticCacheProvider};

/// Working memory on Redis, over the connection, the breaker and the deadlines of a [`RedisSemanticCacheProvider`]. Clones
/// share them.
///
/// **One round trip** for an append, a window and a clear; each is one atomic step of the server.
///
/// **What Redis promises.** An acknowledged append is in the memory of the server, and as durable as that server is set up
/// to be. A Redis without persistence loses every session when it goes; with `appendfsync everysec` up to a second; in a
/// failover, what the replica had not received. An eviction policy that may evict keys with an expiry ends sessions early
/// when memory is short. A session that is lost is empty and begins again at 1: it never comes back in part or out of order.
/// Keep in the persistent memory what must not be lost.
#[derive(Debug, Clone)]
pub struct RedisWorkingMemory {
    provider: RedisSemanticCacheProvider,
}

impl RedisSemanticCacheProvider {
    /// The working memory on the same Redis. Its keys are no part of the index, and [`clear`](Self::clear) leaves them.
    #[must_use]
    pub fn working_memory(&self) -> RedisWorkingMemory {
        RedisWorkingMemory { provider: self.clone() }
    }
}

#[async_trait]
impl WorkingMemory for RedisWorkingMemory {
    async fn append(&self, request: AppendRequest) -> Result<AppendReceipt> {
        request.validate()?;
        let now = self.provider.now().trunc_subsecs(6);
        let (body, arguments) = append_arguments(&request, now).map_err(|error| damaged("append", error))?;
        let key = self.key(&request.scope);
        let answer = self.provider.call(
            self.shard(&request.scope),
            "append",
            self.limit(),
            Guarded::Yes,
            async |mut connection| script::APPEND.run::<(bool, String)>(&mut connection, &key, &arguments).await,
        );
        let (replayed, receipt) = answer.await?;
        let (its_body, receipt) = read_receipt(&receipt, replayed).map_err(|error| damaged("append", error))?;
        match request.idempotency {
            Some(key) if its_body != body => Err(Error::IdempotencyConflict { key: key.key }),
            _ => Ok(receipt),
        }
    }

    async fn window(&self, request: &WindowRequest) -> Result<Window> {
        request.validate()?;
        let arguments = [
            self.provider.now().timestamp_micros().to_string(),
            request.max_messages.to_string(),
            request.max_tokens.unwrap_or(u64::MAX).to_string(),
            MAX_WINDOW_BYTES.to_string(),
        ];
        let key = self.key(&request.scope);
        let answer = self.provider.call(
            self.shard(&request.scope),
            "window",
            self.limit(),
            Guarded::Yes,
            async |mut connection| script::WINDOW.run::<Option<Found>>(&mut connection, &key, &arguments).await,
        );
        match answer.await? {
            Some(found) => read_window(found).map_err(|error| damaged("window", error)),
            None => Ok(Window::default()),
        }
    }

    async fn clear(&self, scope: &Scope) -> Result<u64> {
        check_session(scope)?;
        let arguments = [self.provider.now().timestamp_micros().to_string()];
        let key = self.key(scope);
        let answer =
            self.provider.call(self.shard(scope), "clear", self.limit(), Guarded::No, async |mut connection| {
                script::CLEAR.run(&mut connection, &key, &arguments).await
            });
        answer.await
    }
}

impl RedisWorkingMemory {
    fn key(&self, scope: &Scope) -> String {
        session_key(&self.provider.inner.keys, scope)
    }

    /// Without its messages an agent cannot go on, so a window has the time of a write and not that of a lookup.
    fn shard(&self, scope: &Scope) -> Shard {
        self.provider.inner.keys.shard(scope.tenant_name())
    }

    fn limit(&self) -> Duration {
        self.provider.inner.config.write_deadline
    }
}

/// The key of a session: in the slot of its tenant's entries, and not among those that the index holds.
fn session_key(keys: &Keys, scope: &Scope) -> String {
    let entries = keys.entries(keys.shard(scope.tenant_name()));
    let shard = entries.strip_suffix("e:").unwrap_or(&entries);
    let mut hasher = blake3::Hasher::new();
    for part in [Some(scope.tenant_name()), scope.user(), scope.agent(), scope.session()] {
        // A part that is not set is not the same as an empty one, and no two parts run into one another.
        hasher.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hasher.update(part.unwrap_or_default().as_bytes());
    }
    format!("{shard}w:{}", hasher.finalize().to_hex())
}

/// A message as it lies in a field, after its tokens, its bytes and the key that it was the last message of, which the
/// scripts read.
#[derive(Debug, Serialize, Deserialize)]
struct StoredMessage<'a> {
    role: Role,
    content: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "is_empty")]
    metadata: Cow<'a, Metadata>,
    at: Timestamp,
}

fn is_empty(metadata: &Metadata) -> bool {
    metadata.is_empty()
}

/// The hash of the body, and what `append.lua` takes.
fn append_arguments(request: &AppendRequest, now: Timestamp) -> serde_json::Result<(String, Vec<Vec<u8>>)> {
    let (key, body) = match &request.idempotency {
        Some(key) => (hex(blake3::hash(key.key.as_bytes())), hex(key.body_hash.into())),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let expires_at = (now + request.ttl).trunc_subsecs(6);
    // Up to the whole millisecond: the caller's clock ends a session, Redis only takes it away.
    let ttl_ms = request.ttl.as_nanos().div_ceil(1_000_000);
    let mut arguments: Vec<Vec<u8>> = vec![
        now.timestamp_micros().to_string().into(),
        expires_at.timestamp_micros().to_string().into(),
        ttl_ms.to_string().into(),
        MAX_SESSION_MESSAGES.to_string().into(),
        key.clone().into(),
        body.clone().into(),
    ];
    let last = request.messages.len().saturating_sub(1);
    for (at, message) in request.messages.iter().enumerate() {
        let key = if at == last { key.as_str() } else { "-" };
        arguments.push(stored_message(message, key, now)?);
    }
    Ok((body, arguments))
}

fn stored_message(message: &NewMessage, key: &str, now: Timestamp) -> serde_json::Result<Vec<u8>> {
    let mut field = format!("{} {} {key} ", message.token_count(), message.content.len()).into_bytes();
    let stored = StoredMessage {
        role: message.role,
        content: Cow::Borrowed(&message.content),
        metadata: Cow::Borrowed(&message.metadata),
        at: now,
    };
    serde_json::to_writer(&mut field, &stored)?;
    Ok(field)
}

/// A receipt as `append.lua` writes it: the hash of the body, the first and the last number, the total, and the end.
fn read_receipt(receipt: &str, replayed: bool) -> Result<(&str, AppendReceipt), BoxError> {
    let parts: Vec<&str> = receipt.split(' ').collect();
    let [body, first, last, total, ends] = parts[..] else { return Err("a receipt of other parts".into()) };
    let expires_at = time(ends.parse()?)?;
    Ok((
        body,
        AppendReceipt { first: first.parse()?, last: last.parse()?, total: total.parse()?, expires_at, replayed },
    ))
}

/// What `window.lua` gives.
type Found = (u64, u64, i64, Vec<Vec<u8>>);

fn read_window((first, last, ends, newest_first): Found) -> Result<Window, BoxError> {
    let mut messages = Vec::with_capacity(newest_first.len());
    for (sequence, field) in (first..=last).rev().zip(&newest_first) {
        messages.push(read_message(sequence, field)?);
    }
    messages.reverse();
    Ok(Window {
        tokens: messages.iter().map(|message| u64::from(message.tokens)).sum(),
        messages,
        total: (first..=last).count() as u64,
        expires_at: Some(time(ends)?),
    })
}

fn read_message(sequence: u64, field: &[u8]) -> Result<SessionMessage, BoxError> {
    let mut parts = field.splitn(4, |&byte| byte == b' ');
    let (Some(tokens), Some(json)) = (parts.next(), parts.nth(2)) else {
        return Err("a message of other parts".into());
    };
    let StoredMessage { role, content, metadata, at } = serde_json::from_slice(json)?;
    Ok(SessionMessage {
        sequence,
        role,
        content: content.into_owned(),
        tokens: std::str::from_utf8(tokens)?.parse()?,
        metadata: metadata.into_owned(),
        appended_at: at,
    })
}

fn time(micros: i64) -> Result<Timestamp, BoxError> {
    Timestamp::from_timestamp_micros(micros).ok_or_else(|| format!("{micros} is not a time").into())
}

fn hex(hash: blake3::Hash) -> String {
    hash.to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use memory_core::EmbeddingSpace;

    use super::*;
    use crate::schema::IndexSchema;

    #[test]
    fn a_session_is_in_its_tenants_slot_and_not_in_the_index() {
        let keys = Keys::new(&IndexSchema::sized(8, 1), 16, &EmbeddingSpace::new("m", "1", 8).unwrap());
        let scope = Scope::tenant("acme").unwrap().with_session("monday").unwrap();
        let (key, entries) = (session_key(&keys, &scope), keys.entries(keys.shard("acme")));
        let slot = |key: &str| key[key.find('{').unwrap()..=key.find('}').unwrap()].to_owned();
        assert_eq!(slot(&key), slot(&entries));
        let (name, _) = key.rsplit_once(':').unwrap();
        assert_eq!(Some(name), entries.strip_suffix("e:").map(|shard| format!("{shard}w")).as_deref());
    }
}
