//! Load of every kind for a long time: whether the server takes more and more memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::calls::{self, Call, Data};
use super::servers::Servers;
use crate::report::{Bar, Report, Table};

const KINDS: [Call; 6] = [Call::Repeat, Call::Meaning, Call::Miss, Call::Store, Call::RecallUser, Call::Remember];
const AT_ONCE: usize = 8;
/// Into how many parts the time is cut, to be compared.
const PARTS: usize = 10;
/// How much more the last part may take than the first one after the beginning, in which caches fill.
const GROWTH: f64 = 1.1;

pub async fn run(servers: &Servers, data: &Arc<Data>, time: Duration) -> Result<Report> {
    let mut report = Report::default();
    let progress =
        ProgressBar::new(time.as_secs()).with_style(ProgressStyle::with_template("{wide_bar} {pos} of {len} s")?);
    let (started, mut samples, mut done) = (Instant::now(), Vec::new(), 0);
    while started.elapsed() < time {
        for kind in KINDS {
            let (times, _) = calls::run(servers, data, kind, AT_ONCE, Duration::from_millis(500)).await?;
            done += times.len();
        }
        samples.push(servers.resident_bytes()? as f64 / f64::from(1 << 20));
        progress.set_position(started.elapsed().as_secs());
    }
    progress.finish_and_clear();
    let parts: Vec<f64> =
        samples.chunks(samples.len().div_ceil(PARTS)).map(|part| part.iter().copied().fold(0.0, f64::max)).collect();
    let bars = parts.iter().enumerate().map(|(at, &value)| Bar { label: format!("part {}", at + 1), value });
    report.bars("most memory of the server in each tenth of the time, MiB", bars.collect());
    report.note(format!("{done} calls in {:.0} s, {AT_ONCE} at once", started.elapsed().as_secs_f64()));
    let (first, last) = (parts.get(1).copied().unwrap_or(parts[0]), parts[parts.len() - 1]);
    let mut table = Table::new("goals", &["", "goal", "measured", "met"]);
    let growth = last / first;
    table.row([
        "memory in the last tenth, times that in the second".into(),
        format!("<= {GROWTH}"),
        format!("{growth:.2}"),
        if growth <= GROWTH { "met" } else { "not met" }.into(),
    ]);
    report.goals(table);
    Ok(report)
}
