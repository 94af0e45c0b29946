//! The store on a Postgres of its own: loading, writing and searching, each beside the least that can be sent to the same
//! Postgres in the same run.

mod database;
mod goals;
mod index;
mod load;
mod plain;
mod search;
mod words;
mod write;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;
use memory_testkit::services::{self, Service};
use provider_alloydb::IndexKind;
use tokio::task::JoinSet;

use self::database::{Database, Size};
use self::goals::Goals;
use crate::cpu;
use crate::report::{Report, Times, micros};

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// Memories and dimensions, as 100000x384; several with commas
    #[arg(long, value_delimiter = ',', default_values = ["100000x384"])]
    sizes: Vec<Size>,
    /// Also 100,000 memories of 1536 dimensions and 1,000,000 of 384; says how long loading them took
    #[arg(long)]
    all: bool,
    /// Only 2,000 memories of 64 dimensions and short rounds: to see that it runs, not to measure
    #[arg(long, conflicts_with_all = ["all", "sizes"])]
    quick: bool,
    /// Parts to run: load, write, search, plain; several with commas
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Part::ALL)]
    only: Vec<Part>,
    /// The vector index: ivfflat, hnsw or exact
    #[arg(long, default_value = "ivfflat")]
    index: IndexKind,
    /// Calls at once; several with commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    concurrency: Vec<usize>,
    /// Milliseconds for each row in each round, four times as long for one call at once
    #[arg(long, default_value_t = 250)]
    millis: u64,
    /// Rounds; in each every row has its turn, and is compared with its floor in the same round
    #[arg(long, default_value_t = 11)]
    rounds: usize,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Load,
    Write,
    Search,
    Plain,
}

impl Part {
    const ALL: [Self; 4] = [Self::Load, Self::Write, Self::Search, Self::Plain];
}

/// Measures every size in turn.
pub async fn run(args: &Args) -> Result<Report> {
    let mut sizes = if args.quick { vec![Size { rows: 2_000, dimensions: 64 }] } else { args.sizes.clone() };
    if args.all {
        sizes.extend([Size { rows: 100_000, dimensions: 1536 }, Size { rows: 1_000_000, dimensions: 384 }]);
    }
    let rounds = if args.quick {
        Rounds { count: 1, time: Duration::from_millis(50) }
    } else {
        Rounds { count: args.rounds.max(1), time: Duration::from_millis(args.millis.max(1)) }
    };
    let (mut report, mut goals) = (Report::default(), Goals::default());
    for size in sizes {
        // As a server of 4 GB would be set up: what is measured fits in memory, as it should in production.
        let settings = ["-c", "shared_buffers=1GB", "-c", "max_wal_size=4GB", "-c", "work_mem=16MB"];
        let Some(server) = services::private_with(Service::Postgres, &settings) else {
            bail!("there is no Postgres to measure")
        };
        let mut database = Database::make(&server.url(), size, args.index).await?;
        let runs = |part| args.only.contains(&part);
        load::run(&mut database, runs(Part::Load), &mut report, &mut goals).await?;
        if runs(Part::Write) {
            write::run(&database, &args.concurrency, rounds, &mut report, &mut goals).await?;
        }
        if runs(Part::Load) || runs(Part::Search) || runs(Part::Plain) {
            index::run(&mut database, &mut report, &mut goals).await?;
        }
        if runs(Part::Search) {
            words::run(&database, &mut report, &mut goals).await?;
            search::run(&database, &args.concurrency, rounds, &mut report, &mut goals).await?;
        }
        if runs(Part::Plain) {
            plain::run(&database, &mut report, &mut goals).await?;
        }
        database.close().await;
    }
    report.goals(goals.table());
    Ok(report)
}

/// How the rounds go.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// How many.
    pub count: usize,
    /// How long every row has its turn in each.
    pub time: Duration,
}

/// What the calls of a row took.
#[derive(Debug, Default)]
struct Taken {
    /// Each call.
    times: Vec<Duration>,
    /// Calls per second, a value for each round.
    rates: Vec<f64>,
    /// Seconds of processor time, of Postgres and of this process.
    server_cpu: f64,
    client_cpu: f64,
}

impl Taken {
    /// The names of the last columns of a row.
    const COLUMNS: [&str; 7] = ["p50", "p95", "p99", "per s", "of its floor", "CPU µs, Postgres", "CPU µs, client"];

    /// Adds a round: runs the tasks, which are given when it begins, to their end.
    async fn add<T>(&mut self, database: &Database, tasks: Vec<impl FnOnce(Instant) -> T>) -> Result<()>
    where
        T: Future<Output = Result<Vec<Duration>>> + Send + 'static,
    {
        let (server, client) = (cpu::of_postgres(database.postmaster), cpu::client());
        let started = Instant::now();
        let mut running: JoinSet<_> = tasks.into_iter().map(|task| task(started)).collect();
        let before = self.times.len();
        while let Some(done) = running.join_next().await {
            self.times.extend(done??);
        }
        self.rates.push((self.times.len() - before) as f64 / started.elapsed().as_secs_f64());
        self.server_cpu += cpu::of_postgres(database.postmaster) - server;
        self.client_cpu += cpu::client() - client;
        Ok(())
    }

    /// The values of the last columns.
    fn columns(&self, ratio: Option<f64>) -> [String; 7] {
        let calls = self.times.len().max(1) as f64;
        let times = Times::from_times(self.times.clone());
        [
            micros(times.p50()),
            micros(times.percentile(0.95)),
            micros(times.percentile(0.99)),
            format!("{:.0}", self.rates.iter().sum::<f64>() / self.rates.len().max(1) as f64),
            ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            format!("{:.0}", self.server_cpu / calls * 1e6),
            format!("{:.0}", self.client_cpu / calls * 1e6),
        ]
    }
}
