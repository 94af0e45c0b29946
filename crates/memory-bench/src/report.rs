//! What a benchmark prints: tables for people, the same as JSON for machines.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// Tables with titles, bars to look at, notes under them, and goals at the end.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    tables: Vec<Table>,
    bars: Vec<Bars>,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goals: Option<Table>,
}

/// A table: a title, the columns' names, the rows.
#[derive(Debug, Serialize)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// Values of one kind, drawn as bars under the tables.
#[derive(Debug, Serialize)]
struct Bars {
    title: String,
    bars: Vec<Bar>,
}

/// A value to be drawn.
#[derive(Debug, Serialize)]
pub struct Bar {
    /// What it is of.
    pub label: String,
    /// At least 0.
    pub value: f64,
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        Self { title: title.into(), columns: columns.iter().map(ToString::to_string).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn print(&self) {
        let mut shown = comfy_table::Table::new();
        shown.load_style(comfy_table::presets::ASCII_MARKDOWN).set_header(&self.columns);
        for row in &self.rows {
            shown.add_row(row);
        }
        for column in shown.column_iter_mut().skip(1) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        println!("\n{}\n{shown}", self.title);
    }
}

impl Report {
    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds bars.
    pub fn bars(&mut self, title: impl Into<String>, bars: Vec<Bar>) {
        self.bars.push(Bars { title: title.into(), bars });
    }

    /// Sets what stands at the end: which goals were met.
    pub fn goals(&mut self, table: Table) {
        self.goals = Some(table);
    }

    /// Adds a note.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Prints the report to stdout.
    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string_pretty(self)?);
            return Ok(());
        }
        self.tables.iter().for_each(Table::print);
        for Bars { title, bars } in &self.bars {
            println!("\n{title}");
            drawn(bars).iter().for_each(|line| println!("{line}"));
        }
        println!();
        for note in &self.notes {
            println!("{note}");
        }
        self.goals.iter().for_each(Table::print);
        Ok(())
    }
}

/// A line for each bar, the longest 40 characters.
fn drawn(bars: &[Bar]) -> Vec<String> {
    const LONGEST: f64 = 40.0;
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let widest = bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    let line = |Bar { label, value }: &Bar| {
        let length = if most > 0.0 { (value / most * LONGEST).round() as usize } else { 0 };
        format!("{label:widest$}  {} {value:.0}", "█".repeat(length))
    };
    bars.iter().map(line).collect()
}

/// Times of single calls, sorted.
#[derive(Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Calls `call` `count` times after a tenth of that to warm up, and keeps each call's time.
    pub fn of(count: usize, mut call: impl FnMut(usize)) -> Self {
        for at in 0..count / 10 + 1 {
            call(at);
        }
        let times = (0..count).map(|at| {
            let start = Instant::now();
            call(at);
            start.elapsed()
        });
        Self::from_times(times.collect())
    }

    /// Times that were taken elsewhere.
    pub fn from_times(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that `share` of the calls do not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        let at = ((self.0.len() as f64 * share) as usize).min(self.0.len() - 1);
        self.0[at]
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.percentile(0.5)
    }

    /// The shortest, the median and the 99th percentile, as cells of a table.
    pub fn cells(&self) -> [String; 3] {
        [micros(self.0[0]), micros(self.p50()), micros(self.percentile(0.99))]
    }
}

/// The least of the values noted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Least(pub Option<f64>);

impl Least {
    /// Keeps the value if it is the least so far.
    pub fn note(&mut self, value: f64) {
        self.0 = Some(self.0.map_or(value, |least| least.min(value)));
    }
}

/// How many calls for each of the floor's, given the calls per second of each round: the median over the rounds, so that
/// what else the machine did in some of them counts for neither.
pub fn median_ratio(rates: &[f64], floor: &[f64]) -> f64 {
    let mut ratios: Vec<f64> = rates.iter().zip(floor).map(|(rate, floor)| rate / floor).collect();
    ratios.sort_unstable_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A time in microseconds, or in milliseconds where that reads better.
pub fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros >= 1000.0 { format!("{:.2} ms", micros / 1000.0) } else { format!("{micros:.1} µs") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_time_that_this_share_does_not_exceed() {
        let times = Times::from_times((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(times.p50(), Duration::from_millis(51));
        assert_eq!(times.percentile(0.99), Duration::from_millis(100));
        assert_eq!(times.percentile(1.0), Duration::from_millis(100));
        assert_eq!(Times::from_times(vec![Duration::from_millis(7)]).percentile(0.99), Duration::from_millis(7));
    }

    #[test]
    fn bars_are_as_long_as_their_values() {
        let bar = |label: &str, value| Bar { label: label.to_owned(), value };
        let lines = drawn(&[bar("a", 10.0), bar("bcd", 5.0), bar("e", 0.0)]);
        let length = |line: &String| line.chars().filter(|&c| c == '█').count();
        assert_eq!(lines.iter().map(length).collect::<Vec<_>>(), [40, 20, 0]);
        assert!(lines[0].starts_with("a    █") && lines[1].starts_with("bcd  █"), "{lines:?}");
        assert_eq!(drawn(&[bar("nothing", 0.0)]), ["nothing   0"]);
    }
}
