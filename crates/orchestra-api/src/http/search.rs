//! `POST /v1/memories/search`: recall.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use memory_core::{
    ArmReport, Degradation, Error, Explanation, Filter, FusionStrategy, Missing, RecallRequest, Recalled, RecalledFrom,
    WriteToken,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{Fields, JsonBody, Object};
use super::wire::{EmbeddingBody, Limit, MemoryView, ScopeBody, StrategyBody, Time, renamed};
use crate::error::Problem;
use crate::identity::Identity;
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchBody {
    query: String,
    #[serde(default)]
    scope: Fields<ScopeBody>,
    #[serde(default)]
    also: Vec<Fields<ScopeBody>>,
    limit: Option<Limit>,
    max_tokens: Option<u64>,
    deadline_ms: Option<u64>,
    filter: Option<Object>,
    strategy: Option<StrategyBody>,
    embedding: Option<EmbeddingBody>,
    #[serde(default)]
    explain: bool,
    at_least: Option<WriteToken>,
    as_of: Option<Time>,
    valid_at: Option<Time>,
}

#[derive(Serialize)]
struct SearchView<'a> {
    results: Vec<ResultView<'a>>,
    strategy: FusionStrategy,
    arms: &'a [ArmReport],
    degraded: &'a [Degradation],
    tokens: u64,
    left_out: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Vec<MissingView<'a>>>,
    took_ms: f64,
}

/// A reason why there are no more results: its code, its numbers, and a sentence.
#[derive(Serialize)]
struct MissingView<'a> {
    #[serde(flatten)]
    reason: &'a Missing,
    detail: String,
}

impl<'a> From<&'a Missing> for MissingView<'a> {
    fn from(reason: &'a Missing) -> Self {
        Self { reason, detail: reason.to_string() }
    }
}

/// A recalled memory.
#[derive(Serialize)]
pub(super) struct ResultView<'a> {
    #[serde(flatten)]
    memory: MemoryView<'a>,
    score: f32,
    from: RecalledFrom,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a Explanation>,
}

impl<'a> ResultView<'a> {
    pub(super) fn of(recalled: &'a Recalled, explain: bool) -> Self {
        Self {
            memory: MemoryView::from(&*recalled.memory),
            score: recalled.score,
            from: recalled.from,
            why: explain.then_some(&recalled.why),
        }
    }
}

/// `POST /v1/memories/search`: the memories that answer a question, best first.
pub async fn search(State(state): State<AppState>, identity: Identity, body: JsonBody) -> Result<Response, Problem> {
    let begun = Instant::now();
    let body: SearchBody = body.parse()?;
    let mut request = RecallRequest::new(body.scope.0.within(&identity.tenant)?, body.query);
    if let Some(Limit(limit)) = body.limit {
        request.limit = limit;
    }
    let defaults = state.settings().recall;
    request.max_tokens = body.max_tokens;
    request.explain = body.explain;
    request.deadline = body.deadline_ms.map(Duration::from_millis).or(defaults.deadline);
    request.strategy = body.strategy.map_or(defaults.strategy(), |strategy| strategy.over(defaults.weights));
    for (at, Fields(scope)) in body.also.into_iter().enumerate() {
        request.also.push(scope.within(&identity.tenant).map_err(|error| in_also(error, at))?);
    }
    let filter = body.filter.map(|Object(filter)| Filter::from_json(&Value::Object(filter))).transpose()?;
    let valid = body.valid_at.map(|Time(at)| Filter::valid_at(at));
    request.filter = match (filter, valid) {
        (Some(filter), Some(valid)) => Some(Filter::And(vec![filter, valid])),
        (filter, valid) => filter.or(valid),
    };
    let space = state.manager().embedder().space();
    request.embedding = body.embedding.map(|embedding| embedding.into_space(space)).transpose()?;
    request.at_least = body.at_least;
    request.as_of = body.as_of.map(|Time(at)| at);
    let report = state.manager().recall(request).await.map_err(|error| renamed(error, "deadline", "deadline_ms"))?;
    let results = report.memories.iter().map(|recalled| ResultView::of(recalled, body.explain)).collect();
    let view = SearchView {
        results,
        strategy: report.strategy,
        arms: &report.arms,
        degraded: &report.degraded,
        tokens: report.tokens,
        left_out: report.left_out,
        explanation: body.explain.then(|| report.missing.iter().map(MissingView::from).collect()),
        took_ms: milliseconds(begun),
    };
    Ok(Json(view).into_response())
}

/// A scope's error, about the place of `also` where the scope is.
fn in_also(mut error: Error, at: usize) -> Error {
    if let Error::Invalid { field, .. } = &mut error {
        *field = field.replacen("scope", &format!("also[{at}]"), 1);
    }
    error
}

/// The time since `begun` in milliseconds, to the microsecond.
pub fn milliseconds(begun: Instant) -> f64 {
    (begun.elapsed().as_secs_f64() * 1e6).round() / 1e3
}
