//! What tenants use: counted around every operation, and told.

pub mod openapi;

use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use axum::{Extension, Json};
use memory_core::Timestamp;
use memory_core::usage::Usage;
use schemars::JsonSchema;
use serde::Serialize;

use super::params::Params;
use crate::error::Problem;
use crate::identity::Identity;
use crate::import::time;
use crate::state::AppState;
use crate::usage::tallied;

/// Counts what an operation uses. It is inside of what is worked on to its end: a client that goes away is counted too.
pub async fn counted(
    State((state, operation)): State<(AppState, &'static str)>,
    Extension(identity): Extension<Identity>,
    request: Request,
    next: Next,
) -> Response {
    let (response, mut usage) = tallied(next.run(request)).await;
    usage.operations = 1;
    usage.failures = u64::from(response.status().as_u16() >= 400);
    usage.bytes_out = response.body().size_hint().lower();
    state.usage().count(identity.tenant.tenant_name(), operation, &usage);
    response
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UsageReport")]
pub struct UsageView {
    /// The caller's tenant.
    tenant: String,
    /// Since when, where it was asked for.
    from: Option<Timestamp>,
    /// Until when, where it was asked for.
    to: Option<Timestamp>,
    /// Since when this process has counted.
    known_since: Timestamp,
    /// How finely it counts.
    window_seconds: u64,
    /// All operations together.
    total: Usage,
    /// Each operation.
    operations: Vec<OperationView>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OperationUsage")]
struct OperationView {
    /// The operation, such as `memories.search`.
    operation: String,
    #[serde(flatten)]
    usage: Usage,
}

/// `GET /v1/usage`: what the caller's tenant used of this process, by operation.
pub async fn usage(
    State(state): State<AppState>,
    identity: Identity,
    mut params: Params,
) -> Result<Json<UsageView>, Problem> {
    let (from, to) = (moment(&mut params, "from")?, moment(&mut params, "to")?);
    params.finish()?;
    let tenant = identity.tenant.tenant_name();
    let used = state.usage().used(tenant, from, to);
    let mut total = Usage::default();
    for (_, usage) in &used.operations {
        total += usage;
    }
    let operations = used.operations.into_iter().map(|(operation, usage)| OperationView { operation, usage }).collect();
    Ok(Json(UsageView {
        tenant: tenant.to_owned(),
        from,
        to,
        known_since: used.since,
        window_seconds: state.usage().window().as_secs(),
        total,
        operations,
    }))
}

fn moment(params: &mut Params, name: &'static str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = params.text(name) else { return Ok(None) };
    let refused = || Problem::bad_argument("invalid", name, format!("{text:?}"), time::FORMS);
    time::parse(&text).map(Some).ok_or_else(refused)
}
