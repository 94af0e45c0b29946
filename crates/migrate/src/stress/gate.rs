//! What a stress test has to show before traffic moves.

use super::Stress;
use crate::gates::Gate;

impl Stress {
    /// Green shows nobody what is another's, finds at least `recall` of the exact answers under load where that is asked, and holds
    /// the rate that is wanted of it, or what blue holds.
    #[must_use]
    pub fn gate(&self, recall: Option<f64>) -> Gate {
        let (green, blue) = (&self.green, self.blue.as_ref());
        let of_blue = blue.and_then(|blue| blue.knee).map(|knee| knee * (1.0 - self.options.tolerance));
        let wanted_rate = self.options.rate.or(of_blue);
        let holds_rate = green.knee.is_some_and(|knee| wanted_rate.is_none_or(|wanted| knee >= wanted));
        let finds = recall.is_none_or(|least| green.recall() >= least);
        let leaks = green.leaks();
        let per_second = |knee: Option<f64>| knee.map_or_else(|| "no rate".to_owned(), |knee| format!("{knee:.0}/s"));
        let mut measured = format!("green holds {}", per_second(green.knee));
        if let Some(blue) = blue {
            measured += &format!(", blue {}", per_second(blue.knee));
        }
        measured += &format!(
            "; recall under load {:.3}, by {}; {leaks} memories shown to others",
            green.recall(),
            green.truth.by
        );
        let mut wanted = wanted_rate.map_or_else(|| "any rate".to_owned(), |rate| format!("at least {rate:.0}/s"));
        if let Some(least) = recall {
            wanted += &format!(", recall at least {least}");
        }
        Gate {
            name: "stress".to_owned(),
            holds: holds_rate && finds && leaks == 0,
            asked: true,
            measured,
            wanted,
            advice:
                "give green larger machines, more connections or a better index, or ask for less with --stress-rate"
                    .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use memory_core::Timestamp;

    use super::super::step::Step;
    use super::super::{Loaded, Options};
    use super::*;

    fn loaded(knee: Option<f64>, found: u64, leaks: u64) -> Loaded {
        let held = Step { wanted: 100, found, leaks, held: true, ..Step::default() };
        // A rate that does not hold says nothing of what is found under load that is held.
        let failed = Step { wanted: 100, found: 0, held: false, ..Step::default() };
        Loaded { knee, steps: vec![held, failed], ..Loaded::default() }
    }

    #[test]
    fn it_holds_or_fails_by_each_of_its_numbers() {
        let blue = Some(loaded(Some(1000.0), 100, 0));
        let holds = |green: Loaded, blue: &Option<Loaded>, options: Options, recall: Option<f64>| {
            let at = Timestamp::UNIX_EPOCH;
            Stress { at, options, green, blue: blue.clone() }.gate(recall).holds
        };
        let plain = Options::default;
        assert!(holds(loaded(Some(900.0), 95, 0), &blue, plain(), Some(0.95)));
        assert!(!holds(loaded(Some(899.0), 95, 0), &blue, plain(), Some(0.95)), "lower than blue's less a tenth");
        assert!(!holds(loaded(Some(900.0), 94, 0), &blue, plain(), Some(0.95)), "finds too little");
        assert!(holds(loaded(Some(900.0), 94, 0), &blue, plain(), None), "nobody asked what it finds");
        assert!(!holds(loaded(Some(900.0), 95, 1), &blue, plain(), Some(0.95)), "shows another's");
        assert!(!holds(loaded(None, 100, 0), &None, plain(), None), "holds no rate at all");
        assert!(holds(loaded(Some(1.0), 100, 0), &None, plain(), None));
        let asked = Options { rate: Some(500.0), ..plain() };
        assert!(holds(loaded(Some(500.0), 100, 0), &blue, asked.clone(), None), "what is asked for counts");
        assert!(!holds(loaded(Some(499.0), 100, 0), &None, asked, None));
    }
}
