//! The section `redis`: how the cache on Redis is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use memory_core::{EmbeddingSpace, Result};
use provider_redis::{IndexSchema, RedisConfig};
use secrecy::{ExposeSecret as _, SecretString};

use super::google_iam::GoogleIam;
use super::values::Values;
use crate::error::chain;

/// Checks what only several settings together show.
pub(super) fn check(values: &Values) -> Result<()> {
    match (values.is_given("redis.url"), values.is_given("redis.host")) {
        (true, true) => return Err(values.invalid("redis.host", "nothing, as there is a redis.url")),
        (false, false) => {
            return Err(values.invalid("redis.url", "redis://host:port, or redis.host in its place"));
        }
        _ => {}
    }
    if !values.of::<Vec<String>>("redis.nodes").is_empty() && !values.of::<bool>("redis.cluster") {
        return Err(values.invalid("redis.nodes", "nothing, unless redis.cluster is true"));
    }
    if values.of("redis.google_iam") {
        if values.is_given("redis.host") && !values.of::<bool>("redis.tls") {
            return Err(values.invalid("redis.tls", "true, as redis.google_iam shows a token"));
        }
        if values.is_given("redis.password") {
            return Err(values.invalid("redis.password", "nothing, as redis.google_iam is true"));
        }
    }
    schema(values)?;
    values.check_secrets("redis.")
}

fn schema(values: &Values) -> Result<Option<IndexSchema>> {
    let Some(file) = values.get::<PathBuf>("redis.index_schema") else { return Ok(None) };
    let schema = IndexSchema::from_file(file);
    schema
        .map(Some)
        .map_err(|error| values.invalid("redis.index_schema", format!("an index schema: {}", chain(&error))))
}

/// The provider's own configuration, for vectors of `space`.
pub(super) async fn config(
    values: &Values,
    space: Arc<EmbeddingSpace>,
    threshold: f32,
    ttl: Duration,
) -> Result<RedisConfig> {
    let mut config = RedisConfig::new(url(values).await?.expose_secret(), space);
    config.cluster = values.of("redis.cluster");
    config.nodes = values.of("redis.nodes");
    config.index_schema = schema(values)?;
    config.expected_entries = values.of("redis.expected_entries");
    config.threshold = threshold;
    config.ttl = ttl;
    config.username = values.get("redis.username");
    config.password = values.secret("redis.password").await?;
    if values.of("redis.google_iam") {
        config.credentials = Some(Arc::new(GoogleIam::of_environment()));
    }
    config.ca_file = values.get("redis.ca_file");
    config.deadline = values.milliseconds("redis.deadline_ms");
    config.write_deadline = values.milliseconds("redis.write_deadline_ms");
    config.repeat_bytes = values.of("redis.repeat_bytes");
    config.shards = values.of("redis.shards");
    config.breaker_failures = values.of("redis.breaker_failures");
    config.breaker_pause = values.milliseconds("redis.breaker_pause_ms");
    Ok(config)
}

/// Where it is.
pub(super) async fn url(values: &Values) -> Result<SecretString> {
    Ok(values.secret("redis.url").await?.unwrap_or_else(|| of_host(values)))
}

fn of_host(values: &Values) -> SecretString {
    let scheme = if values.of("redis.tls") { "rediss" } else { "redis" };
    let (host, port): (String, u16) = (values.of("redis.host"), values.of("redis.port"));
    // An address of IPv6 has colons of its own.
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    format!("{scheme}://{host}:{port}").into()
}
