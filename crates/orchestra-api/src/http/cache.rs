//! `/v1/cache`: look an answer up, file one, remove some.
//!
//! What [`super::feedback`] says of an answer and the [`super::ask`] that an answer belongs to are beside.

pub mod openapi;

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use memory_core::{
    CacheEntryId, CacheHit, CacheLookup, CacheMode, CachePolicy, Compatibility, Filled, HitKind, InvalidateRequest,
    InvalidateSelection, MemoryId, Metadata, NearMiss, NewAnswer, NewCacheEntry, Refused, Timestamp,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ask::FillNote;
use super::json::{self, Fields, JsonBody, Object};
use super::search::milliseconds;
use super::wire::{Id, ScopeBody, renamed, ttl};
use crate::error::Problem;
use crate::identity::Identity;
use crate::identity::audit::Touched;
use crate::state::AppState;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "CacheLookup")]
struct LookupBody {
    /// The prompt that is asked now.
    prompt: String,
    /// Whose answers count.
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
}

/// A cached answer, as it is served.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CacheHit")]
pub(super) struct HitView<'a> {
    /// Always true.
    #[schemars(extend("const" = true))]
    hit: bool,
    /// How the answer was found.
    kind: HitKind,
    /// The answer.
    response: &'a str,
    /// Cosine similarity of the two prompts.
    similarity: f32,
    /// How old the answer is.
    age_seconds: f64,
    /// The entry.
    entry_id: CacheEntryId,
    /// The prompt that it answered.
    prompt: &'a str,
    /// What was filed with it.
    metadata: &'a Metadata,
    /// The memories that it used.
    depends_on: &'a [MemoryId],
    /// Its labels.
    tags: &'a [String],
    /// When it goes.
    expires_at: Timestamp,
    /// How long the lookup took, in milliseconds.
    took_ms: f64,
}

impl<'a> HitView<'a> {
    pub(super) fn of(hit: &'a CacheHit, took_ms: f64) -> Self {
        let CacheHit { entry, kind, similarity, age } = hit;
        Self {
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
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CacheMiss")]
struct MissView<'a> {
    /// Always false.
    #[schemars(extend("const" = false))]
    hit: bool,
    /// The nearest entry, which was not served.
    near_miss: Option<NearMissView<'a>>,
    /// How long the lookup took, in milliseconds.
    took_ms: f64,
}

/// The nearest entry that was not served.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NearMiss")]
pub(super) struct NearMissView<'a> {
    /// The entry.
    entry_id: CacheEntryId,
    /// The prompt that it answers.
    prompt: &'a str,
    /// Cosine similarity of the two prompts.
    similarity: f32,
    /// Why it was not served.
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
    let policy = policy(&state, body.threshold, body.policy);
    let scope = body.scope.0.within(&identity.tenant)?;
    let found = state.manager().cache_lookup(&scope, &body.prompt, fingerprint, Some(policy)).await?;
    let took_ms = milliseconds(begun);
    Ok(match &found {
        CacheLookup::Hit(hit) => Json(HitView::of(hit, took_ms)).into_response(),
        CacheLookup::Miss(near_miss) => {
            Json(MissView { hit: false, near_miss: near_miss.as_ref().map(Into::into), took_ms }).into_response()
        }
    })
}

/// What a hit must pass, with what the request does not say taken from the settings.
pub(super) fn policy(state: &AppState, threshold: Option<f32>, mode: Option<CacheMode>) -> CachePolicy {
    let default = state.manager().cache_policy();
    let threshold = threshold.unwrap_or_else(|| state.brake().now().cache_threshold(default.threshold));
    CachePolicy { threshold, mode: mode.unwrap_or(default.mode) }
}

/// An answer: to a prompt, or to the question that a fill was given for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewCacheEntry")]
struct EntryBody {
    /// The prompt that was asked; not beside a `fill`, which says it.
    prompt: Option<String>,
    /// The `fill` of an answer of `POST /v1/ask`: it says the question and the memories, and nothing is filed that they no longer bear out.
    fill: Option<String>,
    /// The answer.
    response: String,
    /// For whom it is an answer.
    scope: Option<Fields<ScopeBody>>,
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
    /// How long it is served; the server's time where it is left out.
    ttl_seconds: Option<f64>,
    /// Let every hit begin that time anew.
    #[serde(default)]
    sliding: bool,
    /// The memories that the answer used: changing one of them removes the answer.
    #[serde(default)]
    depends_on: Vec<Id>,
    /// The memories that the answer used, in the versions that were read: as `depends_on`, and nothing is filed when one of
    /// them is another version by now, however long the request was under way.
    #[serde(default)]
    made_of: Vec<Fields<VersionBody>>,
    /// Labels to remove it by.
    #[serde(default)]
    tags: Vec<String>,
    /// Anything else to keep with it.
    metadata: Option<Object>,
}

/// A version of a memory.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "MemoryVersion")]
struct VersionBody {
    /// The memory.
    id: Id,
    /// The version, as every answer that shows the memory names it.
    version: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CacheStored")]
struct StoredView {
    /// The entry; `null` where the cache is switched off.
    id: Option<CacheEntryId>,
    /// When it goes.
    expires_at: Option<Timestamp>,
}

/// `POST /v1/cache/entries`: files an answer: 201. Where the cache is switched off nothing is filed: 200 and no id. An answer
/// with a fill, or with the versions that it was made of, is refused with 409 when a memory was changed since.
pub async fn store(State(state): State<AppState>, identity: Identity, body: JsonBody) -> Result<Response, Problem> {
    let mut body: EntryBody = body.parse()?;
    let ttl = body.ttl_seconds.map_or(Ok(state.manager().cache_ttl()), ttl)?;
    let now = chrono::Utc::now();
    let filed = match body.fill.take() {
        Some(fill) => {
            body.check_beside_fill()?;
            let fill = FillNote::read(&fill, &identity.tenant)?;
            let answer = NewAnswer {
                response: body.response,
                depends_on: body.depends_on.into_iter().map(|id| id.0).collect(),
                tags: body.tags,
                metadata: body.metadata.unwrap_or_default().0,
                ttl: Some(ttl),
            };
            match state.manager().fill(fill, answer).await? {
                Filled::Filed(id) => Some(id),
                Filled::NoCache => None,
                Filled::Changed => return Err(memories_changed("fill")),
            }
        }
        None if !body.made_of.is_empty() => {
            let versions: Vec<_> = body.made_of.iter().map(|Fields(of)| (of.id.0, of.version)).collect();
            let entry = body.entry(&identity, ttl)?;
            match state.manager().cache_store_of(entry, &versions).await {
                Ok(Filled::Filed(id)) => Some(id),
                Ok(Filled::NoCache) => None,
                Ok(Filled::Changed) => return Err(memories_changed("made_of")),
                Err(error) => return Err(renamed(error, "ttl", "ttl_seconds").into()),
            }
        }
        None => {
            let entry = body.entry(&identity, ttl)?;
            state.manager().cache_store(entry).await.map_err(|error| renamed(error, "ttl", "ttl_seconds"))?
        }
    };
    Ok(match filed {
        Some(id) => {
            let expires_at = chrono::Duration::from_std(ttl).ok().and_then(|ttl| now.checked_add_signed(ttl));
            let touched = Extension(Touched::one(id.0));
            (StatusCode::CREATED, touched, Json(StoredView { id: Some(id), expires_at })).into_response()
        }
        None => Json(StoredView { id: None, expires_at: None }).into_response(),
    })
}

fn memories_changed(field: &'static str) -> Problem {
    let detail = "a memory that the answer was made of was changed or forgotten since; ask again";
    Problem::new(StatusCode::CONFLICT, "memories_changed", detail).about(field)
}

impl EntryBody {
    /// Refuses what the fill says already.
    fn check_beside_fill(&self) -> Result<(), Problem> {
        let given = [
            ("prompt", self.prompt.is_some()),
            ("scope", self.scope.is_some()),
            ("model", self.model.is_some()),
            ("system", self.system.is_some()),
            ("tools", self.tools.is_some()),
            ("response_format", self.response_format.is_some()),
            ("parameters", self.parameters.is_some()),
            ("sliding", self.sliding),
            ("made_of", !self.made_of.is_empty()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((name, _)) => {
                Err(Problem::bad_argument("invalid", name, "a value", "nothing beside fill, which says it"))
            }
        }
    }

    fn entry(self, identity: &Identity, ttl: Duration) -> Result<NewCacheEntry, Problem> {
        let missing = || Problem::bad_argument("missing_field", "prompt", "nothing", "a value; the field is required");
        let Self { model, system, tools, response_format, parameters, .. } = self;
        Ok(NewCacheEntry {
            scope: self.scope.unwrap_or_default().0.within(&identity.tenant)?,
            prompt: self.prompt.ok_or_else(missing)?,
            response: self.response,
            fingerprint: Compatibility { model, system, tools, response_format, parameters }.fingerprint(),
            embedding: None,
            depends_on: self.depends_on.into_iter().map(|id| id.0).collect(),
            tags: self.tags,
            metadata: self.metadata.unwrap_or_default().0,
            ttl,
            sliding: self.sliding,
        })
    }
}

/// Which entries to remove: exactly one of `entry`, `memories`, `tag` and `all`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "InvalidateRequest")]
struct InvalidateBody {
    /// Inside of which scope; the whole tenant where it is left out.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// This entry.
    entry: Option<Id>,
    /// Those whose answer used one of these memories.
    memories: Option<Vec<Id>>,
    /// Those with this label.
    tag: Option<String>,
    /// `true`: all of the scope.
    all: Option<bool>,
    /// Count, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Invalidated")]
pub struct InvalidatedView {
    /// How many were removed, or would be.
    removed: u64,
    /// Whether nothing was changed.
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
