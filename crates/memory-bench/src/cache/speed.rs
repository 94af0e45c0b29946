//! How long lookups and stores take on caches of several sizes, each on a Redis of its own.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use memory_testkit::services::{self, Service};

use super::calls::{Bench, Call};
use super::goals::Goals;
use super::mixed;
use crate::cpu;
use crate::report::{Bar, Report, Table, Times, median_ratio, micros};

/// What to measure.
#[derive(clap::Args)]
#[group(skip)]
pub struct Args {
    /// Entries and dimensions of the caches, as 10000x384; several with commas
    #[arg(long, value_delimiter = ',', default_values = ["1000x384", "10000x384", "10000x1536"])]
    sizes: Vec<Size>,
    /// Also 100,000 entries of 384 dimensions: some goals are for that size; filling it takes minutes
    #[arg(long)]
    all: bool,
    /// Only 1,000 entries and short rounds: to see that it runs, not to measure
    #[arg(long, conflicts_with_all = ["all", "sizes"])]
    quick: bool,
    /// Calls at once; several with commas
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32])]
    concurrency: Vec<usize>,
    /// Milliseconds for each row in each round, four times as long for one call at once
    #[arg(long, default_value_t = 100)]
    millis: u64,
    /// Rounds; in each every row has its turn, and is compared with its floor in the same round
    #[arg(long, default_value_t = 31)]
    rounds: usize,
    /// Calls to compare: ping, search, search-far, hit, miss, exact, repeat, raw-store, store; several with commas
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Call::ALL)]
    calls: Vec<Call>,
}

/// A cache's entries and its vectors' dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Size {
    entries: usize,
    dimensions: usize,
}

impl Size {
    const SMALL: Self = Self { entries: 1_000, dimensions: 384 };
    const MIDDLE: Self = Self { entries: 10_000, dimensions: 384 };
    const LARGE: Self = Self { entries: 100_000, dimensions: 384 };
}

impl FromStr for Size {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (entries, dimensions) = text.split_once('x').context("entries and dimensions, as 10000x384")?;
        let (entries, dimensions): (usize, usize) = (entries.parse()?, dimensions.parse()?);
        if entries == 0 || dimensions == 0 {
            bail!("entries and dimensions are at least 1");
        }
        Ok(Self { entries, dimensions })
    }
}

/// How the rounds go.
#[derive(Debug, Clone, Copy)]
pub struct Rounds {
    /// How many.
    pub count: usize,
    /// How long every row has its turn in each.
    pub time: Duration,
}

/// What a row of the table took, over all rounds; processor time in seconds.
#[derive(Default)]
struct Taken {
    times: Vec<Duration>,
    took: Duration,
    /// Calls per second of each round.
    rates: Vec<f64>,
    server_cpu: f64,
    client_cpu: f64,
}

impl Taken {
    fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }
}

type Rows = BTreeMap<(Call, usize), Taken>;

/// Measures every size in turn.
pub async fn run(args: &Args, report: &mut Report, goals: &mut Goals) -> Result<()> {
    let mut sizes = if args.quick { vec![Size::SMALL] } else { args.sizes.clone() };
    if args.all && !sizes.contains(&Size::LARGE) {
        sizes.push(Size::LARGE);
    }
    let (count, millis) = if args.quick { (1, 100) } else { (args.rounds.max(1), args.millis) };
    let rounds = Rounds { count, time: Duration::from_millis(millis) };
    for size in sizes {
        let Some(server) = services::private(Service::Redis) else { bail!("there is no Redis to measure") };
        let bench = Arc::new(Bench::fill(&server.url(), size.entries, size.dimensions).await?);
        let rows = measure(&bench, args, rounds).await?;
        tell(&rows, &bench, size, report, goals);
        if size == Size::MIDDLE || args.quick {
            let ratio = mixed::run(&bench, rounds, report).await?;
            // The goal is for the middle size.
            goals.mixed = (size == Size::MIDDLE).then_some(ratio).or(goals.mixed);
        }
    }
    report.note(
        "The floor sends the same search with the same effort and vectors as near to the same index, and reads its answer to \
         the end. A ratio is the median over the rounds.",
    );
    Ok(())
}

async fn measure(bench: &Arc<Bench>, args: &Args, rounds: Rounds) -> Result<Rows> {
    let mut rows = Rows::new();
    let mut calls = args.calls.clone();
    for round in 0..rounds.count {
        // What was called before leaves its traces in the processor's caches: any row may follow any other.
        calls.sort_by_cached_key(|&call| {
            let mut hasher = DefaultHasher::new();
            (round, call).hash(&mut hasher);
            hasher.finish()
        });
        for &concurrency in &args.concurrency {
            for &call in &calls {
                let (server_before, client_before) = (bench.server_cpu().await?, cpu::client());
                let started = Instant::now();
                // One at a time makes the fewest calls, so what else the machine does weighs most there.
                let time = if concurrency == 1 { rounds.time * 4 } else { rounds.time };
                let times = bench.run(move |_| call, concurrency, time, round).await?;
                let row = rows.entry((call, concurrency)).or_default();
                let took = started.elapsed();
                row.took += took;
                row.rates.push(times.len() as f64 / took.as_secs_f64());
                row.times.extend(times.into_iter().map(|(_, time)| time));
                row.server_cpu += bench.server_cpu().await? - server_before;
                row.client_cpu += cpu::client() - client_before;
            }
        }
    }
    Ok(rows)
}

fn tell(rows: &Rows, bench: &Bench, size: Size, report: &mut Report, goals: &mut Goals) {
    let columns = ["", "at once", "p50", "p95", "p99", "per s", "of its floor", "CPU µs, Redis", "CPU µs, client"];
    let title = format!("{} entries of {} dimensions{}", size.entries, size.dimensions, bench.effort);
    let mut table = Table::new(title.clone(), &columns);
    let mut bars = Vec::new();
    for (&(call, concurrency), row) in rows {
        let calls = row.times.len() as f64;
        let floor = call.floor().and_then(|floor| rows.get(&(floor, concurrency)));
        let of_floor = floor.map(|floor| median_ratio(&row.rates, &floor.rates));
        match (call, of_floor) {
            (Call::Hit | Call::Miss, Some(ratio)) => goals.lookup.note(ratio),
            (Call::Repeat, Some(ratio)) => goals.repeat.note(ratio),
            _ => {}
        }
        let times = Times::from_times(row.times.clone());
        let p50 = times.p50();
        if call == Call::Hit && concurrency == 1 {
            match size {
                Size::SMALL => goals.p50_at_1k = Some(p50.as_secs_f64()),
                Size::LARGE => goals.p50_at_100k = Some(p50.as_secs_f64()),
                _ => {}
            }
        }
        // A PING is so much faster than all else that its bar would leave nothing of the others.
        if call != Call::Ping {
            bars.push(Bar { label: format!("{}, {concurrency} at once", call.name()), value: row.per_second() });
        }
        table.row([
            call.name().to_owned(),
            concurrency.to_string(),
            micros(p50),
            micros(times.percentile(0.95)),
            micros(times.percentile(0.99)),
            format!("{:.0}", row.per_second()),
            of_floor.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            format!("{:.0}", row.server_cpu / calls * 1e6),
            format!("{:.0}", row.client_cpu / calls * 1e6),
        ]);
    }
    report.table(table);
    report.bars(format!("calls per second, {title}"), bars);
    let (asked, found) = bench.sure_hits();
    if asked > 0 {
        let share = found as f64 / asked as f64;
        if size == Size::LARGE {
            goals.sure_hits = Some(share);
        }
        let share = share * 100.0;
        report.note(format!("{title}: of {asked} hits at a similarity of 0.95, {found} were found, {share:.2} %"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_entries_and_dimensions() {
        assert_eq!("10000x384".parse::<Size>().unwrap(), Size::MIDDLE);
        for wrong in ["", "10000", "x384", "0x384", "10x", "10x-1"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
    }
}
