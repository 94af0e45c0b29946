//! What a benchmark prints: tables for people, the same as JSON for machines.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

/// Tables with titles, and notes under them.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    tables: Vec<Table>,
    notes: Vec<String>,
}

/// A table: a title, the columns' names, the rows.
#[derive(Debug, Serialize)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
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
}

impl Report {
    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
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
        for table in &self.tables {
            let mut shown = comfy_table::Table::new();
            shown.load_style(comfy_table::presets::ASCII_MARKDOWN).set_header(&table.columns);
            for row in &table.rows {
                shown.add_row(row);
            }
            for column in shown.column_iter_mut().skip(1) {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
            println!("\n{}\n{shown}", table.title);
        }
        println!();
        for note in &self.notes {
            println!("{note}");
        }
        Ok(())
    }
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

/// A time in microseconds, or in milliseconds where that reads better.
pub fn micros(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros >= 1000.0 { format!("{:.2} ms", micros / 1000.0) } else { format!("{micros:.1} µs") }
}
