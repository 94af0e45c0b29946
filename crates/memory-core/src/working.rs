//! Working memory: the messages of the conversation that goes on, kept for a while and read back as a window that fits a
//! model's context.

mod tokens;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::cache::MAX_TTL;
use crate::memory::{check_metadata, check_text};
use crate::{Error, IdempotencyKey, Metadata, Result, Scope, Timestamp};

pub use tokens::estimate_tokens;

/// The longest content of a message, in bytes.
pub const MAX_CONTENT_BYTES: usize = 256 * 1024;
/// The most messages in one append.
pub const MAX_APPEND_MESSAGES: usize = 100;
/// The most messages that a session keeps; older ones drop off.
pub const MAX_SESSION_MESSAGES: u64 = 10_000;
/// The most messages in a window.
pub const MAX_WINDOW_MESSAGES: usize = 1000;
/// The most content in a window, in bytes: about two million tokens, and what a server can send without stalling others.
pub const MAX_WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// How many messages a window holds unless its reader says otherwise.
pub const DEFAULT_WINDOW_MESSAGES: usize = 100;
/// How long a session lives after its last append unless its writer says otherwise: one hour.
pub const DEFAULT_SESSION_TTL: Duration = Duration::from_secs(3600);
/// The longest idempotency key, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;

/// The messages of sessions that go on.
///
/// A session is named by a whole scope, all four parts equal, of which the session is set. It begins with its first append
/// and ends when it is cleared or when its time is over.
///
/// # Contract
/// Each promise has a test of its name in `memory_testkit::working`.
/// - `messages_come_back_in_order`: numbered from 1 without gaps, as they were written.
/// - `an_append_is_all_or_none`: a reader sees all of its messages or none; so does whoever reads after a failure.
/// - `concurrent_appends_keep_one_order`: N at once each get numbers that follow one another, and no number twice.
/// - `one_key_one_effect`, `one_key_at_once_has_one_effect`: a replayed [`IdempotencyKey`] gives the first receipt and
///   prolongs nothing, another body is a conflict, and N at once have one effect. A key is the session's own; it lives as
///   long as the session still holds the last message written under it.
/// - `a_window_is_cut_by_count`, `a_window_is_cut_by_tokens`, `a_window_is_bounded_in_bytes`: a window holds the newest
///   messages that fit, oldest first, and says how many there are in all. It never holds more than asked for: when the
///   newest message alone is too large it is empty.
/// - `a_window_reads_on`: [`after`](WindowRequest::after) a number it holds the oldest messages that fit, so that windows one
///   after the other hold every message once.
/// - `a_session_ends_after_its_last_append`: by the time to live of that append. Reads and replays do not prolong it. Then
///   it is empty, and begins again at 1 with its keys gone.
/// - `a_session_is_only_its_own`: another tenant, user, agent or session sees and ends nothing of it.
/// - `a_cleared_session_begins_anew`: messages and keys are gone, the next append is number 1, and an append sent again
///   under a key from before is a new one. Clearing what is not there is not an error.
/// - `forgetting_a_scope_ends_its_sessions`, `forgetting_one_user_leaves_the_other`: every session that the scope
///   [covers](Scope::covers) and that held messages when the call began is gone as if cleared, and no other. A dry run
///   counts the same and ends nothing.
/// - `a_long_session_keeps_its_newest`: beyond [`MAX_SESSION_MESSAGES`] the oldest drop off; the numbers go on.
/// - An outage is a [retryable](Error::is_retryable) error. An append that failed that way may have had its effect:
///   send it again under its key.
#[async_trait]
pub trait WorkingMemory: fmt::Debug + Send + Sync {
    /// Adds messages to the end of a session, and begins it if it is not there.
    ///
    /// # Errors
    /// As [`AppendRequest::validate`], before any I/O; [`Error::IdempotencyConflict`]; or the provider's own failure.
    async fn append(&self, request: AppendRequest) -> Result<AppendReceipt>;

    /// The newest messages of a session that fit, or those that follow a number; oldest first. A session that is not there
    /// is an empty window.
    ///
    /// # Errors
    /// As [`WindowRequest::validate`], before any I/O; or the provider's own failure.
    async fn window(&self, request: &WindowRequest) -> Result<Window>;

    /// Ends a session, and gives how many messages it held.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the scope names no session, before any I/O; or the provider's own failure.
    async fn clear(&self, scope: &Scope) -> Result<u64>;

    /// Ends every session within a scope, and gives how many messages they held together; a dry run only counts them.
    ///
    /// # Errors
    /// The provider's own failure. Some of the sessions may have ended then; the same call again ends the rest.
    async fn forget_within(&self, scope: &Scope, dry_run: bool) -> Result<u64>;
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The person, or whoever asks.
    User,
    /// The model.
    Assistant,
    /// The instructions.
    System,
    /// What a tool gave back.
    Tool,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::User, Self::Assistant, Self::System, Self::Tool];

    /// The role's name, as models write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::System => "system",
            Self::Tool => "tool",
        }
    }
}

/// A message to append.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said, 1 to [`MAX_CONTENT_BYTES`] bytes and not blank.
    pub content: String,
    /// What it costs of a model's context; [`estimate_tokens`] of the content unless given.
    pub tokens: Option<u32>,
    /// Free-form metadata, given back with the message.
    pub metadata: Metadata,
}

impl NewMessage {
    /// A message without metadata, its tokens to be estimated.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), tokens: None, metadata: Metadata::new() }
    }

    /// Its tokens, as given or estimated.
    #[must_use]
    pub fn token_count(&self) -> u32 {
        self.tokens.unwrap_or_else(|| estimate_tokens(&self.content))
    }
}

/// Messages to append together.
#[derive(Debug, Clone, PartialEq)]
pub struct AppendRequest {
    /// The session: all four parts count, and the session is set.
    pub scope: Scope,
    /// The messages in their order, 1 to [`MAX_APPEND_MESSAGES`].
    pub messages: Vec<NewMessage>,
    /// How long the session lives from now on, in place of what an earlier append said.
    pub ttl: Duration,
    /// The key that makes the append safe to send twice. It holds within the session.
    pub idempotency: Option<IdempotencyKey>,
}

impl AppendRequest {
    /// An append that keeps the session for [`DEFAULT_SESSION_TTL`], without an idempotency key.
    #[must_use]
    pub fn new(scope: Scope, messages: Vec<NewMessage>) -> Self {
        Self { scope, messages, ttl: DEFAULT_SESSION_TTL, idempotency: None }
    }

    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`Error::Invalid`] or [`Error::TooLarge`], naming the first field that is not acceptable.
    pub fn validate(&self) -> Result<()> {
        check_session(&self.scope)?;
        if self.ttl.is_zero() || self.ttl > MAX_TTL {
            let allowed = format!("more than 0 s, at most {} s", MAX_TTL.as_secs());
            return Err(Error::invalid("ttl", format!("{} s", self.ttl.as_secs_f64()), allowed));
        }
        if !(1..=MAX_APPEND_MESSAGES).contains(&self.messages.len()) {
            let allowed = format!("1 to {MAX_APPEND_MESSAGES} messages");
            return Err(Error::invalid("messages", self.messages.len(), allowed));
        }
        for (at, message) in self.messages.iter().enumerate() {
            check_text("content", &message.content, MAX_CONTENT_BYTES)
                .and_then(|()| check_metadata(&message.metadata))
                .map_err(|error| error.within(&format!("messages[{at}]")))?;
        }
        if let Some(IdempotencyKey { key, .. }) = &self.idempotency
            && !(1..=MAX_IDEMPOTENCY_KEY_BYTES).contains(&key.len())
        {
            let allowed = format!("1 to {MAX_IDEMPOTENCY_KEY_BYTES} bytes");
            return Err(Error::invalid("idempotency_key", format!("{} bytes", key.len()), allowed));
        }
        Ok(())
    }
}

/// What an append gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AppendReceipt {
    /// The number of the first of its messages in the session, from 1.
    pub first: u64,
    /// The number of the last of its messages.
    pub last: u64,
    /// How many messages the session held then.
    pub total: u64,
    /// When the session ends unless more is appended.
    pub expires_at: Timestamp,
    /// Whether this is the receipt of an earlier append under the same idempotency key.
    pub replayed: bool,
}

/// A message of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SessionMessage {
    /// Its number in the session, from 1.
    pub sequence: u64,
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// What it costs of a model's context.
    pub tokens: u32,
    /// Free-form metadata.
    pub metadata: Metadata,
    /// When it was appended.
    pub appended_at: Timestamp,
}

/// Which messages of a session: the newest that stay within every limit, or with `after` the oldest that follow it.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowRequest {
    /// The session: all four parts count, and the session is set.
    pub scope: Scope,
    /// At most this many messages, 1 to [`MAX_WINDOW_MESSAGES`].
    pub max_messages: usize,
    /// At most this many tokens together, at least 1; `None` for as many as there are.
    pub max_tokens: Option<u64>,
    /// Reads on from here: only messages of larger numbers, the oldest of them in place of the newest. 0 reads from the
    /// beginning.
    pub after: Option<u64>,
}

impl WindowRequest {
    /// The newest [`DEFAULT_WINDOW_MESSAGES`] messages, whatever their tokens.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { scope, max_messages: DEFAULT_WINDOW_MESSAGES, max_tokens: None, after: None }
    }

    /// Checks every field against its limits.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the first field that is not acceptable.
    pub fn validate(&self) -> Result<()> {
        check_session(&self.scope)?;
        if !(1..=MAX_WINDOW_MESSAGES).contains(&self.max_messages) {
            return Err(Error::invalid("max_messages", self.max_messages, format!("1 to {MAX_WINDOW_MESSAGES}")));
        }
        if self.max_tokens == Some(0) {
            return Err(Error::invalid("max_tokens", 0, "at least 1"));
        }
        Ok(())
    }

    /// How many messages the window takes of a session's, given the tokens and the bytes of content of each: newest first,
    /// or with `after` oldest first. Pure: this is the whole decision, which a provider may also take where the messages are.
    #[must_use]
    pub fn fit(&self, in_order: impl IntoIterator<Item = (u32, usize)>) -> usize {
        let (mut tokens, mut bytes) = (0, 0);
        let fits = |(its_tokens, its_bytes): &(u32, usize)| {
            tokens += u64::from(*its_tokens);
            bytes += *its_bytes;
            self.max_tokens.is_none_or(|most| tokens <= most) && bytes <= MAX_WINDOW_BYTES
        };
        in_order.into_iter().take(self.max_messages).take_while(fits).count()
    }
}

/// The messages of a session that were asked for and fit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The messages, oldest first, numbered one after the other.
    pub messages: Vec<SessionMessage>,
    /// Their tokens together.
    pub tokens: u64,
    /// How many messages the session holds in all.
    pub total: u64,
    /// When the session ends unless more is appended; `None` when there is none.
    pub expires_at: Option<Timestamp>,
}

impl Window {
    /// Whether the session holds messages that are not in the window.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.total > self.messages.len() as u64
    }
}

/// Checks that a scope names a session.
///
/// # Errors
/// [`Error::Invalid`] that names `scope.session`.
pub fn check_session(scope: &Scope) -> Result<()> {
    match scope.session() {
        Some(_) => Ok(()),
        None => Err(Error::invalid("scope.session", "none", "the name of a session")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(max_messages: usize, max_tokens: Option<u64>) -> WindowRequest {
        let scope = Scope::tenant("acme").unwrap().with_session("monday").unwrap();
        WindowRequest { max_messages, max_tokens, ..WindowRequest::new(scope) }
    }

    #[test]
    fn a_window_takes_the_newest_that_fit() {
        let of = |tokens: &[u32]| tokens.iter().map(|&tokens| (tokens, 10)).collect::<Vec<_>>();
        assert_eq!(request(3, None).fit(of(&[5, 5, 5, 5])), 3);
        assert_eq!(request(3, None).fit(of(&[5])), 1);
        assert_eq!(request(10, Some(15)).fit(of(&[5, 5, 5, 5])), 3);
        assert_eq!(request(10, Some(14)).fit(of(&[5, 5, 5, 5])), 2);
        assert_eq!(request(10, Some(10)).fit(of(&[5, 9, 1])), 1, "nothing is left out in the middle");
        assert_eq!(request(10, Some(4)).fit(of(&[5, 1])), 0, "the newest is too large");
        assert_eq!(request(10, None).fit(of(&[u32::MAX; 10])), 10);
    }

    #[test]
    fn a_window_is_bounded_in_bytes() {
        let largest = std::iter::repeat((1, MAX_CONTENT_BYTES));
        assert_eq!(request(MAX_WINDOW_MESSAGES, None).fit(largest), MAX_WINDOW_BYTES / MAX_CONTENT_BYTES);
    }

    #[test]
    fn roles_are_written_as_models_write_them() {
        assert_eq!(Role::ALL.map(|role| serde_json::json!(role)), ["user", "assistant", "system", "tool"]);
        assert_eq!(Role::ALL.map(Role::name), ["user", "assistant", "system", "tool"]);
    }
}
