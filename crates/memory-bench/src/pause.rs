//! How long clients of a server wait while the memory is switched from one Postgres to another one and back.
//!
//! The load is open: requests are due at fixed times whether or not the former ones were answered, and what a request took is
//! counted from when it was due.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use memory_core::Embedder as _;
use memory_testkit::services::{self, Server, Service};
use migrate::engine::{Engine, Order, Parts, Side};
use migrate::plan::Plan;
use migrate::probe::{AnswerCache, Direct, Search};
use migrate::record::file::FileRecords;
use migrate::record::{Colour, Phase};
use provider_alloydb::{AlloyDbConfig, AlloyDbMemoryProvider, AlloyDbReplica, MIGRATOR};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::api::http::{Connection, post};
use crate::report::{Report, Table, Times};

/// Where the server's program is; `cargo xtask bench pause` builds it and says so.
const PROGRAM: &str = "ORCHESTRA_BIN";
const PATIENCE: Duration = Duration::from_secs(60);
/// The users whose memories are written and searched.
const USERS: u64 = 200;
/// How long after a switch has ended a request still counts as one that met it.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// The longest that 99 % of the requests that meet a switch may take.
const GOAL: Duration = Duration::from_secs(1);

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Requests a second: half of them write, half of them search
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Seconds before the first switch, between two, and after the last one
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many memories there are at first
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    memories: u32,
}

/// When something was switched.
struct Switch {
    name: &'static str,
    began: Instant,
    ended: Instant,
    /// What the mover says of it.
    said: String,
}

/// How a request went.
struct Answered {
    due: Instant,
    took: Duration,
    writes: bool,
    /// What went wrong.
    error: Option<String>,
}

/// Measures.
pub async fn run(args: &Args) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let stores = [Store::start(folder.path(), "blue").await?, Store::start(folder.path(), "green").await?];
    let server = Process::start(folder.path())?;
    let address = server.address(folder.path()).await?;
    fill(&address, args.memories).await?;

    let parts = Parts {
        blue: stores[0].side().await?,
        green: stores[1].side().await?,
        records: Arc::new(FileRecords::new(folder.path().join("move.json"))),
        clock: Arc::new(chrono::Utc::now),
        timer: Arc::new(tokio::time::sleep),
    };
    let mut engine = Engine::plan(parts, Plan::default()).await?;
    engine.order(Order::Start).await?;
    until_following(&mut engine).await?;

    let load = Load { address: address.clone(), ..Load::default() };
    let load = Arc::new(load);
    let rate = args.rate;
    let (sending, began) = (load.clone(), Instant::now());
    let sender = tokio::spawn(async move { sending.send(rate).await });
    let quiet = Duration::from_secs(args.seconds);
    let mut switches = Vec::new();
    for (name, order) in [
        ("switch to green", Order::SwitchWrites),
        ("rollback to blue", Order::Rollback),
        ("switch to green again", Order::SwitchWrites),
    ] {
        follow(&mut engine, quiet).await?;
        let began = Instant::now();
        engine.order(order).await?;
        until_following(&mut engine).await?;
        let said = engine.record().history.iter().rev().find(|event| event.what.starts_with("switched"));
        let said =
            said.map(|event| event.what.clone()).context("the switch was undone; try it on a quieter machine")?;
        switches.push(Switch { name, began, ended: Instant::now(), said });
    }
    follow(&mut engine, quiet).await?;
    load.is_over.store(true, Ordering::Relaxed);
    sender.await?;
    let answered = std::mem::take(&mut *load.answered.lock().unwrap_or_else(PoisonError::into_inner));
    ensure!(engine.record().active == Colour::Green, "green is not in use at the end");
    let kept = count(&address).await?;
    let written = answered.iter().filter(|request| request.writes && request.error.is_none()).count() as u64;
    let lost = (u64::from(args.memories) + written).saturating_sub(kept);
    drop(server);
    Ok(report_of(args, began, &switches, &answered, lost))
}

/// A Postgres of its own, and the configuration of a server on it.
struct Store {
    server: Server,
}

impl Store {
    async fn start(folder: &Path, name: &str) -> Result<Self> {
        let server = services::private(Service::Postgres).context("there is no Postgres to measure")?;
        let mut owner = PgConnection::connect(&server.url()).await?;
        MIGRATOR.run_direct(None, &mut owner, false).await?;
        owner.close().await?;
        let mut settings = json!({
            "data": folder.join(name),
            "cache_embedder": "static-256",
            "short_term_provider": "none",
            "medium_term_provider": "alloydb",
            // On a busy machine a call is to be slow, not refused: what is to be seen here is the switch.
            "alloydb": {"url": server.url(), "role": "orchestra_app", "acquire_timeout_ms": 60_000},
        });
        if name == "blue" {
            settings["move"] = json!({"record": folder.join("move.json"), "green": folder.join("green.yaml")});
        }
        // JSON is YAML too.
        std::fs::write(folder.join(format!("{name}.yaml")), settings.to_string())?;
        Ok(Self { server })
    }

    async fn side(&self) -> Result<Side> {
        let mut config = AlloyDbConfig::from_url(&self.server.url())?;
        config.role = Some("orchestra_app".into());
        config.vector_dim = embedders::StaticEmbedder::built_in().space().dimensions;
        let store = AlloyDbMemoryProvider::connect(config.clone()).await?;
        let replica = AlloyDbReplica::connect(config).await?;
        let search: Arc<dyn Search> = Arc::new(Direct(Arc::new(store)));
        Ok(Side {
            replica: Arc::new(replica),
            search: Some(search),
            embedder: None,
            answers: AnswerCache::None,
            is_read_only: false,
        })
    }
}

/// The server, in a process that ends with this.
struct Process(Child);

impl Process {
    fn start(folder: &Path) -> Result<Self> {
        let program = std::env::var_os(PROGRAM)
            .map(PathBuf::from)
            .with_context(|| format!("{PROGRAM} is not set; cargo xtask bench pause sets it"))?;
        let mut server = Command::new(program);
        server.args(["--log", "warn", "serve", "--listen", "127.0.0.1:0", "--config"]).arg(folder.join("blue.yaml"));
        Ok(Self(server.spawn().context("the server cannot be started")?))
    }

    async fn address(&self, folder: &Path) -> Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok(text) = std::fs::read_to_string(folder.join("blue/server.json")) {
                let told: Value = serde_json::from_str(&text)?;
                return Ok(told["url"].as_str().context("no url")?.trim_start_matches("http://").to_owned());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the server did not answer within {PATIENCE:?}; what it said is above")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the memory holds at first.
async fn fill(address: &str, memories: u32) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let all: Vec<Value> = (0..u64::from(memories)).map(memory).collect();
    for batch in all.chunks(500) {
        connection.call(&post("/v1/memories", &json!({"memories": batch}))).await?;
    }
    Ok(())
}

fn memory(at: u64) -> Value {
    json!({"text": format!("On day {at} there were {} boats in the harbour", at * 7 % 1009), "scope": user(at)})
}

fn user(at: u64) -> Value {
    json!({"user": format!("user-{}", at % USERS)})
}

async fn count(address: &str) -> Result<u64> {
    let request = b"GET /v1/stats HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let stats: Value = serde_json::from_slice(Connection::open(address).await?.call(request).await?)?;
    stats["store"]["memories"].as_u64().context("no count")
}

async fn until_following(engine: &mut Engine) -> Result<()> {
    engine.run_until(|record, lag| record.phase == Phase::Following && lag < 500).await?;
    Ok(())
}

/// Follows for a while.
async fn follow(engine: &mut Engine, time: Duration) -> Result<()> {
    let until = Instant::now() + time;
    engine.run_until(|_, _| Instant::now() >= until).await?;
    Ok(())
}

/// Requests, due at fixed times.
#[derive(Default)]
struct Load {
    address: String,
    is_over: AtomicBool,
    idle: Mutex<Vec<Connection>>,
    sent: AtomicU64,
    answered: Mutex<Vec<Answered>>,
}

impl Load {
    async fn send(self: Arc<Self>, rate: u32) {
        let began = Instant::now();
        let mut under_way = tokio::task::JoinSet::new();
        for at in 0_u64.. {
            let due = began + Duration::from_secs_f64(at as f64 / f64::from(rate));
            tokio::time::sleep_until(due.into()).await;
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let this = self.clone();
            under_way.spawn(async move { this.request(at, due).await });
            while under_way.try_join_next().is_some() {}
        }
        under_way.join_all().await;
    }

    async fn request(&self, at: u64, due: Instant) {
        let writes = at.is_multiple_of(2);
        let request = match writes {
            true => post("/v1/memories", &memory(1_000_000 + self.sent.fetch_add(1, Ordering::Relaxed))),
            false => post(
                "/v1/memories/search",
                &json!({"query": "How many boats were in the harbour?", "scope": user(at / 2), "limit": 5}),
            ),
        };
        let error = self.call(&request).await.err().map(|error| format!("{error:#}"));
        let answered = Answered { due, took: due.elapsed(), writes, error };
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
    }

    /// By a connection that is idle, or a new one.
    async fn call(&self, request: &[u8]) -> Result<()> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.address).await?,
        };
        connection.call(request).await?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(())
    }
}

fn report_of(args: &Args, began: Instant, switches: &[Switch], answered: &[Answered], lost: u64) -> Report {
    let mut report = Report::default();
    let title =
        format!("what clients see at {} requests a second, half of them writes, from when each was due", args.rate);
    let mut table = Table::new(title, &["", "requests", "p50", "p99", "longest", "errors"]);
    let meets = |request: &Answered| {
        switches.iter().position(|switch| (switch.began..switch.ended + AFTERWARDS).contains(&request.due))
    };
    let mut rows: Vec<(String, Vec<&Answered>)> = vec![("no switch under way".into(), Vec::new())];
    rows.extend(switches.iter().map(|switch| (switch.name.to_owned(), Vec::new())));
    for request in answered {
        rows[meets(request).map_or(0, |at| at + 1)].1.push(request);
    }
    let worst = rows.iter().skip(1).filter_map(|(_, requests)| percentile(requests, 0.99)).max();
    for (name, requests) in &rows {
        for (kind, writes) in [("writes", true), ("searches", false)] {
            let of_kind: Vec<&Answered> = requests.iter().filter(|request| request.writes == writes).copied().collect();
            let cell = |share: f64| percentile(&of_kind, share).map_or_else(|| "-".to_owned(), milliseconds);
            let errors = of_kind.iter().filter(|request| request.error.is_some()).count();
            table.row([
                format!("{name}, {kind}"),
                of_kind.len().to_string(),
                cell(0.5),
                cell(0.99),
                cell(1.0),
                errors.to_string(),
            ]);
        }
    }
    report.table(table);
    for switch in switches {
        let at = (switch.began - began).as_secs_f64();
        report.note(format!("at {at:.1} s: {}", switch.said));
    }
    let mut errors: BTreeMap<&str, usize> = BTreeMap::new();
    for error in answered.iter().filter_map(|request| request.error.as_deref()) {
        // Each names its request at the end.
        *errors.entry(error.split(",\"request_id\"").next().unwrap_or(error)).or_default() += 1;
    }
    for (error, times) in errors.iter().take(5) {
        report.note(format!("{times} times: {error}"));
    }
    let failed: usize = errors.values().sum();
    let mut goals = Table::new("goals", &["", "goal", "measured", "met"]);
    let met = |is_met: bool| if is_met { "met" } else { "not met" }.to_owned();
    goals.row([
        "p99 of requests that meet a switch, worst".to_owned(),
        format!("< {}", milliseconds(GOAL)),
        worst.map_or_else(|| "not measured".to_owned(), milliseconds),
        met(worst.is_some_and(|worst| worst < GOAL)),
    ]);
    goals.row(["errors".to_owned(), "0".to_owned(), failed.to_string(), met(failed == 0)]);
    goals.row(["acknowledged writes that are gone".to_owned(), "0".to_owned(), lost.to_string(), met(lost == 0)]);
    report.goals(goals);
    report
}

fn percentile(requests: &[&Answered], share: f64) -> Option<Duration> {
    let times: Vec<Duration> = requests.iter().map(|request| request.took).collect();
    (!times.is_empty()).then(|| Times::from_times(times).percentile(share))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
