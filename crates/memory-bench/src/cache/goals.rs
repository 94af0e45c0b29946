//! The goals of the cache on Redis: a measured value each, and whether it is met.

use crate::report::{Least, Table};

/// What was measured for the goals, if it was.
#[derive(Debug, Default)]
pub struct Goals {
    /// The worst throughput of a lookup over that of its floor, hits and misses, over all sizes and concurrencies.
    pub lookup: Least,
    /// The worst throughput of an exact repeat over that of a search.
    pub repeat: Least,
    /// The share of sure hits found at 100,000 entries.
    pub sure_hits: Option<f64>,
    /// The median of a hit, one at a time, in seconds: at 1,000 entries and at 100,000.
    pub p50_at_1k: Option<f64>,
    /// As above.
    pub p50_at_100k: Option<f64>,
    /// The 99th percentile of hits with one store in three, over that without.
    pub mixed: Option<f64>,
}

impl Goals {
    /// A row for each goal.
    pub fn table(&self) -> Table {
        let growth = self.p50_at_100k.zip(self.p50_at_1k).map(|(large, small)| large / small);
        let times = |value: f64| format!("{value:.2}");
        let percent = |value: f64| format!("{:.2} %", value * 100.0);
        let mut table = Table::new("goals", &["", "goal", "measured", "met"]);
        let mut row = |name: &str, goal: &str, measured: Option<String>, met: Option<bool>| {
            table.row([
                name.to_owned(),
                goal.to_owned(),
                measured.unwrap_or_else(|| "not measured".to_owned()),
                met.map_or("", |met| if met { "met" } else { "not met" }).to_owned(),
            ]);
        };
        let at_least = |value: Option<f64>, goal: f64| value.map(|value| value >= goal);
        let at_most = |value: Option<f64>, goal: f64| value.map(|value| value <= goal);
        row("lookups per s, worst, of the floor", ">= 0.90", self.lookup.0.map(times), at_least(self.lookup.0, 0.9));
        let sure = self.sure_hits;
        row("hits at 0.95 found, 100,000 entries", ">= 99.50 %", sure.map(percent), at_least(sure, 0.995));
        row("p50 of a hit, 100,000 entries to 1,000", "<= 3", growth.map(times), at_most(growth, 3.0));
        row("p99 of hits, one store in three to none", "<= 3", self.mixed.map(times), at_most(self.mixed, 3.0));
        row("exact repeats per s, worst, of the floor", ">= 2", self.repeat.0.map(times), at_least(self.repeat.0, 2.0));
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_on_its_worst_value_and_only_when_measured() {
        let mut goals = Goals::default();
        goals.lookup.note(0.95);
        goals.lookup.note(0.85);
        goals.lookup.note(1.0);
        goals.sure_hits = Some(0.995);
        goals.p50_at_100k = Some(0.3);
        let rows = serde_json::to_value(goals.table()).unwrap()["rows"].clone();
        let judged: Vec<_> = (0..5).map(|at| (rows[at][2].as_str().unwrap(), rows[at][3].as_str().unwrap())).collect();
        let unmeasured = ("not measured", "");
        assert_eq!(judged, [("0.85", "not met"), ("99.50 %", "met"), unmeasured, unmeasured, unmeasured]);
    }
}
