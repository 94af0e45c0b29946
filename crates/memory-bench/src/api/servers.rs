//! What is measured: a Redis and a Postgres, the server on both of them, and the bare handler.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memory_testkit::services::{self, Server, Service};
use provider_alloydb::MIGRATOR;
use redis::aio::MultiplexedConnection;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use tempfile::TempDir;

use super::calls::Call;
use crate::cpu;

/// Where the server's program is; `cargo xtask bench api` builds it and says so.
const PROGRAM: &str = "ORCHESTRA_BIN";
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Servers {
    /// Where the server answers, as host:port.
    pub api: String,
    /// Where the bare handler answers.
    pub bare: String,
    pub redis: MultiplexedConnection,
    pub postgres: PgPool,
    orchestra: Ended,
    bare_server: Ended,
    _folder: TempDir,
    _services: [Server; 2],
}

/// A process that ends with this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Servers {
    pub async fn start() -> Result<Self> {
        let start = |service| services::private(service).with_context(|| format!("there is no {service}"));
        let services = [start(Service::Redis)?, start(Service::Postgres)?];
        let [redis_url, postgres_url] = [services[0].url(), services[1].url()];
        let mut owner = PgConnection::connect(&postgres_url).await?;
        MIGRATOR.run_direct(None, &mut owner, false).await?;
        owner.close().await?;
        let folder = tempfile::tempdir()?;
        let settings = serde_json::json!({
            "short_term_provider": "redis",
            "medium_term_provider": "alloydb",
            // On a machine that is busy with the load itself, calls are to be slow here: not misses for want of time, nor
            // refused.
            "redis": {"url": redis_url, "deadline_ms": 5000},
            "alloydb": {"url": postgres_url, "role": "orchestra_app", "acquire_timeout_ms": 60_000},
        });
        let file = folder.path().join("orchestra.yaml");
        // JSON is YAML too.
        std::fs::write(&file, settings.to_string())?;
        let program = std::env::var_os(PROGRAM)
            .map(PathBuf::from)
            .with_context(|| format!("{PROGRAM} is not set; cargo xtask bench api sets it"))?;
        let mut orchestra = Command::new(program);
        orchestra.args(["--log", "warn", "serve", "--listen", "127.0.0.1:0", "--config"]).arg(&file);
        orchestra.arg("--data").arg(folder.path());
        let orchestra = Ended(orchestra.spawn().context("the server cannot be started")?);
        let mut bare = Command::new(std::env::current_exe()?);
        bare.args(["bare-server", "--redis", &redis_url]).stdout(Stdio::piped());
        let mut bare_server = Ended(bare.spawn()?);
        let output = bare_server.0.stdout.take().context("no output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address)?;
        let api = address_of(&folder.path().join("server.json")).await?;
        let redis = redis::Client::open(redis_url.as_str())?.get_multiplexed_async_connection().await?;
        let postgres = PgPoolOptions::new()
            .max_connections(32)
            .test_before_acquire(false)
            .acquire_timeout(PATIENCE)
            .connect_lazy(&postgres_url)?;
        Ok(Self {
            api,
            bare: address.trim().to_owned(),
            redis,
            postgres,
            orchestra,
            bare_server,
            _folder: folder,
            _services: services,
        })
    }

    /// Seconds of processor time of the process that answers a call.
    pub fn cpu_of(&self, call: Call) -> f64 {
        match call {
            Call::BareHit => cpu::of(self.bare_server.0.id()),
            call if call.has_server() => cpu::of(self.orchestra.0.id()),
            _ => 0.0,
        }
    }

    /// Bytes that the server has in memory.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.orchestra.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.split_whitespace().next().context("no number")?.parse()?;
        Ok(kilobytes * 1024)
    }

    pub async fn stop(self) {
        self.postgres.close().await;
    }
}

/// The address in the file that the server writes once it answers.
async fn address_of(file: &std::path::Path) -> Result<String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Ok(text) = std::fs::read_to_string(file) {
            let told: serde_json::Value = serde_json::from_str(&text)?;
            let url = told["url"].as_str().context("server.json has no url")?;
            return Ok(url.trim_start_matches("http://").to_owned());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the server did not answer within {PATIENCE:?}; what it said is above")
}
