//! [`WorkingMemory`]: appends go through the writer, windows come from the file.

use async_trait::async_trait;
use memory_core::working::check_session;
use memory_core::{
    AppendReceipt, AppendRequest, Error, Result, Role, Scope, SessionMessage, Timestamp, Window, WindowRequest,
    WorkingMemory,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::error::{PROVIDER, backend, damaged};
use crate::provider::EmbeddedProvider;
use crate::rows::{ReadResult, get, metadata, micros, time};
use crate::sql;
use crate::writer::{Answer, Task};

#[async_trait]
impl WorkingMemory for EmbeddedProvider {
    async fn append(&self, request: AppendRequest) -> Result<AppendReceipt> {
        request.validate()?;
        match self.write("append", Task::Append(Box::new(request))).await? {
            Answer::Appended(receipt) => Ok(receipt),
            other => Err(unexpected("append", &other)),
        }
    }

    async fn window(&self, request: &WindowRequest) -> Result<Window> {
        request.validate()?;
        let read = |error| backend("window", error);
        let mut snapshot = self.inner.readers.begin().await.map_err(read)?;
        let session = StoredSession::find(&mut snapshot, "window", &request.scope, self.now()).await?;
        let Some(session) = session else { return Ok(Window::default()) };
        let after = request.after.map(|after| i64::try_from(after).unwrap_or(i64::MAX));
        let query = match after {
            None => sqlx::query_as(sql::MEASURE_MESSAGES).bind(session.number),
            Some(after) => sqlx::query_as(sql::MEASURE_MESSAGES_AFTER).bind(session.number).bind(after),
        };
        let query = query.bind(request.max_messages as i64);
        let sizes: Vec<(u32, i64)> = query.fetch_all(&mut *snapshot).await.map_err(read)?;
        let fitting =
            request.fit(sizes.iter().map(|&(tokens, bytes)| (tokens, usize::try_from(bytes).unwrap_or(usize::MAX))));
        let before = after.unwrap_or(session.last - fitting as i64);
        let query = sqlx::query(sql::MESSAGES_AFTER).bind(session.number).bind(before).bind(fitting as i64);
        let rows = query.fetch_all(&mut *snapshot).await.map_err(read)?;
        let messages: Vec<SessionMessage> = rows
            .iter()
            .map(|row| read_message(row).map_err(|error| damaged("window", error)))
            .collect::<Result<_>>()?;
        Ok(Window {
            tokens: messages.iter().map(|message| u64::from(message.tokens)).sum(),
            messages,
            total: session.total(),
            expires_at: Some(session.expires_at),
        })
    }

    async fn clear(&self, scope: &Scope) -> Result<u64> {
        check_session(scope)?;
        match self.write("clear", Task::ClearSession(scope.clone())).await? {
            Answer::Cleared(messages) => Ok(messages),
            other => Err(unexpected("clear", &other)),
        }
    }

    async fn forget_within(&self, scope: &Scope, dry_run: bool) -> Result<u64> {
        if dry_run {
            let mut reader = self.inner.readers.acquire().await.map_err(|error| backend("forget", error))?;
            return count_messages(&mut reader, scope, self.now()).await;
        }
        match self.write("forget", Task::ForgetSessions(scope.clone())).await? {
            Answer::Cleared(messages) => Ok(messages),
            other => Err(unexpected("forget", &other)),
        }
    }
}

/// How many messages the sessions within a scope hold that have not ended.
pub(crate) async fn count_messages(connection: &mut SqliteConnection, scope: &Scope, now: Timestamp) -> Result<u64> {
    let mut query = sql::within(sql::COUNT_SESSION_MESSAGES, scope);
    query.push(" AND expires_at > ").push_bind(micros(now));
    let count = query.build_query_scalar::<i64>().fetch_one(connection).await;
    count.map(i64::cast_unsigned).map_err(|error| backend("forget", error))
}

/// A session as the file holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredSession {
    pub number: i64,
    /// The number of its oldest message.
    pub first: i64,
    /// The number of its newest message.
    pub last: i64,
    pub expires_at: Timestamp,
}

impl StoredSession {
    /// The session of exactly this scope, unless it has ended.
    pub(crate) async fn find(
        connection: &mut SqliteConnection,
        operation: &'static str,
        scope: &Scope,
        now: Timestamp,
    ) -> Result<Option<Self>> {
        let query = sqlx::query(sql::SESSION_OF).bind(scope_key(operation, scope)?).bind(micros(now));
        let row = query.fetch_optional(connection).await.map_err(|error| backend(operation, error))?;
        row.map(|row| Self::read(&row).map_err(|error| damaged(operation, error))).transpose()
    }

    fn read(row: &SqliteRow) -> ReadResult<Self> {
        Ok(Self { number: get(row, 0)?, first: get(row, 1)?, last: get(row, 2)?, expires_at: time(get(row, 3)?)? })
    }

    /// How many messages it holds.
    pub(crate) fn total(&self) -> u64 {
        (self.last - self.first + 1).cast_unsigned()
    }
}

/// What a session is found by: its whole scope.
pub(crate) fn scope_key(operation: &'static str, scope: &Scope) -> Result<String> {
    serde_json::to_string(scope).map_err(|error| damaged(operation, error))
}

fn role(name: &str) -> ReadResult<Role> {
    let found = Role::ALL.into_iter().find(|role| role.name() == name);
    found.ok_or_else(|| format!("{name} is not a role").into())
}

/// A row of [`sql::MESSAGES_AFTER`].
fn read_message(row: &SqliteRow) -> ReadResult<SessionMessage> {
    Ok(SessionMessage {
        sequence: get::<i64>(row, 0)?.cast_unsigned(),
        tokens: get(row, 1)?,
        role: role(get(row, 2)?)?,
        appended_at: time(get(row, 3)?)?,
        metadata: metadata(get(row, 4)?)?,
        content: get(row, 5)?,
    })
}

/// The writer answers each task in its own kind; anything else is a bug in it.
fn unexpected(operation: &'static str, answer: &Answer) -> Error {
    let source = format!("the writer answered {answer:?}").into();
    Error::Backend { provider: PROVIDER, operation, retryable: false, source }
}
