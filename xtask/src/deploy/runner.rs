//! Runs the steps of a deployment: each is looked at, done if need be, verified and recorded, in this order.

use std::time::Instant;

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::record::Record;
use super::step::{Step, StepName};
use crate::table;

/// How the name of a source ends that differs from its commit.
pub const DIRTY: &str = "-dirty";

/// What is deployed to: it has a record.
pub trait Target {
    /// The record of its deployment.
    fn record(&mut self) -> &mut Record;
    /// The source that is deployed, such as a commit.
    fn source(&self) -> &str;
    /// The source together with the settings: a run that was interrupted goes on where they are the same.
    fn run_name(&self) -> String;
}

/// What became of a step.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The step.
    pub name: StepName,
    /// What became of it.
    pub state: State,
    /// What was seen when it was verified.
    pub seen: String,
    /// How long it took.
    pub seconds: f64,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was done now.
    Done,
    /// There was nothing to do.
    Already,
    /// The run that was interrupted had done it, and it still holds.
    Before,
}

/// The table of the steps with what they would run. Nothing is changed.
pub fn plan<T>(target: &T, steps: &[&Step<T>]) -> Vec<String> {
    let mut rows = vec![["step".to_owned(), "what it does".to_owned(), "command".to_owned()]];
    for step in steps {
        let commands = (step.commands)(target);
        let first = commands.first().cloned().unwrap_or_default();
        rows.push([step.name.to_string(), step.about.to_owned(), first]);
        rows.extend(commands.into_iter().skip(1).map(|command| [String::new(), String::new(), command]));
    }
    table::lines(&rows)
}

/// Runs those of `all` that were chosen.
///
/// # Errors
/// At the first step that fails; the message names it, its command, and what to do. The next run goes on with it.
pub fn apply<T: Target>(target: &mut T, all: &[Step<T>], steps: &[&Step<T>]) -> Result<Vec<Outcome>> {
    check_needs(target, all, steps)?;
    let (source, run) = (target.source().to_owned(), target.run_name());
    let goes_on = target.record().begin(&run);
    target.record().write()?;
    if goes_on {
        eprintln!("going on with the deployment that did not end");
    }
    let mut outcomes = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        eprintln!("[{}/{}] {}: {}", at + 1, steps.len(), step.name, step.about);
        let begun = Instant::now();
        let (state, seen) = one(target, step, &source).map_err(|error| {
            let message = format!("step {} failed\n{error:#}\nRun the same command again: it goes on here.", step.name);
            anyhow!(message)
        })?;
        let seconds = begun.elapsed().as_secs_f64();
        let told = match state {
            State::Done => "done",
            State::Already => "nothing to do",
            State::Before => "was done",
        };
        eprintln!("      {told}: {seen} ({seconds:.1} s)");
        outcomes.push(Outcome { name: step.name, state, seen, seconds });
    }
    Ok(outcomes)
}

/// Checks that what the steps need is among them, or was done. What the record does not know of, because another machine
/// did it, is looked at.
fn check_needs<T: Target>(target: &mut T, all: &[Step<T>], steps: &[&Step<T>]) -> Result<()> {
    let source = target.source().to_owned();
    for step in steps {
        for need in step.needs {
            let is_met = steps.iter().any(|other| other.name == *need) || target.record().steps.contains_key(need);
            let Some(needed) = all.iter().find(|other| other.name == *need && !is_met) else { continue };
            let seen = (needed.verify)(target)
                .map_err(|error| anyhow!("step {} needs {need}: name both, or deploy all\n{error:#}", step.name))?;
            eprintln!("{need} is there: {seen}");
            target.record().done(*need, &source, &seen);
        }
    }
    Ok(())
}

/// Ends the run: the next one looks at every step anew.
pub fn ended<T: Target>(target: &mut T) -> Result<()> {
    target.record().run = None;
    target.record().write()
}

fn one<T: Target>(target: &mut T, step: &Step<T>, source: &str) -> Result<(State, String)> {
    // Of a source that was changed since its commit nobody knows whether it is the same as before.
    let is_known = !source.ends_with(DIRTY);
    let was_done = is_known && target.record().run.as_ref().is_some_and(|run| run.done.contains(&step.name));
    if was_done && let Ok(seen) = (step.verify)(target) {
        return Ok((State::Before, seen));
    }
    if let Some(run) = &mut target.record().run {
        run.at = Some(step.name);
    }
    target.record().write()?;
    let state = if (step.is_done)(target)? {
        State::Already
    } else {
        (step.act)(target)?;
        State::Done
    };
    let seen = (step.verify)(target)?;
    target.record().done(step.name, source, &seen);
    target.record().write()?;
    Ok((state, seen))
}
