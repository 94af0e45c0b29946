//! `/v1/replica`: the whole store, of every tenant, for whoever moves it from another process.
//!
//! Of a server that follows a move it is blue, which is its own, or with `side=green` the other one, whichever is in use. So a
//! server that has the file of either is where that is moved.
//!
//! What a route does is said by [`memory_core::Replica`]. A key needs a scope of its own for them, `move`: an administrator of
//! one tenant has no business in another's.

pub mod openapi;
pub mod search;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use memory_core::{
    ChangeLag, ChangePosition, Error, Gate, Item, ItemChange, ItemKey, Replica, ReplicaSize, ScanPage, ScanPosition,
    Timestamp, Writers,
};
use migrate::record::Colour;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::json::JsonBody;
use super::params::{Params, PathParam, Taken};
use crate::error::{Problem, chain};
use crate::identity::audit::Touched;
use crate::moving::mirror::{Mirror, MirrorReport};
use crate::state::AppState;

/// How large a write may be. The items of a batch are written all or nothing, so they come in one body.
const WRITE_BYTES: usize = 64 << 20;
/// How many items are read before a page is measured.
const ITEMS_AT_ONCE: usize = 100;
/// About how many bytes of texts and vectors a page may have before it ends early.
const PAGE_BYTES: usize = 4 << 20;
/// The longest name of a stream, in bytes.
const MAX_STREAM_BYTES: usize = 128;

/// Who may write to the store, and since when.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Gate")]
struct GateBody {
    /// Raised by each switch of a move; a switch that is older than the store's is over.
    epoch: u64,
    /// Who may write.
    writers: WritersName,
}

/// Who may write to a store.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Writers")]
enum WritersName {
    /// Those who use the memory.
    Clients,
    /// Whoever moves it, and nobody else.
    Mover,
}

impl From<Gate> for GateBody {
    fn from(Gate { epoch, writers }: Gate) -> Self {
        let writers = match writers {
            Writers::Clients => WritersName::Clients,
            Writers::Mover => WritersName::Mover,
        };
        Self { epoch, writers }
    }
}

impl From<GateBody> for Gate {
    fn from(GateBody { epoch, writers }: GateBody) -> Self {
        let writers = match writers {
            WritersName::Clients => Writers::Clients,
            WritersName::Mover => Writers::Mover,
        };
        Self { epoch, writers }
    }
}

/// About how much is in the store, of every tenant.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplicaSize")]
struct SizeView {
    /// Memories that are there.
    memories: u64,
    /// All other items.
    others: u64,
    /// Bytes on disk.
    bytes: u64,
}

/// Items as they are.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ItemPage")]
struct ItemsView {
    /// The items; the member `item` of each says what it is.
    #[schemars(with = "Vec<Map<String, Value>>")]
    items: Vec<Item>,
    /// The `after` of the next page; `null` on the last.
    next: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ItemKeys")]
struct KeysBody {
    /// Which items, 1000 at most.
    #[schemars(with = "Vec<Map<String, Value>>")]
    keys: Vec<ItemKey>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ItemWrite")]
struct WriteBody {
    /// The epoch that the store is open to the mover at.
    epoch: u64,
    /// What the items are to be.
    #[schemars(with = "Vec<Map<String, Value>>")]
    items: Vec<Item>,
}

/// What was written.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ItemReceipt")]
struct WrittenView {
    /// How many items there were.
    written: usize,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Stream")]
struct StreamBody {
    /// The name of a stream of changes.
    stream: String,
}

/// How much a stream has not acknowledged.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "StreamLag")]
struct LagView {
    /// How many changes.
    changes: u64,
    /// When the oldest of them occurred; `null` where there is none.
    oldest: Option<Timestamp>,
}

/// The oldest changes that a stream has not acknowledged.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ItemChanges")]
struct ChangesView {
    /// Each with the `key` of its item and its `position`.
    #[schemars(with = "Vec<Map<String, Value>>")]
    changes: Vec<ItemChange>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Acknowledgement")]
struct AcknowledgeBody {
    /// The `position` of the last change that was moved.
    position: String,
}

/// `GET /v1/replica/size`.
pub async fn size(OfSide(state): OfSide, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    let ReplicaSize { memories, others, bytes } = replica(&state)?.size().await?;
    Ok(Json(SizeView { memories, others, bytes }).into_response())
}

/// `GET /v1/replica/mirror`: how green's answers compare with blue's. A server that follows no move compares nothing.
pub async fn mirror(State(state): State<AppState>, params: Params) -> Result<Json<MirrorReport>, Problem> {
    params.finish()?;
    Ok(Json(state.moving().map_or_else(|| Mirror::new(0).report(), |moving| moving.mirror().report())))
}

/// `GET /v1/replica/gate`.
pub async fn gate(OfSide(state): OfSide, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    Ok(Json(GateBody::from(replica(&state)?.gate().await?)).into_response())
}

/// `POST /v1/replica/gate`: who may write from now on.
pub async fn set_gate(OfSide(state): OfSide, body: JsonBody) -> Result<Response, Problem> {
    let gate: Gate = body.parse::<GateBody>()?.into();
    replica(&state)?.set_gate(gate).await.map_err(told)?;
    Ok((Extension(Touched::default()), Json(GateBody::from(gate))).into_response())
}

/// `GET /v1/replica/items`: a page of all that there is. It ends early where its items are large.
pub async fn scan(OfSide(state): OfSide, mut params: Params) -> Result<Response, Problem> {
    let (limit, after) = (params.limit(ITEMS_AT_ONCE)?, params.text("after").map(ScanPosition));
    params.finish()?;
    let replica = replica(&state)?;
    let (mut items, mut next, mut bytes) = (Vec::new(), after, 0);
    loop {
        let page = replica.scan(next.as_ref(), (limit - items.len()).min(ITEMS_AT_ONCE)).await?;
        bytes += page.items.iter().map(weight).sum::<usize>();
        let ScanPage { items: more, next: following } = page;
        items.extend(more);
        next = following;
        if next.is_none() || items.len() >= limit || bytes >= PAGE_BYTES {
            return Ok(Json(ItemsView { items, next: next.map(|next| next.0) }).into_response());
        }
    }
}

/// `POST /v1/replica/items/read`: what has become of items, in the order of their keys.
pub async fn read(OfSide(state): OfSide, body: JsonBody) -> Result<Response, Problem> {
    let KeysBody { keys } = body.parse()?;
    if keys.len() > memory_core::recall::MAX_LIMIT {
        return Err(Error::invalid("keys", format!("{} keys", keys.len()), "at most 1000 keys").into());
    }
    let items = replica(&state)?.read(&keys).await?;
    Ok(Json(ItemsView { items, next: None }).into_response())
}

/// `POST /v1/replica/items`: makes items what they are given as, all or nothing.
pub async fn write(OfSide(state): OfSide, request: Request) -> Result<Response, Problem> {
    let limit = state.settings().limits.body_bytes.max(WRITE_BYTES);
    let WriteBody { epoch, items } = JsonBody::read(request, limit).await?.parse()?;
    let written = items.len();
    replica(&state)?.write(epoch, items).await.map_err(told)?;
    Ok((Extension(Touched::default()), Json(WrittenView { written })).into_response())
}

/// `POST /v1/replica/streams`: has the changes from here on noted.
pub async fn capture(OfSide(state): OfSide, body: JsonBody) -> Result<Response, Problem> {
    let StreamBody { stream } = body.parse()?;
    if stream.is_empty() || stream.len() > MAX_STREAM_BYTES {
        let allowed = format!("a name of 1 to {MAX_STREAM_BYTES} bytes");
        return Err(Error::invalid("stream", stream, allowed).into());
    }
    replica(&state)?.capture(&stream).await?;
    Ok((Extension(Touched::default()), Json(StreamBody { stream })).into_response())
}

/// `DELETE /v1/replica/streams/{id}`: ends a stream. That there is none is no error.
pub async fn release(OfSide(state): OfSide, PathParam(stream): PathParam, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    replica(&state)?.release(&stream).await?;
    Ok((Extension(Touched::default()), Json(StreamBody { stream })).into_response())
}

/// `GET /v1/replica/streams/{id}`: how much a stream has not acknowledged.
pub async fn lag(OfSide(state): OfSide, PathParam(stream): PathParam, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    let ChangeLag { changes, oldest } = replica(&state)?.lag(&stream).await?;
    Ok(Json(LagView { changes, oldest }).into_response())
}

/// `GET /v1/replica/streams/{id}/changes`: the oldest changes that a stream has not acknowledged.
pub async fn changed(
    OfSide(state): OfSide,
    PathParam(stream): PathParam,
    mut params: Params,
) -> Result<Response, Problem> {
    let limit = params.limit(ITEMS_AT_ONCE)?;
    params.finish()?;
    let changes = replica(&state)?.changed(&stream, limit).await?;
    Ok(Json(ChangesView { changes }).into_response())
}

/// `POST /v1/replica/streams/{id}/acknowledge`: says that every change up to this one was moved.
pub async fn acknowledge(
    OfSide(state): OfSide,
    PathParam(stream): PathParam,
    body: JsonBody,
) -> Result<Response, Problem> {
    let AcknowledgeBody { position } = body.parse()?;
    replica(&state)?.acknowledge(&stream, &ChangePosition(position)).await?;
    Ok(Json(StreamBody { stream }).into_response())
}

/// The state of the store that the parameter `side` names. Handlers take it first: to what comes after it the parameter is not there.
pub struct OfSide(AppState);

impl FromRequestParts<AppState> for OfSide {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        parts.extensions.insert(Taken("side"));
        let mut colour = Colour::Blue;
        let query = parts.uri.query().unwrap_or_default();
        if query.contains("side=") {
            let (side, others): (Vec<_>, Vec<_>) = query.split('&').partition(|pair| pair.starts_with("side="));
            colour = match &*side {
                ["side=blue"] => Colour::Blue,
                ["side=green"] => Colour::Green,
                [] => Colour::Blue,
                _ => return Err(Problem::bad_argument("invalid", "side", side.join("&"), "blue or green, once")),
            };
            let path = format!("{}?{}", parts.uri.path(), others.join("&"));
            parts.uri = path.parse::<Uri>().unwrap_or_else(|_| parts.uri.clone());
        }
        let Some(moving) = state.moving() else {
            if colour == Colour::Blue {
                return Ok(Self(state.clone()));
            }
            let allowed = "nothing: this server follows no move; its settings name one under move";
            return Err(Problem::bad_argument("invalid", "side", "green", allowed));
        };
        if let Err(error) = moving.clone().opened(colour).await {
            tracing::warn!(causes = chain(error.as_ref()), "a store of the move is not open");
            let detail = format!("{colour} cannot be opened now; the server's log says why");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail));
        }
        let state = state.of_store(colour);
        state.map(Self).ok_or_else(|| Error::Fenced { epoch: 0 }.into())
    }
}

fn replica(state: &AppState) -> Result<&dyn Replica, Problem> {
    let detail = "the store of this server cannot be moved through it; move it at its own address";
    state.manager().replica().ok_or_else(|| Problem::new(StatusCode::NOT_IMPLEMENTED, "no_replica", detail))
}

/// The mover is told the epoch that the store is at, in a member of its own.
fn told(error: Error) -> Problem {
    match error {
        Error::Fenced { epoch } => Problem::from(error).with_allowed("epoch", epoch.to_string()),
        other => other.into(),
    }
}

/// About how large an item is.
fn weight(item: &Item) -> usize {
    let Item::Memory(whole) = item else { return 256 };
    let former = whole.former.iter().map(|former| &former.version);
    let versions = former.chain([&whole.current]);
    versions
        .map(|version| {
            // Eight digits a value.
            let vector = version.embedding.as_ref().map_or(0, |embedding| embedding.values().len() * 8);
            version.memory.text.len() + vector + 512
        })
        .sum()
}
