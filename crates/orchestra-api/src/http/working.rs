//! `/v1/sessions/{id}/working`: the messages of a conversation that goes on.

pub mod openapi;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use memory_core::{
    AppendReceipt, AppendRequest, NewMessage, PromoteReceipt, PromoteRequest, Role, Scope, SessionMessage,
    WindowRequest, WorkingMemory,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::json::{Fields, JsonBody, Object};
use super::memories::check_quota;
use super::params::{Params, PathParam, session};
use super::request::{Idempotency, WrittenBy};
use super::wire::{ScopeBody, ttl};
use crate::error::Problem;
use crate::identity::Identity;
use crate::identity::audit::Touched;
use crate::state::AppState;

/// Messages to append, in their order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSessionMessages")]
struct AppendBody {
    /// The user and the agent; the path names the session.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// The messages in their order, appended all or none.
    messages: Vec<Fields<MessageBody>>,
    /// How long the session lasts after this; the server's time where it is left out.
    ttl_seconds: Option<f64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewSessionMessage")]
struct MessageBody {
    /// Who speaks.
    role: Role,
    /// What is said.
    content: String,
    /// What it costs of a model's context; estimated where it is left out.
    tokens: Option<u32>,
    /// Anything else about it.
    metadata: Option<Object>,
}

/// `POST /v1/sessions/{id}/working`: appends messages, all or none, and prolongs the session.
pub async fn append(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    WrittenBy(origin): WrittenBy,
    idempotency: Idempotency,
    body: JsonBody,
) -> Result<(StatusCode, Json<AppendReceipt>), Problem> {
    let idempotency = idempotency.bind(&origin, &body);
    let AppendBody { scope, messages, ttl_seconds } = body.parse()?;
    let messages = messages
        .into_iter()
        .map(|Fields(message)| NewMessage {
            tokens: message.tokens,
            metadata: message.metadata.unwrap_or_default().0,
            ..NewMessage::new(message.role, message.content)
        })
        .collect();
    let request = AppendRequest {
        scope: within(scope.0, &identity, id)?,
        messages,
        ttl: ttl_seconds.map_or(Ok(state.settings().session_ttl), ttl)?,
        idempotency,
    };
    Ok((StatusCode::CREATED, Json(working(&state)?.append(request).await?)))
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionWindow")]
struct WindowView {
    /// The messages, oldest first.
    messages: Vec<SessionMessage>,
    /// Their tokens together.
    tokens: u64,
    /// How many messages the session holds in all.
    total: u64,
    /// Whether there are messages that are not here.
    truncated: bool,
    /// When the session ends unless more is appended; `null` when there is none.
    expires_at: Option<memory_core::Timestamp>,
}

/// `GET /v1/sessions/{id}/working`: the newest messages that fit `limit` and `max_tokens`, or with `after` the oldest that
/// follow that number; oldest first.
pub async fn window(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    mut params: Params,
) -> Result<Response, Problem> {
    let scope = session(params.scope(&identity.tenant, &["user", "agent"])?, id)?;
    let request = WindowRequest {
        max_messages: params.limit(memory_core::working::DEFAULT_WINDOW_MESSAGES)?,
        max_tokens: params.parsed("max_tokens", "a whole number, at least 1")?,
        after: params.parsed("after", "the number of a message, or 0")?,
        scope,
    };
    params.finish()?;
    let window = working(&state)?.window(&request).await?;
    let view = WindowView {
        truncated: window.is_truncated(),
        messages: window.messages,
        tokens: window.tokens,
        total: window.total,
        expires_at: window.expires_at,
    };
    Ok(Json(view).into_response())
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SessionCleared")]
struct ClearedView {
    /// How many messages there were.
    cleared: u64,
}

/// `DELETE /v1/sessions/{id}/working`: ends the session. What was promoted of it stays.
pub async fn clear(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    mut params: Params,
) -> Result<Response, Problem> {
    let scope = session(params.scope(&identity.tenant, &["user", "agent"])?, id)?;
    params.finish()?;
    let cleared = working(&state)?.clear(&scope).await?;
    Ok(Json(ClearedView { cleared }).into_response())
}

/// Whose messages to keep.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PromoteRequest")]
struct PromoteBody {
    /// The user and the agent; the path names the session.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// Whose messages to keep.
    roles: Option<Vec<Role>>,
}

/// `POST /v1/sessions/{id}/working/promote`: makes memories of the messages that are none yet.
pub async fn promote(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    body: JsonBody,
) -> Result<Response, Problem> {
    let PromoteBody { scope, roles } = body.parse()?;
    let mut request = PromoteRequest::new(within(scope.0, &identity, id)?);
    request.roles = roles.unwrap_or(request.roles);
    working(&state)?;
    let (mut receipt, mut after) = (PromoteReceipt::default(), 0);
    while let Some(promotion) = state.manager().promotion(&request, after).await? {
        after = promotion.last();
        if promotion.memories() > 0 {
            check_quota(promotion.memories(), &state, &identity).await?;
        }
        receipt.add(state.manager().promote(promotion).await?);
    }
    let touched =
        Touched { ids: receipt.promoted.iter().map(|message| message.id.as_uuid()).collect(), dry_run: false };
    Ok((Extension(touched), Json(receipt)).into_response())
}

/// The session that the path names, of the user and agent that the body names.
fn within(scope: ScopeBody, identity: &Identity, id: String) -> Result<Scope, Problem> {
    if scope.names_session() {
        let allowed = "user and agent; the path names the session";
        return Err(Problem::bad_argument("invalid", "scope.session", "a session", allowed));
    }
    session(scope.within(&identity.tenant)?, id)
}

fn working(state: &AppState) -> Result<&Arc<dyn WorkingMemory>, Problem> {
    state.manager().working_memory().ok_or_else(|| {
        let detail = "this server has no working memory: its memories are in a database and it has no cache; with \
                      short_term_provider redis or embedded it has one";
        Problem::new(StatusCode::NOT_IMPLEMENTED, "no_working_memory", detail)
    })
}
