//! What a move is to do.

use std::time::Duration;

use memory_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a move is to do, set when it is planned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// What begins the names of its streams in the stores.
    pub name: String,
    /// How many items are read and written at once, 1 to 10,000.
    pub batch: usize,
    /// The most items that are copied in a second; as many as go without.
    pub items_per_second: Option<u32>,
    /// How many times slower than at the start the store in use may answer before the copy waits for it, at least 1.
    pub slowdown: f64,
    /// The most changes that may be left when a switch begins.
    pub lag_gate: u64,
    /// How long writes may wait for a switch before it is undone, in milliseconds.
    pub switch_deadline_ms: u64,
    /// When a row of a source was recorded that does not say it: the same each time that the source is opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<Timestamp>,
    /// What has to hold before traffic moves.
    pub gates: Gates,
}

/// What has to hold before traffic moves. A gate that is `None` is not asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gates {
    /// How many queries are sent to both stores.
    pub queries: usize,
    /// The least share of what an exact search finds that green's search finds.
    pub recall: Option<f64>,
    /// How much less time green has to take than blue at p95: `0.4` is 40 % less, `-0.5` allows half as much again.
    pub improvement: Option<f64>,
    /// The least share of the answers in blue's cache that green's has: `0.0..=1.0`. Answers are not moved.
    pub hit_rate: Option<f64>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            name: "move".into(),
            batch: 500,
            items_per_second: None,
            slowdown: 3.0,
            lag_gate: 1000,
            switch_deadline_ms: 5000,
            recorded_at: None,
            gates: Gates::default(),
        }
    }
}

impl Default for Gates {
    fn default() -> Self {
        Self { queries: 100, recall: Some(0.95), improvement: None, hit_rate: None }
    }
}

impl Plan {
    /// How long writes may wait for a switch.
    #[must_use]
    pub fn switch_deadline(&self) -> Duration {
        Duration::from_millis(self.switch_deadline_ms)
    }

    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// [`Error::Refused`], naming the value.
    pub fn check(&self) -> Result<()> {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let refused = |reason: &str| Err(Error::refused(reason, "correct the plan"));
        if self.name.is_empty() || self.name.len() > 40 || !self.name.chars().all(is_name) {
            return refused("the name is not 1 to 40 of a-z, 0-9 and -");
        }
        if !(1..=10_000).contains(&self.batch) {
            return refused("batch is not 1 to 10000");
        }
        if self.items_per_second == Some(0) {
            return refused("items_per_second is 0");
        }
        if !self.slowdown.is_finite() || self.slowdown < 1.0 {
            return refused("slowdown is not at least 1");
        }
        if self.gates.recall.is_some_and(|recall| !(0.0..=1.0).contains(&recall)) {
            return refused("gates.recall is not 0 to 1");
        }
        if self.gates.improvement.is_some_and(|improvement| !improvement.is_finite() || improvement >= 1.0) {
            return refused("gates.improvement is not less than 1");
        }
        if self.gates.hit_rate.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return refused("gates.hit_rate is not 0 to 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_makes_no_sense_is_refused_by_name() {
        Plan::default().check().unwrap();
        for (plan, named) in [
            (Plan { name: "a b".into(), ..Plan::default() }, "name"),
            (Plan { batch: 0, ..Plan::default() }, "batch"),
            (Plan { items_per_second: Some(0), ..Plan::default() }, "items_per_second"),
            (Plan { slowdown: f64::NAN, ..Plan::default() }, "slowdown"),
            (Plan { gates: Gates { recall: Some(1.1), ..Gates::default() }, ..Plan::default() }, "recall"),
            (Plan { gates: Gates { improvement: Some(1.0), ..Gates::default() }, ..Plan::default() }, "improvement"),
            (Plan { gates: Gates { hit_rate: Some(1.1), ..Gates::default() }, ..Plan::default() }, "hit_rate"),
        ] {
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
