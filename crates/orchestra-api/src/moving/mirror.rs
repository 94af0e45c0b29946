//! Recalls that green answers too while blue is in use, to compare: nobody waits for them, and what they give is counted and not shown.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use memory_core::{MemoryId, RecallReport, RecallRequest, Result};
use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::state::AppState;

const MIRRORED: &str = "orchestra_move_mirrored_total";
const MIRRORED_SECONDS: &str = "orchestra_move_mirrored_seconds";

/// How many recalls green answers at once beside those of clients; what comes while it is at that is left out.
const AT_ONCE: usize = 4;
/// Of how many recalls the times are kept.
const TIMES: usize = 2000;

pub(super) fn describe() {
    describe_counter!(MIRRORED, Unit::Count, "Recalls that green answered too, by how its answer compares");
    describe_histogram!(MIRRORED_SECONDS, Unit::Seconds, "How long those recalls took, by store");
}

/// The recalls that green answers too.
#[derive(Debug)]
pub struct Mirror {
    percent: u64,
    seen: AtomicU64,
    turns: Arc<Semaphore>,
    compared: Arc<Mutex<Compared>>,
}

/// What came of them.
#[derive(Debug, Default)]
struct Compared {
    recalls: u64,
    same: u64,
    same_first: u64,
    failures: u64,
    left_out: u64,
    /// Added up; a mean once it is divided.
    overlap: f64,
    blue: VecDeque<Duration>,
    green: VecDeque<Duration>,
}

/// How green's answers compare with blue's, since the server began.
#[derive(Debug, Serialize, JsonSchema)]
pub struct MirrorReport {
    /// The percentage of recalls that green answers too.
    pub percent: u64,
    /// How many were compared.
    pub compared: u64,
    /// The share of them with the same memories in the same order; `null` before the first.
    pub same: Option<f64>,
    /// The share of them whose best memory is the same.
    pub same_first: Option<f64>,
    /// The mean share of blue's memories that green found too.
    pub overlap: Option<f64>,
    /// How many green answered with an error.
    pub failures: u64,
    /// How many were left out, since green was busy with others.
    pub left_out: u64,
    /// How long blue took, for the last 2000 of them.
    pub blue: Times,
    /// How long green took.
    pub green: Times,
}

/// How long recalls took, in milliseconds; `null` before the first.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Times {
    /// Half of them took no longer.
    pub p50_ms: Option<f64>,
    /// 95 % of them took no longer.
    pub p95_ms: Option<f64>,
}

impl Mirror {
    /// Of this percentage of recalls.
    pub fn new(percent: u8) -> Self {
        let percent = u64::from(percent.min(100));
        Self { percent, seen: AtomicU64::new(0), turns: Arc::new(Semaphore::new(AT_ONCE)), compared: Arc::default() }
    }

    /// Whether the recall at hand is one of them: they are spread evenly.
    pub fn is_due(&self) -> bool {
        self.percent > 0 && {
            let at = self.seen.fetch_add(1, Ordering::Relaxed);
            (at + 1) * self.percent / 100 > at * self.percent / 100
        }
    }

    /// Has green answer what blue gave `answer` to in `took`. Comes back at once.
    pub fn repeat(&self, green: AppState, request: RecallRequest, answer: &RecallReport, took: Duration) {
        let Ok(turn) = self.turns.clone().try_acquire_owned() else {
            counter!(MIRRORED, "outcome" => "left_out").increment(1);
            self.lock().left_out += 1;
            return;
        };
        let (expected, compared) = (ids(answer), self.compared.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            let answer = green.manager().recall(request).await;
            let outcome = compare(
                &mut compared.lock().unwrap_or_else(PoisonError::into_inner),
                &expected,
                &answer,
                [took, begun.elapsed()],
            );
            counter!(MIRRORED, "outcome" => outcome).increment(1);
            drop(turn);
        });
    }

    /// What came of them.
    pub fn report(&self) -> MirrorReport {
        let compared = self.lock();
        let share = |of: f64| (compared.recalls > 0).then(|| of / compared.recalls as f64);
        MirrorReport {
            percent: self.percent,
            compared: compared.recalls,
            same: share(compared.same as f64),
            same_first: share(compared.same_first as f64),
            overlap: share(compared.overlap),
            failures: compared.failures,
            left_out: compared.left_out,
            blue: times(&compared.blue),
            green: times(&compared.green),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Compared> {
        self.compared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ids(answer: &RecallReport) -> Vec<MemoryId> {
    answer.memories.iter().map(|recalled| recalled.memory.id).collect()
}

/// Takes a recall into account, and says how it compares.
fn compare(
    compared: &mut Compared,
    expected: &[MemoryId],
    answer: &Result<RecallReport>,
    [blue, green]: [Duration; 2],
) -> &'static str {
    let Ok(answer) = answer else {
        compared.failures += 1;
        return "failed";
    };
    let found = ids(answer);
    let known: HashSet<_> = found.iter().collect();
    compared.recalls += 1;
    compared.same_first += u64::from(expected.first() == found.first());
    compared.overlap += match expected.len() {
        0 => f64::from(u8::from(found.is_empty())),
        all => expected.iter().filter(|id| known.contains(id)).count() as f64 / all as f64,
    };
    for (took, times, store) in [(blue, &mut compared.blue, "blue"), (green, &mut compared.green, "green")] {
        histogram!(MIRRORED_SECONDS, "store" => store).record(took);
        if times.len() == TIMES {
            times.pop_front();
        }
        times.push_back(took);
    }
    if expected == found {
        compared.same += 1;
        return "same";
    }
    "different"
}

fn times(times: &VecDeque<Duration>) -> Times {
    let mut sorted: Vec<Duration> = times.iter().copied().collect();
    sorted.sort_unstable();
    let at = |share: f64| {
        let last = sorted.len().checked_sub(1)?;
        let at = (sorted.len() as f64 * share).ceil() as usize;
        Some(sorted[at.saturating_sub(1).min(last)].as_secs_f64() * 1e3)
    };
    Times { p50_ms: at(0.50), p95_ms: at(0.95) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_spread_evenly() {
        for (percent, due) in [(0, 0), (10, 20), (33, 66), (100, 200)] {
            let mirror = Mirror::new(percent);
            assert_eq!((0..200).filter(|_| mirror.is_due()).count(), due, "{percent} %");
        }
    }

    #[test]
    fn times_are_of_the_whole_sample() {
        let sample: VecDeque<Duration> = (1..=100).map(Duration::from_millis).collect();
        let Times { p50_ms, p95_ms } = times(&sample);
        assert_eq!((p50_ms, p95_ms), (Some(50.0), Some(95.0)));
        assert_eq!(times(&VecDeque::new()).p50_ms, None);
    }
}
