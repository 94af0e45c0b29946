//! `/v1/rejections`: the values that are not written again.

pub mod openapi;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use memory_core::{Rejection, Timestamp, ValueKey};
use schemars::JsonSchema;
use serde::Serialize;

use super::cursor::List;
use super::params::{Params, PathParam};
use super::wire::ScopeView;
use crate::error::Problem;
use crate::identity::{Identity, Permission};
use crate::state::AppState;

/// A rejection. What it says is not kept, and so not shown.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Rejection")]
struct RejectionView<'a> {
    /// Names the value in its scope, 64 hexadecimal digits; it does not tell the text.
    #[schemars(with = "String")]
    key: ValueKey,
    /// Whose memory does not take it.
    scope: ScopeView<'a>,
    /// When it was rejected.
    rejected_at: Timestamp,
    /// By whose key, as its prefix, or by whom.
    rejected_by: &'a str,
}

impl<'a> From<&'a Rejection> for RejectionView<'a> {
    fn from(rejection: &'a Rejection) -> Self {
        Self {
            key: rejection.keys.reads,
            scope: ScopeView::from(&rejection.scope),
            rejected_at: rejection.rejected_at,
            rejected_by: &rejection.rejected_by,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RejectionPage")]
struct PageView<'a> {
    /// The oldest first.
    rejections: Vec<RejectionView<'a>>,
    /// The `cursor` of the next page; `null` on the last.
    next: Option<String>,
}

/// `GET /v1/rejections`: a page of the values that were rejected in a scope, oldest first.
pub async fn list(State(state): State<AppState>, identity: Identity, mut params: Params) -> Result<Response, Problem> {
    let scope = params.scope(&identity.tenant, &["user", "agent"])?;
    let (limit, cursor) = (params.limit(100)?, params.text("cursor"));
    params.finish()?;
    let list = List { name: "rejections", scope: &scope, newest_first: false };
    let cursor = list.position(cursor.as_deref())?;
    let page = state.manager().rejected(&scope, cursor, limit).await?;
    let rejections = page.rejections.iter().map(RejectionView::from).collect();
    Ok(Json(PageView { rejections, next: list.next(page.next) }).into_response())
}

/// Whether a rejection was taken back.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Lifted")]
pub struct LiftedView {
    /// False where there was none.
    lifted: bool,
}

/// `DELETE /v1/rejections/{id}`: takes the rejection of this key back, which needs the scope `admin`. That there is none is
/// no error.
pub async fn lift(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(key): PathParam,
    params: Params,
) -> Result<Json<LiftedView>, Problem> {
    params.finish()?;
    let key: ValueKey = key.parse()?;
    identity.require(Permission::Admin)?;
    Ok(Json(LiftedView { lifted: state.manager().lift_rejection(&identity.tenant, &key).await? }))
}
