//! What tenants use: counted around every operation, and told.

pub mod openapi;

use axum::Json;
use axum::body::HttpBody as _;
use axum::extract::State;
use axum::response::Response;
use memory_core::usage::Usage;
use memory_core::{Scope, Timestamp};
use schemars::JsonSchema;
use serde::Serialize;

use super::params::Params;
use crate::error::Problem;
use crate::identity::Identity;
use crate::import::time;
use crate::state::AppState;
use crate::usage::Tally;

/// Does the work of an operation, and counts what it uses: that of a client that goes away too.
pub async fn counted(
    state: AppState,
    tenant: Scope,
    operation: &'static str,
    work: impl Future<Output = Response>,
) -> Response {
    let tally = Tally::default();
    let mut count = Count { state, tenant, operation, tally: tally.clone(), bytes_out: 0, has_failed: true };
    let response = tally.of(work).await;
    count.has_failed = response.status().as_u16() >= 400;
    count.bytes_out = response.body().size_hint().lower();
    response
}

/// Counts an operation when it is over, or given up.
struct Count {
    state: AppState,
    tenant: Scope,
    operation: &'static str,
    tally: Tally,
    bytes_out: u64,
    has_failed: bool,
}

impl Drop for Count {
    fn drop(&mut self) {
        let used = Usage {
            operations: 1,
            failures: u64::from(self.has_failed),
            bytes_out: self.bytes_out,
            ..self.tally.sum()
        };
        self.state.usage().count(self.tenant.tenant_name(), self.operation, &used);
    }
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
