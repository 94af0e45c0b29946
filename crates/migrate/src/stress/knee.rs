//! The highest rate that a store holds.

use serde::{Deserialize, Serialize};

/// How the rate rises, in requests a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rise {
    /// The first rate.
    pub start: f64,
    /// How many times the last one the next one is, while they hold; more than 1.
    pub factor: f64,
    /// No rate is higher.
    pub most: f64,
    /// How many times the highest rate that held the lowest one that did not may be in the end; more than 1.
    pub precision: f64,
}

impl Default for Rise {
    fn default() -> Self {
        Self { start: 50.0, factor: 1.5, most: 20_000.0, precision: 1.1 }
    }
}

/// Looks for the knee: up by a factor until a rate does not hold, down by half where the first one does not, and then between the
/// two. A rate does not hold when it fails twice: something else may have used the machine.
#[derive(Debug, Clone)]
pub struct Knee {
    rise: Rise,
    held: Option<f64>,
    failed: Option<f64>,
    in_doubt: Option<f64>,
}

/// Below this share of the first rate nothing is asked.
const LEAST: f64 = 1.0 / 64.0;

impl Knee {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(rise: Rise) -> Self {
        Self { rise, held: None, failed: None, in_doubt: None }
    }

    /// The rate to be tried next; `None` when the knee is found.
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        let Rise { start, factor, most, precision } = self.rise;
        if self.in_doubt.is_some() {
            return self.in_doubt;
        }
        match (self.held, self.failed) {
            (None, None) => Some(start.min(most)),
            (Some(held), None) => (held < most).then(|| (held * factor).min(most)),
            (None, Some(failed)) => (failed / 2.0 >= start * LEAST).then_some(failed / 2.0),
            // Halfway in the sense of a factor.
            (Some(held), Some(failed)) => (failed > held * precision).then(|| (held * failed).sqrt()),
        }
    }

    /// Whether the rate that [`Self::next`] gave held.
    pub fn note(&mut self, held: bool) {
        let Some(rate) = self.next() else { return };
        let was_in_doubt = self.in_doubt.take().is_some();
        if held {
            self.held = Some(rate);
        } else if was_in_doubt {
            self.failed = Some(rate);
        } else {
            self.in_doubt = Some(rate);
        }
    }

    /// The highest rate that held, `None` while none did.
    #[must_use]
    pub fn found(&self) -> Option<f64> {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Random;
    use super::*;

    fn search(rise: Rise, mut holds: impl FnMut(f64) -> bool) -> (Option<f64>, Vec<f64>) {
        let (mut knee, mut tried) = (Knee::new(rise), Vec::new());
        while let Some(rate) = knee.next() {
            tried.push(rate);
            assert!(tried.len() < 60, "it ends: {tried:?}");
            knee.note(holds(rate));
        }
        (knee.found(), tried)
    }

    #[test]
    fn it_rises_then_narrows_down() {
        let rise = Rise { start: 100.0, factor: 2.0, most: 5000.0, precision: 1.05 };
        for capacity in [1.7, 3.0, 60.0, 101.0, 777.0, 4321.0] {
            let (found, tried) = search(rise, |rate| rate <= capacity);
            let found = found.expect("a rate held");
            assert!(found <= capacity && found * 1.05 >= capacity, "{found} of {capacity}: {tried:?}");
        }
        assert_eq!(search(rise, |_| true).0, Some(5000.0), "no more than was asked for");
        let (found, tried) = search(rise, |_| false);
        assert!(found.is_none() && tried.len() <= 14, "{tried:?}");
    }

    #[test]
    fn one_bad_moment_is_not_the_knee() {
        let mut tries = 0;
        let (found, _) = search(Rise::default(), |rate| {
            tries += 1;
            tries != 3 && rate <= 900.0
        });
        assert!(found.is_some_and(|found| (818.0..=900.0).contains(&found)), "{found:?}");
    }

    /// How long a request waits in M/D/1, random arrivals at one server that takes `service` seconds each: the probability that it
    /// is at most `wait` seconds (Erlang 1909; Crommelin, Post Office Electrical Engineers' Journal 25, 1932).
    fn waits_at_most(wait: f64, rate: f64, service: f64) -> f64 {
        let (mut sum, mut k) = (0.0, 0.0_f64);
        let mut factorial = 1.0;
        while k * service <= wait {
            let x = rate * (k * service - wait);
            sum += x.powf(k) / factorial * (-x).exp();
            k += 1.0;
            factorial *= k;
        }
        (1.0 - rate * service) * sum
    }

    /// The 99th percentile of the time from arrival to answer at one server, by going through the requests (Lindley 1952).
    fn p99_of_queue(rate: f64, service: f64, seconds: f64, random: &mut Random) -> f64 {
        let (mut at, mut free_at, mut took) = (0.0, 0.0_f64, Vec::new());
        while at < seconds {
            at += -random.unit().ln() / rate;
            free_at = free_at.max(at) + service;
            took.push(free_at - at);
        }
        took.sort_unstable_by(f64::total_cmp);
        took[(took.len() * 99).div_ceil(100) - 1]
    }

    #[test]
    fn the_knee_of_a_queue_is_found_within_a_tenth() {
        for (service, limit) in [(0.001, 0.010), (0.004, 0.020), (0.0005, 0.010)] {
            let (mut low, mut high) = (0.0, 1.0 / service);
            for _ in 0..60 {
                let rate = (low + high) / 2.0;
                if waits_at_most(limit - service, rate, service) >= 0.99 { low = rate } else { high = rate }
            }
            for seed in 0..10 {
                let mut random = Random::new(seed);
                let (found, tried) =
                    search(Rise::default(), |rate| p99_of_queue(rate, service, 10.0, &mut random) <= limit);
                let found = found.expect("a rate held");
                assert!((found / low - 1.0).abs() <= 0.1, "{found:.0}, and {low:.0} by the formula: {tried:?}");
            }
        }
    }
}
