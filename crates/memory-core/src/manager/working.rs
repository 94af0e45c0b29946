//! Working memory and the memories: keeping what was said in a session for good, and forgetting it.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use uuid::Builder;

use super::{Draft, RememberRequest, TieredMemoryManager};
use crate::memory::MAX_TEXT_BYTES;
use crate::recall::MAX_LIMIT;
use crate::working::{MAX_WINDOW_MESSAGES, check_session};
use crate::{
    Condition, Degradation, Error, Field, Filter, ForgetRequest, InsertStatus, ListRequest, MemoryId, MemoryKind,
    Origin, Result, Role, Scope, Selection, SessionMessage, Timestamp, WindowRequest, WorkingMemory, WriteToken,
    Writer,
};

/// The path by which messages of the working memory become memories.
pub const PROMOTION_PATH: &str = "promotion";

/// Whose messages of a session are to be kept for good.
#[derive(Debug, Clone, PartialEq)]
pub struct PromoteRequest {
    /// The session: all four parts count, and the session is set.
    pub scope: Scope,
    /// Whose messages; at least one role.
    pub roles: Vec<Role>,
}

impl PromoteRequest {
    /// What the person and the model said, and neither instructions nor what tools gave back.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self { scope, roles: vec![Role::User, Role::Assistant] }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the first field that is not acceptable.
    pub fn validate(&self) -> Result<()> {
        check_session(&self.scope)?;
        if self.roles.is_empty() {
            return Err(Error::invalid("roles", "an empty list", "at least one of user, assistant, system, tool"));
        }
        Ok(())
    }
}

/// The next messages of a session that are to be kept: at most a window of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Promotion {
    scope: Scope,
    messages: Vec<(u64, Draft)>,
    left_out: PromoteReceipt,
    last: SessionMessage,
    expires_at: Option<Timestamp>,
}

impl Promotion {
    /// How many memories it writes at most.
    #[must_use]
    pub fn memories(&self) -> usize {
        self.messages.len()
    }

    /// The number of the last message that was looked at: the next promotion goes on after it.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.sequence
    }
}

/// What a promotion gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PromoteReceipt {
    /// The messages that were taken, in their order.
    pub promoted: Vec<PromotedMessage>,
    /// How many were memories already.
    pub already: u64,
    /// How many were left out because their role was not asked for.
    pub other_roles: u64,
    /// The numbers of those that are longer than a memory may be, [`MAX_TEXT_BYTES`], and were left out.
    pub too_long: Vec<u64>,
    /// Carry it to a read to see the memories there; `None` when none was written.
    pub token: Option<WriteToken>,
    /// What was left for later, and why; empty when nothing was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub degraded: Vec<Degradation>,
}

impl PromoteReceipt {
    /// Adds what the next promotion of the same session gave.
    pub fn add(&mut self, next: Self) {
        self.promoted.extend(next.promoted);
        self.already += next.already;
        self.other_roles += next.other_roles;
        self.too_long.extend(next.too_long);
        self.token = next.token.or(self.token.take());
        self.degraded.extend(next.degraded);
        self.degraded.dedup();
    }
}

/// A message that was taken into the memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PromotedMessage {
    /// Its number in the session.
    pub sequence: u64,
    /// The memory's id: the same whenever the same message is promoted.
    pub id: MemoryId,
    /// What became of it. It is refused when it was forgotten as a memory, or the session was while it was promoted.
    pub status: InsertStatus,
}

impl TieredMemoryManager {
    /// The next messages of a session, after that number, of which there is no memory yet; `None` at its end. Nothing is
    /// written: [`promote`](Self::promote) does that.
    ///
    /// # Errors
    /// As [`PromoteRequest::validate`], [`Error::Invalid`] without a working memory, and as [`WorkingMemory::window`] and
    /// [`MemoryStore::list`](crate::MemoryStore::list).
    pub async fn promotion(&self, request: &PromoteRequest, after: u64) -> Result<Option<Promotion>> {
        request.validate()?;
        let scope = &request.scope;
        let window = WindowRequest {
            max_messages: MAX_WINDOW_MESSAGES,
            after: Some(after),
            ..WindowRequest::new(scope.clone())
        };
        let window = self.working()?.window(&window).await?;
        let Some(last) = window.messages.last().cloned() else { return Ok(None) };
        let kept = self.kept_of(scope, &window.messages).await?;
        let (mut messages, mut left_out) = (Vec::new(), PromoteReceipt::default());
        for message in window.messages {
            let id = id_of(scope, &message);
            if !request.roles.contains(&message.role) {
                left_out.other_roles += 1;
            } else if kept.contains(&id) {
                left_out.already += 1;
            } else if message.content.len() > MAX_TEXT_BYTES {
                left_out.too_long.push(message.sequence);
            } else {
                messages.push((message.sequence, draft_of(scope, id, message)));
            }
        }
        Ok(Some(Promotion { scope: scope.clone(), messages, left_out, last, expires_at: window.expires_at }))
    }

    /// Makes memories of messages of a session: of the kind `message`, in their order, each with its role as the actor and
    /// valid from when it was appended. A message is the same memory however often it is promoted, and one that was forgotten
    /// is not brought back.
    ///
    /// # Errors
    /// As [`remember`](Self::remember) and [`WorkingMemory::window`]. Promoting the session again completes it.
    #[tracing::instrument(level = "debug", skip_all)]
    pub async fn promote(&self, promotion: Promotion) -> Result<PromoteReceipt> {
        let Promotion { scope, messages, left_out: mut receipt, last, expires_at } = promotion;
        if messages.is_empty() {
            return Ok(receipt);
        }
        let (sequences, drafts): (Vec<u64>, Vec<Draft>) = messages.into_iter().unzip();
        // As consolidation, which cannot bring back what was forgotten either.
        let origin = Origin::new(Writer::Consolidation, PROMOTION_PATH);
        let written = self.remember(RememberRequest { drafts, origin, idempotency: None }).await?;
        receipt.promoted = sequences
            .into_iter()
            .zip(written.items)
            .map(|(sequence, item)| PromotedMessage { sequence, id: item.id, status: item.status })
            .collect();
        receipt.token = Some(written.token);
        receipt.degraded = written.degraded;
        let ended_by_itself = expires_at.is_some_and(|ends| ends <= self.clock.now());
        if !ended_by_itself && !self.is_there(&scope, &last).await? {
            self.take_back(scope, &mut receipt).await?;
        }
        Ok(receipt)
    }

    /// Ends the sessions within a scope that is forgotten whole, before its memories are forgotten: what is promoted
    /// meanwhile is either among these or taken back. The number of their messages; whatever fails is left for later.
    pub(super) async fn forget_sessions(&self, request: &ForgetRequest) -> (u64, Vec<Degradation>) {
        let Some(working) = self.working_memory.as_ref().filter(|_| request.selection == Selection::All) else {
            return (0, Vec::new());
        };
        match working.forget_within(&request.scope, request.dry_run).await {
            Ok(messages) => (messages, Vec::new()),
            Err(_) => (0, vec![Degradation::WorkingMemoryPending]),
        }
    }

    fn working(&self) -> Result<&dyn WorkingMemory> {
        let working = self.working_memory.as_deref();
        working.ok_or_else(|| Error::invalid("working_memory", "none", "a provider"))
    }

    /// The memories that were made of these messages before.
    async fn kept_of(&self, scope: &Scope, messages: &[SessionMessage]) -> Result<HashSet<MemoryId>> {
        let [Some(first), Some(last)] = [messages.first(), messages.last()].map(|m| m.map(|m| m.appended_at)) else {
            return Ok(HashSet::new());
        };
        let is = |field, condition: fn(serde_json::Value) -> Condition, value: String| {
            Filter::Is(field, condition(value.into()))
        };
        let filter = Filter::And(vec![
            is(Field::Origin, Condition::Eq, PROMOTION_PATH.into()),
            is(Field::ValidFrom, Condition::Gte, first.to_rfc3339()),
            is(Field::ValidFrom, Condition::Lte, last.to_rfc3339()),
        ]);
        let mut request = ListRequest {
            scope: scope.clone(),
            filter: Some(filter),
            limit: MAX_LIMIT,
            cursor: None,
            newest_first: false,
            with_embeddings: false,
        };
        let mut kept = HashSet::new();
        loop {
            let page = self.medium_term_provider.list(&request).await?;
            kept.extend(page.memories.iter().map(|(memory, _)| memory.id));
            request.cursor = page.next;
            if request.cursor.is_none() {
                return Ok(kept);
            }
        }
    }

    /// Whether a session still holds this message.
    async fn is_there(&self, scope: &Scope, message: &SessionMessage) -> Result<bool> {
        let after = Some(message.sequence - 1);
        let request = WindowRequest { max_messages: 1, after, ..WindowRequest::new(scope.clone()) };
        Ok(self.working()?.window(&request).await?.messages.first() == Some(message))
    }

    /// Forgets what was just written: its session was ended meanwhile, maybe because all of it was forgotten.
    async fn take_back(&self, scope: Scope, receipt: &mut PromoteReceipt) -> Result<()> {
        let created = receipt.promoted.iter_mut().filter(|message| message.status == InsertStatus::Created);
        let ids = created
            .map(|message| {
                message.status = InsertStatus::RefusedForgotten;
                message.id
            })
            .collect();
        let request = ForgetRequest { scope, selection: Selection::Ids(ids), dry_run: false };
        self.forget(&request).await.map(drop)
    }
}

fn draft_of(scope: &Scope, id: MemoryId, message: SessionMessage) -> Draft {
    Draft {
        id: Some(id),
        kind: MemoryKind::Message,
        actor: Some(message.role.name().to_owned()),
        metadata: message.metadata,
        valid_from: Some(message.appended_at),
        ..Draft::new(scope.clone(), message.content)
    }
}

/// The id of the memory that a message becomes. A session that began anew counts from 1 again: its messages are others by
/// the time of their append.
fn id_of(scope: &Scope, message: &SessionMessage) -> MemoryId {
    let mut hash = blake3::Hasher::new_derive_key("orchestra memory promotion 2026-11");
    for part in [Some(scope.tenant_name()), scope.user(), scope.agent(), scope.session(), Some(&message.content)] {
        hash.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
        hash.update(part.unwrap_or_default().as_bytes());
    }
    hash.update(&message.sequence.to_le_bytes()).update(&message.appended_at.timestamp_micros().to_le_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    Builder::from_custom_bytes(bytes).into_uuid().into()
}
