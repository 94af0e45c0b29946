//! How much load a store holds, and what it finds meanwhile: requests come as they come, faster and faster, until it does not keep
//! up.
//!
//! In reading order:
//! - [`mod@load`] sends requests by a schedule and counts from when each was due.
//! - [`step`] is what a rate showed, and whether it held; [`knee`] says which rate is next.
//! - [`queries`] is what is asked, and what the exact answers are.
//! - [`gate`] is what has to hold before traffic moves.

pub mod gate;
pub mod knee;
pub mod load;
pub mod queries;
pub mod random;
pub mod step;

use std::sync::Arc;
use std::time::Duration;

use ground_truth::{Made, Wanted};
use memory_core::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::knee::{Knee, Rise};
use self::load::{Load, Outcome, Sent};
use self::queries::{Queries, Query, Score};
use self::step::Step;
use crate::engine::{Engine, of};
use crate::probe::{Hit, Search};
use crate::record::{Colour, Phase};
use crate::{Error, Result};

/// Without a limit of its own the p99 may be this many times what it is when one is asked after the other.
const SLOWER: u32 = 10;
/// And at least this: below it the machine's own timers and threads decide.
const LEAST_LIMIT: Duration = Duration::from_millis(20);
/// How long a request is waited for at least.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a stress test goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// How the rate rises.
    pub rise: Rise,
    /// How long a rate is tried, in milliseconds.
    pub step_ms: u64,
    /// The longest p99 of a rate that holds, in milliseconds; without it ten times the p99 of one request after the other, at least 20.
    pub p99_ms: Option<f64>,
    /// How many different queries are sent.
    pub queries: usize,
    /// What the exact answers are computed on.
    pub truth: Wanted,
    /// The most requests that are under way at once.
    pub at_once: usize,
    /// Whether blue is loaded too, to compare. It is the store in use: its clients wait longer meanwhile.
    pub blue: bool,
    /// The rate that green has to hold, in requests a second. Without it, what blue holds less `tolerance`.
    pub rate: Option<f64>,
    /// The share by which green's knee may be lower than blue's.
    pub tolerance: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rise: Rise::default(),
            step_ms: 5000,
            p99_ms: None,
            queries: 200,
            truth: Wanted::Auto,
            at_once: 64,
            blue: true,
            rate: None,
            tolerance: 0.1,
        }
    }
}

impl Options {
    /// Refuses values that make no sense.
    ///
    /// # Errors
    /// [`Error::Refused`], naming the value.
    pub fn check(&self) -> Result<()> {
        let Rise { start, factor, most, precision } = self.rise;
        let is_rate = |rate: f64| rate.is_finite() && rate > 0.0 && rate <= 1e6;
        for (holds, named) in [
            (is_rate(start), "the first rate is not more than 0 and at most a million"),
            (is_rate(most) && most >= start, "the highest rate is not between the first one and a million"),
            (factor > 1.0 && factor <= 100.0, "the factor is not more than 1 and at most 100"),
            (precision > 1.0 && precision <= 10.0, "the precision is not more than 1 and at most 10"),
            ((100..=3_600_000).contains(&self.step_ms), "a step is not 100 milliseconds to an hour"),
            (self.p99_ms.is_none_or(|limit| limit > 0.0 && limit <= 60_000.0), "the p99 is not 0 to 60000 ms"),
            ((1..=100_000).contains(&self.queries), "there are not 1 to 100000 queries"),
            ((1..=10_000).contains(&self.at_once), "there are not 1 to 10000 requests at once"),
            (self.rate.is_none_or(is_rate), "the rate to be held is not more than 0 and at most a million"),
            ((0.0..=1.0).contains(&self.tolerance), "the tolerance is not 0 to 1"),
        ] {
            if !holds {
                return Err(Error::refused(named, "correct the stress test's options"));
            }
        }
        Ok(())
    }
}

/// What a stress test showed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stress {
    /// When.
    pub at: Timestamp,
    /// How it went.
    pub options: Options,
    /// What green showed.
    pub green: Loaded,
    /// What blue showed, where it was loaded too.
    pub blue: Option<Loaded>,
}

/// What a store showed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// How the exact answers were found.
    pub truth: Made,
    /// One request after the other, with nothing else.
    pub alone: Step,
    /// The longest p99 of a rate that holds, in microseconds.
    pub p99_limit_us: u64,
    /// The rates, in the order in which they were tried.
    pub steps: Vec<Step>,
    /// The highest rate that held, in requests a second.
    pub knee: Option<f64>,
}

impl Loaded {
    /// The share of the exact answers that was found at rates that held, `0.0..=1.0`.
    #[must_use]
    pub fn recall(&self) -> f64 {
        let held = self.steps.iter().filter(|step| step.held);
        let (found, wanted) = held.fold((0, 0), |sum, step| (sum.0 + step.found, sum.1 + step.wanted));
        Step { found, wanted, ..Step::default() }.recall()
    }

    /// Memories that were shown to a tenant whose they are not.
    #[must_use]
    pub fn leaks(&self) -> u64 {
        self.alone.leaks + self.steps.iter().map(|step| step.leaks).sum::<u64>()
    }
}

/// How far a stress test has come.
#[derive(Debug, Clone, Copy)]
pub enum Told<'a> {
    /// The exact answers are there.
    Truth(&'a Made),
    /// One request after the other was sent.
    Alone(&'a Step),
    /// A rate was tried.
    Step(&'a Step),
}

impl Engine {
    /// Loads green, and blue where that is wanted, until each does not keep up. It is kept in the record. Changes are not followed
    /// meanwhile.
    ///
    /// # Errors
    /// [`Error::Refused`] before everything is copied, or for options that make no sense; or as the stores.
    pub async fn stress(&mut self, options: &Options, mut told: impl FnMut(Colour, Told<'_>)) -> Result<&Stress> {
        options.check()?;
        if self.record().phase != Phase::Following {
            return Err(Error::refused("not everything is copied yet", "`start` first"));
        }
        let sample = self.sample(options.queries).await?;
        let batch = self.record().plan.batch;
        let mut load = async |colour: Colour| {
            let side = self.parts().side(colour);
            let advice = "ask for a stress test of green alone";
            let search = side.search.clone();
            let search = search.ok_or_else(|| Error::refused(format!("{colour} has no search"), advice))?;
            let queries = Queries::prepare(colour, &*side.replica, &sample, batch, options.truth).await?;
            let ask = move |query: &Query| ask(search.clone(), query);
            load(queries, options, ask, |now| told(colour, now)).await.map_err(of(colour, "search"))
        };
        let green = load(Colour::Green).await?;
        let blue = if options.blue { Some(load(Colour::Blue).await?) } else { None };
        let stress = Stress { at: self.parts().clock.now(), options: options.clone(), green, blue };
        self.put_stress(stress).await
    }
}

/// Asks queries of a store until it does not keep up, and compares what it finds with the exact answers.
///
/// # Errors
/// As the store, while one is asked after the other; what fails later is counted.
pub async fn load<F>(
    queries: Queries,
    options: &Options,
    ask: impl Fn(&Query) -> F,
    mut told: impl FnMut(Told<'_>),
) -> memory_core::Result<Loaded>
where
    F: Future<Output = memory_core::Result<Vec<Hit>>> + Send + 'static,
{
    let queries = Arc::new(queries);
    told(Told::Truth(&queries.made));
    let scored = |number: usize| {
        let (queries, number) = (queries.clone(), number % queries.all.len());
        let answer = ask(&queries.all[number]);
        async move { answer.await.map(|hits| queries.score(&queries.all[number], &hits)) }
    };
    let alone = alone(queries.all.len(), &scored).await?;
    told(Told::Alone(&alone));
    let p99_limit = match options.p99_ms {
        Some(limit) => Duration::from_secs_f64(limit / 1000.0),
        None => LEAST_LIMIT.max(Duration::from_micros(alone.p99_us) * SLOWER),
    };
    let mut loaded = Loaded {
        truth: queries.made.clone(),
        alone,
        p99_limit_us: u64::try_from(p99_limit.as_micros()).unwrap_or(u64::MAX),
        ..Loaded::default()
    };
    let mut knee = Knee::new(options.rise);
    while let Some(rate) = knee.next() {
        let load = Load {
            rate,
            lasts: Duration::from_millis(options.step_ms),
            patience: PATIENCE.max(p99_limit * 4),
            at_once: options.at_once,
            seed: loaded.steps.len() as u64,
        };
        // Each rate begins with other queries.
        let first = loaded.steps.len() * 7919;
        let sent = load.send(|number| scored(first + number)).await;
        let step = Step::of(rate, &sent, p99_limit);
        told(Told::Step(&step));
        knee.note(step.held);
        loaded.steps.push(step);
    }
    loaded.knee = knee.found();
    Ok(loaded)
}

/// Every query after the other, twice, since the first time a store may have to read what it has not in memory yet.
async fn alone<F>(count: usize, scored: impl Fn(usize) -> F) -> memory_core::Result<Step>
where
    F: Future<Output = memory_core::Result<Score>>,
{
    let (mut sent, mut began) = (Vec::new(), Instant::now());
    for number in 0..count * 2 {
        if number == count {
            sent.clear();
            began = Instant::now();
        }
        let due = began.elapsed();
        let score = scored(number).await?;
        let took = began.elapsed() - due;
        sent.push(Sent { due, late: Duration::ZERO, took, outcome: Outcome::Answered(score) });
    }
    let step = Step::of(0.0, &sent, Duration::MAX);
    Ok(Step { rate: step.achieved, ..step })
}

/// What a store finds for a query.
fn ask(search: Arc<dyn Search>, query: &Query) -> impl Future<Output = memory_core::Result<Vec<Hit>>> + Send + use<> {
    let (scope, vector, text) = (query.scope.clone(), query.vector.clone(), query.text.clone());
    async move { Ok(search.search(&scope, Some(&vector), &text).await?.hits) }
}
