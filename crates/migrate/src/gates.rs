//! What has to hold before traffic moves. The decision is pure; what it is made from is measured before.

use memory_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::diff::{Counts, Diff, DiffOptions};
use crate::engine::Engine;
use crate::plan::Plan;
use crate::probe::Probes;

/// What was measured, and whether it is enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checked {
    /// When.
    pub at: Timestamp,
    /// What the queries showed.
    pub probes: Probes,
    /// The gates, in the order in which they are told.
    pub gates: Vec<Gate>,
}

/// A condition and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// What it is of.
    pub name: String,
    /// Whether it holds.
    pub holds: bool,
    /// What was measured.
    pub measured: String,
    /// What is wanted.
    pub wanted: String,
    /// What to do where it does not hold.
    pub advice: String,
}

impl Checked {
    /// Whether every gate holds.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.gates.iter().all(|gate| gate.holds)
    }
}

impl Engine {
    /// Compares the stores, sends the queries and decides the gates. It is kept in the record.
    ///
    /// # Errors
    /// As [`Engine::diff`] and [`Engine::probe`].
    pub async fn check(&mut self, told: impl FnMut(&Diff)) -> Result<Checked> {
        let diff = self.diff(DiffOptions::default(), told).await?;
        let probes = self.probe().await?;
        self.follow_through().await?;
        let mut gates = decide(&self.record().plan, &diff, &probes, self.lag().await?);
        gates.extend(self.record().stress.as_ref().map(|stress| stress.gate(self.record().plan.gates.recall)));
        let checked = Checked { at: self.parts().clock.now(), probes, gates };
        self.put_checked(checked.clone()).await?;
        Ok(checked)
    }
}

/// The gates of a plan for what was measured.
#[must_use]
pub fn decide(plan: &Plan, diff: &Diff, probes: &Probes, lag: u64) -> Vec<Gate> {
    let gate = |name: &str, holds: bool, measured: String, wanted: String, advice: &str| Gate {
        name: name.to_owned(),
        holds,
        measured,
        wanted,
        advice: advice.to_owned(),
    };
    let Counts { missing, extra, different, tombstones } = diff.counts;
    let found = format!(
        "{} compared, {missing} missing, {extra} extra, {different} different, {tombstones} tombstones, {} unsettled",
        diff.compared, diff.unsettled
    );
    let mut gates = vec![
        gate(
            "functional",
            diff.is_clean(),
            found,
            "no difference".into(),
            "look at the samples; `verify --repair` makes green the same",
        ),
        gate(
            "lag",
            lag <= plan.lag_gate,
            format!("{lag} changes"),
            format!("at most {}", plan.lag_gate),
            "wait until it has caught up, or plan with a larger lag_gate",
        ),
        gate(
            "security",
            probes.leaks == 0,
            format!("{} memories shown to others, in {} queries", probes.leaks, probes.queries),
            "none".into(),
            "do not switch: green does not keep tenants apart",
        ),
    ];
    if let Some(least) = plan.gates.recall {
        gates.push(gate(
            "search",
            probes.green_recall >= least,
            format!(
                "recall {:.3} on green, {:.3} on blue, of {} exact answers; {:.3} of what blue finds",
                probes.green_recall, probes.blue_recall, probes.exact, probes.overlap
            ),
            format!("at least {least}"),
            "build or tune green's vector index (`orchestra index`)",
        ));
    }
    if let Some(wanted) = plan.gates.improvement {
        let (blue, green) = (probes.blue.p95_us, probes.green.p95_us);
        let improvement = if blue == 0 { 0.0 } else { 1.0 - green as f64 / blue as f64 };
        gates.push(gate(
            "performance",
            improvement >= wanted,
            format!("p95 {green} us on green, {blue} us on blue: {:.0} % less", improvement * 100.0),
            format!("at least {:.0} % less", wanted * 100.0),
            "give green larger machines or an index, or plan with a smaller gates.improvement",
        ));
    }
    gates
}
