//! What a rate showed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::load::{Outcome, Sent};
use super::queries::Score;

/// The share of what is offered that a store that keeps up answers at least.
const KEEPS_UP: f64 = 0.95;
/// How many times longer than in the first half requests take in the second one where a store does not keep up. What is behind grows
/// from nothing, so it is three times as much; less than this may be chance.
const GROWS: f64 = 1.5;
/// The share of requests that may fail or be given up.
const MAY_FAIL: f64 = 0.001;

/// What a rate showed. Times are in microseconds, from when a request was due; one that was given up counts with the time it was
/// waited for, and one that failed is not among them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Requests a second that were wanted.
    pub rate: f64,
    /// Requests a second that were due, between the first and the last.
    pub offered: f64,
    /// Answers a second, between the first and the last.
    pub achieved: f64,
    /// How many requests there were.
    pub sent: u64,
    /// How many failed.
    pub failed: u64,
    /// How many were given up.
    pub timed_out: u64,
    /// Half of them took no longer.
    pub p50_us: u64,
    /// 95 of a hundred.
    pub p95_us: u64,
    /// 99 of a hundred.
    pub p99_us: u64,
    /// 999 of a thousand.
    pub p999_us: u64,
    /// The longest.
    pub max_us: u64,
    /// How late requests were handed to be sent, 99 of a hundred no later; it is part of the other times.
    pub late_p99_us: u64,
    /// How many of the exact answers were looked for.
    pub wanted: u64,
    /// How many of them were found.
    pub found: u64,
    /// Memories that were shown to a tenant whose they are not.
    pub leaks: u64,
    /// Whether the store held the rate.
    pub held: bool,
}

impl Step {
    /// What became of requests, and whether the store held their rate: 99 of a hundred took at most `p99_limit`, they did not take
    /// longer and longer, and hardly any was lost.
    #[must_use]
    pub fn of(rate: f64, sent: &[Sent<Score>], p99_limit: Duration) -> Self {
        let mut step = Self { rate, sent: sent.len() as u64, ..Self::default() };
        let (mut late, mut ended) = (Vec::new(), Vec::new());
        for request in sent {
            late.push(micros(request.late));
            match request.outcome {
                Outcome::Answered(score) => {
                    step.wanted += u64::from(score.wanted);
                    step.found += u64::from(score.found);
                    step.leaks += u64::from(score.leaks);
                    ended.push(request.due + request.took);
                }
                Outcome::Failed => step.failed += 1,
                Outcome::TimedOut => step.timed_out += 1,
            }
        }
        let waited = |sent: &Sent<Score>| (sent.outcome != Outcome::Failed).then(|| (sent.due, micros(sent.took)));
        let mut waited: Vec<(Duration, u64)> = sent.iter().filter_map(waited).collect();
        waited.sort_unstable();
        let keeps_up = keeps_up(&waited);
        let mut took: Vec<u64> = waited.into_iter().map(|(_, took)| took).collect();
        took.sort_unstable();
        late.sort_unstable();
        let [p50, p95, p99, p999] = [500, 950, 990, 999].map(|share| percentile(&took, share));
        (step.p50_us, step.p95_us, step.p99_us, step.p999_us) = (p50, p95, p99, p999);
        (step.max_us, step.late_p99_us) = (took.last().copied().unwrap_or(0), percentile(&late, 990));
        step.offered = per_second(sent.iter().map(|request| request.due));
        step.achieved = per_second(ended.iter().copied());
        let lost = (step.failed + step.timed_out) as f64;
        step.held = !ended.is_empty()
            && u128::from(p99) <= p99_limit.as_micros()
            && lost <= step.sent as f64 * MAY_FAIL
            && keeps_up;
        step
    }

    /// The share of the exact answers that was found, `0.0..=1.0`; 1 where none was looked for.
    #[must_use]
    pub fn recall(&self) -> f64 {
        if self.wanted == 0 { 1.0 } else { self.found as f64 / self.wanted as f64 }
    }
}

/// Whether requests, by when they were due, did not take longer and longer. Where only a share is answered as they come, what is due
/// later by a time takes longer by that time over the share, less the time.
fn keeps_up(waited: &[(Duration, u64)]) -> bool {
    let (first, second) = waited.split_at(waited.len() / 2);
    let median = |part: &[(Duration, u64)]| {
        let mut took: Vec<u64> = part.iter().map(|(_, took)| *took).collect();
        took.sort_unstable();
        percentile(&took, 500) as f64
    };
    let [Some(begun), Some(ended)] = [first.first(), second.last()].map(|request| request.map(|(due, _)| *due)) else {
        return true;
    };
    let (before, after) = (median(first), median(second));
    let apart = (ended - begun).as_secs_f64() / 2.0 * 1e6;
    after <= before * GROWS || after - before <= apart * (1.0 / KEEPS_UP - 1.0)
}

/// The one of sorted values that so many of a thousand do not exceed; 0 of none.
fn percentile(sorted: &[u64], of_thousand: usize) -> u64 {
    sorted.get((sorted.len() * of_thousand).div_ceil(1000).saturating_sub(1)).copied().unwrap_or(0)
}

/// How many there are a second from the first to the last; 0 of fewer than two.
fn per_second(times: impl Iterator<Item = Duration> + Clone) -> f64 {
    let (first, last) = (times.clone().min(), times.clone().max());
    let span = last.zip(first).map_or(0.0, |(last, first)| (last - first).as_secs_f64());
    if span == 0.0 { 0.0 } else { (times.count() - 1) as f64 / span }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(10);

    fn answered(due_ms: u64, took_ms: u64) -> Sent<Score> {
        let [due, took] = [due_ms, took_ms].map(Duration::from_millis);
        let score = Score { wanted: 10, found: 9, leaks: 0 };
        Sent { due, late: Duration::from_micros(30), took, outcome: Outcome::Answered(score) }
    }

    #[test]
    fn a_rate_holds_while_answers_are_fast_and_keep_up() {
        let steady: Vec<_> = (0..1000).map(|at| answered(at * 10, 2)).collect();
        let step = Step::of(100.0, &steady, LIMIT);
        assert!(step.held && (step.offered - step.achieved).abs() < 1e-9, "{step:?}");
        assert_eq!((step.p50_us, step.p999_us, step.max_us, step.late_p99_us), (2000, 2000, 2000, 30));
        assert_eq!((step.recall(), step.sent), (0.9, 1000));

        let slow: Vec<_> = (0..1000).map(|at| answered(at * 10, if at % 50 == 0 { 11 } else { 2 })).collect();
        assert!(!Step::of(100.0, &slow, LIMIT).held, "one in fifty is too slow");
        // Each one a little later than the one before: within the limit of a second, and ever more behind.
        let behind: Vec<_> = (0..1000).map(|at| answered(at * 10, at)).collect();
        let step = Step::of(100.0, &behind, Duration::from_secs(1));
        assert!(!step.held && step.p99_us < 1_000_000 && step.achieved < 92.0, "{step:?}");
        // Few of them, and now and then one takes longer.
        let few: Vec<_> = (0..12).map(|at| answered(at * 80, if at % 3 == 2 { 9 } else { 4 })).collect();
        assert!(Step::of(12.0, &few, LIMIT).held);
        assert!(Step::of(12.0, &few[..1], LIMIT).held);
    }

    #[test]
    fn what_is_lost_counts() {
        let lost = |outcome| {
            let mut sent: Vec<_> = (0..1000).map(|at| answered(at * 10, 2)).collect();
            sent.iter_mut().take(2).for_each(|sent| (sent.outcome, sent.took) = (outcome, Duration::from_secs(2)));
            Step::of(100.0, &sent, LIMIT)
        };
        let (failed, given_up) = (lost(Outcome::Failed), lost(Outcome::TimedOut));
        assert_eq!((failed.failed, failed.held, failed.max_us), (2, false, 2000));
        assert_eq!((given_up.timed_out, given_up.held, given_up.max_us), (2, false, 2_000_000));
        let none = Step::of(100.0, &[], LIMIT);
        assert_eq!((none.held, none.recall(), none.p99_us), (false, 1.0, 0));
    }
}
