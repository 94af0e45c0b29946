//! Working memory on Redis: a hash for each session, changed by scripts.
//!
//! A session is one key, so that it lives in one slot of a cluster, is expired, evicted and removed whole, and no part of
//! it can outlive another: there is no state in which a number would be given twice. Its fields are `first`, `last`, `ends`
//! (microseconds since 1970), a field for each message by its number, and one for each idempotency key.
//!
//! Beside them each tenant has a register, a sorted set of its sessions by when they end, in the same slot: what is to be
//! forgotten is found there. A session is there only while the register names it. Should Redis evict the register, the
//! tenant's sessions have ended: none is left that forgetting would not reach.

mod place;

use std::borrow::Cow;
use std::collections::HashSet;
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
use crate::provider::{Guarded, RedisSemanticCacheProvider};
use crate::script;
use place::Place;

/// How many sessions are looked for, or ended, in one step of the server.
const PAGE: usize = 500;

/// Working memory on Redis, over the connection, the breaker and the deadlines of a [`RedisSemanticCacheProvider`]. Clones
/// share them.
///
/// **One round trip** for an append, a window and a clear; each is one atomic step of the server. Forgetting a scope takes
/// two for every five hundred sessions of the tenant, and ends its sessions one batch after the other.
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
        let place = self.place(&request.scope);
        let (body, arguments) = append_arguments(&request, &place, now).map_err(|error| damaged("append", error))?;
        let answer = self.provider.call(place.shard, "append", self.limit(), Guarded::Yes, async |mut connection| {
            script::APPEND.run::<(bool, String)>(&mut connection, &place.keys(), &arguments).await
        });
        let (replayed, receipt) = answer.await?;
        let (its_body, receipt) = read_receipt(&receipt, replayed).map_err(|error| damaged("append", error))?;
        match request.idempotency {
            Some(key) if its_body != body => Err(Error::IdempotencyConflict { key: key.key }),
            _ => Ok(receipt),
        }
    }

    async fn window(&self, request: &WindowRequest) -> Result<Window> {
        request.validate()?;
        let place = self.place(&request.scope);
        let arguments = [
            place.name.clone(),
            self.provider.now().timestamp_micros().to_string(),
            request.max_messages.to_string(),
            request.max_tokens.unwrap_or(u64::MAX).to_string(),
            MAX_WINDOW_BYTES.to_string(),
            request.after.map_or_else(String::new, |after| after.to_string()),
        ];
        let answer = self.provider.call(place.shard, "window", self.limit(), Guarded::Yes, async |mut connection| {
            script::WINDOW.run::<Option<Found>>(&mut connection, &place.keys(), &arguments).await
        });
        match answer.await? {
            Some(found) => read_window(found, request.after).map_err(|error| damaged("window", error)),
            None => Ok(Window::default()),
        }
    }

    async fn clear(&self, scope: &Scope) -> Result<u64> {
        check_session(scope)?;
        let place = self.place(scope);
        self.end("clear", &place, &[&place.name], false).await
    }

    async fn forget_within(&self, scope: &Scope, dry_run: bool) -> Result<u64> {
        let place = self.place(scope);
        let names: Vec<String> = self.names_within(&place, scope).await?.into_iter().collect();
        let mut messages = 0;
        for names in names.chunks(PAGE) {
            messages += self.end("forget", &place, names, dry_run).await?;
        }
        Ok(messages)
    }
}

impl RedisWorkingMemory {
    fn place(&self, scope: &Scope) -> Place {
        Place::new(&self.provider.inner.keys, scope)
    }

    /// The names of the sessions within a scope, out of the tenant's register.
    async fn names_within(&self, place: &Place, scope: &Scope) -> Result<HashSet<String>> {
        let (mut cursor, mut names) = (0, HashSet::new());
        loop {
            let mut scan = redis::cmd("ZSCAN");
            scan.arg(&place.register).arg(cursor).arg("MATCH").arg(Place::pattern(scope)).arg("COUNT").arg(PAGE);
            let answer =
                self.provider.call(place.shard, "forget", self.limit(), Guarded::No, async |mut connection| {
                    scan.query_async::<(u64, Vec<(String, f64)>)>(&mut connection).await
                });
            let found;
            (cursor, found) = answer.await?;
            // A scan may give a name more than once.
            names.extend(found.into_iter().map(|(name, _)| name));
            if cursor == 0 {
                return Ok(names);
            }
        }
    }

    /// Ends sessions of one tenant in one step, or only counts; gives how many messages they held.
    async fn end(
        &self,
        operation: &'static str,
        place: &Place,
        names: &[impl AsRef<str>],
        dry_run: bool,
    ) -> Result<u64> {
        let (mut keys, mut arguments) = (vec![place.register.clone()], Vec::with_capacity(names.len() + 2));
        arguments.push(self.provider.now().timestamp_micros().to_string());
        arguments.push(if dry_run { "count" } else { "end" }.to_owned());
        for name in names.iter().map(AsRef::as_ref) {
            keys.push(place.session(name));
            arguments.push(name.to_owned());
        }
        let answer = self.provider.call(place.shard, operation, self.limit(), Guarded::No, async |mut connection| {
            script::CLEAR.run(&mut connection, &keys, &arguments).await
        });
        answer.await
    }

    /// Without its messages an agent cannot go on, so a window has the time of a write and not that of a lookup.
    fn limit(&self) -> Duration {
        self.provider.inner.config.write_deadline
    }
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
fn append_arguments(
    request: &AppendRequest,
    place: &Place,
    now: Timestamp,
) -> serde_json::Result<(String, Vec<Vec<u8>>)> {
    let (key, body) = match &request.idempotency {
        Some(key) => (hex(blake3::hash(key.key.as_bytes())), hex(key.body_hash.into())),
        None => ("-".to_owned(), "-".to_owned()),
    };
    let expires_at = (now + request.ttl).trunc_subsecs(6);
    // Up to the whole millisecond: the caller's clock ends a session, Redis only takes it away.
    let ttl_ms = request.ttl.as_nanos().div_ceil(1_000_000);
    let mut arguments: Vec<Vec<u8>> = vec![
        place.name.clone().into(),
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

fn read_window((first, last, ends, mut fields): Found, after: Option<u64>) -> Result<Window, BoxError> {
    let from = match after {
        Some(after) => first.max(after.saturating_add(1)),
        None => {
            fields.reverse();
            last + 1 - fields.len() as u64
        }
    };
    let messages = fields
        .iter()
        .zip(from..)
        .map(|(field, sequence)| read_message(sequence, field))
        .collect::<Result<Vec<_>, _>>()?;
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
