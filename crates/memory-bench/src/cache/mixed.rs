//! Lookups with stores in between: a store holds up the lookups behind it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::calls::{Bench, Call};
use super::speed::Rounds;
use crate::report::{Report, Table, Times, micros};

const CONCURRENCY: usize = 32;

/// Measures hits alone and hits with one store in three calls, in turn, and gives the ratio of their 99th percentiles.
pub async fn run(bench: &Arc<Bench>, rounds: Rounds, report: &mut Report) -> Result<f64> {
    let (mut alone, mut among) = (Vec::new(), Vec::new());
    for round in 0..rounds.count {
        let hits = |times: Vec<(Call, Duration)>| {
            times.into_iter().filter(|(call, _)| *call == Call::Hit).map(|(_, time)| time).collect::<Vec<_>>()
        };
        alone.extend(hits(bench.run(|_| Call::Hit, CONCURRENCY, rounds.time, round).await?));
        among.extend(hits(bench.run(one_store_in_three, CONCURRENCY, rounds.time, round).await?));
    }
    let title = format!("hits by meaning, {CONCURRENCY} calls at once{}", bench.effort);
    let mut table = Table::new(title, &["", "hits", "p50", "p95", "p99"]);
    let mut row = |name: &str, times: &Times, count: usize| {
        let cells = [0.5, 0.95, 0.99].map(|share| micros(times.percentile(share)));
        table.row([name.to_owned(), count.to_string()].into_iter().chain(cells));
    };
    let counts = (alone.len(), among.len());
    let (alone, among) = (Times::from_times(alone), Times::from_times(among));
    row("without stores", &alone, counts.0);
    row("one store in three calls", &among, counts.1);
    report.table(table);
    Ok(among.percentile(0.99).as_secs_f64() / alone.percentile(0.99).as_secs_f64())
}

fn one_store_in_three(at: usize) -> Call {
    if at.is_multiple_of(3) { Call::Store } else { Call::Hit }
}
