//! `POST /v1/ask`: the cached answer to a question, or the memories to answer it from.

pub mod openapi;

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memory_core::{
    AnswerRequest, Asked, CacheMode, Compatibility, Degradation, Fill, Filter, Fingerprint, MemoryId, NearMiss,
    RecallRequest, Scope, StoreMark,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache::{HitView, NearMissView, policy};
use super::json::{self, Fields, JsonBody, Object};
use super::search::{ResultView, milliseconds};
use super::wire::{Limit, ScopeBody, renamed};
use crate::error::Problem;
use crate::identity::Identity;
use crate::state::AppState;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AskRequest")]
struct AskBody {
    /// The question.
    prompt: String,
    /// Whose memory and whose answers.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// The model that answers. A cached answer counts only where the model, its instructions, tools, form and parameters
    /// are the same.
    model: Option<String>,
    /// Its system prompt.
    system: Option<String>,
    /// Its tools.
    #[serde(default, deserialize_with = "json::some_value")]
    tools: Option<Value>,
    /// The form that it is asked for.
    #[serde(default, deserialize_with = "json::some_value")]
    response_format: Option<Value>,
    /// Its parameters, such as the temperature.
    #[serde(default, deserialize_with = "json::some_value")]
    parameters: Option<Value>,
    /// The least similarity of a hit by meaning, 0 to 1; the server's where it is left out.
    threshold: Option<f32>,
    /// What is checked beside the threshold.
    policy: Option<CacheMode>,
    /// At most so many memories; 10 where it is left out.
    limit: Option<Limit>,
    /// At most so many tokens of text in all memories together, estimated.
    max_tokens: Option<u64>,
    /// After how many milliseconds to answer with what there is.
    deadline_ms: Option<u64>,
    /// Conditions that the memories must fulfil.
    filter: Option<Object>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OpenQuestion")]
struct OpenView<'a> {
    /// Always false.
    #[schemars(extend("const" = false))]
    hit: bool,
    /// The nearest cached answer, which was not served.
    near_miss: Option<NearMissView<'a>>,
    /// What is known, the best first.
    results: Vec<ResultView<'a>>,
    /// What is missing from this answer and why; empty when nothing is.
    degraded: &'a [Degradation],
    /// The tokens of the results, estimated.
    tokens: u64,
    /// How many of the best did not fit into `max_tokens`.
    left_out: u64,
    /// Files the answer, where it should be kept.
    fill: Option<String>,
    /// How long it took, in milliseconds.
    took_ms: f64,
}

/// `POST /v1/ask`: the cached answer, as a lookup gives it; else what is known, as a search gives it, and a `fill` that files
/// the answer with `POST /v1/cache/entries`, bound to these memories.
pub async fn ask(State(state): State<AppState>, identity: Identity, body: JsonBody) -> Result<Response, Problem> {
    let begun = Instant::now();
    let body: AskBody = body.parse()?;
    let AskBody { model, system, tools, response_format, parameters, .. } = body;
    let scope = body.scope.0.within(&identity.tenant)?;
    let defaults = state.settings().recall;
    let mut recall = RecallRequest::new(scope.clone(), body.prompt.as_str());
    recall.limit = body.limit.map_or(recall.limit, |Limit(limit)| limit);
    recall.max_tokens = body.max_tokens;
    recall.deadline = body.deadline_ms.map(Duration::from_millis).or(defaults.deadline);
    recall.strategy = defaults.strategy();
    recall.filter = body.filter.map(|Object(filter)| Filter::from_json(&Value::Object(filter))).transpose()?;
    let question = AnswerRequest {
        scope,
        prompt: body.prompt,
        fingerprint: Compatibility { model, system, tools, response_format, parameters }.fingerprint(),
        policy: Some(policy(&state, body.threshold, body.policy)),
    };
    let asked = state.manager().ask(question, recall).await;
    let asked = asked.map_err(|error| renamed(renamed(error, "query", "prompt"), "deadline", "deadline_ms"))?;
    Ok(match &asked {
        Asked::Answered(hit) => Json(HitView::of(hit, milliseconds(begun))).into_response(),
        Asked::Open(open) => Json(OpenView {
            hit: false,
            near_miss: open.near.as_ref().map(<&NearMiss>::into),
            results: open.recalled.memories.iter().map(|recalled| ResultView::of(recalled, false)).collect(),
            degraded: &open.recalled.degraded,
            tokens: open.recalled.tokens,
            left_out: open.recalled.left_out,
            fill: open.fill.as_ref().map(|fill| FillNote::from(fill).written()),
            took_ms: milliseconds(begun),
        })
        .into_response(),
    })
}

/// A [`Fill`] as callers carry it: opaque, though no secret. It needs no signature: it can only file an answer in the
/// tenant of whoever brings it, which they could do without it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FillNote {
    prompt: String,
    fingerprint: [u8; 32],
    memories: Vec<MemoryId>,
    since: Option<String>,
    user: Option<String>,
    agent: Option<String>,
    session: Option<String>,
}

impl From<&Fill> for FillNote {
    fn from(fill: &Fill) -> Self {
        let Fill { scope, prompt, fingerprint, memories, since } = fill;
        Self {
            prompt: prompt.clone(),
            fingerprint: fingerprint.0,
            memories: memories.clone(),
            since: since.as_ref().map(|mark| mark.0.clone()),
            user: scope.user().map(Into::into),
            agent: scope.agent().map(Into::into),
            session: scope.session().map(Into::into),
        }
    }
}

impl FillNote {
    fn written(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The fill that a caller brought back, in their own tenant.
    ///
    /// # Errors
    /// A 400 when it is none that an answer of this interface gave.
    pub fn read(text: &str, tenant: &Scope) -> Result<Fill, Problem> {
        let allowed = "the fill of an answer of POST /v1/ask, unchanged";
        let wrong = || Problem::bad_argument("invalid", "fill", "what is none", allowed);
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let note: Self = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        let mut scope = tenant.clone();
        for (name, narrow) in [
            (note.user, Scope::with_user as fn(Scope, String) -> memory_core::Result<Scope>),
            (note.agent, Scope::with_agent),
            (note.session, Scope::with_session),
        ] {
            if let Some(name) = name {
                scope = narrow(scope, name).map_err(|_| wrong())?;
            }
        }
        Ok(Fill {
            scope,
            prompt: note.prompt,
            fingerprint: Fingerprint(note.fingerprint),
            memories: note.memories,
            since: note.since.map(StoreMark),
        })
    }
}
