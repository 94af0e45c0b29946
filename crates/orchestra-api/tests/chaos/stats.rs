//! How many requests of each kind there were, how they ended, and how long nothing went through.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It had no effect.
    Refused,
    InDoubt,
}

/// The requests of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub done: u64,
    pub refused: u64,
    pub in_doubt: u64,
}

/// What was counted.
#[derive(Debug, Default)]
pub struct Stats(Mutex<Counted>);

#[derive(Debug, Clone, Default, Serialize)]
pub struct Counted {
    pub requests: BTreeMap<&'static str, Count>,
    /// The codes of failures.
    pub failures: BTreeMap<String, u64>,
    /// What answers said was left for later, or left out.
    pub degraded: BTreeMap<String, u64>,
    pub writes: Gap,
    pub reads: Gap,
}

/// The longest time in which nothing of a sort was answered, by any server to anybody.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Gap {
    #[serde(skip)]
    last: Option<Instant>,
    /// In seconds.
    pub longest: f64,
}

impl Gap {
    fn passed(&mut self, now: Instant) {
        let gap = self.last.replace(now).map_or(Duration::ZERO, |last| now - last);
        self.longest = self.longest.max(gap.as_secs_f64());
    }
}

impl Stats {
    pub fn count(&self, kind: &'static str, is_write: bool, outcome: Outcome) {
        let mut counted = self.lock();
        let count = counted.requests.entry(kind).or_default();
        match outcome {
            Outcome::Done => count.done += 1,
            Outcome::Refused => count.refused += 1,
            Outcome::InDoubt => count.in_doubt += 1,
        }
        if outcome == Outcome::Done {
            let gap = if is_write { &mut counted.writes } else { &mut counted.reads };
            gap.passed(Instant::now());
        }
    }

    pub fn refused_because(&self, code: &str) {
        *self.lock().failures.entry(code.to_owned()).or_default() += 1;
    }

    pub fn degraded(&self, body: &Value) {
        for reason in body["degraded"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            *self.lock().degraded.entry(reason.to_owned()).or_default() += 1;
        }
    }

    /// How many requests were done.
    pub fn done(&self) -> u64 {
        self.lock().requests.values().map(|count| count.done).sum()
    }

    pub fn counted(&self) -> Counted {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap()
    }
}
