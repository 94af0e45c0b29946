//! What has to hold before traffic moves. The decision is pure; what it is made from is measured before.

use memory_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::diff::{Counts, Diff, DiffOptions};
use crate::engine::Engine;
use crate::plan::Plan;
use crate::probe::{Cached, Probes};
use crate::record::Colour;
use crate::{Error, Result};

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
    /// Whether it holds. One that was not asked holds only where nobody wanted a number of it.
    pub holds: bool,
    /// Whether it was asked; `measured` says why it was not.
    #[serde(default = "yes")]
    pub asked: bool,
    /// What was measured.
    pub measured: String,
    /// What is wanted.
    pub wanted: String,
    /// What to do where it does not hold.
    pub advice: String,
}

fn yes() -> bool {
    true
}

impl Gate {
    fn asked(name: &str, holds: bool, measured: String, wanted: String, advice: &str) -> Self {
        Self { name: name.to_owned(), holds, asked: true, measured, wanted, advice: advice.to_owned() }
    }

    fn not_asked(name: &str, holds: bool, why: &str, wanted: String, advice: &str) -> Self {
        let measured = format!("not asked: {why}");
        Self { name: name.to_owned(), holds, asked: false, measured, wanted, advice: advice.to_owned() }
    }
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
    /// [`Error::Refused`] once green is in use in a move that goes one way; or as [`Engine::diff`] and [`Engine::probe`].
    pub async fn check(&mut self, told: impl FnMut(&Diff)) -> Result<Checked> {
        if self.record().one_way && self.record().active == Colour::Green {
            let reason = "blue can only be read and does not follow green: there is nothing to compare";
            return Err(Error::refused(reason, "go on with green"));
        }
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
    let wanted = &plan.gates;
    let asked = [functional(diff), lag_of(plan, lag), security(probes)];
    let of_search = wanted.recall.map(|least| search(probes, least));
    let of_speed = wanted.improvement.map(|improvement| performance(probes, improvement));
    let of_cache = hit_rate(&probes.cached, wanted.hit_rate);
    asked.into_iter().chain(of_search).chain(of_speed).chain([of_cache]).collect()
}

fn functional(diff: &Diff) -> Gate {
    let Counts { missing, extra, different, tombstones } = diff.counts;
    let found = format!(
        "{} compared, {missing} missing, {extra} extra, {different} different, {tombstones} tombstones, {} unsettled",
        diff.compared, diff.unsettled
    );
    let advice = "look at the samples; `verify --repair` makes green the same";
    Gate::asked("functional", diff.is_clean(), found, "no difference".into(), advice)
}

fn lag_of(plan: &Plan, lag: u64) -> Gate {
    let advice = "wait until it has caught up, or plan with a larger lag_gate";
    let wanted = format!("at most {}", plan.lag_gate);
    Gate::asked("lag", lag <= plan.lag_gate, format!("{lag} changes"), wanted, advice)
}

fn security(probes: &Probes) -> Gate {
    let (name, wanted) = ("security", "none".to_owned());
    let advice = "do not switch: green does not keep tenants apart";
    if !probes.asked(Colour::Green) {
        return Gate::not_asked(name, true, "green has no search", wanted, advice);
    }
    let found = format!("{} memories shown to others, in {} queries", probes.leaks, probes.queries);
    Gate::asked(name, probes.leaks == 0, found, wanted, advice)
}

fn search(probes: &Probes, least: f64) -> Gate {
    let (name, wanted) = ("search", format!("at least {least}"));
    let advice = "build or tune green's vector index (`orchestra index`)";
    if !probes.asked(Colour::Green) {
        return Gate::not_asked(name, true, "green has no search", wanted, advice);
    }
    let Probes { blue_recall, green_recall, exact, overlap, .. } = probes;
    let found = if probes.asked(Colour::Blue) {
        format!(
            "recall {green_recall:.3} on green, {blue_recall:.3} on blue, of {exact} exact answers; {overlap:.3} of what blue \
             finds"
        )
    } else {
        format!("recall {green_recall:.3} on green, of {exact} exact answers; blue has no search to compare with")
    };
    Gate::asked(name, *green_recall >= least, found, wanted, advice)
}

fn performance(probes: &Probes, improvement: f64) -> Gate {
    let (name, wanted) = ("performance", format!("at least {:.0} % less", improvement * 100.0));
    if let Some(colour) = probes.not_asked.first() {
        let why = format!("{colour} has no search to compare with");
        return Gate::not_asked(name, false, &why, wanted, "plan without gates.improvement");
    }
    let (blue, green) = (probes.blue.p95_us, probes.green.p95_us);
    let found = if blue == 0 { 0.0 } else { 1.0 - green as f64 / blue as f64 };
    Gate::asked(
        name,
        found >= improvement,
        format!("p95 {green} us on green, {blue} us on blue: {:.0} % less", found * 100.0),
        wanted,
        "give green larger machines or an index, or plan with a smaller gates.improvement",
    )
}

/// Answers are not moved, so what green's cache lacks is computed again, and paid again: that is told whether or not somebody wants
/// a number.
fn hit_rate(cached: &Cached, least: Option<f64>) -> Gate {
    let (name, wanted) = ("hit rate", least.map_or_else(|| "any".to_owned(), |least| format!("at least {least}")));
    let (tenants, of, blue, green) = match cached {
        Cached::NothingToLose(why) => return Gate::not_asked(name, true, why, wanted, ""),
        Cached::NotAsked | Cached::Unknown(_) => {
            let why = if let Cached::Unknown(why) = cached { why } else { "no side has a search" };
            return Gate::not_asked(name, least.is_none(), why, wanted, "plan without gates.hit_rate");
        }
        Cached::Counted { tenants, of, blue, green } => (tenants, of, *blue, *green),
    };
    let kept = if blue == 0 { 1.0 } else { (green as f64 / blue as f64).min(1.0) };
    let lost = blue.saturating_sub(green);
    let tenants = if tenants == of { of.to_string() } else { format!("{tenants} of {of}") };
    let found = format!(
        "green's cache has {green} answers, blue's {blue} (tenants: {tenants}), so {kept:.3}; {lost} are computed again when they are \
         asked for"
    );
    let advice = "name the Redis of blue's cache for green's too, or plan with a smaller gates.hit_rate";
    Gate::asked(name, least.is_none_or(|least| kept >= least), found, wanted, advice)
}
