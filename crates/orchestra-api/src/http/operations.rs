//! What the operator asks: stats, liveness, readiness.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use memory_core::{CacheStats, StoreStats};
use serde::Serialize;
use serde_json::Value;

use super::params::Params;
use crate::error::{Problem, chain};
use crate::identity::{Access, Identity, Permission};
use crate::metrics;
use crate::state::{AppState, Readiness};

#[derive(Serialize)]
pub struct StatsView {
    tenant: String,
    store: StoreStats,
    cache: CacheStats,
    embedder: String,
    cache_embedder: String,
    cache_threshold: f32,
    short_term_provider: &'static str,
    medium_term_provider: &'static str,
    long_term_enabled: bool,
    version: &'static str,
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
    let settings = state.settings();
    let view = StatsView {
        tenant: scope.tenant_name().to_owned(),
        store,
        cache,
        embedder: manager.embedder().space().to_string(),
        cache_embedder: manager.cache_embedder().space().to_string(),
        cache_threshold: manager.cache_policy().threshold,
        short_term_provider: settings.short_term_provider.name(),
        medium_term_provider: settings.medium_term_provider.name(),
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

#[derive(Serialize)]
pub struct IdentityView {
    tenant: String,
    name: String,
    key: Option<String>,
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

#[derive(Serialize)]
pub struct StatusView {
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
