//! The section `alloydb`: how the memories on AlloyDB or another Postgres are opened.

use std::path::PathBuf;
use std::sync::Arc;

use memory_core::{Error, Result};
use provider_alloydb::{AlloyDbConfig, IndexKind, IndexPolicy, Storage, Tls};
use secrecy::{ExposeSecret as _, SecretString};

use super::google_iam::GoogleIam;
use super::values::Values;

/// Checks what only several settings together show.
pub(super) fn check(values: &Values) -> Result<()> {
    match (values.is_given("alloydb.url"), values.is_given("alloydb.host")) {
        (true, true) => return Err(values.invalid("alloydb.host", "nothing, as there is an alloydb.url")),
        (false, false) => {
            let allowed = "postgres://user:password@host:port/database, or alloydb.host in its place";
            return Err(values.invalid("alloydb.url", allowed));
        }
        _ => {}
    }
    let read_hosts: Vec<String> = values.of("alloydb.read_hosts");
    if values.of("alloydb.high_availability") && read_hosts.is_empty() {
        return Err(values.invalid("alloydb.read_hosts", "the read pool's endpoints, as host:port"));
    }
    let is_endpoint = |host: &str| {
        let parts = host.rsplit_once(':');
        parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
    };
    if !read_hosts.iter().all(|host| is_endpoint(host)) {
        return Err(values.invalid("alloydb.read_hosts", "endpoints, each as host:port"));
    }
    let most: u32 = values.of("alloydb.max_connections");
    if values.of::<u32>("alloydb.min_connections") > most {
        return Err(values.invalid("alloydb.min_connections", format!("0 to {most}, which is max_connections")));
    }
    let m: u16 = values.of("alloydb.index.m");
    if values.of::<u16>("alloydb.index.ef_construction") < 2 * m {
        return Err(values.invalid("alloydb.index.ef_construction", format!("{} (twice m) to 1000", 2 * m)));
    }
    if values.is_given("alloydb.ca_file") && !matches!(tls(values), Some(Tls::VerifyCa(_) | Tls::VerifyFull(_))) {
        return Err(values.invalid("alloydb.ca_file", "nothing, unless alloydb.tls is verify-ca or verify-full"));
    }
    if values.of("alloydb.google_iam") {
        if values.is_given("alloydb.host")
            && !matches!(tls(values), Some(Tls::Require | Tls::VerifyCa(_) | Tls::VerifyFull(_)))
        {
            return Err(
                values.invalid("alloydb.tls", "require, verify-ca or verify-full, as alloydb.google_iam shows a token")
            );
        }
        if values.is_given("alloydb.password") {
            return Err(values.invalid("alloydb.password", "nothing, as alloydb.google_iam is true"));
        }
    }
    values.check_secrets("alloydb.")
}

/// The provider's own configuration, for vectors of so many dimensions.
pub(super) async fn config(values: &Values, dimensions: usize) -> Result<AlloyDbConfig> {
    let url: Option<SecretString> = values.secret("alloydb.url").await?;
    let mut config = match url {
        Some(url) => AlloyDbConfig::from_url(url.expose_secret()).map_err(|error| match error {
            Error::Invalid { given, allowed, .. } => Error::invalid(values.place("alloydb.url"), given, allowed),
            other => other,
        })?,
        None => AlloyDbConfig::new(values.of::<String>("alloydb.host")),
    };
    config.port = values.get("alloydb.port").unwrap_or(config.port);
    config.user = values.get("alloydb.user").unwrap_or(config.user);
    config.password = values.secret("alloydb.password").await?;
    if values.of("alloydb.google_iam") {
        config.password_provider = Some(Arc::new(GoogleIam::of_environment()));
    }
    config.database = values.get("alloydb.database").unwrap_or(config.database);
    config.role = values.get("alloydb.role");
    config.tls = tls(values);
    config.high_availability = values.of("alloydb.high_availability");
    config.read_hosts = values.of("alloydb.read_hosts");
    config.vector_dim = values.get("alloydb.vector_dim").unwrap_or(dimensions);
    if config.vector_dim != dimensions {
        return Err(values.invalid("alloydb.vector_dim", format!("{dimensions}, which the embedder's vectors have")));
    }
    config.storage = match &*values.of::<String>("alloydb.storage") {
        "halfvec" => Storage::Halfvec,
        _ => Storage::Vector,
    };
    config.index = index(values)?;
    config.exact_up_to = values.of("alloydb.exact_up_to");
    config.recall_cache_bytes = values.of::<usize>("alloydb.recall_cache_mib") << 20;
    config.recall_target = values.of("alloydb.recall_target");
    config.max_connections = values.of("alloydb.max_connections");
    config.min_connections = values.of("alloydb.min_connections");
    config.acquire_timeout = values.milliseconds("alloydb.acquire_timeout_ms");
    config.max_lifetime = values.seconds("alloydb.max_lifetime_seconds");
    config.statement_timeout = values.milliseconds("alloydb.statement_timeout_ms");
    config.sweep_every = Some(values.seconds("alloydb.sweep_every_seconds")).filter(|every| !every.is_zero());
    config.pooler = values.of("alloydb.pooler");
    Ok(config)
}

fn tls(values: &Values) -> Option<Tls> {
    let authority: Option<PathBuf> = values.get("alloydb.ca_file");
    Some(match &*values.get::<String>("alloydb.tls")? {
        "disable" => Tls::Disable,
        "require" => Tls::Require,
        "verify-ca" => Tls::VerifyCa(authority),
        "verify-full" => Tls::VerifyFull(authority),
        _ => Tls::Prefer,
    })
}

fn index(values: &Values) -> Result<IndexPolicy> {
    let mut index = IndexPolicy::default();
    index.kind = values.of::<String>("alloydb.index.kind").parse()?;
    index.lists = values.of("alloydb.index.lists");
    index.m = values.of("alloydb.index.m");
    index.ef_construction = values.of("alloydb.index.ef_construction");
    index.min_rows = values.of("alloydb.index.min_rows");
    let fallback: Option<String> = values.get("alloydb.index.scann_fallback");
    index.scann_fallback = fallback.map(|kind| kind.parse::<IndexKind>()).transpose()?;
    index.build_memory_mib = values.of("alloydb.index.build_memory_mib");
    index.build_workers = values.of("alloydb.index.build_workers");
    index.measure_every = values.of("alloydb.index.measure_every");
    Ok(index)
}
