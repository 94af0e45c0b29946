//! The goals of the store: a measured value each, and whether it is met.

use std::time::Duration;

use crate::report::{Least, Table, micros};

/// What was measured for the goals, if it was.
#[derive(Debug, Default)]
pub struct Goals {
    /// The worst ratio of a load's speed to that of `COPY`.
    pub load: Least,
    /// How many times faster loading is, and building a graph (HNSW) after it, than writing into the graph.
    pub build_after: Least,
    /// The worst ratio of single durable writes to a loop of `INSERT`.
    pub write: Least,
    /// The same of writes with an idempotency key, which the loop inserts too.
    pub write_with_key: Least,
    /// The worst ratio of searches to the same statement in a loop.
    pub search: Least,
    /// The worst recall@10 within one user, and in any scope.
    pub recall_of_user: Least,
    /// As above.
    pub recall: Least,
    /// The worst recall@10 of searches by words, and the longest median time of one.
    pub recall_of_words: Least,
    /// As above.
    pub words: Option<Duration>,
    /// The longest 99th percentile of a search by vector, one at a time, in seconds.
    pub p99: Option<Duration>,
    /// The worst share of time that indexes save.
    pub faster: Least,
}

impl Goals {
    /// A row for each goal.
    pub fn table(&self) -> Table {
        let mut table = Table::new("goals", &["", "goal", "measured", "met"]);
        let mut row = |name: &str, goal: String, measured: Option<(String, bool)>| {
            let (measured, met) = measured.map_or(("not measured".to_owned(), ""), |(measured, met)| {
                (measured, if met { "met" } else { "not met" })
            });
            table.row([name.to_owned(), goal, measured, met.to_owned()]);
        };
        for (name, least, goal) in [
            ("load, worst, of COPY BINARY", self.load, 0.6),
            ("load, then build HNSW, times faster than into it", self.build_after, 2.0),
            ("single writes per s, worst, of INSERT and commit", self.write, 0.85),
            ("the same with idempotency keys", self.write_with_key, 0.85),
            ("searches per s, worst, of the same statement in a loop", self.search, 0.8),
            ("recall@10 within one user, worst", self.recall_of_user, 0.99),
            ("recall@10, worst of all scopes", self.recall, 0.95),
            ("recall@10 by words, worst of all scopes", self.recall_of_words, 0.95),
        ] {
            row(name, format!(">= {goal}"), least.0.map(|value| (format!("{value:.3}"), value >= goal)));
        }
        for (name, longest, limit) in
            [("p50 of a search by words", self.words, 30), ("p99 of a vector search", self.p99, 100)]
        {
            let judged = longest.map(|time| (micros(time), time < Duration::from_millis(limit)));
            row(name, format!("< {limit} ms"), judged);
        }
        let share = self.faster.0.map(|share| (format!("{:.0} %", share * 100.0), share >= 0.4));
        row("faster than without indexes, worst", ">= 40 %".into(), share);
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_judged_on_its_worst_value_and_only_when_measured() {
        let mut goals = Goals::default();
        goals.load.note(0.7);
        goals.load.note(0.5);
        goals.p99 = Some(Duration::from_millis(99));
        let rows = serde_json::to_value(goals.table()).unwrap()["rows"].clone();
        let judged = |at: usize| (rows[at][2].as_str().unwrap().to_owned(), rows[at][3].as_str().unwrap().to_owned());
        assert_eq!(judged(0), ("0.500".into(), "not met".into()));
        assert_eq!(judged(1), ("not measured".into(), String::new()));
        assert_eq!(judged(9).1, "met");
    }
}
