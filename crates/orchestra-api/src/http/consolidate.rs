//! `POST /v1/consolidate`: puts together what the long-term memory says many times.

pub mod openapi;

use std::time::{Duration, Instant};

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use memory_core::consolidation::Step;
use memory_core::manager::{ConsolidateReport, StepOutcome};
use memory_core::{ConsolidateRequest, Memory, MemoryId, WriteToken};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cursor::List;
use super::json::{Fields, JsonBody};
use super::wire::{Limit, ScopeBody};
use crate::brake;
use crate::error::Problem;
use crate::identity::Identity;
use crate::identity::audit::Touched;
use crate::state::AppState;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ConsolidateRequest")]
struct ConsolidateBody {
    /// Whose memory; the whole tenant where it is left out.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    dry_run: bool,
    /// How many memories to look at; 1,000 where it is left out.
    limit: Option<Limit>,
    /// The `next` of the run before.
    cursor: Option<String>,
}

/// What a run did, or would do.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Consolidated")]
pub struct ConsolidatedView {
    /// What was done, or would be.
    steps: Vec<StepView>,
    /// How many memories were looked at.
    visited: u64,
    /// The `cursor` of the run that goes on; `null` when all were looked at.
    next: Option<String>,
    /// Whether nothing was changed.
    dry_run: bool,
    /// Carry it to a read as `at_least` to see this write there.
    token: Option<WriteToken>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ConsolidationStep")]
struct StepView {
    /// What is done.
    action: &'static str,
    /// What became of it.
    outcome: &'static str,
    /// Why, in a sentence.
    reason: String,
    /// The memories that it follows from.
    evidence: Vec<MemoryId>,
    /// The memories that are no longer current.
    closes: Vec<TextView>,
    /// The memory that stands in their place.
    result: TextView,
}

/// A memory as a person knows it again.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MemoryText")]
struct TextView {
    /// Its id.
    id: MemoryId,
    /// What it says.
    text: String,
}

impl From<&Memory> for TextView {
    fn from(memory: &Memory) -> Self {
        Self { id: memory.id, text: memory.text.clone() }
    }
}

impl StepView {
    fn of(step: &Step, outcome: StepOutcome) -> Self {
        let (id, text) = step.result();
        Self {
            action: step.name(),
            outcome: outcome.name(),
            reason: step.to_string(),
            evidence: step.evidence(),
            closes: step.closes().iter().map(|memory| TextView::from(&**memory)).collect(),
            result: TextView { id, text: text.to_owned() },
        }
    }
}

impl ConsolidatedView {
    fn of(report: ConsolidateReport, list: &List<'_>, dry_run: bool) -> Self {
        Self {
            steps: report.steps.iter().map(|done| StepView::of(&done.step, done.outcome)).collect(),
            visited: report.visited,
            next: list.next(report.next),
            dry_run,
            token: report.token,
        }
    }
}

fn braked(what: &str, wait: Duration) -> Problem {
    let seconds = wait.as_secs().max(1);
    let detail = format!("{what} while the budget's brake is on; try again in {seconds} s");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "budget_brake", detail).header(header::RETRY_AFTER, seconds)
}

/// `POST /v1/consolidate`: one bounded run; `next` is the `cursor` of the one that goes on.
pub async fn consolidate(
    State(state): State<AppState>,
    identity: Identity,
    body: JsonBody,
) -> Result<(Extension<Touched>, Json<ConsolidatedView>), Problem> {
    let body: ConsolidateBody = body.parse()?;
    let mut request = ConsolidateRequest::new(body.scope.0.within(&identity.tenant)?);
    request.dry_run = body.dry_run;
    let list = List { name: "consolidation", scope: &request.scope.clone(), newest_first: false };
    request.cursor = list.position(body.cursor.as_deref())?;
    if let Some(Limit(limit)) = body.limit {
        request.limit = limit;
    }
    // One that goes on with a run belongs to it.
    let begins = request.cursor.is_none() && !request.dry_run;
    let tenant = identity.tenant.tenant_name();
    if let Some(wait) = begins.then(|| state.brake().consolidation_wait(tenant, Instant::now())).flatten() {
        return Err(braked("consolidation is slowed", wait));
    }
    if !request.dry_run && state.brake().refuses_embedding() {
        return Err(braked("consolidation would have new memories embedded", brake::EVERY));
    }
    let report = state.manager().consolidate(&request).await?;
    if begins {
        state.brake().consolidated(tenant, Instant::now());
    }
    let closed = report.steps.iter().flat_map(|done| done.step.closes().iter().map(|memory| memory.id.as_uuid()));
    let made = report.steps.iter().map(|done| done.step.result().0.as_uuid());
    let touched = Touched { ids: made.chain(closed).collect(), dry_run: request.dry_run };
    Ok((Extension(touched), Json(ConsolidatedView::of(report, &list, request.dry_run))))
}
