//! `POST /v1/ask`: the cached answer to a question, or the memories to answer it from.

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
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache::{HitView, NearMissView, policy};
use super::json::{self, Fields, JsonBody, Object};
use super::search::{ResultView, milliseconds};
use super::wire::{Limit, ScopeBody, renamed};
use crate::error::Problem;
use crate::identity::Identity;
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskBody {
    prompt: String,
    #[serde(default)]
    scope: Fields<ScopeBody>,
    model: Option<String>,
    system: Option<String>,
    #[serde(default, deserialize_with = "json::some_value")]
    tools: Option<Value>,
    #[serde(default, deserialize_with = "json::some_value")]
    response_format: Option<Value>,
    #[serde(default, deserialize_with = "json::some_value")]
    parameters: Option<Value>,
    threshold: Option<f32>,
    policy: Option<CacheMode>,
    limit: Option<Limit>,
    max_tokens: Option<u64>,
    deadline_ms: Option<u64>,
    filter: Option<Object>,
}

#[derive(Serialize)]
struct OpenView<'a> {
    hit: bool,
    near_miss: Option<NearMissView<'a>>,
    results: Vec<ResultView<'a>>,
    degraded: &'a [Degradation],
    tokens: u64,
    left_out: u64,
    /// Files the answer, where it should be kept.
    fill: Option<String>,
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
