//! What the document says about what the operator asks.

use axum::http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::json;

use super::{IdentityView, OF_THE_PROCESS, StatsView, StatusView};
use crate::http::openapi::{Operation, scope};
use crate::metrics;
use crate::state::Readiness;

/// The routes.
pub fn operations() -> Vec<Operation> {
    vec![
        stats(),
        Operation::new("identity", "Ask who I am", "Whom the key speaks for, and what it may do.")
            .answers::<IdentityView>(
                StatusCode::OK,
                "The identity.",
                [("a key", json!({"tenant": "acme", "name": "planner", "key": "om_3fQ9", "scopes": ["read", "write"]}))],
            ),
        Operation::new("healthz", "Ask whether the process lives", "").answers::<StatusView>(
            StatusCode::OK,
            "It lives.",
            [("alive", json!({"status": "ok"}))],
        ),
        Operation::new(
            "readyz",
            "Ask whether the store answers",
            "Requests can be sent when it does. Says how each tier is; without its cache the server answers too.",
        )
        .answers::<Readiness>(
            StatusCode::OK,
            "It is ready.",
            [(
                "ready",
                json!({
                    "status": "ready",
                    "short_term": {"provider": "embedded", "status": "ready"},
                    "medium_term": {"provider": "embedded", "status": "ready"},
                }),
            )],
        )
        .refuses(&["not_ready"]),
        Operation::new(
            "metrics",
            "Read the metrics",
            "What the process measured since it began, for Prometheus. On an address that other machines reach it needs \
             a key.",
        )
        .answers_text(metrics::CONTENT_TYPE, "The metrics.")
        .refuses(&["no_metrics"]),
    ]
}

fn stats() -> Operation {
    Operation::new(
        "stats",
        "Read what the tiers hold",
        "What concerns the whole process is `null` for a key without the scope `admin`.",
    )
    .takes(scope())
    .answers::<StatsView>(
        StatusCode::OK,
        "The figures.",
        [(
            "a small memory",
            json!({
                "tenant": "default",
                "store": {
                    "memories": 419, "without_embedding": 0, "former_versions": 3, "tombstones": 1,
                    "disk_bytes": 1_417_216, "index_bytes": 729_088,
                },
                "cache": {"entries": 12, "exact_hits": 40, "semantic_hits": 9, "misses": 21, "refused": 2},
                "degraded": [],
                "embedder": "static-256@1/256",
                "cache_embedder": "static-256@1/256",
                "cache_threshold": 0.9,
                "brake": {"tighten_cache": false, "slow_consolidation": false, "refuse_embedding": false},
                "short_term_provider": "embedded",
                "medium_term_provider": "embedded",
                "long_term_enabled": true,
                "version": env!("CARGO_PKG_VERSION"),
                "uptime_seconds": 3600.5,
            }),
        )],
    )
}

/// The schema of a part of the stats, in which some members are `null` for a key without the scope `admin`.
fn partly_hidden<T: JsonSchema>(part: &str, generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    for pointer in OF_THE_PROCESS {
        let Some(name) = pointer.strip_prefix(part) else { continue };
        if let Some(kind) = schema.pointer_mut(&format!("/properties/{name}/type")) {
            *kind = json!([kind.take(), "null"]);
        }
    }
    schema
}

/// The schema of what the store holds.
pub fn store(generator: &mut SchemaGenerator) -> Schema {
    partly_hidden::<memory_core::StoreStats>("/store/", generator)
}

/// The schema of what the cache holds, where it is there.
pub fn cache(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = partly_hidden::<memory_core::CacheStats>("/cache/", generator);
    schema.insert("type".into(), json!(["object", "null"]));
    schema
}
