//! A check, and what came of it.

use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::Deployment;

/// A check.
pub struct Check {
    /// What it is about, in a few words.
    pub name: &'static str,
    /// What must hold.
    pub goal: &'static str,
    /// Looks whether it does. An error is a failure too.
    pub look: fn(&mut Deployment) -> Result<Verdict>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds; what was seen.
    Pass(String),
    /// It does not; what was seen.
    Fail(String),
    /// It was not looked at; why.
    Skipped(String),
}

impl Verdict {
    /// Passed where `holds`.
    pub fn of(holds: bool, seen: impl Into<String>) -> Self {
        if holds { Self::Pass(seen.into()) } else { Self::Fail(seen.into()) }
    }
}

/// Checks of one kind.
pub struct Area {
    /// What they are about.
    pub name: &'static str,
    /// The checks, in order.
    pub checks: &'static [Check],
}

/// What came of a check.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The kind of check.
    pub area: &'static str,
    /// The check.
    pub name: &'static str,
    /// What must hold.
    pub goal: &'static str,
    /// Whether it does.
    pub status: Status,
    /// What was seen, or why nothing was.
    pub seen: String,
    /// How long it took.
    pub seconds: f64,
}

/// Whether a check holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It does.
    Pass,
    /// It does not.
    Fail,
    /// It was not looked at.
    Skipped,
}

impl Status {
    /// For tables.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "FAIL",
            Self::Skipped => "skipped",
        }
    }
}

impl Area {
    /// Runs every check; one that fails keeps none from the next.
    pub fn run(&self, deployment: &mut Deployment) -> Vec<Outcome> {
        let run = |check: &Check| {
            let begun = Instant::now();
            let verdict = (check.look)(deployment).unwrap_or_else(|error| Verdict::Fail(format!("{error:#}")));
            let seconds = begun.elapsed().as_secs_f64();
            let (status, seen) = match verdict {
                Verdict::Pass(seen) => (Status::Pass, seen),
                Verdict::Fail(seen) => (Status::Fail, seen),
                Verdict::Skipped(why) => (Status::Skipped, why),
            };
            eprintln!("{:7} {}: {} ({seconds:.1} s)", status.word(), self.name, check.name);
            Outcome { area: self.name, name: check.name, goal: check.goal, status, seen, seconds }
        };
        self.checks.iter().map(run).collect()
    }
}

/// The outcomes for machines.
pub fn report(url: &str, outcomes: &[Outcome]) -> Value {
    let count = |status| outcomes.iter().filter(|outcome| outcome.status == status).count();
    json!({
        "url": url,
        "passed": count(Status::Pass),
        "failed": count(Status::Fail),
        "skipped": count(Status::Skipped),
        "checks": outcomes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Client;

    #[test]
    fn a_failed_check_keeps_none_from_the_next() {
        const CHECKS: &[Check] = &[
            Check { name: "a", goal: "", look: |_| anyhow::bail!("broken") },
            Check { name: "b", goal: "", look: |_| Ok(Verdict::Skipped("no reason".into())) },
            Check { name: "c", goal: "", look: |deployment| Ok(Verdict::of(deployment.quick, "1")) },
        ];
        let client = Client::new("http://127.0.0.1:1", None);
        let mut deployment = Deployment { client, other: None, local: None, quick: true, run: "x".into() };
        let outcomes = Area { name: "test", checks: CHECKS }.run(&mut deployment);
        let seen: Vec<_> = outcomes.iter().map(|outcome| (outcome.status, outcome.seen.as_str())).collect();
        assert_eq!(seen, [(Status::Fail, "broken"), (Status::Skipped, "no reason"), (Status::Pass, "1")]);
        let report = report("u", &outcomes);
        assert_eq!((&report["passed"], &report["failed"], &report["skipped"]), (&json!(1), &json!(1), &json!(1)));
    }
}
