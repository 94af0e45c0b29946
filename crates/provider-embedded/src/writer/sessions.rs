//! Working memory: appending to sessions, and ending them.

use memory_core::working::MAX_SESSION_MESSAGES;
use memory_core::{AppendReceipt, AppendRequest, Error, Result, Scope, Timestamp};

use super::Transaction;
use crate::error::{backend, damaged};
use crate::rows::{get, micros, whole_micros};
use crate::sql;
use crate::working::{StoredSession, count_messages, scope_key};

impl Transaction<'_> {
    /// Appends, or gives the receipt of an earlier append under the same key. Nothing is refused after the first change.
    pub(super) async fn append(&mut self, request: &AppendRequest) -> Result<AppendReceipt> {
        let found = StoredSession::find(self.connection, "append", &request.scope, self.now).await?;
        if let Some(session) = found
            && let Some(receipt) = self.replay_append(session.number, request).await?
        {
            return Ok(receipt);
        }
        let expires_at = whole_micros(self.now + request.ttl);
        let before = found.map_or(0, |session| session.last);
        let last = before + request.messages.len() as i64;
        let oldest_kept = (last - MAX_SESSION_MESSAGES.cast_signed() + 1).max(1);
        let first = found.map_or(1, |session| session.first).max(oldest_kept);
        let number = self.put_session(found, &request.scope, first, last, expires_at).await?;
        for (sequence, message) in (before + 1..).zip(&request.messages) {
            let metadata = serde_json::to_string(&message.metadata).map_err(|error| damaged("append", error))?;
            let query = sqlx::query(sql::INSERT_MESSAGE)
                .bind(number)
                .bind(sequence)
                .bind(message.token_count())
                .bind(message.role.name())
                .bind(micros(self.now))
                .bind(metadata)
                .bind(&message.content);
            self.execute("append", query).await?;
        }
        if found.is_some_and(|session| session.first < first) {
            self.execute("append", sqlx::query(sql::DROP_MESSAGES_BEFORE).bind(number).bind(first)).await?;
            self.execute("append", sqlx::query(sql::DROP_KEYS_BEFORE).bind(number).bind(first)).await?;
        }
        let receipt = AppendReceipt {
            first: (before + 1).cast_unsigned(),
            last: last.cast_unsigned(),
            total: (last - first + 1).cast_unsigned(),
            expires_at,
            replayed: false,
        };
        if let Some(key) = &request.idempotency {
            let json = serde_json::to_string(&receipt).map_err(|error| damaged("append", error))?;
            let query = sqlx::query(sql::INSERT_SESSION_KEY).bind(number).bind(&key.key).bind(last);
            self.execute("append", query.bind(&key.body_hash[..]).bind(json)).await?;
        }
        Ok(receipt)
    }

    async fn replay_append(&mut self, session: i64, request: &AppendRequest) -> Result<Option<AppendReceipt>> {
        let Some(key) = &request.idempotency else { return Ok(None) };
        let read = |error| backend("append", error);
        let query = sqlx::query(sql::SESSION_KEY).bind(session).bind(&key.key);
        let Some(row) = query.fetch_optional(&mut *self.connection).await.map_err(read)? else { return Ok(None) };
        if get::<&[u8]>(&row, 0).map_err(read)? != key.body_hash {
            return Err(Error::IdempotencyConflict { key: key.key.clone() });
        }
        let receipt = serde_json::from_str(get(&row, 1).map_err(read)?).map_err(|error| damaged("append", error))?;
        Ok(Some(AppendReceipt { replayed: true, ..receipt }))
    }

    /// Moves the session on, or begins it in the place of one that has ended. Gives its number.
    async fn put_session(
        &mut self,
        found: Option<StoredSession>,
        scope: &Scope,
        first: i64,
        last: i64,
        expires_at: Timestamp,
    ) -> Result<i64> {
        if let Some(session) = found {
            let query = sqlx::query(sql::MOVE_SESSION_ON).bind(session.number).bind(first).bind(last);
            self.execute("append", query.bind(micros(expires_at))).await?;
            return Ok(session.number);
        }
        let scope_key = scope_key("append", scope)?;
        self.delete_session("append", &scope_key).await?;
        let query = sqlx::query_scalar(sql::INSERT_SESSION).bind(scope_key).bind(first).bind(last);
        let number = query.bind(micros(expires_at)).fetch_one(&mut *self.connection).await;
        number.map_err(|error| backend("append", error))
    }

    /// Ends a session, and gives how many messages it held.
    pub(super) async fn clear_session(&mut self, scope: &Scope) -> Result<u64> {
        let found = StoredSession::find(self.connection, "clear", scope, self.now).await?;
        self.delete_session("clear", &scope_key("clear", scope)?).await?;
        Ok(found.map_or(0, |session| session.total()))
    }

    /// Ends every session within a scope, and gives how many messages they held.
    pub(super) async fn forget_sessions(&mut self, scope: &Scope) -> Result<u64> {
        let messages = count_messages(self.connection, scope, self.now).await?;
        let done = sql::within(sql::DELETE_SESSIONS, scope).build().execute(&mut *self.connection).await;
        self.changes.forgot |= done.map_err(|error| backend("forget", error))?.rows_affected() > 0;
        Ok(messages)
    }

    /// Takes a session out of the file, also one that has ended.
    async fn delete_session(&mut self, operation: &'static str, scope_key: &str) -> Result<()> {
        let query = sqlx::query(sql::DELETE_SESSION).bind(scope_key);
        let done = query.execute(&mut *self.connection).await.map_err(|error| backend(operation, error))?;
        self.changes.forgot |= done.rows_affected() > 0;
        Ok(())
    }

    /// Takes some of the sessions that have ended out of the file, and gives how many.
    pub(super) async fn remove_ended_sessions(&mut self) -> Result<u64> {
        let query = sqlx::query(sql::DELETE_ENDED_SESSIONS).bind(micros(self.now));
        let done = query.execute(&mut *self.connection).await.map_err(|error| backend("remove expired", error))?;
        self.changes.forgot |= done.rows_affected() > 0;
        Ok(done.rows_affected())
    }
}
