//! `/v1/sessions/{id}/messages`: the turns of a conversation.

pub mod openapi;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use memory_core::{Draft, ForgetRequest, ListRequest, MemoryKind, RememberRequest, Selection, Writer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cursor::List;
use super::json::{Fields, JsonBody, Object};
use super::memories::{Forgotten, and_kind, check_batch, check_quota, forgotten};
use super::params::{Params, PathParam, session};
use super::request::{Idempotency, WrittenBy};
use super::wire::{BatchView, MemoryView, ScopeBody, Time, renamed};
use crate::error::Problem;
use crate::identity::Identity;
use crate::identity::audit::Touched;
use crate::state::AppState;

/// Turns of a conversation, in their order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewMessages")]
struct MessagesBody {
    /// The user and the agent; the path names the session.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// The turns in their order, written all or none.
    messages: Vec<Fields<MessageBody>>,
}

/// One turn. `content` and `role` are what chat interfaces call its text and its actor.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewMessage")]
struct MessageBody {
    /// What was said; `content` is another name for it.
    #[serde(alias = "content")]
    text: String,
    /// Who said it; `role` is another name for it.
    #[serde(alias = "role")]
    actor: Option<String>,
    /// When it was said; now where it is left out.
    at: Option<Time>,
    /// Anything else about it, to filter by later.
    metadata: Option<Object>,
}

/// `POST /v1/sessions/{id}/messages`: adds turns at the end of the session, all or nothing.
pub async fn add(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    WrittenBy(origin): WrittenBy,
    idempotency: Idempotency,
    body: JsonBody,
) -> Result<Response, Problem> {
    let idempotency = idempotency.bind(&origin, &body);
    let MessagesBody { scope, messages } = body.parse()?;
    check_batch("messages", messages.len(), &state)?;
    if scope.0.names_session() {
        let allowed = "user and agent; the path names the session";
        return Err(Problem::bad_argument("invalid", "scope.session", "a session", allowed));
    }
    let scope = session(scope.0.within(&identity.tenant)?, id)?;
    // A turn without a time is said now, unless it is an old one that is brought in.
    let now = (origin.writer != Writer::Import).then(chrono::Utc::now);
    let drafts = messages
        .into_iter()
        .map(|Fields(message)| Draft {
            kind: MemoryKind::Message,
            actor: message.actor,
            metadata: message.metadata.unwrap_or_default().0,
            valid_from: message.at.map(|at| at.0).or(now),
            ..Draft::new(scope.clone(), message.text)
        })
        .collect::<Vec<_>>();
    check_quota(drafts.len(), &state, &identity).await?;
    let request = RememberRequest { drafts, origin, idempotency };
    let receipt = state.manager().remember(request).await.map_err(|error| renamed(error, "memories[", "messages["))?;
    Ok((StatusCode::CREATED, Extension(Touched::from(&receipt)), Json(BatchView::from(&receipt))).into_response())
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MessagePage")]
struct MessagesView<'a> {
    /// The turns.
    messages: Vec<MemoryView<'a>>,
    /// The `cursor` of the next page; `null` on the last.
    next: Option<String>,
}

/// `GET /v1/sessions/{id}/messages`: a page of the session's turns, oldest first unless asked otherwise.
pub async fn list(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    mut params: Params,
) -> Result<Response, Problem> {
    let scope = session(params.scope(&identity.tenant, &["user", "agent"])?, id)?;
    let limit = params.limit(100)?;
    let cursor = params.text("cursor");
    let newest_first = params.newest_first()?;
    params.finish()?;
    let list = List { name: "messages", scope: &scope.clone(), newest_first };
    let cursor = list.position(cursor.as_deref())?;
    let filter = and_kind(None, Some(MemoryKind::Message));
    let request = ListRequest { scope, filter, limit, cursor, newest_first, with_embeddings: false };
    let page = state.manager().list(&request).await?;
    let messages = page.memories.iter().map(|(memory, _)| MemoryView::from(&**memory)).collect();
    Ok(Json(MessagesView { messages, next: list.next(page.next) }).into_response())
}

/// `DELETE /v1/sessions/{id}/messages`: forgets the session's turns for good.
pub async fn delete(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    mut params: Params,
) -> Result<Forgotten, Problem> {
    let scope = session(params.scope(&identity.tenant, &["user", "agent"])?, id)?;
    let dry_run = params.flag("dry_run")?;
    params.finish()?;
    let selection = match and_kind(None, Some(MemoryKind::Message)) {
        Some(messages) => Selection::Matching(messages),
        None => Selection::All,
    };
    Ok(forgotten(state.manager().forget(&ForgetRequest { scope, selection, dry_run }).await?))
}
