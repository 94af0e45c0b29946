//! What whoever moves the store asks of it besides: what it finds, what it shows to whom, and vectors as its embedder makes them.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use memory_core::{Embedding, EmbeddingSpace, Error, MemoryId, Purpose, Scope};
use migrate::probe::{Direct, Search as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OfSide;
use crate::error::Problem;
use crate::http::json::JsonBody;

/// The most texts in one call.
const MAX_TEXTS: usize = 1000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplicaSearch")]
pub(super) struct SearchBody {
    /// Whose memories: a tenant, and what narrows it.
    #[schemars(with = "Map<String, Value>")]
    scope: Scope,
    /// What is asked for.
    text: String,
    /// Its vector; by the words alone without.
    vector: Option<VectorBody>,
    /// Compares with every vector of the scope in place of a search.
    #[serde(default)]
    exact: bool,
}

/// A vector with the space that it is in.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Vector")]
pub(super) struct VectorBody {
    /// The model, its revision and dimensions.
    #[schemars(with = "Map<String, Value>")]
    space: Arc<EmbeddingSpace>,
    /// As many values as it has dimensions.
    values: Vec<f32>,
}

/// What was found.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplicaHits")]
pub(super) struct HitsView {
    /// What was found; `null` where there is too much to compare with.
    hits: Option<Vec<HitView>>,
    /// How long the store took, in microseconds.
    took_us: u64,
}

/// A memory that was found.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplicaHit")]
pub(super) struct HitView {
    /// Which one.
    #[schemars(with = "String")]
    id: MemoryId,
    /// Whose it is.
    #[schemars(with = "Map<String, Value>")]
    scope: Scope,
    /// How near its vector is; `null` where it was found by its words alone.
    similarity: Option<f32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplicaLook")]
pub(super) struct LookBody {
    /// Who asks.
    #[schemars(with = "Map<String, Value>")]
    scope: Scope,
    /// For which memory.
    #[schemars(with = "String")]
    id: MemoryId,
}

/// What is shown of a memory.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplicaSight")]
pub(super) struct SightView {
    /// Whether it is shown.
    is_shown: bool,
    /// What the turn before it says; `null` where there is none.
    turn_before: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ReplicaTexts")]
pub(super) struct TextsBody {
    /// 1000 at most; none to be told the space alone.
    texts: Vec<String>,
}

/// Vectors of texts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplicaVectors")]
pub(super) struct VectorsView {
    /// The space that they are in.
    #[schemars(with = "Map<String, Value>")]
    space: Arc<EmbeddingSpace>,
    /// In the order of the texts.
    vectors: Vec<Vec<f32>>,
}

/// `POST /v1/replica/search`: what the store finds, within any scope.
pub async fn search(OfSide(state): OfSide, body: JsonBody) -> Result<Response, Problem> {
    let SearchBody { scope, text, vector, exact } = body.parse()?;
    let vector = vector.map(|VectorBody { space, values }| Embedding::new(space, values)).transpose()?;
    let store = Direct(state.manager().store().clone());
    let began = Instant::now();
    let hits = match (&vector, exact) {
        (Some(vector), true) => {
            let nearest = store.nearest(&scope, vector).await?;
            let hit = |id| HitView { id, scope: scope.clone(), similarity: None };
            nearest.map(|nearest| nearest.into_iter().map(hit).collect())
        }
        (None, true) => return Err(Error::invalid("vector", "none", "a vector, to compare with exactly").into()),
        (_, false) => {
            let found = store.search(&scope, vector.as_ref(), &text).await?;
            let hit = |hit: migrate::probe::Hit| HitView { id: hit.id, scope: hit.scope, similarity: hit.similarity };
            Some(found.hits.into_iter().map(hit).collect())
        }
    };
    let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Json(HitsView { hits, took_us }).into_response())
}

/// `POST /v1/replica/look`: what is shown of a memory to whoever asks within a scope.
pub async fn look(OfSide(state): OfSide, body: JsonBody) -> Result<Response, Problem> {
    let LookBody { scope, id } = body.parse()?;
    let store = Direct(state.manager().store().clone());
    let (is_shown, turn_before) = (store.shows(&scope, id).await?, store.turn_before(&scope, id).await?);
    Ok(Json(SightView { is_shown, turn_before }).into_response())
}

/// `POST /v1/replica/embed`: vectors of texts as memories.
pub async fn embed(OfSide(state): OfSide, body: JsonBody) -> Result<Response, Problem> {
    let TextsBody { texts } = body.parse()?;
    if texts.len() > MAX_TEXTS {
        return Err(Error::invalid("texts", format!("{} texts", texts.len()), "at most 1000 texts").into());
    }
    let embedder = state.manager().embedder();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let made = if texts.is_empty() { Vec::new() } else { embedder.embed(&texts, Purpose::Document).await? };
    let vectors = made.iter().map(|vector| vector.values().to_vec()).collect();
    Ok(Json(VectorsView { space: embedder.space().clone(), vectors }).into_response())
}
