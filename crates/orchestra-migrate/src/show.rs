//! What a move looks like in a terminal.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use migrate::gates::{Checked, Gate};
use migrate::probe::Latency;
use migrate::record::{Colour, Phase, Record};

use crate::progress::{behind, line};

/// All of it.
pub fn status(record: &Record, lag: Option<u64>, now: DateTime<Utc>) -> String {
    let mut text = format!("move {}: {}, {} in use\n", record.plan.name, record.phase, record.active);
    if record.phase == Phase::Copying {
        let _ = writeln!(text, "{}", line(record, lag.unwrap_or_default(), now));
    } else if record.copied.ended_at.is_some() {
        let _ = writeln!(text, "{} items were copied", record.copied.items);
    }
    if let Some(behind) = behind(record, now) {
        let _ = writeln!(text, "{behind}");
    }
    if record.reads_on_green > 0 && record.reads_on_green < 100 {
        let _ = writeln!(text, "{} % of reads on green", record.reads_on_green);
    }
    if let Some(dump) = &record.dump {
        let _ = writeln!(text, "a dump of blue, of {} items: {}", dump.items, dump.path);
    }
    for event in record.history.iter().rev().take(10).rev() {
        let _ = writeln!(text, "  {}  {}", event.at.format("%Y-%m-%d %H:%M:%S"), event.what);
    }
    text
}

/// The gates, a line each, and what to do where one does not hold.
pub fn gates(checked: &Checked) -> String {
    let mut text = String::new();
    for gate in &checked.gates {
        text += &self::gate(gate);
    }
    let probes = &checked.probes;
    let latency = |colour: Colour, latency: Latency| {
        let Latency { p50_us, p95_us, p99_us } = latency;
        if probes.asked(colour) {
            format!("{colour} {p50_us}/{p95_us}/{p99_us} us")
        } else {
            format!("{colour} not asked")
        }
    };
    let (blue, green) = (latency(Colour::Blue, probes.blue), latency(Colour::Green, probes.green));
    let _ = writeln!(text, "search p50/p95/p99: {blue}, {green}");
    text
}

/// A gate, and what to do where it does not hold.
pub fn gate(gate: &Gate) -> String {
    let mark = match gate {
        Gate { holds: false, .. } => "FAILED",
        Gate { asked: false, .. } => "------",
        _ => "ok    ",
    };
    let mut text = format!("{mark}  {:<12} {} (wanted: {})\n", gate.name, gate.measured, gate.wanted);
    if !gate.holds {
        let _ = writeln!(text, "        {}", gate.advice);
    }
    text
}

/// The first differences.
pub fn differences(record: &Record) -> String {
    let mut text = String::new();
    for sample in record.diff.iter().flat_map(|diff| &diff.samples).take(10) {
        let _ = writeln!(text, "  {:?} {:?} {}", sample.kind, sample.key, sample.fields.join(", "));
    }
    text
}
