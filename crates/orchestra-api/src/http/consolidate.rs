//! `POST /v1/consolidate`: puts together what the long-term memory says many times.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use memory_core::consolidation::Step;
use memory_core::manager::{ConsolidateReport, StepOutcome};
use memory_core::{ConsolidateRequest, Memory, MemoryId, WriteToken};
use serde::{Deserialize, Serialize};

use super::cursor::List;
use super::json::{Fields, JsonBody};
use super::wire::{Limit, ScopeBody};
use crate::error::Problem;
use crate::identity::Identity;
use crate::identity::audit::Touched;
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsolidateBody {
    #[serde(default)]
    scope: Fields<ScopeBody>,
    #[serde(default)]
    dry_run: bool,
    limit: Option<Limit>,
    cursor: Option<String>,
}

/// What a run did, or would do.
#[derive(Serialize)]
pub struct ConsolidatedView {
    steps: Vec<StepView>,
    visited: u64,
    next: Option<String>,
    dry_run: bool,
    token: Option<WriteToken>,
}

#[derive(Serialize)]
struct StepView {
    action: &'static str,
    outcome: &'static str,
    reason: String,
    evidence: Vec<MemoryId>,
    closes: Vec<TextView>,
    result: TextView,
}

/// A memory as a person knows it again.
#[derive(Serialize)]
struct TextView {
    id: MemoryId,
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
    let report = state.manager().consolidate(&request).await?;
    let closed = report.steps.iter().flat_map(|done| done.step.closes().iter().map(|memory| memory.id.as_uuid()));
    let made = report.steps.iter().map(|done| done.step.result().0.as_uuid());
    let touched = Touched { ids: made.chain(closed).collect(), dry_run: request.dry_run };
    Ok((Extension(touched), Json(ConsolidatedView::of(report, &list, request.dry_run))))
}
