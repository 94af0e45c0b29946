//! The server over HTTP, on a Redis and a Postgres of its own, beside the least that can be sent to each of them and beside a
//! bare axum handler that does the one call of a cache hit.

pub mod bare;
mod calls;
pub mod http;
mod servers;
mod soak;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use self::calls::{Call, Data};
use self::servers::Servers;
use crate::report::{Least, Report, Table, Times, median_ratio, micros};

/// What to measure, and for how long.
#[derive(clap::Args)]
pub struct Args {
    /// Calls at once; several with commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32, 128])]
    concurrency: Vec<usize>,
    /// Milliseconds for each row in each round
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    millis: u64,
    /// Rounds; in each every row has its turn, and is compared with its floor in the same round
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many memories there are, over 200 users
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(200..))]
    memories: u32,
    /// Only these calls, beside their floors
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// In place of all that: load of every kind for so many seconds, and how much memory the server takes all the while
    #[arg(long, value_name = "SECONDS")]
    soak: Option<u64>,
    /// Only a few memories and short rounds: to see that it runs, not to measure
    #[arg(long, conflicts_with_all = ["millis", "rounds", "memories"])]
    quick: bool,
}

/// Which calls are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Lookups of the cache that find an answer
    Hit,
    /// Lookups that find none, and answers filed
    Miss,
    /// Memories written
    Remember,
    /// Memories searched
    Recall,
}

/// What one row took, over all rounds.
#[derive(Default)]
struct Row {
    times: Vec<Duration>,
    /// Calls per second, by round.
    rates: Vec<f64>,
    /// Processor time of the process that answers, in seconds; none for a floor without one.
    cpu: f64,
}

/// Measures.
pub async fn run(args: &Args) -> Result<Report> {
    let (memories, rounds, time) = match args.quick {
        true => (400, 1, Duration::from_millis(50)),
        false => (args.memories as usize, args.rounds as usize, Duration::from_millis(args.millis)),
    };
    let servers = Servers::start().await?;
    let data = Data::load(&servers, memories).await?;
    if let Some(seconds) = args.soak {
        return soak::run(&servers, &data, Duration::from_secs(seconds)).await;
    }
    let mut rows: BTreeMap<(usize, Call), Row> = BTreeMap::new();
    let measured = Call::ALL.into_iter().filter(|call| args.only.is_empty() || args.only.contains(&call.kind()));
    let measured: Vec<Call> = measured.collect();
    let progress = ProgressBar::new((rounds * args.concurrency.len() * measured.len()) as u64)
        .with_style(ProgressStyle::with_template("{wide_bar} {pos} of {len}, {eta} left")?);
    for round in 0..rounds {
        for &tasks in &args.concurrency {
            let mut calls = measured.clone();
            calls.rotate_left(round % measured.len());
            for call in calls {
                let before = servers.cpu_of(call);
                let (times, rate) = calls::run(&servers, &data, call, tasks, time).await?;
                let row = rows.entry((tasks, call)).or_default();
                row.cpu += servers.cpu_of(call) - before;
                row.times.extend(times);
                row.rates.push(rate);
                progress.inc(1);
            }
        }
    }
    progress.finish_and_clear();
    let report = report_of(rows);
    servers.stop().await;
    Ok(report)
}

fn report_of(rows: BTreeMap<(usize, Call), Row>) -> Report {
    let mut report = Report::default();
    let mut table = Table::new(
        "calls over loopback",
        &["", "at once", "p50", "p95", "p99", "per s", "of its floor", "CPU µs, server"],
    );
    let mut goals: BTreeMap<&str, Least> = BTreeMap::new();
    let medians: BTreeMap<(usize, Call), Duration> =
        rows.iter().map(|(key, row)| (*key, Times::from_times(row.times.clone()).p50())).collect();
    for (&(tasks, call), row) in &rows {
        let ratio = call.floor().and_then(|floor| Some(median_ratio(&row.rates, &rows.get(&(tasks, floor))?.rates)));
        let count = row.times.len() as f64;
        let cpu = row.cpu * 1e6 / count;
        let hit = matches!(call, Call::Repeat | Call::Exact);
        if let Some(ratio) = ratio {
            match call {
                Call::Repeat | Call::Exact if tasks == 32 => note(&mut goals, HIT_RATE, ratio),
                // The floor searches by vector alone too; the search by words beside it is shown in the table.
                Call::RecallVector => note(&mut goals, RECALL, ratio),
                Call::Remember => note(&mut goals, WRITE, ratio),
                _ => {}
            }
        }
        if hit {
            // One at a time, most of it is waking up: of the bare handler's too.
            if tasks >= 8 {
                note(&mut goals, HIT_CPU, -cpu);
            }
            if tasks == 1 {
                let floor = medians[&(1, Call::BareHit)].as_secs_f64();
                note(&mut goals, HIT_TIME, -medians[&(1, call)].as_secs_f64() / floor);
            }
        }
        let times = Times::from_times(row.times.clone());
        let mut rates = row.rates.clone();
        rates.sort_unstable_by(f64::total_cmp);
        table.row([
            call.name().to_owned(),
            tasks.to_string(),
            micros(times.p50()),
            micros(times.percentile(0.95)),
            micros(times.percentile(0.99)),
            format!("{:.0}", rates[rates.len() / 2]),
            ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            if call.has_server() { format!("{cpu:.0}") } else { String::new() },
        ]);
    }
    report.table(table);
    report.goals(goals_table(&goals));
    report
}

const HIT_RATE: &str = "cache hits per s at 32 at once, worst, of the bare handler";
const HIT_CPU: &str = "CPU of the server for a cache hit, 8 or more at once, worst, µs";
const HIT_TIME: &str = "p50 of a cache hit, one at a time, worst, times the bare handler's";
const RECALL: &str = "recall within one user by vector per s, worst, of an exact search in SQL";
const WRITE: &str = "remember per s, worst, of INSERT and commit";

fn note(goals: &mut BTreeMap<&'static str, Least>, goal: &'static str, value: f64) {
    goals.entry(goal).or_default().note(value);
}

fn goals_table(goals: &BTreeMap<&str, Least>) -> Table {
    let mut table = Table::new("goals", &["", "goal", "measured", "met"]);
    // What is to be small is noted as less than nothing.
    for (name, goal) in [(HIT_RATE, 0.8_f64), (HIT_CPU, -60.0), (HIT_TIME, -1.5), (RECALL, 0.6), (WRITE, 0.7)] {
        let measured = goals.get(name).and_then(|least| least.0);
        let sign = if goal < 0.0 { "<=" } else { ">=" };
        table.row([
            name.to_owned(),
            format!("{sign} {}", goal.abs()),
            measured.map_or_else(|| "not measured".to_owned(), |value| format!("{:.2}", value.abs())),
            measured.map_or("", |value| if value >= goal { "met" } else { "not met" }).to_owned(),
        ]);
    }
    table
}
