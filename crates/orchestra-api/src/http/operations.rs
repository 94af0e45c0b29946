//! What the operator asks: stats, liveness, readiness.

pub mod openapi;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use memory_core::brake::Brake;
use memory_core::{CacheStats, Degradation, StoreStats};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::params::Params;
use crate::error::{Problem, chain};
use crate::identity::{Access, Identity, Permission};
use crate::metrics;
use crate::state::{AppState, MoveReadiness, Readiness};

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Stats")]
pub struct StatsView {
    /// The caller's tenant.
    tenant: String,
    /// What the store holds of the scope.
    #[schemars(schema_with = "openapi::store")]
    store: StoreStats,
    /// What the cache holds, and how it did since the process began; `null` while it is away.
    #[schemars(schema_with = "openapi::cache")]
    cache: Option<CacheStats>,
    /// What is missing from this answer and why; empty when nothing is.
    degraded: Vec<Degradation>,
    /// The model of the memories.
    embedder: String,
    /// The model of the cache.
    cache_embedder: String,
    /// The least similarity of a hit by meaning.
    cache_threshold: f32,
    /// What the budget's brake has in force; the threshold above is as it says.
    brake: Brake,
    /// Who keeps the cache.
    short_term_provider: &'static str,
    /// Who keeps the memories.
    medium_term_provider: &'static str,
    /// The move that is followed; absent where none is.
    #[serde(rename = "move", skip_serializing_if = "Option::is_none")]
    moves: Option<MoveReadiness>,
    /// Whether memories are consolidated.
    long_term_enabled: bool,
    /// The server's version.
    version: &'static str,
    /// How long the process has run; `null` without the scope `admin`.
    #[schemars(with = "Option<f64>")]
    uptime_seconds: f64,
}

/// What of the stats is the whole process's, or of every tenant together: `null` for a key without the scope `admin`.
const OF_THE_PROCESS: [&str; 7] = [
    "/store/disk_bytes",
    "/store/index_bytes",
    "/cache/exact_hits",
    "/cache/semantic_hits",
    "/cache/misses",
    "/cache/refused",
    "/uptime_seconds",
];

/// `GET /v1/stats`: what the tiers hold of a scope, and what they are made of.
pub async fn stats(State(state): State<AppState>, identity: Identity, mut params: Params) -> Result<Response, Problem> {
    let scope = params.scope(&identity.tenant, &["user", "agent", "session"])?;
    params.finish()?;
    let manager = state.manager();
    let (store, cache) = manager.stats(&scope).await?;
    let settings = state.tiers_settings();
    let view = StatsView {
        tenant: scope.tenant_name().to_owned(),
        store,
        degraded: if cache.is_none() { vec![Degradation::CacheUnavailable] } else { Vec::new() },
        cache,
        embedder: manager.embedder().space().to_string(),
        cache_embedder: manager.cache_embedder().space().to_string(),
        cache_threshold: state.brake().now().cache_threshold(manager.cache_policy().threshold),
        brake: state.brake().now(),
        short_term_provider: settings.short_term_provider.name(),
        medium_term_provider: settings.medium_term_provider.name(),
        moves: state.moving().map(|moving| moving.readiness()),
        long_term_enabled: settings.long_term_enabled,
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: state.uptime().as_secs_f64(),
    };
    if identity.access.has(Permission::Admin) {
        return Ok(Json(view).into_response());
    }
    let mut view = serde_json::to_value(view).unwrap_or_default();
    for pointer in OF_THE_PROCESS {
        if let Some(value) = view.pointer_mut(pointer) {
            *value = Value::Null;
        }
    }
    Ok(Json(view).into_response())
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Identity")]
pub struct IdentityView {
    /// The tenant that the caller speaks for.
    tenant: String,
    /// What the operator called the key; `owner` where none is needed.
    name: String,
    /// The key's prefix; `null` where none is needed.
    key: Option<String>,
    /// What the caller may do.
    #[schemars(with = "Vec<Permission>")]
    scopes: Access,
}

/// `GET /v1/identity`: whom the caller's key speaks for, and what it may do.
pub async fn identity(identity: Identity, params: Params) -> Result<Json<IdentityView>, Problem> {
    params.finish()?;
    let Identity { tenant, name, key, access } = identity;
    Ok(Json(IdentityView { tenant: tenant.tenant_name().to_owned(), name, key, scopes: access }))
}

/// `GET /metrics`: what the process measured since it began, for Prometheus.
pub async fn metrics(State(state): State<AppState>, params: Params) -> Result<Response, Problem> {
    params.finish()?;
    match metrics::render(&state) {
        Some(text) => Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()),
        None => Err(Problem::new(
            StatusCode::NOT_FOUND,
            "no_metrics",
            "the program around this server collects metrics itself",
        )),
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Alive")]
pub struct StatusView {
    /// Always `ok`.
    #[schemars(extend("const" = "ok"))]
    status: &'static str,
}

/// `GET /healthz`: the process lives.
pub async fn healthz() -> Json<StatusView> {
    Json(StatusView { status: "ok" })
}

/// `GET /readyz`: the store answers, so requests can be sent. Tells how each tier is.
pub async fn readyz(State(state): State<AppState>) -> Result<Json<Readiness>, Problem> {
    match state.readiness().await {
        Ok(readiness) => Ok(Json(readiness)),
        Err(error) => {
            tracing::warn!(causes = chain(&error), "store not ready");
            Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not_ready",
                "the store does not answer; the server's log says why",
            ))
        }
    }
}
