//! `/v1/memories`: write, read, change, list, forget.

pub mod openapi;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use memory_core::{
    Degradation, Draft, Error, Filter, ForgetReceipt, ForgetRequest, InsertReceipt, InsertStatus, ListRequest, Memory,
    MemoryId, MemoryKind, MemoryPatch, RememberRequest, Selection, Timestamp, WriteToken,
};
use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cursor::List;
use super::hints;
use super::json::{self, Fields, JsonBody, Object};
use super::params::{Params, PathParam};
use super::request::{Idempotency, WrittenBy};
use super::wire::{BatchView, EmbeddingBody, Id, MemoryView, ScopeBody, Time, ends_at, renamed};
use crate::error::Problem;
use crate::identity::audit::Touched;
use crate::identity::{Identity, Permission};
use crate::state::AppState;

/// A memory, as a body says it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewMemory")]
struct MemoryBody {
    /// What to remember: 1 byte to 64 KiB, not blank.
    text: String,
    /// Whose memory it is; the whole tenant's where it is left out.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// An id of your own; a second write of the same id and text changes nothing.
    id: Option<Id>,
    /// What kind of thing it is; `episodic` where it is left out.
    kind: Option<MemoryKind>,
    /// Who said or did it; taken from the metadata where that says so.
    actor: Option<String>,
    /// Anything else about it, to filter by later; at most 16 KiB.
    metadata: Option<Object>,
    /// How much it matters, 0 to 1; 0.5 where it is left out.
    importance: Option<f32>,
    /// The memories that it was derived from: forgetting one of them forgets this one.
    #[serde(default)]
    evidence: Vec<Id>,
    /// Since when it is true.
    valid_from: Option<Time>,
    /// Until when it is true.
    valid_to: Option<Time>,
    /// When it goes of its own accord.
    expires_at: Option<Time>,
    /// How long it lives, in place of `expires_at`.
    ttl_seconds: Option<f64>,
    /// Its vector; computed where it is left out.
    embedding: Option<EmbeddingBody>,
}

/// Many memories.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewMemories")]
struct BatchBody {
    /// The memories, written all or none; at most 1,000 unless the server is told otherwise.
    memories: Vec<Fields<MemoryBody>>,
}

/// Tells the two apart without reading either.
#[derive(Deserialize)]
struct Shape {
    #[serde(default, deserialize_with = "json::not_null")]
    memories: Option<IgnoredAny>,
}

impl MemoryBody {
    fn into_draft(self, state: &AppState, identity: &Identity, now: Timestamp) -> Result<Draft, Error> {
        let expires_at = match (self.expires_at, self.ttl_seconds) {
            (Some(_), Some(ttl)) => return Err(Error::invalid("ttl_seconds", ttl, "either expires_at or ttl_seconds")),
            (Some(Time(at)), None) => Some(at),
            (None, Some(ttl)) => Some(ends_at(now, ttl)?),
            (None, None) => None,
        };
        let space = state.manager().embedder().space();
        let metadata = self.metadata.unwrap_or_default().0;
        Ok(Draft {
            id: self.id.map(|id| id.0),
            scope: self.scope.0.within(&identity.tenant)?,
            kind: self.kind.unwrap_or(MemoryKind::Episodic),
            text: self.text,
            actor: self.actor.or_else(|| hints::actor(&metadata)),
            importance: self.importance.unwrap_or(Draft::DEFAULT_IMPORTANCE),
            evidence: self.evidence.into_iter().map(|id| id.0).collect(),
            valid_from: self.valid_from.map(|at| at.0).or_else(|| hints::valid_from(&metadata)),
            valid_to: self.valid_to.map(|at| at.0),
            expires_at,
            metadata,
            embedding: self.embedding.map(|embedding| embedding.into_space(space)).transpose()?,
        })
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Written")]
struct AddedView<'a> {
    /// Its id.
    id: MemoryId,
    /// What became of it.
    status: InsertStatus,
    /// Carry it to a read as `at_least` to see this write there.
    token: &'a WriteToken,
    /// Whether the idempotency key had been used: this is the first answer again.
    replayed: bool,
    /// What was left for later; absent when nothing was.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    degraded: &'a [Degradation],
}

/// `POST /v1/memories`: one memory, or many in `memories`, all or nothing.
pub async fn add(
    State(state): State<AppState>,
    identity: Identity,
    WrittenBy(origin): WrittenBy,
    idempotency: Idempotency,
    body: JsonBody,
) -> Result<Response, Problem> {
    let idempotency = idempotency.bind(&origin, &body);
    let now = chrono::Utc::now();
    let Shape { memories } = body.parse()?;
    if memories.is_none() {
        let draft = body.parse::<MemoryBody>()?.into_draft(&state, &identity, now)?;
        check_quota(1, &state, &identity).await?;
        let request = RememberRequest { drafts: vec![draft], origin, idempotency };
        let receipt = state.manager().remember(request).await.map_err(|error| renamed(error, "memories[0].", ""))?;
        return added(&receipt);
    }
    let BatchBody { memories } = body.parse()?;
    check_batch("memories", memories.len(), &state)?;
    let drafts = memories
        .into_iter()
        .enumerate()
        .map(|(at, Fields(memory))| {
            memory.into_draft(&state, &identity, now).map_err(|error| error.within(&format!("memories[{at}]")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    check_quota(drafts.len(), &state, &identity).await?;
    let receipt = state.manager().remember(RememberRequest { drafts, origin, idempotency }).await?;
    Ok((StatusCode::CREATED, Extension(Touched::from(&receipt)), Json(BatchView::from(&receipt))).into_response())
}

fn added(receipt: &InsertReceipt) -> Result<Response, Problem> {
    let Some(item) = receipt.items.first() else {
        // The key was first used for a batch of none, which no request can write.
        return Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the store gave a receipt for nothing",
        ));
    };
    let view = AddedView {
        id: item.id,
        status: item.status,
        token: &receipt.token,
        replayed: receipt.replayed,
        degraded: &receipt.degraded,
    };
    let location = HeaderValue::from_str(&format!("/v1/memories/{}", item.id)).expect("a UUID is visible ASCII");
    let touched = Extension(Touched::from(receipt));
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], touched, Json(view)).into_response())
}

/// Refuses a batch of none or of too many.
pub fn check_batch(field: &str, given: usize, state: &AppState) -> Result<(), Problem> {
    let allowed = state.settings().limits.batch;
    if (1..=allowed).contains(&given) {
        return Ok(());
    }
    Err(Problem::bad_argument("invalid", field, format!("{given} items"), format!("1 to {allowed} items")))
}

/// Refuses memories that would go over the tenant's quota.
pub async fn check_quota(more: usize, state: &AppState, identity: &Identity) -> Result<(), Problem> {
    match state.gate().quota() {
        Some(quota) => quota.reserve(state.manager(), &identity.tenant, more).await,
        None => Ok(()),
    }
}

/// A page of memories.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MemoryPage")]
pub struct PageView<'a> {
    /// The memories.
    pub memories: Vec<MemoryView<'a>>,
    /// The `cursor` of the next page; `null` on the last.
    pub next: Option<String>,
}

/// `GET /v1/memories`: a page of memories, oldest first unless asked otherwise.
pub async fn list(State(state): State<AppState>, identity: Identity, mut params: Params) -> Result<Response, Problem> {
    let scope = params.scope(&identity.tenant, &["user", "agent", "session"])?;
    let kind = params.text("kind").map(|kind| kind.parse::<MemoryKind>()).transpose()?;
    let filter = and_kind(params.filter()?, kind);
    let limit = params.limit(100)?;
    let cursor = params.text("cursor");
    let newest_first = params.newest_first()?;
    let with_embeddings = params.flag("with_embeddings")?;
    params.finish()?;
    let list = List { name: "memories", scope: &scope.clone(), newest_first };
    let cursor = list.position(cursor.as_deref())?;
    let request = ListRequest { scope, filter, limit, cursor, newest_first, with_embeddings };
    let page = state.manager().list(&request).await?;
    let memories = page
        .memories
        .iter()
        .map(|(memory, embedding)| MemoryView::from(&**memory).with_embedding(embedding.as_ref()))
        .collect();
    Ok(Json(PageView { memories, next: list.next(page.next) }).into_response())
}

/// The filter, narrowed to one kind.
pub fn and_kind(filter: Option<Filter>, kind: Option<MemoryKind>) -> Option<Filter> {
    use memory_core::{Condition, Field};
    let kind = kind.map(|kind| Filter::Is(Field::Kind, Condition::Eq(kind.name().into())));
    match (filter, kind) {
        (Some(filter), Some(kind)) => Some(Filter::And(vec![kind, filter])),
        (filter, kind) => filter.or(kind),
    }
}

/// `GET /v1/memories/{id}`: the current version, with its version as the `ETag`.
pub async fn get(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    mut params: Params,
) -> Result<Response, Problem> {
    let id: MemoryId = id.parse()?;
    let scope = params.scope(&identity.tenant, &["user", "agent", "session"])?;
    params.finish()?;
    let memory = state.manager().get(&scope, id).await?.ok_or(Error::NotFound(id))?;
    Ok(([(header::ETAG, etag(&memory))], Json(MemoryView::from(&*memory))).into_response())
}

fn etag(memory: &Memory) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}\"", memory.version)).expect("digits are visible ASCII")
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "History")]
struct HistoryView<'a> {
    /// Every version, oldest first.
    versions: Vec<MemoryView<'a>>,
}

/// `GET /v1/memories/{id}/history`: every version, oldest first.
pub async fn history(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    mut params: Params,
) -> Result<Response, Problem> {
    let id: MemoryId = id.parse()?;
    let scope = params.scope(&identity.tenant, &["user", "agent", "session"])?;
    params.finish()?;
    let versions = state.manager().history(&scope, id).await?;
    if versions.is_empty() {
        return Err(Error::NotFound(id).into());
    }
    Ok(Json(HistoryView { versions: versions.iter().map(MemoryView::from).collect() }).into_response())
}

/// A change, as a body says it: what is absent stays as it is.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "MemoryPatch")]
struct PatchBody {
    /// Another text; its vector is computed anew.
    #[serde(deserialize_with = "json::not_null")]
    #[schemars(with = "String")]
    text: Option<String>,
    /// The vector of the new text.
    #[serde(deserialize_with = "json::not_null")]
    #[schemars(with = "EmbeddingBody")]
    embedding: Option<EmbeddingBody>,
    /// Another metadata, in place of the former.
    #[serde(deserialize_with = "json::not_null")]
    #[schemars(with = "Object")]
    metadata: Option<Object>,
    /// How much it matters, 0 to 1.
    #[serde(deserialize_with = "json::not_null")]
    #[schemars(with = "f32")]
    importance: Option<f32>,
    /// Until when it is true; `null` for no end.
    #[serde(deserialize_with = "json::nullable")]
    #[schemars(with = "Option<Time>")]
    valid_to: Option<Option<Time>>,
    /// When it goes of its own accord; `null` for never.
    #[serde(deserialize_with = "json::nullable")]
    #[schemars(with = "Option<Time>")]
    expires_at: Option<Option<Time>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Updated")]
struct UpdatedView<'a> {
    #[serde(flatten)]
    memory: MemoryView<'a>,
    /// Carry it to a read as `at_least` to see this write there.
    token: &'a WriteToken,
    /// What was left for later; absent when nothing was.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    degraded: &'a [Degradation],
}

/// `PATCH /v1/memories/{id}`: another version. With `If-Match` only when the store holds that version.
pub async fn update(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    mut params: Params,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let id: MemoryId = id.parse()?;
    let scope = params.scope(&identity.tenant, &["user", "agent", "session"])?;
    params.finish()?;
    let expected_version = expected_version(&headers)?;
    let body: PatchBody = body.parse()?;
    let space = state.manager().embedder().space();
    let patch = MemoryPatch {
        text: body.text,
        embedding: body.embedding.map(|embedding| embedding.into_space(space)).transpose()?,
        metadata: body.metadata.map(|metadata| metadata.0),
        importance: body.importance,
        valid_to: body.valid_to.map(|at| at.map(|at| at.0)),
        expires_at: body.expires_at.map(|at| at.map(|at| at.0)),
        expected_version,
    };
    if patch.embedding.is_some() && patch.text.is_none() {
        return Err(Problem::bad_argument(
            "invalid",
            "embedding",
            "a vector without a text",
            "the vector of a new text",
        ));
    }
    if patch == (MemoryPatch { expected_version, ..MemoryPatch::default() }) {
        let allowed = "at least one of text, metadata, importance, valid_to, expires_at";
        return Err(Problem::bad_argument("invalid", "body", "no change", allowed));
    }
    let receipt = state.manager().update(&scope, id, patch).await?;
    let view =
        UpdatedView { memory: MemoryView::from(&*receipt.memory), token: &receipt.token, degraded: &receipt.degraded };
    let touched = Extension(Touched::one(id.as_uuid()));
    Ok(([(header::ETAG, etag(&receipt.memory))], touched, Json(view)).into_response())
}

/// The version that `If-Match` names; `*` is any.
fn expected_version(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    if text.trim() == "*" {
        return Ok(None);
    }
    match text.trim().trim_start_matches("W/").trim_matches('"').parse() {
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(Problem::bad_argument(
            "invalid",
            "If-Match",
            format!("{text:?}"),
            "a version in quotes, such as \"3\", or *",
        )),
    }
}

/// `DELETE /v1/memories/{id}`: forgets it for good. Forgetting what is not there is no error; the receipt is empty then.
pub async fn delete(
    State(state): State<AppState>,
    identity: Identity,
    PathParam(id): PathParam,
    mut params: Params,
) -> Result<Forgotten, Problem> {
    let id: MemoryId = id.parse()?;
    let scope = params.scope(&identity.tenant, &["user", "agent", "session"])?;
    let (dry_run, reject) = (params.flag("dry_run")?, params.flag("reject")?);
    params.finish()?;
    let request = ForgetRequest { scope, selection: Selection::Ids(vec![id]), dry_run };
    forget_selected(&state, &identity, &request, reject).await
}

/// A receipt, told to the caller and to the audit log.
pub type Forgotten = (Extension<Touched>, Json<ForgottenView>);

/// What was forgotten, and where that was asked for, how many values were rejected.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Forgotten")]
pub struct ForgottenView {
    #[serde(flatten)]
    receipt: ForgetReceipt,
    /// How many values are not written again, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejected: Option<u64>,
}

/// The answer of a deletion.
pub fn forgotten(receipt: ForgetReceipt) -> Forgotten {
    (Extension(Touched::from(&receipt)), Json(ForgottenView { receipt, rejected: None }))
}

/// Forgets, and rejects what is forgotten where that is asked for.
async fn forget_selected(
    state: &AppState,
    identity: &Identity,
    request: &ForgetRequest,
    reject: bool,
) -> Result<Forgotten, Problem> {
    if !reject {
        return Ok(forgotten(state.manager().forget(request).await?));
    }
    // As the audit log names them.
    let rejected_by = identity.key.as_deref().unwrap_or(&identity.name);
    let receipt = state.manager().forget_and_reject(request, rejected_by).await?;
    let (touched, Json(view)) = forgotten(receipt.forgotten);
    Ok((touched, Json(ForgottenView { rejected: Some(receipt.rejected), ..view })))
}

/// What to forget: exactly one of `ids`, `filter` and `all`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ForgetRequest")]
struct ForgetBody {
    /// Inside of which scope; the whole tenant where it is left out.
    #[serde(default)]
    scope: Fields<ScopeBody>,
    /// These.
    ids: Option<Vec<Id>>,
    /// Those for which the filter holds.
    filter: Option<Object>,
    /// `true`: all of the scope. Needs a key with the scope `admin`.
    all: Option<bool>,
    /// Say what would go, and change nothing.
    #[serde(default)]
    dry_run: bool,
    /// Let what goes not be written again, however it is written.
    #[serde(default)]
    reject: bool,
}

/// `POST /v1/memories/forget`: forgets the selected memories of a scope for good. All of them needs the scope `admin`. With
/// `reject` what they say is not written again.
pub async fn forget(State(state): State<AppState>, identity: Identity, body: JsonBody) -> Result<Forgotten, Problem> {
    let ForgetBody { scope, ids, filter, all, dry_run, reject } = body.parse()?;
    let scope = scope.0.within(&identity.tenant)?;
    let selection = match (ids, filter, all) {
        (Some(ids), None, None) => {
            check_batch("ids", ids.len(), &state)?;
            Selection::Ids(ids.into_iter().map(|id| id.0).collect())
        }
        (None, Some(Object(filter)), None) => match Filter::from_json(&Value::Object(filter))? {
            // An empty condition holds for everything, which is too easily said by accident.
            Filter::And(all) if all.is_empty() => {
                let allowed = "at least one condition, or \"all\": true in its place";
                return Err(Problem::bad_argument("invalid", "filter", "{}", allowed));
            }
            filter => Selection::Matching(filter),
        },
        (None, None, Some(true)) => {
            identity.require(Permission::Admin)?;
            Selection::All
        }
        (None, None, _) => {
            return Err(Problem::bad_argument("invalid", "body", "no selection", "one of ids, filter, \"all\": true"));
        }
        _ => {
            return Err(Problem::bad_argument("invalid", "body", "several selections", "only one of ids, filter, all"));
        }
    };
    forget_selected(&state, &identity, &ForgetRequest { scope, selection, dry_run }, reject).await
}
