//! `/v1/cache`: look an answer up, file one, remove some.

use std::time::Instant;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use memory_core::{
    CacheEntryId, CacheHit, CacheLookup, CacheMode, CachePolicy, Compatibility, HitKind, InvalidateRequest,
    InvalidateSelection, MemoryId, Metadata, NearMiss, NewCacheEntry, Refused, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::{self, Fields, JsonBody, Object};
use super::search::milliseconds;
use super::wire::{Id, ScopeBody, renamed, ttl};
use crate::error::Problem;
use crate::identity::Identity;
use crate::identity::audit::Touched;
use crate::state::AppState;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LookupBody {
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
}

#[derive(Serialize)]
struct HitView<'a> {
    hit: bool,
    kind: HitKind,
    response: &'a str,
    similarity: f32,
    age_seconds: f64,
    entry_id: CacheEntryId,
    prompt: &'a str,
    metadata: &'a Metadata,
    depends_on: &'a [MemoryId],
    tags: &'a [String],
    expires_at: Timestamp,
    took_ms: f64,
}

#[derive(Serialize)]
struct MissView<'a> {
    hit: bool,
    near_miss: Option<NearMissView<'a>>,
    took_ms: f64,
}

#[derive(Serialize)]
struct NearMissView<'a> {
    entry_id: CacheEntryId,
    prompt: &'a str,
    similarity: f32,
    refused: &'a Refused,
}

impl<'a> From<&'a NearMiss> for NearMissView<'a> {
    fn from(NearMiss { entry, prompt, similarity, refused }: &'a NearMiss) -> Self {
        Self { entry_id: *entry, prompt, similarity: *similarity, refused }
    }
}

/// `POST /v1/cache/lookup`: the cached answer to a prompt, or why there is none. A miss is a 200 too.
pub async fn lookup(State(state): State<AppState>, identity: Identity, body: JsonBody) -> Result<Response, Problem> {
    let begun = Instant::now();
    let body: LookupBody = body.parse()?;
    let LookupBody { model, system, tools, response_format, parameters, .. } = body;
    let fingerprint = Compatibility { model, system, tools, response_format, parameters }.fingerprint();
    let default = state.manager().cache_policy();
    let policy = CachePolicy {
        threshold: body.threshold.unwrap_or(default.threshold),
        mode: body.policy.unwrap_or(default.mode),
    };
    let scope = body.scope.0.within(&identity.tenant)?;
    let found = state.manager().cache_lookup(&scope, &body.prompt, fingerprint, Some(policy)).await?;
    let took_ms = milliseconds(begun);
    Ok(match &found {
        CacheLookup::Hit(hit) => {
            let CacheHit { entry, kind, similarity, age } = &**hit;
            Json(HitView {
                hit: true,
                kind: *kind,
                response: &entry.response,
                similarity: *similarity,
                age_seconds: age.as_secs_f64(),
                entry_id: entry.id,
                prompt: &entry.prompt,
                metadata: &entry.metadata,
                depends_on: &entry.depends_on,
                tags: &entry.tags,
                expires_at: entry.expires_at,
                took_ms,
            })
            .into_response()
        }
        CacheLookup::Miss(near_miss) => {
            Json(MissView { hit: false, near_miss: near_miss.as_ref().map(Into::into), took_ms }).into_response()
        }
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryBody {
    prompt: String,
    response: String,
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
    ttl_seconds: Option<f64>,
    #[serde(default)]
    sliding: bool,
    #[serde(default)]
    depends_on: Vec<Id>,
    #[serde(default)]
    tags: Vec<String>,
    metadata: Option<Object>,
}

#[derive(Serialize)]
struct StoredView {
    id: Option<CacheEntryId>,
    expires_at: Option<Timestamp>,
}

/// `POST /v1/cache/entries`: files an answer: 201. Where the cache is switched off nothing is filed: 200 and no id.
pub async fn store(State(state): State<AppState>, identity: Identity, body: JsonBody) -> Result<Response, Problem> {
    let body: EntryBody = body.parse()?;
    let EntryBody { model, system, tools, response_format, parameters, .. } = body;
    let fingerprint = Compatibility { model, system, tools, response_format, parameters }.fingerprint();
    let ttl = body.ttl_seconds.map_or(Ok(state.manager().cache_ttl()), ttl)?;
    let entry = NewCacheEntry {
        scope: body.scope.0.within(&identity.tenant)?,
        prompt: body.prompt,
        response: body.response,
        fingerprint,
        embedding: None,
        depends_on: body.depends_on.into_iter().map(|id| id.0).collect(),
        tags: body.tags,
        metadata: body.metadata.unwrap_or_default().0,
        ttl,
        sliding: body.sliding,
    };
    let now = chrono::Utc::now();
    Ok(match state.manager().cache_store(entry).await.map_err(|error| renamed(error, "ttl", "ttl_seconds"))? {
        Some(id) => {
            let expires_at = chrono::Duration::from_std(ttl).ok().and_then(|ttl| now.checked_add_signed(ttl));
            let touched = Extension(Touched::one(id.0));
            (StatusCode::CREATED, touched, Json(StoredView { id: Some(id), expires_at })).into_response()
        }
        None => Json(StoredView { id: None, expires_at: None }).into_response(),
    })
}

/// Which entries to remove: exactly one of `entry`, `memories`, `tag` and `all`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvalidateBody {
    #[serde(default)]
    scope: Fields<ScopeBody>,
    entry: Option<Id>,
    memories: Option<Vec<Id>>,
    tag: Option<String>,
    all: Option<bool>,
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize)]
pub struct InvalidatedView {
    removed: u64,
    dry_run: bool,
}

/// `POST /v1/cache/invalidate`: removes the selected entries of a scope.
pub async fn invalidate(
    State(state): State<AppState>,
    identity: Identity,
    body: JsonBody,
) -> Result<Response, Problem> {
    let InvalidateBody { scope, entry, memories, tag, all, dry_run } = body.parse()?;
    let scope = scope.0.within(&identity.tenant)?;
    let selection = match (entry, memories, tag, all) {
        (Some(Id(id)), None, None, None) => InvalidateSelection::Entry(CacheEntryId(id.as_uuid())),
        (None, Some(ids), None, None) => {
            super::memories::check_batch("memories", ids.len(), &state)?;
            InvalidateSelection::DependsOn(ids.into_iter().map(|id| id.0).collect())
        }
        (None, None, Some(tag), None) => InvalidateSelection::Tag(tag),
        (None, None, None, Some(true)) => InvalidateSelection::All,
        (None, None, None, _) => {
            return Err(Problem::bad_argument(
                "invalid",
                "body",
                "no selection",
                "one of entry, memories, tag, \"all\": true",
            ));
        }
        _ => {
            return Err(Problem::bad_argument(
                "invalid",
                "body",
                "several selections",
                "only one of entry, memories, tag, all",
            ));
        }
    };
    let ids = match &selection {
        InvalidateSelection::Entry(CacheEntryId(id)) => vec![*id],
        InvalidateSelection::DependsOn(memories) => memories.iter().map(|id| id.as_uuid()).collect(),
        InvalidateSelection::Tag(_) | InvalidateSelection::All => Vec::new(),
    };
    let removed = state.manager().cache_invalidate(&InvalidateRequest { scope, selection, dry_run }).await?;
    Ok((Extension(Touched { ids, dry_run }), Json(InvalidatedView { removed, dry_run })).into_response())
}
