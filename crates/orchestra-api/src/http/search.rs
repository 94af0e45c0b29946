//! `POST /v1/memories/search`: recall.

pub mod openapi;
mod share;
mod strategy;

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use memory_core::{
    ArmReport, Degradation, Error, Explanation, Filter, FusionStrategy, Missing, RecallRequest, Recalled, RecalledFrom,
    WriteToken,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::strategy::StrategyBody;
use super::json::{Fields, JsonBody, Object};
use super::wire::{EmbeddingBody, Limit, MemoryView, ScopeBody, Time, renamed};
use crate::error::Problem;
use crate::identity::Identity;
use crate::state::AppState;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "SearchRequest")]
struct SearchBody {
    /// What is asked, in plain words.
    query: String,
    /// Where to look; the whole tenant where it is left out.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// More scopes of the tenant, searched as if all were one.
    #[serde(default)]
    also: Vec<Fields<ScopeBody>>,
    /// At most so many results; 10 where it is left out.
    limit: Option<Limit>,
    /// At most so many tokens of text in all results together, estimated.
    max_tokens: Option<u64>,
    /// After how many milliseconds to answer with what there is; the server's where it is left out.
    deadline_ms: Option<u64>,
    /// Conditions that must hold, such as `{"metadata.topic": {"in": ["travel"]}}`.
    filter: Option<Object>,
    /// How the arms of the search are put together.
    strategy: Option<StrategyBody>,
    /// The vector of the query; computed where it is left out.
    embedding: Option<EmbeddingBody>,
    /// Say of each result where its score comes from.
    #[serde(default)]
    explain: bool,
    /// The token of a write that this search has to see.
    at_least: Option<WriteToken>,
    /// What the memory held at that time.
    as_of: Option<Time>,
    /// Only what was true at that time.
    valid_at: Option<Time>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SearchResponse")]
struct SearchView<'a> {
    /// The best first.
    results: Vec<ResultView<'a>>,
    /// How the arms were put together.
    strategy: FusionStrategy,
    /// What each arm did.
    arms: &'a [ArmReport],
    /// What is missing from this answer and why; empty when nothing is.
    degraded: &'a [Degradation],
    /// The tokens of the results, estimated.
    tokens: u64,
    /// How many of the best did not fit into `max_tokens`.
    left_out: u64,
    /// Why there are no more results, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<Vec<MissingView<'a>>>,
    /// How long it took, in milliseconds.
    took_ms: f64,
}

/// A reason why there are no more results: its code, its numbers, and a sentence.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MissingReason")]
struct MissingView<'a> {
    #[serde(flatten)]
    reason: &'a Missing,
    /// The reason in a sentence.
    detail: String,
}

impl<'a> From<&'a Missing> for MissingView<'a> {
    fn from(reason: &'a Missing) -> Self {
        Self { reason, detail: reason.to_string() }
    }
}

/// A recalled memory.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SearchResult")]
pub(super) struct ResultView<'a> {
    #[serde(flatten)]
    memory: MemoryView<'a>,
    /// Orders the results of one answer; scores of two answers do not compare.
    score: f32,
    /// Which part of the memory gave it.
    from: RecalledFrom,
    /// Where the score comes from, where it was asked for.
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
    let report = match state.moving() {
        Some(moving) => share::recall(&state, moving, request).await,
        None => state.manager().recall(request).await,
    };
    let report = report.map_err(|error| renamed(error, "deadline", "deadline_ms"))?;
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
